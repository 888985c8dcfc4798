/* scheduler_impl - what the files of the scheduler share; nobody else includes it.
 *   queue/scheduler.c          lists, threads, entry      queue/job.c      one job, its lock
 *   queue/outcome.c  what follows a run         queue/view.c     figures */
#ifndef ZSTOR_QUEUE_SCHEDULER_IMPL_H
#define ZSTOR_QUEUE_SCHEDULER_IMPL_H

#include <sys/queue.h>

#include <uthash.h>

#include "zstor/queue/heap.h"
#include "zstor/queue/scheduler.h"

struct sched_waiter { /* of a command */
    sched_done_fn *done;
    void *arg;
    STAILQ_ENTRY(sched_waiter) link;
};

/* One job.  In exactly one list: the commands, durable or running list of its class.
 * What may run now is in the ready heap of its class; what has to be waited for is in the delayed
 * heap, or, when its lock is held, in neither: sched_place(). */
struct sched_job {
    struct sched *s;
    enum sched_class class;
    struct task *task;
    struct sched_lock *lock;             /* NULL: none */
    STAILQ_HEAD(, sched_waiter) waiters; /* commands only */
    TAILQ_ENTRY(sched_job) link;
    TAILQ_ENTRY(sched_job) of_lock; /* all jobs of its lock, oldest first */
    bool pending;                   /* not running */
    uint64_t no;                    /* the how-manieth job, commands too: first come first served */
    size_t at_ready, at_delayed, at_order, at_age; /* places in the heaps */
    void *with;                                    /* while it runs */
    uint64_t started_no;                           /* s->added when it was started */
    /* durable jobs only */
    struct journal_rec *rec; /* NULL: a command */
    uint64_t added_no;       /* the how-manieth that was added */
    uint64_t order;          /* for sched_wait: added_no, or that of the oldest one it replaced */
    bool counted;            /* sched_job_count */
    bool replaced;           /* runs, and a newer one is queued: not to be tried again */
    unsigned tries;
    enum task_priority priority;
    uint64_t grace_ms;    /* not before; base_now_ms clock */
    uint64_t retry_at_ms; /* 0: now */
    char last_error[256];
};

TAILQ_HEAD(sched_jobs, sched_job);

/* Everything with one lock name; there while any job has it. */
struct sched_lock {
    char *name;
    unsigned stores, rebuilds, others; /* jobs that have it */
    struct sched_jobs jobs;
    struct sched_job *holder; /* runs now */
    UT_hash_handle hh;
};

struct sched_barrier { /* one sched_wait */
    uint64_t added;    /* jobs up to this order */
    sched_wait_fn *fn;
    void *arg;
    STAILQ_ENTRY(sched_barrier) link;
};

struct sched_pool {
    struct workq *threads;
    unsigned running, limit;
    struct sched_jobs commands, durable, active;
    struct heap ready;
};

struct sched {
    struct sched_conf conf;
    struct sched_pool pool[SCHED_CLASSES];
    struct sched_lock *locks;
    struct heap delayed; /* by retry_at_ms, of all classes */
    struct heap order;   /* durable stores, pending and running, by order */
    struct heap age;     /* the same by the time they were queued */
    uint64_t looked;     /* jobs that were looked at one after the other */
    struct loop_timer *retry;
    STAILQ_HEAD(, sched_barrier) barriers;
    atomic_bool stop;
    bool draining;
    void (*idle)(void *arg);
    void *idle_arg;
    uint64_t added, jobs_ever, ncommands;
    uint64_t store_bytes, stores_failing, kept[JOURNAL_OPS]; /* durable ones, pending and running */
    uint64_t done, failed_tries, nreplaced, dropped;
    /* what has been said of the jobs that fail now: an outage is a few lines, however many jobs it
     * meets */
    uint64_t failing; /* durable jobs with failed tries */
    int said[8];      /* their error codes that were logged */
    unsigned nsaid;
    uint64_t said_ms;
};

/* queue/job.c */
struct sched_job *sched_job_new(struct sched *s, enum sched_class class, struct task *t,
                                const char *lock); /* t is taken */
void sched_job_free(struct sched_job *j);   /* it is in no list any more; its file in the journal
                                               stays */
void sched_job_forget(struct sched_job *j); /* done with, however it ended: the journal forgets it,
                                               too */
bool sched_job_is_store(const struct sched_job *j);   /* a durable one */
bool sched_job_is_rebuild(const struct sched_job *j); /* the same */
/* A durable job is known, pending: counted, and a store in `order` and `age`. */
void sched_job_count(struct sched_job *j);
void sched_job_order(struct sched_job *j, uint64_t order); /* changes it */
/* Where a pending job belongs now, by its time and its lock. */
void sched_place(struct sched_job *j);
void sched_unplace(struct sched_job *j);
struct sched_lock *sched_lock_find(const struct sched *s, const char *name);

/* queue/outcome.c: j has run and is in no list; afterwards it is gone, or pending again. */
void sched_outcome_durable(struct sched *s, struct sched_job *j);
void sched_outcome_command(struct sched *s, struct sched_job *j); /* answers, too */

#endif
