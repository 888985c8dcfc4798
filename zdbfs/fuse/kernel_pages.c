/* kernel_pages - see fuse/kernel_pages.h. */
#include "zdbfs/fuse/kernel_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base.h"

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif

struct kernel_pages {
    pthread_mutex_t lock;
    pid_t pid;
    int fd; /* an inode (0: everything) asks, an int answers */
};

enum {
    HANDLE_INO64_GEN = 0x81,
    HANDLE_BYTES = 12,
    IDLE_MS = 10
}; /* how FUSE names an inode: high, low, generation */

/* ---- the helper ----------------------------------------------------------------------------- */

/* A mount of its own that nobody sees: an unmount meanwhile finds ours not busy. */
static int open_root(const char *mountpoint)
{
    int tree =
        (int)syscall(SYS_open_tree, AT_FDCWD, mountpoint, OPEN_TREE_CLONE | (unsigned)O_CLOEXEC);
    if (tree < 0)
        return open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int fd = openat(tree, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    close(tree);
    return fd;
}

static int flush_all(int root)
{
    return syncfs(root) < 0 ? errno : 0;
}

/* Kernels before 6.16 call a page of FUSE written as soon as it is on its way. */
static bool waits_for_answers(void)
{
    struct utsname u;
    unsigned major = 0, minor = 0;

    return uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2 &&
           (major > 6 || (major == 6 && minor >= 16));
}

/* Not fsync: whoever asks for holes holds the lock that fsync needs.  *fd is closed by the caller
 * when it has answered, for the same reason. */
static int flush_file(int root, uint64_t ino, int *fd)
{
    union {
        struct file_handle h;
        char room[sizeof(struct file_handle) + HANDLE_BYTES];
    } u = {.h = {.handle_bytes = HANDLE_BYTES, .handle_type = HANDLE_INO64_GEN}};
    uint32_t word[3] = {(uint32_t)(ino >> 32), (uint32_t)ino, 0};
    const unsigned all =
        SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

    if (!waits_for_answers())
        return EOPNOTSUPP;
    memcpy(u.room + sizeof(struct file_handle), word, sizeof word);
    *fd = open_by_handle_at(root, &u.h, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return errno;
    return sync_file_range(*fd, 0, 0, all) < 0 ? errno : 0;
}

/* Another request within IDLE_MS uses the same clone: making and removing one takes long. */
static bool more_soon(int fd)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    return poll(&p, 1, IDLE_MS) > 0;
}

static void serve(int fd, const char *mountpoint)
{
    uint64_t ino;
    int root = -1;

    prctl(PR_SET_NAME, "zdbfs-pages");
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, sig == SIGTERM || sig == SIGINT || sig == SIGHUP || sig == SIGPIPE ||
                            sig == SIGUSR1 || sig == SIGUSR2
                        ? SIG_IGN
                        : SIG_DFL);
    if (fd != 3 && dup2(fd, 3) < 0)
        _exit(1);
    int null = open("/dev/null", O_RDWR);
    for (int i = 0; i < 3; i++)
        dup2(null, i);
    syscall(SYS_close_range, 4u, ~0u, 0u); /* nothing of the daemon's stays open because of us */
    while (recv(3, &ino, sizeof ino, MSG_WAITALL) == sizeof ino) {
        if (root < 0)
            root = open_root(mountpoint);
        int file = -1;
        int code = root < 0 ? errno : ino ? flush_file(root, ino, &file) : flush_all(root);
        if (send(3, &code, sizeof code, MSG_NOSIGNAL) != sizeof code)
            break;
        if (file >= 0)
            close(file);
        if (root >= 0 && (!ino || !more_soon(3))) {
            close(root);
            root = -1;
        }
    }
    _exit(0);
}

/* ---- the daemon's side ---------------------------------------------------------------------- */

int kernel_pages_start(struct kernel_pages **out, const char *mountpoint, struct err *e)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_sys(e, errno, "socket to the helper process");
    pid_t pid = fork();
    if (pid < 0) {
        int code = errno;
        close(pair[0]);
        close(pair[1]);
        return err_sys(e, code, "helper process");
    }
    if (pid == 0)
        serve(pair[1], mountpoint);
    close(pair[1]);
    struct kernel_pages *k = xcalloc(1, sizeof *k);
    pthread_mutex_init(&k->lock, NULL);
    k->pid = pid;
    k->fd = pair[0];
    *out = k;
    return 0;
}

static int ask(struct kernel_pages *k, uint64_t ino)
{
    int code = EIO;

    pthread_mutex_lock(&k->lock);
    if (send(k->fd, &ino, sizeof ino, MSG_NOSIGNAL) != sizeof ino ||
        recv(k->fd, &code, sizeof code, MSG_WAITALL) != sizeof code)
        code = EIO;
    pthread_mutex_unlock(&k->lock);
    return -code;
}

int kernel_pages_flush(struct kernel_pages *k)
{
    return ask(k, 0);
}

int kernel_pages_flush_file(struct kernel_pages *k, uint64_t ino)
{
    return ask(k, ino);
}

void kernel_pages_stop(struct kernel_pages *k)
{
    if (!k)
        return;
    close(k->fd);
    while (waitpid(k->pid, NULL, 0) < 0 && errno == EINTR)
        ;
    pthread_mutex_destroy(&k->lock);
    free(k);
}
