/* job - one job and the lock of its object. */
#include "zstor/queue/scheduler_impl.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"

struct sched_lock *sched_lock_find(const struct sched *s, const char *name)
{
    struct sched_lock *l = NULL;

    HASH_FIND_STR(s->locks, name, l);
    return l;
}

static void lock_count(struct sched_job *j, int by)
{
    enum task_op op = j->task->op;
    unsigned *n = op == TASK_REBUILD || op == TASK_REPAIR ? &j->lock->rebuilds
                  : op == TASK_RECLAIM                    ? &j->lock->others
                                                          : &j->lock->stores;

    *n = by > 0 ? *n + 1 : *n - 1;
}

static void lock_take(struct sched *s, struct sched_job *j, const char *name)
{
    struct sched_lock *l;

    if (!name)
        return;
    l = sched_lock_find(s, name);
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->name = xstrdup(name);
        TAILQ_INIT(&l->jobs);
        HASH_ADD_KEYPTR(hh, s->locks, l->name, strlen(l->name), l);
    }
    j->lock = l;
    TAILQ_INSERT_TAIL(&l->jobs, j, of_lock);
    lock_count(j, 1);
}

static void lock_drop(struct sched *s, struct sched_job *j)
{
    struct sched_lock *l = j->lock;

    if (!l)
        return;
    lock_count(j, -1);
    TAILQ_REMOVE(&l->jobs, j, of_lock);
    j->lock = NULL;
    if (l->stores + l->rebuilds + l->others > 0)
        return;
    HASH_DEL(s->locks, l);
    free(l->name);
    free(l);
}

struct sched_job *sched_job_new(struct sched *s, enum sched_class class, struct task *t,
                                const char *lock)
{
    struct sched_job *j = xcalloc(1, sizeof *j);

    j->s = s;
    j->class = class;
    j->task = t;
    j->priority = t->priority;
    j->pending = true;
    j->no = ++s->jobs_ever;
    STAILQ_INIT(&j->waiters);
    lock_take(s, j, lock);
    return j;
}

void sched_job_count(struct sched_job *j)
{
    struct sched *s = j->s;

    j->counted = true;
    s->kept[j->rec->op]++;
    if (!sched_job_is_store(j))
        return;
    s->store_bytes += j->rec->bytes;
    heap_add(&s->order, j);
    heap_add(&s->age, j);
}

static void uncount(struct sched_job *j)
{
    struct sched *s = j->s;

    s->kept[j->rec->op]--;
    if (!sched_job_is_store(j))
        return;
    s->store_bytes -= j->rec->bytes;
    s->stores_failing -= j->tries > 0;
    heap_take(&s->order, j);
    heap_take(&s->age, j);
}

void sched_job_order(struct sched_job *j, uint64_t order)
{
    if (order == j->order)
        return;
    heap_take(&j->s->order, j);
    j->order = order;
    heap_add(&j->s->order, j);
}

void sched_unplace(struct sched_job *j)
{
    heap_take(&j->s->pool[j->class].ready, j);
    heap_take(&j->s->delayed, j);
}

void sched_place(struct sched_job *j)
{
    sched_unplace(j);
    if (!j->pending)
        return;
    if (j->retry_at_ms > base_now_ms())
        heap_add(&j->s->delayed, j);
    else if (!j->lock || !j->lock->holder)
        heap_add(&j->s->pool[j->class].ready, j);
}

/* j is in no list any more. */
void sched_job_free(struct sched_job *j)
{
    struct sched *s = j->s;
    struct sched_waiter *w;

    sched_unplace(j);
    if (j->counted)
        uncount(j);
    if (j->tries && --s->failing == 0 && s->nsaid && !atomic_load(&s->stop)) {
        s->nsaid = 0;
        log_info("queue: no job fails any more");
    }

    while ((w = STAILQ_FIRST(&j->waiters))) {
        STAILQ_REMOVE_HEAD(&j->waiters, link);
        free(w);
    }
    lock_drop(j->s, j);
    task_free(j->task);
    journal_rec_free(j->rec);
    free(j);
}

bool sched_job_is_store(const struct sched_job *j)
{
    return j->rec && j->rec->op == JOURNAL_STORE;
}

bool sched_job_is_rebuild(const struct sched_job *j)
{
    return j->rec && j->rec->op == JOURNAL_REBUILD;
}

/* The job is done with, however it ended: out of the journal, too. */
void sched_job_forget(struct sched_job *j)
{
    if (j->rec)
        journal_remove(j->s->conf.journal, j->rec);
    sched_job_free(j);
}
