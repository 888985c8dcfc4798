/* spawn - see spawn.h.  The end of the process is seen through a pidfd; while it is a zombie its
 * pid, and so the number of its group, cannot be given to anybody else: the group is killed before
 * the zombie is reaped. */
#include "common/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/output.h"

enum {
    GRACE_MS = 2000 /* between TERM and KILL */
};

struct spawn {
    pid_t pid;
    int pidfd;
    struct loop_watch *exit_watch;
    struct output *output;
    struct loop_timer *timer;
    spawn_done_fn *done;
    void *arg;
    bool timed_out, kill_group;
};

struct detached {
    struct detached *next;
    pid_t pid;
};
static struct detached *detached; /* children to reap when somebody comes by; the loop's thread */

extern char **environ;

static void reap_detached(void)
{
    for (struct detached **p = &detached; *p;) {
        struct detached *d = *p;
        if (waitpid(d->pid, NULL, WNOHANG) == 0) {
            p = &d->next;
        } else {
            *p = d->next;
            free(d);
        }
    }
}

static void spawn_free(struct spawn *s)
{
    if (!s)
        return;
    loop_watch_free(s->exit_watch);
    loop_timer_free(s->timer);
    base_close(&s->pidfd);
    output_leave(s->output);
    free(s);
}

static void on_exit_of_child(void *arg, unsigned events)
{
    struct spawn *s = arg;
    int status = 0;

    (void)events;
    if (s->kill_group)
        kill(-s->pid, SIGKILL);
    pid_t got;
    do
        got = waitpid(s->pid, &status, WNOHANG);
    while (got < 0 && errno == EINTR);
    if (got == 0)
        return; /* not yet */
    if (got < 0)
        status = 255 << 8; /* somebody else reaped it: the result is not known, so it is no success
                            */
    spawn_done_fn *done = s->done;
    void *done_arg = s->arg;
    bool timed_out = s->timed_out;
    spawn_free(s);
    done(done_arg, status, timed_out);
}

static void on_timeout(void *arg)
{
    struct spawn *s = arg;

    if (s->timed_out) {
        kill(-s->pid, SIGKILL);
        return;
    }
    s->timed_out = s->kill_group = true;
    kill(-s->pid, SIGTERM);
    loop_timer_start(s->timer, GRACE_MS, false);
}

static int run(struct spawn *s, const struct spawn_conf *c, int write_fd)
{
    posix_spawn_file_actions_t fa;
    posix_spawnattr_t at;
    sigset_t none, all;

    sigemptyset(&none);
    sigfillset(&all);
    posix_spawn_file_actions_init(&fa);
    posix_spawnattr_init(&at);
    posix_spawn_file_actions_addopen(&fa, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&fa, write_fd, 1);
    posix_spawn_file_actions_adddup2(&fa, write_fd, 2);
    posix_spawn_file_actions_addclosefrom_np(&fa, 3);
    posix_spawnattr_setflags(&at, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK |
                                      POSIX_SPAWN_SETSIGDEF);
    posix_spawnattr_setpgroup(&at, 0);
    posix_spawnattr_setsigmask(&at, &none);
    posix_spawnattr_setsigdefault(&at, &all);
    char *const *env = c->env ? (char *const *)(uintptr_t)c->env : environ;
    int code = posix_spawn(&s->pid, c->argv[0], &fa, &at, (char *const *)(uintptr_t)c->argv, env);
    posix_spawnattr_destroy(&at);
    posix_spawn_file_actions_destroy(&fa);
    return -code;
}

int spawn_start(struct spawn **out, struct loop *l, const struct spawn_conf *c, spawn_done_fn *done,
                void *arg, struct err *e)
{
    struct spawn *s;
    int pipe_fd[2], r;

    reap_detached();
    if (pipe2(pipe_fd, O_CLOEXEC) < 0)
        return err_sys(e, errno, "pipe for %s", c->argv[0]);
    s = xcalloc(1, sizeof *s);
    s->pidfd = -1;
    s->done = done;
    s->arg = arg;
    s->output = output_new(l, pipe_fd[0], c->log_name ? c->log_name : c->argv[0]);
    /* a write end of 1 or 2 would be closed on exec: dup2 onto itself keeps the flag */
    int write_fd = pipe_fd[1] > 2 ? pipe_fd[1] : fcntl(pipe_fd[1], F_DUPFD_CLOEXEC, 3);
    r = write_fd < 0 ? -errno : run(s, c, write_fd);
    close(pipe_fd[1]);
    if (write_fd >= 0 && write_fd != pipe_fd[1])
        close(write_fd);
    if (r < 0) {
        r = err_sys(e, -r, "run %s", c->argv[0]);
        goto fail;
    }
    s->pidfd = pidfd_open(s->pid, 0);
    if (s->pidfd < 0) {
        r = err_sys(e, errno, "watch process of %s", c->argv[0]);
        kill(-s->pid, SIGKILL);
        waitpid(s->pid, NULL, 0);
        goto fail;
    }
    fcntl(s->pidfd, F_SETFD, FD_CLOEXEC);
    s->exit_watch = loop_watch_new(l, s->pidfd, on_exit_of_child, s);
    loop_watch_want(s->exit_watch, LOOP_READ);
    s->timer = loop_timer_new(l, on_timeout, s);
    if (c->timeout_ms)
        loop_timer_start(s->timer, c->timeout_ms, false);
    *out = s;
    return 0;
fail:
    spawn_free(s);
    return r;
}

pid_t spawn_pid(const struct spawn *s)
{
    return s->pid;
}

void spawn_kill(struct spawn *s)
{
    s->kill_group = true;
    kill(-s->pid, SIGKILL);
}

static void reap_later(pid_t pid)
{
    struct detached *d = xcalloc(1, sizeof *d);

    d->pid = pid;
    d->next = detached;
    detached = d;
}

void spawn_detach(struct spawn *s)
{
    reap_later(s->pid);
    output_hand_over(s->output);
    s->output = NULL;
    spawn_free(s);
}
