/* medium - see backend/medium.h. */
#include "zstor/backend/medium.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/io.h"
#include "common/parse.h"
#include "common/path.h"

#define MARK_HEAD   "qsfs-backend 1\nid "
#define MARK_LEN    (sizeof MARK_HEAD - 1 + MEDIUM_ID_LEN + 1)
#define PIECE       ((size_t)256 * 1024) /* written at a time, so that it is seen to move */
#define OLD_S       86400                /* a temporary file of that age is nobody's */
#define DIRECTORY   (O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
#define FILE_NAMING 24

struct medium {
    char *path;
    int root, part, temporary; /* directories */
    char id[MEDIUM_ID_LEN + 1];
};

static void close_fd(const int *fd)
{
    int keep = errno;

    if (*fd >= 0)
        close(*fd);
    errno = keep;
}

static int random_name(char out[FILE_NAMING])
{
    uint8_t raw[8];
    int r = digest_random(raw, sizeof raw);

    if (r == 0)
        parse_to_hex(raw, sizeof raw, out);
    return r;
}

/* --- mark ------------------------------------------------------------------------------------ */

static int read_mark(int root, char id[MEDIUM_ID_LEN + 1])
{
    char text[MARK_LEN + 1];
    CLEANUP(close_fd)
    int fd = openat(root, MEDIUM_MARK, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode) || st.st_size != (off_t)MARK_LEN ||
        io_read_full(fd, text, MARK_LEN) < 0 ||
        memcmp(text, MARK_HEAD, sizeof MARK_HEAD - 1) != 0 || text[MARK_LEN - 1] != '\n')
        return -EBADMSG;
    memcpy(id, text + sizeof MARK_HEAD - 1, MEDIUM_ID_LEN);
    id[MEDIUM_ID_LEN] = '\0';
    return strspn(id, "0123456789abcdef") == MEDIUM_ID_LEN ? 0 : -EBADMSG;
}

static int only_lost_and_found(const char *path, struct err *e)
{
    char **name = NULL;
    size_t n = 0;
    int r = path_list(path, &name, &n);

    if (r < 0)
        return err_sys(e, -r, "%s", path);
    for (size_t i = 0; i < n && r == 0; i++)
        if (strcmp(name[i], "lost+found") != 0)
            r = err_set(e, ENOTEMPTY, "%s: is not empty (%s), a new directory is allowed", path,
                        name[i]);
    path_list_free(name, n);
    return r;
}

int medium_mark(const char *path, char id[MEDIUM_ID_LEN + 1], struct err *e)
{
    CLEANUP(close_fd) int root = open(path, DIRECTORY);
    CLEANUP(base_free) char *file = path_join(path, MEDIUM_MARK), *text = NULL;
    uint8_t raw[MEDIUM_ID_LEN / 2];
    int r;

    if (root < 0)
        return err_sys(e, errno, "%s", path);
    r = read_mark(root, id);
    if (r == 0)
        return err_set(e, EEXIST, "%s: is marked already, as %s", path, id);
    if (r != -ENOENT)
        return err_sys(e, -r, "%s", file);
    r = only_lost_and_found(path, e);
    if (r < 0)
        return r;
    if (digest_random(raw, sizeof raw) < 0)
        return err_set(e, EIO, "no random numbers");
    parse_to_hex(raw, sizeof raw, id);
    text = xasprintf("%s%s\n", MARK_HEAD, id);
    return path_replace(file, slice_str(text), 0600, e);
}

/* --- open ------------------------------------------------------------------------------------ */

/* A directory in another one, made when it is not there. */
static int open_in(int parent, const char *name, bool make)
{
    int fd = openat(parent, name, DIRECTORY), r;

    if (fd >= 0)
        return fd;
    if (errno != ENOENT || !make)
        return -errno;
    if (mkdirat(parent, name, 0700) < 0 && errno != EEXIST)
        return -errno;
    r = io_fsync(parent);
    if (r < 0)
        return r;
    fd = openat(parent, name, DIRECTORY);
    return fd < 0 ? -errno : fd;
}

/* What a crash has left there. */
static void sweep(int temporary)
{
    int fd = openat(temporary, ".", DIRECTORY);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    uint64_t now = base_wall_s();
    const struct dirent *entry;
    struct stat st;

    if (!d) {
        close_fd(&fd);
        return;
    }
    while ((entry = readdir(d)))
        if (entry->d_name[0] != '.' &&
            fstatat(temporary, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            (uint64_t)st.st_mtime + OLD_S < now)
            (void)unlinkat(temporary, entry->d_name, 0); /* the next time, then */
    closedir(d);
}

void medium_close(struct medium *m)
{
    if (!m)
        return;
    close_fd(&m->root);
    close_fd(&m->part);
    close_fd(&m->temporary);
    free(m->path);
    free(m);
}

int medium_open(struct medium **out, const char *path, const char *part, struct err *e)
{
    struct medium *m = xcalloc(1, sizeof *m);
    int r;

    *m = (struct medium){.path = xstrdup(path), .root = -1, .part = -1, .temporary = -1};
    m->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (m->root < 0) {
        r = err_sys(e, errno, "cannot be opened");
        goto fail;
    }
    r = read_mark(m->root, m->id);
    if (r < 0) {
        r = r == -ENOENT ? err_set(e, ENODEV,
                                   "there is no mark (%s) in it: it is not mounted, or not marked "
                                   "yet by `zstor mark`",
                                   MEDIUM_MARK)
                         : err_sys(e, -r, "its mark (%s) cannot be read", MEDIUM_MARK);
        goto fail;
    }
    m->part = open_in(m->root, part, true);
    m->temporary = open_in(m->root, "new", true);
    if (m->part < 0 && m->part != -EROFS) {
        r = err_sys(e, -m->part, "%s in it", part);
        goto fail;
    }
    if (m->temporary >= 0)
        sweep(m->temporary);
    *out = m;
    return 0;
fail:
    medium_close(m);
    return r;
}

const char *medium_id(const struct medium *m)
{
    return m->id;
}

bool medium_here(const struct medium *m)
{
    struct stat here, there;

    return fstat(m->root, &here) == 0 && stat(m->path, &there) == 0 &&
           here.st_dev == there.st_dev && here.st_ino == there.st_ino;
}

int medium_room(const struct medium *m, uint64_t *free_bytes, bool *readonly)
{
    struct statvfs v;

    if (fstatvfs(m->root, &v) < 0)
        return -errno;
    if (mul_ovf((uint64_t)v.f_bavail, (uint64_t)v.f_frsize, free_bytes))
        *free_bytes = UINT64_MAX;
    *readonly = (v.f_flag & ST_RDONLY) || m->part < 0 || m->temporary < 0;
    return 0;
}

/* --- files ----------------------------------------------------------------------------------- */

static int open_folder(const struct medium *m, unsigned folder, bool make)
{
    char name[4];

    if (m->part < 0)
        return make ? m->part : -ENOENT;
    snprintf(name, sizeof name, "%02x", folder & 0xffu);
    return open_in(m->part, name, make);
}

static bool name_fits(const char *name)
{
    size_t n = strlen(name);

    return n > 0 && n <= MEDIUM_NAME_MAX && name[0] != '.' && !strchr(name, '/');
}

static int write_all(int fd, struct slice value, atomic_ullong *moved)
{
    for (size_t at = 0, n; at < value.len; at += n) {
        int r;
        n = MIN(PIECE, value.len - at);
        r = io_write_full(fd, value.p + at, n);
        if (r < 0)
            return r;
        atomic_fetch_add(moved, n);
    }
    return 0;
}

/* A durable file under a new name in `temporary`. */
static int write_new(const struct medium *m, char name[FILE_NAMING], struct slice value,
                     atomic_ullong *moved)
{
    int r, closed, fd;

    if (m->temporary < 0)
        return m->temporary;
    r = random_name(name);
    if (r < 0)
        return r;
    fd = openat(m->temporary, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return -errno;
    r = write_all(fd, value, moved);
    if (r == 0)
        r = io_fsync(fd);
    closed = close(fd) < 0 ? -errno : 0; /* NFS tells a full disk here */
    if (r == 0)
        r = closed;
    if (r < 0)
        (void)unlinkat(m->temporary, name, 0); /* swept away one day */
    return r;
}

static int size_of(int folder, const char *name, uint64_t *size, uint64_t *time_s)
{
    struct stat st;

    if (fstatat(folder, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    *size = (uint64_t)st.st_size;
    if (time_s)
        *time_s = (uint64_t)MAX(st.st_mtime, (time_t)0);
    return 0;
}

int medium_write(struct medium *m, unsigned folder, const char *name, struct slice value,
                 bool replace, uint64_t *old, atomic_ullong *moved)
{
    CLEANUP(close_fd) int dir = open_folder(m, folder, true);
    char temporary[FILE_NAMING];
    int r;

    if (!name_fits(name))
        return -ENAMETOOLONG;
    if (dir < 0)
        return dir;
    r = size_of(dir, name, old, NULL);
    if (r == -ENOENT)
        *old = UINT64_MAX;
    else if (r < 0 || !replace)
        return r < 0 ? r : -EEXIST;
    r = write_new(m, temporary, value, moved);
    if (r < 0)
        return r;
    if (renameat(m->temporary, temporary, dir, name) < 0) {
        r = -errno;
        (void)unlinkat(m->temporary, temporary, 0); /* swept away one day */
        return r;
    }
    return io_fsync(dir);
}

int medium_read(struct medium *m, unsigned folder, const char *name, uint64_t off, uint64_t len,
                size_t max, struct buf *out, atomic_ullong *moved)
{
    CLEANUP(close_fd) int dir = open_folder(m, folder, false);
    CLEANUP(close_fd) int fd = -1;
    struct stat st;
    uint64_t n;
    int r;

    if (dir < 0 || !name_fits(name))
        return dir < 0 ? dir : -ENOENT;
    fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == ELOOP ? -ENOENT : -errno;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return -ENOENT;
    n = (uint64_t)st.st_size - MIN(off, (uint64_t)st.st_size);
    n = len ? MIN(n, len) : n;
    if (n > max)
        return -EMSGSIZE;
    r = io_pread_full(fd, buf_reserve(out, (size_t)n + 1), (size_t)n, off);
    if (r < 0)
        return r;
    buf_commit(out, (size_t)n);
    atomic_fetch_add(moved, n);
    return 0;
}

int medium_stat(struct medium *m, unsigned folder, const char *name, uint64_t *size,
                uint64_t *time_s)
{
    CLEANUP(close_fd) int dir = open_folder(m, folder, false);

    if (dir < 0 || !name_fits(name))
        return dir < 0 ? dir : -ENOENT;
    return size_of(dir, name, size, time_s);
}

int medium_remove(struct medium *m, unsigned folder, const char *name, uint64_t *size)
{
    CLEANUP(close_fd) int dir = open_folder(m, folder, false);
    int r;

    if (dir < 0 || !name_fits(name))
        return dir < 0 ? dir : -ENOENT;
    r = size_of(dir, name, size, NULL);
    if (r < 0)
        return r;
    if (unlinkat(dir, name, 0) < 0)
        return -errno;
    return io_fsync(dir);
}

int medium_list(struct medium *m, unsigned folder, int (*fn)(void *arg, const char *name),
                void *arg)
{
    int fd = open_folder(m, folder, false), r = 0;
    const struct dirent *entry;
    DIR *d;

    if (fd < 0)
        return fd == -ENOENT ? 0 : fd;
    d = fdopendir(fd);
    if (!d) {
        r = -errno;
        close(fd);
        return r;
    }
    errno = 0;
    while (r >= 0 && (entry = readdir(d))) {
        if (entry->d_name[0] != '.')
            r = fn(arg, entry->d_name);
        errno = 0;
    }
    if (r >= 0 && errno)
        r = -errno;
    closedir(d);
    return MIN(r, 0);
}
