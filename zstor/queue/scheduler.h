/* scheduler - who runs when: the durable jobs of the journal and the commands that somebody waits
 * for. Thread: the loop's, for every function; operations run on the scheduler's own threads.  What
 * waits costs nothing: each event costs the logarithm of the number of jobs.
 *
 * Three classes with threads of their own, so that none waits behind another: SCHED_STORE
 * (uploads), SCHED_QUICK (retrieve, check, list), SCHED_REPAIR (rebuild).  In a class what somebody
 * waits for goes before durable jobs and repairs, and those before scrubs (enum task_priority),
 * each first come first served. Tasks with equal `lock` (the metadata key) never run at the same
 * time; what waits for a lock or for its next try lets the others pass.  A durable job that fails
 * is tried again after a time that doubles, with jitter, for ever; a store whose source is gone for
 * good is dropped.
 * Dead shards (reclaim) wait for their grace, go behind everything else, and are given up after
 * SCHED_RECLAIM_KEEP_S: then they only take space.
 *
 * A durable job: pending (in its class's list) -> running (out of it) -> gone, or pending again
 * with retry_at set. */
#ifndef ZSTOR_QUEUE_SCHEDULER_H
#define ZSTOR_QUEUE_SCHEDULER_H

#include <stdatomic.h>

#include "zstor/queue/journal.h"
#include "zstor/object/task.h"

struct loop;
struct sched;

#define SCHED_RECLAIM_KEEP_S (30u * 86400)

enum sched_class { SCHED_STORE, SCHED_QUICK, SCHED_REPAIR, SCHED_CLASSES };

struct sched_conf {
    struct loop *loop;
    struct journal *journal; /* finished durable jobs are removed from it */
    unsigned threads[SCHED_CLASSES];
    unsigned max_commands;                   /* that wait; more are refused with -EBUSY */
    uint64_t retry_min_ms, retry_max_ms;     /* stores */
    uint64_t rebuild_min_ms, rebuild_max_ms; /* rebuilds: before the first try, then as they fail or
                                                leave something lost */
    uint64_t grace_s;                        /* reclaims wait so long from when they were queued */
    void *arg;                               /* of the functions below */
    void *(*acquire)(void *arg); /* loop: what the next task works with; kept until release */
    void (*release)(void *arg, void *with);
    void (*run)(struct task *t, void *with, const atomic_bool *stop); /* job thread */
    void (*finished)(void *arg, const struct task *t); /* loop: after every run, before the command
                                                          is answered */
};

int sched_new(struct sched **out, const struct sched_conf *c, struct err *e);
/* Stops what runs (as sched_abort), waits for it; nobody is answered any more.  The journal keeps
 * what is not done. */
void sched_free(struct sched *s);

/* A durable job that is in the journal.  rec is taken; lock is copied.  A pending store of the same
 * object is replaced by the new one, a second rebuild of the same object is dropped. */
void sched_add(struct sched *s, struct journal_rec *rec, const char *lock);
/* A store of this object is pending or running (with_rebuild: or a rebuild). */
bool sched_reads(const struct sched *s, const char *file); /* a durable store has this source */
bool sched_busy(struct sched *s, const char *lock, bool with_rebuild);
/* Every job that waits for its next try may run now (a backend is back, the configuration changed),
 * but for reclaims in their grace. */
void sched_kick(struct sched *s);

/* A command.  done runs once on the loop, with the outcome; t is taken and freed after it.  lock
 * NULL: none.  0, or -EBUSY, -ESHUTDOWN: then t is not taken.  A retrieve of what is already being
 * retrieved to the same place shares its outcome. */
typedef void sched_done_fn(void *arg, const struct task *t);
int sched_submit(struct sched *s, enum sched_class class, struct task *t, const char *lock,
                 sched_done_fn *done, void *arg);

/* fn(arg, true) on the loop when every durable store that is queued now is done (stored, replaced
 * by one that is, or dropped), inside the call when there is none; fn(arg, false) when draining
 * ended before. */
typedef void sched_wait_fn(void *arg, bool done);
void sched_wait(struct sched *s, sched_wait_fn *fn, void *arg);

/* Run what can run now, start nothing else, then idle(arg) once on the loop (perhaps inside the
 * call).  New commands are refused, new durable jobs are kept for the next start. */
void sched_drain(struct sched *s, void (*idle)(void *arg), void *arg);
void sched_abort(struct sched *s); /* after sched_drain: stop what runs, too; commands are answered
                                      -ECANCELED */

struct sched_stats {
    uint64_t jobs, bytes; /* durable stores pending or running */
    uint64_t oldest_s;    /* age of the oldest of them */
    uint64_t failing;     /* of them, whose last try failed */
    uint64_t rebuilds;    /* durable rebuilds pending or running */
    uint64_t reclaims;    /* durable reclaims, the same */
    uint64_t commands;    /* waiting or running */
    uint64_t running[SCHED_CLASSES];
    uint64_t done, failed_tries, replaced, dropped; /* of durable jobs, since start */
    uint64_t steps; /* comparisons and jobs looked at since start: what the queue costs, in numbers
                       that do not depend on the machine */
};
void sched_stats(const struct sched *s, struct sched_stats *out);

struct sched_view { /* one durable job; borrowed */
    const struct journal_rec *rec;
    bool running;
    unsigned tries;         /* that failed */
    uint64_t retry_in_ms;   /* 0: as soon as possible */
    const char *last_error; /* "" */
};
typedef void sched_each_fn(void *arg, const struct sched_view *v);
void sched_each(const struct sched *s, sched_each_fn *fn, void *arg); /* oldest first within each
                                                                         class */

#endif
