/* daemon - see daemon.h. */
#include "common/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"

static int ready_fd = -1; /* to the waiting parent */
static bool drop_output;  /* at daemon_ready */

/* Lock path; -EAGAIN: the file was replaced meanwhile, try again. */
static int lock_file(const char *path, int *out, struct err *e)
{
    struct stat ours, there;
    char owner[32] = "";

    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (fd < 0)
        return err_sys(e, errno, "pid file %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int code = errno;
        ssize_t n = pread(fd, owner, sizeof owner - 1, 0);
        close(fd);
        if (code != EWOULDBLOCK)
            return err_sys(e, code, "lock pid file %s", path);
        owner[n > 0 ? n : 0] = '\0';
        owner[strcspn(owner, "\n")] = '\0';
        return err_set(e, EEXIST, "another instance is running (pid %s, %s)",
                       *owner ? owner : "unknown", path);
    }
    if (fstat(fd, &ours) < 0 || stat(path, &there) < 0 || ours.st_ino != there.st_ino ||
        ours.st_dev != there.st_dev) {
        close(fd);
        return -EAGAIN;
    }
    *out = fd;
    return 0;
}

int daemon_pidfile(const char *path, int *fd, struct err *e)
{
    int r, new_fd = -1;

    do
        r = lock_file(path, &new_fd, e);
    while (r == -EAGAIN);
    if (r < 0)
        return r;
    r = daemon_pidfile_write(new_fd, e);
    if (r < 0) {
        close(new_fd);
        return r;
    }
    *fd = new_fd;
    return 0;
}

int daemon_pidfile_write(int fd, struct err *e)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%d\n", (int)getpid());

    int r = ftruncate(fd, 0) < 0 ? -errno : io_pwrite_full(fd, text, (size_t)n, 0);
    return r < 0 ? err_sys(e, -r, "write pid file") : 0;
}

void daemon_pidfile_remove(const char *path, int fd)
{
    if (fd < 0)
        return;
    unlink(path); /* before the lock is gone */
    close(fd);
}

/* In the parent: ends with the child's verdict. */
static NORETURN void wait_for_child(pid_t pid, int fd)
{
    char ok;
    int status;

    if (io_read_full(fd, &ok, 1) == 0)
        _exit(0);
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            _exit(1);
    _exit(WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1);
}

int daemon_background(bool keep_output, struct err *e)
{
    int fds[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
        return err_sys(e, errno, "socketpair");
    fflush(NULL);
    pid_t pid = fork();
    if (pid < 0) {
        int code = errno;
        close(fds[0]);
        close(fds[1]);
        return err_sys(e, code, "fork");
    }
    if (pid > 0) {
        close(fds[1]);
        wait_for_child(pid, fds[0]);
    }
    close(fds[0]);
    ready_fd = fds[1];
    drop_output = !keep_output;
    setsid();
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0 || dup2(null, STDIN_FILENO) < 0)
        return err_sys(e, errno, "open /dev/null");
    if (null != STDIN_FILENO)
        close(null);
    return 0;
}

static void notify_manager(const char *path)
{
    static const char text[] = "READY=1";
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    size_t n = strlen(path);

    if (n < 2 || n >= sizeof sa.sun_path || (path[0] != '/' && path[0] != '@'))
        return;
    memcpy(sa.sun_path, path, n);
    if (path[0] == '@')
        sa.sun_path[0] = '\0'; /* abstract */
    CLEANUP(base_close) int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd >= 0)
        sendto(fd, text, sizeof text - 1, MSG_NOSIGNAL, (struct sockaddr *)&sa,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
}

void daemon_ready(void)
{
    const char *manager = getenv("NOTIFY_SOCKET");

    if (manager)
        notify_manager(manager);
    if (ready_fd < 0)
        return;
    if (drop_output) {
        fflush(NULL);
        int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        if (null >= 0) {
            dup2(null, STDOUT_FILENO);
            dup2(null, STDERR_FILENO);
            if (null > STDERR_FILENO)
                close(null);
        }
    }
    send(ready_fd, "", 1, MSG_NOSIGNAL); /* the parent may have been killed */
    close(ready_fd);
    ready_fd = -1;
}

void daemon_raise_nofile(void)
{
    struct rlimit rl;

    if (getrlimit(RLIMIT_NOFILE, &rl) == 0 && rl.rlim_cur < rl.rlim_max) {
        rl.rlim_cur = rl.rlim_max;
        setrlimit(RLIMIT_NOFILE, &rl);
    }
}

void daemon_no_core(void)
{
    struct rlimit none = {0, 0};

    setrlimit(RLIMIT_CORE, &none);
    prctl(PR_SET_DUMPABLE, 0);
}
