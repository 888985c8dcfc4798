/* spawn - run a program: argument vector (no shell, no PATH search), own process group, no
 * inherited descriptor but 0, 1, 2, stdin from /dev/null, output lines to the log with the
 * program's name in front, killed (whole group, TERM then KILL) at the timeout.  Thread: the
 * loop's. */
#ifndef COMMON_SPAWN_H
#define COMMON_SPAWN_H

#include "common/err.h"
#include <sys/types.h>

struct loop;
struct spawn;

struct spawn_conf {
    const char *const *argv; /* ends with NULL; argv[0] is the path */
    const char *const *env;  /* NULL: inherited */
    uint64_t timeout_ms;     /* 0: none */
    const char *log_name;    /* prefix of output lines; NULL: argv[0] */
};

/* status: as from waitpid (0 = exit 0); timed_out: killed by us.  Processes it leaves behind in the
 * background live on, and their output is taken on (common/output.h), except after a timeout or
 * spawn_kill.  Called once, on the loop; s is freed after it. */
typedef void spawn_done_fn(void *arg, int status, bool timed_out);

int spawn_start(struct spawn **out, struct loop *l, const struct spawn_conf *c, spawn_done_fn *done,
                void *arg, struct err *e);
pid_t spawn_pid(const struct spawn *s);
void spawn_kill(struct spawn *s); /* group gets SIGKILL now; done still runs */
/* Leave it running, done never runs, s is freed.  Its output goes on to where the log goes: for a
 * process that is about to end (which also calls output_end). */
void spawn_detach(struct spawn *s);

#endif
