/* hooks - events of the database to the operator's program (spec zdb-protocol 10): argv = [path,
 * name, instance id, args...]. Never blocks: each namespace has a queue whose hooks run one after
 * the other in the order of hooks_push; hooks_now runs at once beside the queues (missing-data).
 * Results are kept 300 s for HOOKS.  Without a program every call answers at once with -ENOENT
 * through `done`, from the loop, never from inside the call.  Thread: the loop's. */
#ifndef ZDB_SERVER_HOOKS_H
#define ZDB_SERVER_HOOKS_H

#include "common/err.h"
#include "common/buf.h"
#include "zdb/server/words.h"
#include <sys/types.h>

struct loop;
struct hooks;

struct hook_conf {
    const char *path; /* program; NULL: no hooks.  All strings are borrowed for the life of struct
                         hooks */
    const char *instance;     /* "unix://path" or "tcp://host:port" */
    uint64_t fast_timeout_ms; /* missing-data, namespaces-init, ready, close */
    uint64_t slow_timeout_ms; /* everything else */
    unsigned max_queued;      /* programs from queues at one time; 0: HOOK_MAX_QUEUED */
    unsigned max_urgent;      /* by hooks_now; 0: HOOK_MAX_URGENT */
};

#define HOOK_KEEP_S      300  /* finished ones stay listed so long */
#define HOOK_KEEP_MAX    4096 /* and at most so many */
#define HOOK_MAX_QUEUED  32   /* programs at one time: two descriptors each */
#define HOOK_MAX_URGENT  64
#define HOOK_PENDING_MAX 16384 /* waiting or running; an event that finds so many is lost */

int hooks_new(struct hooks **out, struct loop *l, const struct hook_conf *c, struct err *e);
/* Running programs are left to themselves, what waits in queues runs behind them without us, one
 * after the other (server/handover.h); callbacks are dropped. */
void hooks_free(struct hooks *h);
bool hooks_enabled(const struct hooks *h);

/* result: the exit status 0..255; 128 + signal when killed; -ETIMEDOUT; -ENOENT no program set;
 * -ENOBUFS lost (HOOK_PENDING_MAX); -ECANCELED; -errno could not be started: for want of memory or
 * descriptors it is tried again as long as its time lasts, for want of the program a second. */
typedef void hook_done_fn(void *arg, int result);

/* Behind everything pushed before with the same queue name (a namespace's name; NULL: the server's
 * own queue).  One without done whose equal is the last that waits there is that one.  Strings are
 * copied.  args: nargs <= HOOK_MAX_ARGS texts behind the instance id. done
 * may be NULL. */
void hooks_push(struct hooks *h, const char *queue, const char *name, unsigned nargs,
                const char *const *args, hook_done_fn *done, void *arg);
/* At once, in no queue. */
void hooks_now(struct hooks *h, const char *name, unsigned nargs, const char *const *args,
               hook_done_fn *done, void *arg);
/* Runs the loop until the program has ended (start-up and shutdown only); the same result, or
 * -EINTR. */
int hooks_wait(struct hooks *h, const char *name, unsigned nargs, const char *const *args);
/* Those of hooks_now end at once, running or waiting: their waiters go away. */
void hooks_cancel_urgent(struct hooks *h);
/* Ends a hooks_wait that is under way, and its program. */
void hooks_interrupt(struct hooks *h);
/* The owner of arg goes away: hooks still run, their done is not called. */
void hooks_forget(struct hooks *h, const void *arg);
/* Runs the loop until nothing is queued or running, at most so long.  Number of hooks left. */
size_t hooks_drain(struct hooks *h, uint64_t timeout_ms);

/* One run, for HOOKS */
struct hook_info {
    const char *name;
    const char *const *args; /* behind the instance id */
    unsigned nargs;
    pid_t pid;                  /* 0: could not be started, or still waits in its queue */
    uint64_t started, finished; /* unix seconds; finished 0 = running */
    int status;                 /* exit status; 128 + signal; 0 while running */
};
typedef void hook_each_fn(const struct hook_info *i, void *arg);
size_t hooks_each(const struct hooks *h, hook_each_fn *fn, void *arg); /* running and finished ones,
                                                                         oldest first; returns their
                                                                         number; fn may be NULL */
size_t hooks_pending(const struct hooks *h);                           /* queued or running */
size_t hooks_running(const struct hooks *h);

#endif
