/* shim - records what a daemon does to its files, in order, with data: preload it into the daemon.
 *
 *   CRASH_LOG    file the record is appended to
 *   CRASH_ROOTS  absolute directories, separated by ':'; only what happens below them is recorded
 *   CRASH_FSYNC_DELAY_US   each fsync takes up to this much longer (random), so that other writes
 *                          happen meanwhile
 *   CRASH_HELPER_DELAY_US  so does each call of a thread that is not the first one
 *   CRASH_FSYNC_GATE       while this file exists, no fsync of a file goes on
 *   CRASH_FSYNC_FAIL       the fsync of a file with this number (from 1) is not done and gives EIO
 *   CRASH_FSYNC_FAIL_ALL   so do all behind it, when set
 *
 * One event = a header of 24 bytes (little-endian: u8 type, u8 flags, u16 port, u32 handle, u64
 * off, u32 len, u32 len2) and len + len2 bytes.  Call and event happen under one lock, so the order
 * of events is the order of effects.  An fsync has two events: what was written before its 'f' is
 * on stable storage from its 'F' on.  Accepted connections are known by the port of the peer; of
 * their traffic only the number of bytes is recorded: 's' after sending, 'r' after receiving.
 *
 *   'o' open      handle, flags 1 existed before, 2 O_TRUNC, 4 directory, 8 O_SYNC or O_DSYNC; path
 *   'w' write     handle, off, the bytes; flags 1: durable when it returned (RWF_DSYNC, O_SYNC)
 *   't' truncate  handle, off = size        'x' extended attribute set: handle; name, value
 *   'f' 'F' fsync begins, ends: handle (0: syncfs), off = number; flags 1: fdatasync; 'F' flags 2:
 * failed 'n' rename    both paths                'u' unlink, rmdir      'm' mkdir       '!'
 * something we cannot record: its name
 *
 * Children (hooks) are not recorded: LD_PRELOAD is removed from the environment, and a forked child
 * only passes through. */
#undef _FILE_OFFSET_BITS /* both names of each call are defined here */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#define MAX_FD    65536
#define MAX_ROOTS 8

enum { OPEN_EXISTED = 1, OPEN_TRUNC = 2, OPEN_DIR = 4, OPEN_SYNC = 8 };
enum kind { NONE, FILE_FD, SOCKET_FD };

struct fd_state {
    uint8_t kind;
    bool durable; /* O_SYNC, O_DSYNC */
    bool is_dir;
    uint16_t port;
    uint32_t handle;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static __thread volatile sig_atomic_t inside; /* this thread holds the lock */
static struct fd_state fds[MAX_FD];
static char *roots[MAX_ROOTS];
static int nroots;
static int log_fd = -1;
static pid_t owner;
static uint32_t next_handle = 1;
static uint64_t next_sync = 1;
static unsigned delay_us, helper_us, fail_at, file_syncs;
static __thread unsigned helper_rand;
static const char *gate;
static bool fail_all;
static unsigned rand_state = 1;

#define REAL(ret, name, ...)                \
    static ret (*real_##name)(__VA_ARGS__); \
    if (!real_##name)                       \
    *(void **)&real_##name = dlsym(RTLD_NEXT, #name)

/* --- the record ------------------------------------------------------------------------------ */

static void put_le(uint8_t *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

static void die(const char *what)
{
    dprintf(2, "shim: %s: %s\n", what, strerror(errno));
    abort();
}

/* Writes everything or ends the process: a hole in the record would make every conclusion from it
 * wrong. */
static void log_bytes(const struct iovec *iov, int n)
{
    struct iovec v[64];
    int at = 0;

    memcpy(v, iov, (size_t)n * sizeof *v);
    while (at < n) {
        ssize_t r = syscall(SYS_writev, log_fd, v + at, n - at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            die("write of the record");
        while (at < n && (size_t)r >= v[at].iov_len)
            r -= (ssize_t)v[at++].iov_len;
        if (at < n) {
            v[at].iov_base = (char *)v[at].iov_base + r;
            v[at].iov_len -= (size_t)r;
        }
    }
}

static void event(char type, unsigned flags, unsigned port, uint32_t handle, uint64_t off,
                  const void *p, size_t len, const void *p2, size_t len2)
{
    uint8_t h[24];
    struct iovec iov[3] = {{h, sizeof h},
                           {(void *)(uintptr_t)p, len},
                           {(void *)(uintptr_t)p2, len2}};
    int saved = errno;

    h[0] = (uint8_t)type;
    h[1] = (uint8_t)flags;
    put_le(h + 2, port, 2);
    put_le(h + 4, handle, 4);
    put_le(h + 8, off, 8);
    put_le(h + 16, len, 4);
    put_le(h + 20, len2, 4);
    log_bytes(iov, 3);
    errno = saved;
}

static void unsupported(const char *name)
{
    event('!', 0, 0, 0, 0, name, strlen(name), NULL, 0);
}

/* True in the recorded process; the lock is then held.  Not in a signal handler that interrupts a
 * holder of the lock: it only wakes the loop through a pipe. */
static bool enter(void)
{
    if (log_fd < 0 || inside || getpid() != owner)
        return false;
    if (helper_us && gettid() != owner)
        usleep((unsigned)rand_r(&helper_rand) % helper_us);
    inside = 1;
    pthread_mutex_lock(&lock);
    return true;
}

static void leave(void)
{
    int saved = errno;

    pthread_mutex_unlock(&lock);
    inside = 0;
    errno = saved;
}

static struct fd_state *state_of(int fd, enum kind kind)
{
    return fd >= 0 && fd < MAX_FD && fds[fd].kind == kind ? &fds[fd] : NULL;
}

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("CRASH_LOG"), *list = getenv("CRASH_ROOTS"), *v;
    char *copy, *save = NULL;
    int fd;

    if (!path || !list)
        return;
    unsetenv("LD_PRELOAD");
    copy = strdup(list);
    for (char *p = strtok_r(copy, ":", &save); p && nroots < MAX_ROOTS;
         p = strtok_r(NULL, ":", &save))
        roots[nroots++] = p;
    v = getenv("CRASH_FSYNC_DELAY_US");
    delay_us = v ? (unsigned)strtoul(v, NULL, 10) : 0;
    v = getenv("CRASH_HELPER_DELAY_US");
    helper_us = v ? (unsigned)strtoul(v, NULL, 10) : 0;
    gate = getenv("CRASH_FSYNC_GATE");
    v = getenv("CRASH_FSYNC_FAIL");
    fail_at = v ? (unsigned)strtoul(v, NULL, 10) : 0;
    fail_all = getenv("CRASH_FSYNC_FAIL_ALL") != NULL;
    owner = getpid();
    rand_state = (unsigned)owner;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (fd < 0)
        die(path);
    log_fd = (int)syscall(SYS_fcntl, fd, F_DUPFD_CLOEXEC, 900); /* out of the way of the daemon's
                                                                   own numbers */
    if (log_fd < 0)
        log_fd = fd;
    else
        syscall(SYS_close, fd);
}

/* --- paths ----------------------------------------------------------------------------------- */

/* Absolute path of what dirfd and path name; false when it is not below a root. */
static bool below_roots(int dirfd, const char *path, char *out)
{
    char dir[PATH_MAX], link[64];
    ssize_t n = 0;

    if (path[0] == '/') {
        if (snprintf(out, PATH_MAX, "%s", path) >= PATH_MAX)
            return false;
    } else {
        if (dirfd == AT_FDCWD) {
            if (!getcwd(dir, sizeof dir))
                return false;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", dirfd);
            n = readlink(link, dir, sizeof dir - 1);
            if (n < 0)
                return false;
            dir[n] = '\0';
        }
        if ((size_t)snprintf(out, PATH_MAX, "%s/%s", dir, path) >= PATH_MAX)
            return false;
    }
    for (int i = 0; i < nroots; i++) {
        size_t len = strlen(roots[i]);
        if (strncmp(out, roots[i], len) == 0 && (out[len] == '/' || out[len] == '\0'))
            return true;
    }
    return false;
}

/* --- open, close ----------------------------------------------------------------------------- */

typedef int open_fn(int dirfd, const char *path, int flags, mode_t mode);

static int sys_openat(int dirfd, const char *path, int flags, mode_t mode)
{
    REAL(int, openat, int, const char *, int, ...);
    return real_openat(dirfd, path, flags, mode);
}

static int do_open(int dirfd, const char *path, int flags, mode_t mode)
{
    char full[PATH_MAX];
    struct stat st;
    bool existed;
    int fd;

    if (!path || !enter())
        return sys_openat(dirfd, path, flags, mode);
    if (!below_roots(dirfd, path, full)) {
        fd = sys_openat(dirfd, path, flags, mode);
        leave();
        return fd;
    }
    if ((flags & O_TMPFILE) == O_TMPFILE)
        unsupported("O_TMPFILE");
    existed = faccessat(dirfd, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    fd = sys_openat(dirfd, path, flags, mode);
    if (fd >= 0 && fd < MAX_FD && fstat(fd, &st) == 0) {
        bool dir = S_ISDIR(st.st_mode), durable = (flags & (O_SYNC | O_DSYNC)) != 0;
        fds[fd] = (struct fd_state){
            .kind = FILE_FD, .durable = durable, .is_dir = dir, .handle = next_handle++};
        event('o',
              (existed ? OPEN_EXISTED : 0) | (flags & O_TRUNC ? OPEN_TRUNC : 0) |
                  (dir ? OPEN_DIR : 0) | (durable ? OPEN_SYNC : 0),
              0, fds[fd].handle, 0, full, strlen(full), NULL, 0);
    }
    leave();
    return fd;
}

static mode_t mode_arg(int flags, va_list ap)
{
    return flags & (O_CREAT | O_TMPFILE) ? (mode_t)va_arg(ap, unsigned) : 0;
}

#define OPEN_WRAPPER(name)                           \
    int name(const char *path, int flags, ...);      \
    int name(const char *path, int flags, ...)       \
    {                                                \
        va_list ap;                                  \
        mode_t mode;                                 \
        va_start(ap, flags);                         \
        mode = mode_arg(flags, ap);                  \
        va_end(ap);                                  \
        return do_open(AT_FDCWD, path, flags, mode); \
    }
#define OPENAT_WRAPPER(name)                               \
    int name(int dirfd, const char *path, int flags, ...); \
    int name(int dirfd, const char *path, int flags, ...)  \
    {                                                      \
        va_list ap;                                        \
        mode_t mode;                                       \
        va_start(ap, flags);                               \
        mode = mode_arg(flags, ap);                        \
        va_end(ap);                                        \
        return do_open(dirfd, path, flags, mode);          \
    }
OPEN_WRAPPER(open)
OPEN_WRAPPER(open64)
OPEN_WRAPPER(__open_2)
OPEN_WRAPPER(__open64_2)

OPENAT_WRAPPER(openat)
OPENAT_WRAPPER(openat64)

int creat(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *path, mode_t mode);
int creat64(const char *path, mode_t mode)
{
    return do_open(AT_FDCWD, path, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int close(int fd)
{
    REAL(int, close, int);
    int r;

    if (!enter())
        return real_close(fd);
    if (fd >= 0 && fd < MAX_FD)
        fds[fd].kind = NONE;
    r = real_close(fd);
    leave();
    return r;
}

/* A name that would change files in a way that is not recorded. */
static void refuse_path(const char *path, const char *name)
{
    char full[PATH_MAX];

    if (path && enter()) {
        if (below_roots(AT_FDCWD, path, full))
            unsupported(name);
        leave();
    }
}

static void refuse_fd(int fd, const char *name)
{
    if (enter()) {
        if (state_of(fd, FILE_FD))
            unsupported(name);
        leave();
    }
}

#define FOPEN_WRAPPER(name)                             \
    FILE *name(const char *path, const char *mode);     \
    FILE *name(const char *path, const char *mode)      \
    {                                                   \
        REAL(FILE *, name, const char *, const char *); \
        if (strpbrk(mode, "wa+"))                       \
            refuse_path(path, #name);                   \
        return real_##name(path, mode);                 \
    }
FOPEN_WRAPPER(fopen)
FOPEN_WRAPPER(fopen64)

/* The template's directory decides; the daemon itself has no reason to use them below its roots. */
#define MKSTEMP_WRAPPER(name)     \
    int name(char *path);         \
    int name(char *path)          \
    {                             \
        REAL(int, name, char *);  \
        refuse_path(path, #name); \
        return real_##name(path); \
    }
#define MKOSTEMP_WRAPPER(name)           \
    int name(char *path, int flags);     \
    int name(char *path, int flags)      \
    {                                    \
        REAL(int, name, char *, int);    \
        refuse_path(path, #name);        \
        return real_##name(path, flags); \
    }
MKSTEMP_WRAPPER(mkstemp)
MKSTEMP_WRAPPER(mkstemp64)
MKOSTEMP_WRAPPER(mkostemp)
MKOSTEMP_WRAPPER(mkostemp64)

static int dup_done(int old, int fd)
{
    if (fd >= 0 && fd < MAX_FD)
        fds[fd] = old >= 0 && old < MAX_FD ? fds[old] : (struct fd_state){0};
    return fd;
}

int dup(int fd)
{
    REAL(int, dup, int);
    int r;

    if (!enter())
        return real_dup(fd);
    r = dup_done(fd, real_dup(fd));
    leave();
    return r;
}

int dup2(int old, int fd)
{
    REAL(int, dup2, int, int);
    int r;

    if (!enter())
        return real_dup2(old, fd);
    r = dup_done(old, real_dup2(old, fd));
    leave();
    return r;
}

/* --- writes ---------------------------------------------------------------------------------- */

static void log_written(const struct fd_state *s, uint64_t off, const struct iovec *iov, int n,
                        ssize_t written, bool durable)
{
    uint8_t h[24];
    struct iovec v[64];
    size_t left = (size_t)written;
    int nv = 1, saved = errno;

    if (n > 60) {
        unsupported("a write of more than 60 pieces");
        return;
    }
    h[0] = 'w';
    h[1] = durable || s->durable;
    put_le(h + 2, 0, 2);
    put_le(h + 4, s->handle, 4);
    put_le(h + 8, off, 8);
    put_le(h + 16, (uint64_t)written, 4);
    put_le(h + 20, 0, 4);
    v[0] = (struct iovec){h, sizeof h};
    for (int i = 0; i < n && left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : left;
        v[nv++] = (struct iovec){iov[i].iov_base, part};
        left -= part;
    }
    log_bytes(v, nv);
    errno = saved;
}

typedef ssize_t writer(int fd, const struct iovec *iov, int n, off64_t off, int flags);

static ssize_t sys_write(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
    REAL(ssize_t, write, int, const void *, size_t);
    (void)n, (void)off, (void)flags;
    return real_write(fd, iov->iov_base, iov->iov_len);
}

static ssize_t sys_writev(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
    REAL(ssize_t, writev, int, const struct iovec *, int);
    (void)off, (void)flags;
    return real_writev(fd, iov, n);
}

static ssize_t sys_pwrite(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
    REAL(ssize_t, pwrite64, int, const void *, size_t, off64_t);
    (void)n, (void)flags;
    return real_pwrite64(fd, iov->iov_base, iov->iov_len, off);
}

static ssize_t sys_pwritev(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
    REAL(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
    (void)flags;
    return real_pwritev64(fd, iov, n, off);
}

static ssize_t sys_pwritev2(int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
    REAL(ssize_t, pwritev64v2, int, const struct iovec *, int, off64_t, int);
    return real_pwritev64v2(fd, iov, n, off, flags);
}

/* off -1: at the file position (then the position afterwards tells where it was). */
static ssize_t do_write(writer *w, int fd, const struct iovec *iov, int n, off64_t off, int flags)
{
    const struct fd_state *s;
    ssize_t r;

    if (!enter())
        return w(fd, iov, n, off, flags);
    r = w(fd, iov, n, off, flags);
    if (r > 0 && (s = state_of(fd, FILE_FD)))
        log_written(s, (uint64_t)(off >= 0 ? off : lseek64(fd, 0, SEEK_CUR) - r), iov, n, r,
                    (flags & (RWF_DSYNC | RWF_SYNC)) != 0);
    else if (r > 0 && (s = state_of(fd, SOCKET_FD)))
        event('s', 0, s->port, 0, (uint64_t)r, NULL, 0, NULL, 0);
    leave();
    return r;
}

ssize_t write(int fd, const void *p, size_t len)
{
    struct iovec v = {(void *)(uintptr_t)p, len};
    return do_write(sys_write, fd, &v, 1, -1, 0);
}

ssize_t writev(int fd, const struct iovec *iov, int n)
{
    return do_write(sys_writev, fd, iov, n, -1, 0);
}

#define PWRITE_WRAPPER(name)                                      \
    ssize_t name(int fd, const void *p, size_t len, off64_t off); \
    ssize_t name(int fd, const void *p, size_t len, off64_t off)  \
    {                                                             \
        struct iovec v = {(void *)(uintptr_t)p, len};             \
        return do_write(sys_pwrite, fd, &v, 1, off, 0);           \
    }
#define PWRITEV_WRAPPER(name)                                          \
    ssize_t name(int fd, const struct iovec *iov, int n, off64_t off); \
    ssize_t name(int fd, const struct iovec *iov, int n, off64_t off)  \
    {                                                                  \
        return do_write(sys_pwritev, fd, iov, n, off, 0);              \
    }
#define PWRITEV2_WRAPPER(name)                                                    \
    ssize_t name(int fd, const struct iovec *iov, int n, off64_t off, int flags); \
    ssize_t name(int fd, const struct iovec *iov, int n, off64_t off, int flags)  \
    {                                                                             \
        return do_write(sys_pwritev2, fd, iov, n, off, flags);                    \
    }
PWRITE_WRAPPER(pwrite)
PWRITE_WRAPPER(pwrite64)
PWRITEV_WRAPPER(pwritev)
PWRITEV_WRAPPER(pwritev64)
PWRITEV2_WRAPPER(pwritev2)
PWRITEV2_WRAPPER(pwritev64v2)

static int do_truncate(int (*f)(int, off64_t), int fd, off64_t size)
{
    const struct fd_state *s;
    int r;

    if (!enter())
        return f(fd, size);
    r = f(fd, size);
    if (r == 0 && (s = state_of(fd, FILE_FD)))
        event('t', 0, 0, s->handle, (uint64_t)size, NULL, 0, NULL, 0);
    leave();
    return r;
}

static int sys_ftruncate(int fd, off64_t size)
{
    REAL(int, ftruncate64, int, off64_t);
    return real_ftruncate64(fd, size);
}

int ftruncate(int fd, off64_t size)
{
    return do_truncate(sys_ftruncate, fd, size);
}

int ftruncate64(int fd, off64_t size);
int ftruncate64(int fd, off64_t size)
{
    return do_truncate(sys_ftruncate, fd, size);
}

#define TRUNCATE_WRAPPER(name)                  \
    int name(const char *path, off64_t size);   \
    int name(const char *path, off64_t size)    \
    {                                           \
        REAL(int, name, const char *, off64_t); \
        refuse_path(path, #name);               \
        return real_##name(path, size);         \
    }
TRUNCATE_WRAPPER(truncate)
TRUNCATE_WRAPPER(truncate64)

/* Space that is reserved and does not count in the size leaves no trace in the contents: not an
 * event. */
#define FALLOCATE_WRAPPER(name)                           \
    int name(int fd, int mode, off64_t off, off64_t len); \
    int name(int fd, int mode, off64_t off, off64_t len)  \
    {                                                     \
        REAL(int, name, int, int, off64_t, off64_t);      \
        if (mode != FALLOC_FL_KEEP_SIZE)                  \
            refuse_fd(fd, #name " without KEEP_SIZE");    \
        return real_##name(fd, mode, off, len);           \
    }
FALLOCATE_WRAPPER(fallocate)
FALLOCATE_WRAPPER(fallocate64)

int posix_fallocate(int fd, off64_t off, off64_t len)
{
    REAL(int, posix_fallocate, int, off64_t, off64_t);
    refuse_fd(fd, "posix_fallocate");
    return real_posix_fallocate(fd, off, len);
}

ssize_t copy_file_range(int in, off64_t *in_off, int out, off64_t *out_off, size_t len,
                        unsigned flags)
{
    REAL(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
    refuse_fd(out, "copy_file_range");
    return real_copy_file_range(in, in_off, out, out_off, len, flags);
}

#define MMAP_WRAPPER(name)                                                     \
    void *name(void *p, size_t len, int prot, int flags, int fd, off64_t off); \
    void *name(void *p, size_t len, int prot, int flags, int fd, off64_t off)  \
    {                                                                          \
        if (fd >= 0 && flags & MAP_SHARED && prot & PROT_WRITE)                \
            refuse_fd(fd, #name);                                              \
        return (void *)syscall(SYS_mmap, p, len, prot, flags, fd, off);        \
    }
MMAP_WRAPPER(mmap)
MMAP_WRAPPER(mmap64)

/* --- fsync ----------------------------------------------------------------------------------- */

static int sys_fsync(int fd)
{
    REAL(int, fsync, int);
    return real_fsync(fd);
}

static int sys_fdatasync(int fd)
{
    REAL(int, fdatasync, int);
    return real_fdatasync(fd);
}

static int sys_syncfs(int fd)
{
    REAL(int, syncfs, int);
    return real_syncfs(fd);
}

enum { SYNC_DATA = 1, SYNC_FAILED = 2 };

static int do_sync(int (*f)(int), int fd, unsigned flags)
{
    struct fd_state s;
    uint64_t number;
    unsigned wait_us;
    bool fail;
    int r;

    if (!enter())
        return f(fd);
    if (!state_of(fd, FILE_FD)) {
        leave();
        return f(fd);
    }
    s = fds[fd];
    number = next_sync++;
    fail = !s.is_dir && fail_at && (++file_syncs == fail_at || (fail_all && file_syncs > fail_at));
    if (f == sys_syncfs)
        s.handle = 0;
    event('f', flags, 0, s.handle, number, NULL, 0, NULL, 0);
    wait_us = delay_us ? (unsigned)rand_r(&rand_state) % delay_us : 0;
    leave();
    while (gate && !s.is_dir && syscall(SYS_access, gate, F_OK) == 0)
        usleep(1000);
    r = f(fd);
    if (wait_us)
        usleep(wait_us);
    if (fail) {
        errno = EIO;
        r = -1;
    }
    if (enter()) {
        event('F', flags | (r ? SYNC_FAILED : 0), 0, s.handle, number, NULL, 0, NULL, 0);
        leave();
    }
    return r;
}

int fsync(int fd)
{
    return do_sync(sys_fsync, fd, 0);
}

int fdatasync(int fd)
{
    return do_sync(sys_fdatasync, fd, SYNC_DATA);
}

int syncfs(int fd)
{
    return do_sync(sys_syncfs, fd, 0);
}

/* --- attributes ------------------------------------------------------------------------------ */

int fsetxattr(int fd, const char *name, const void *value, size_t size, int flags)
{
    REAL(int, fsetxattr, int, const char *, const void *, size_t, int);
    const struct fd_state *s;
    int r;

    if (!enter())
        return real_fsetxattr(fd, name, value, size, flags);
    r = real_fsetxattr(fd, name, value, size, flags);
    if (r == 0 && (s = state_of(fd, FILE_FD)))
        event('x', 0, 0, s->handle, 0, name, strlen(name), value, size);
    leave();
    return r;
}

int setxattr(const char *path, const char *name, const void *value, size_t size, int flags)
{
    REAL(int, setxattr, const char *, const char *, const void *, size_t, int);
    refuse_path(path, "setxattr");
    return real_setxattr(path, name, value, size, flags);
}

int fremovexattr(int fd, const char *name)
{
    REAL(int, fremovexattr, int, const char *);
    const struct fd_state *s;
    int r;

    if (!enter())
        return real_fremovexattr(fd, name);
    r = real_fremovexattr(fd, name);
    if (r == 0 && (s = state_of(fd, FILE_FD)))
        event('x', 1, 0, s->handle, 0, name, strlen(name), NULL, 0);
    leave();
    return r;
}

/* --- names ----------------------------------------------------------------------------------- */

static int do_rename(int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    char a[PATH_MAX], b[PATH_MAX];
    bool in_a, in_b;
    int r;

    if (!enter())
        return real_renameat2(olddir, old, newdir, new, flags);
    in_a = below_roots(olddir, old, a);
    in_b = below_roots(newdir, new, b);
    r = real_renameat2(olddir, old, newdir, new, flags);
    if (r == 0 && in_a && in_b && (flags & RENAME_EXCHANGE) == 0)
        event('n', 0, 0, 0, 0, a, strlen(a), b, strlen(b));
    else if (r == 0 && (in_a || in_b))
        unsupported("a rename across the roots, or an exchange");
    leave();
    return r;
}

int rename(const char *old, const char *new)
{
    return do_rename(AT_FDCWD, old, AT_FDCWD, new, 0);
}

int renameat(int olddir, const char *old, int newdir, const char *new)
{
    return do_rename(olddir, old, newdir, new, 0);
}

int renameat2(int olddir, const char *old, int newdir, const char *new, unsigned flags)
{
    return do_rename(olddir, old, newdir, new, flags);
}

static int do_unlink(int dirfd, const char *path, int flags)
{
    REAL(int, unlinkat, int, const char *, int);
    char full[PATH_MAX];
    bool in;
    int r;

    if (!enter())
        return real_unlinkat(dirfd, path, flags);
    in = below_roots(dirfd, path, full);
    r = real_unlinkat(dirfd, path, flags);
    if (r == 0 && in)
        event('u', 0, 0, 0, 0, full, strlen(full), NULL, 0);
    leave();
    return r;
}

int unlink(const char *path)
{
    return do_unlink(AT_FDCWD, path, 0);
}

int unlinkat(int dirfd, const char *path, int flags)
{
    return do_unlink(dirfd, path, flags);
}

int rmdir(const char *path)
{
    return do_unlink(AT_FDCWD, path, AT_REMOVEDIR);
}

int remove(const char *path)
{
    int r = do_unlink(AT_FDCWD, path, 0);
    return r < 0 && errno == EISDIR ? do_unlink(AT_FDCWD, path, AT_REMOVEDIR) : r;
}

static int do_mkdir(int dirfd, const char *path, mode_t mode)
{
    REAL(int, mkdirat, int, const char *, mode_t);
    char full[PATH_MAX];
    bool in;
    int r;

    if (!enter())
        return real_mkdirat(dirfd, path, mode);
    in = below_roots(dirfd, path, full);
    r = real_mkdirat(dirfd, path, mode);
    if (r == 0 && in)
        event('m', 0, 0, 0, 0, full, strlen(full), NULL, 0);
    leave();
    return r;
}

int mkdir(const char *path, mode_t mode)
{
    return do_mkdir(AT_FDCWD, path, mode);
}

int mkdirat(int dirfd, const char *path, mode_t mode)
{
    return do_mkdir(dirfd, path, mode);
}

int link(const char *from, const char *to)
{
    REAL(int, link, const char *, const char *);
    refuse_path(to, "link");
    return real_link(from, to);
}

int linkat(int fromdir, const char *from, int todir, const char *to, int flags)
{
    REAL(int, linkat, int, const char *, int, const char *, int);
    refuse_path(to, "linkat");
    return real_linkat(fromdir, from, todir, to, flags);
}

int symlink(const char *target, const char *path)
{
    REAL(int, symlink, const char *, const char *);
    refuse_path(path, "symlink");
    return real_symlink(target, path);
}

/* --- connections ----------------------------------------------------------------------------- */

static int accepted(int fd)
{
    struct sockaddr_storage a;
    socklen_t len = sizeof a;
    uint16_t port = 0;
    int saved = errno;

    if (fd < 0 || fd >= MAX_FD)
        return fd;
    if (getpeername(fd, (struct sockaddr *)&a, &len) == 0) {
        if (a.ss_family == AF_INET)
            port = ntohs(((struct sockaddr_in *)&a)->sin_port);
        else if (a.ss_family == AF_INET6)
            port = ntohs(((struct sockaddr_in6 *)&a)->sin6_port);
    }
    fds[fd] = (struct fd_state){.kind = SOCKET_FD, .port = port};
    errno = saved;
    return fd;
}

int accept(int fd, struct sockaddr *addr, socklen_t *len)
{
    REAL(int, accept, int, struct sockaddr *, socklen_t *);
    int r = real_accept(fd, addr, len);

    if (enter()) {
        accepted(r);
        leave();
    }
    return r;
}

int accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
    REAL(int, accept4, int, struct sockaddr *, socklen_t *, int);
    int r = real_accept4(fd, addr, len, flags);

    if (enter()) {
        accepted(r);
        leave();
    }
    return r;
}

/* After a transfer on a connection; the lock is held, and the transfer was done under it. */
static ssize_t transferred(int fd, char type, ssize_t n)
{
    const struct fd_state *s = state_of(fd, SOCKET_FD);

    if (n > 0 && s)
        event(type, 0, s->port, 0, (uint64_t)n, NULL, 0, NULL, 0);
    return n;
}

/* Sending is done under the lock (the daemon's sockets do not block).  Receiving is not, as read()
 * also serves pipes: its event may come late, but the thread that received has sent nothing in
 * between. */
ssize_t send(int fd, const void *p, size_t len, int flags)
{
    REAL(ssize_t, send, int, const void *, size_t, int);
    ssize_t r;

    if (!enter())
        return real_send(fd, p, len, flags);
    r = transferred(fd, 's', real_send(fd, p, len, flags));
    leave();
    return r;
}

ssize_t sendto(int fd, const void *p, size_t len, int flags, const struct sockaddr *a,
               socklen_t alen)
{
    REAL(ssize_t, sendto, int, const void *, size_t, int, const struct sockaddr *, socklen_t);
    ssize_t r;

    if (!enter())
        return real_sendto(fd, p, len, flags, a, alen);
    r = transferred(fd, 's', real_sendto(fd, p, len, flags, a, alen));
    leave();
    return r;
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    REAL(ssize_t, sendmsg, int, const struct msghdr *, int);
    ssize_t r;

    if (!enter())
        return real_sendmsg(fd, m, flags);
    r = transferred(fd, 's', real_sendmsg(fd, m, flags));
    leave();
    return r;
}

/* A file sent to a client counts as a reply; one copied into a file is not recorded. */
#define SENDFILE_WRAPPER(name)                                     \
    ssize_t name(int out, int in, off64_t *off, size_t len);       \
    ssize_t name(int out, int in, off64_t *off, size_t len)        \
    {                                                              \
        REAL(ssize_t, name, int, int, off64_t *, size_t);          \
        ssize_t r;                                                 \
        refuse_fd(out, #name);                                     \
        if (!enter())                                              \
            return real_##name(out, in, off, len);                 \
        r = transferred(out, 's', real_##name(out, in, off, len)); \
        leave();                                                   \
        return r;                                                  \
    }
SENDFILE_WRAPPER(sendfile)
SENDFILE_WRAPPER(sendfile64)

static ssize_t received(int fd, ssize_t n)
{
    if (n > 0 && enter()) {
        transferred(fd, 'r', n);
        leave();
    }
    return n;
}

ssize_t read(int fd, void *p, size_t len)
{
    REAL(ssize_t, read, int, void *, size_t);
    return received(fd, real_read(fd, p, len));
}

ssize_t readv(int fd, const struct iovec *iov, int n)
{
    REAL(ssize_t, readv, int, const struct iovec *, int);
    return received(fd, real_readv(fd, iov, n));
}

ssize_t recv(int fd, void *p, size_t len, int flags)
{
    REAL(ssize_t, recv, int, void *, size_t, int);
    return received(fd, real_recv(fd, p, len, flags));
}

ssize_t recvfrom(int fd, void *p, size_t len, int flags, struct sockaddr *a, socklen_t *alen)
{
    REAL(ssize_t, recvfrom, int, void *, size_t, int, struct sockaddr *, socklen_t *);
    return received(fd, real_recvfrom(fd, p, len, flags, a, alen));
}

ssize_t recvmsg(int fd, struct msghdr *m, int flags)
{
    REAL(ssize_t, recvmsg, int, struct msghdr *, int);
    return received(fd, real_recvmsg(fd, m, flags));
}
