/* scheduler - durable jobs and commands on three pools of threads: the lists, the threads, the way
 * in.
 */
#include "zstor/queue/scheduler_impl.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"

/* --- waiting for the queue ------------------------------------------------------------------- */

static uint64_t oldest_order(const struct sched *s)
{
    const struct sched_job *j = heap_first(&s->order);

    return j ? j->order : UINT64_MAX;
}

static void wake_barriers(struct sched *s, bool all)
{
    uint64_t oldest;
    struct sched_barrier *b;

    if (STAILQ_EMPTY(&s->barriers))
        return;
    oldest = oldest_order(s);
    while ((b = STAILQ_FIRST(&s->barriers)) && (all || b->added < oldest)) { /* the first has the
                                                                                lowest number */
        STAILQ_REMOVE_HEAD(&s->barriers, link);
        b->fn(b->arg, b->added < oldest);
        free(b);
    }
}

void sched_wait(struct sched *s, sched_wait_fn *fn, void *arg)
{
    struct sched_barrier *b = xcalloc(1, sizeof *b);

    *b = (struct sched_barrier){.added = s->added, .fn = fn, .arg = arg};
    STAILQ_INSERT_TAIL(&s->barriers, b, link);
    wake_barriers(s, false);
}

/* --- running --------------------------------------------------------------------------------- */

static void dispatch(struct sched *s);

static void on_done(void *arg);

static void on_thread(void *arg) /* job thread */
{
    struct sched_job *j = arg;

    j->s->conf.run(j->task, j->with, &j->s->stop);
    loop_post(j->s->conf.loop, on_done, j);
}

/* Its holder has changed. */
static void place_all_of(struct sched *s, struct sched_lock *l)
{
    struct sched_job *j;

    TAILQ_FOREACH(j, &l->jobs, of_lock)
    {
        s->looked++;
        sched_place(j);
    }
}

static int start(struct sched *s, struct sched_job *j)
{
    struct sched_pool *p = &s->pool[j->class];
    int r;

    j->with = s->conf.acquire(s->conf.arg);
    j->started_no = s->added;
    r = workq_push(p->threads, on_thread, j);
    if (r < 0) { /* never: no more are pushed than there are slots */
        s->conf.release(s->conf.arg, j->with);
        log_error("jobs: no free thread: %s", strerror(-r));
        return r;
    }
    TAILQ_REMOVE(j->rec ? &p->durable : &p->commands, j, link);
    TAILQ_INSERT_TAIL(&p->active, j, link);
    j->pending = false;
    sched_unplace(j);
    if (j->lock) {
        j->lock->holder = j;
        place_all_of(s, j->lock);
    }
    p->running++;
    return 0;
}

static bool any_running(const struct sched *s)
{
    for (int c = 0; c < SCHED_CLASSES; c++)
        if (s->pool[c].running)
            return true;
    return false;
}

/* Whose time has come. */
static void release_delayed(struct sched *s, uint64_t now)
{
    struct sched_job *j;

    while ((j = heap_first(&s->delayed)) && j->retry_at_ms <= now)
        sched_place(j);
    if (!j || s->draining)
        loop_timer_stop(s->retry);
    else
        loop_timer_start(s->retry, j->retry_at_ms - now, false);
}

static void dispatch(struct sched *s)
{
    release_delayed(s, base_now_ms());
    for (int c = 0; c < SCHED_CLASSES && !atomic_load(&s->stop); c++) {
        struct sched_pool *p = &s->pool[c];
        struct sched_job *j;

        while (p->running < p->limit && (j = heap_first(&p->ready)) && start(s, j) == 0)
            ;
    }
    if (s->draining && s->idle && !any_running(s)) {
        void (*idle)(void *) = s->idle;

        s->idle = NULL;
        wake_barriers(s, true);
        idle(s->idle_arg);
    }
}

static void on_retry(void *arg)
{
    dispatch(arg);
}

static void on_done(void *arg)
{
    struct sched_job *j = arg;
    struct sched *s = j->s;
    struct sched_pool *p = &s->pool[j->class];

    TAILQ_REMOVE(&p->active, j, link);
    p->running--;
    if (j->lock) {
        j->lock->holder = NULL;
        place_all_of(s, j->lock);
    }
    s->conf.release(s->conf.arg, j->with);
    j->with = NULL;
    s->conf.finished(s->conf.arg, j->task);
    if (j->rec)
        sched_outcome_durable(s, j);
    else
        sched_outcome_command(s, j);
    wake_barriers(s, false);
    dispatch(s);
}

/* --- entry ----------------------------------------------------------------------------------- */

/* The kinds of durable jobs. */
static const struct kind {
    enum task_op op;
    enum sched_class class;
    enum task_priority priority;
    bool by_key; /* the job's name is a metadata key, not a path */
} kinds[JOURNAL_OPS] = {
    [JOURNAL_STORE] = {TASK_STORE, SCHED_STORE, TASK_QUEUED, false},
    [JOURNAL_REBUILD] = {TASK_REBUILD, SCHED_REPAIR, TASK_QUEUED, false},
    [JOURNAL_RECLAIM] = {TASK_RECLAIM, SCHED_REPAIR, TASK_BACKGROUND, true},
};

static struct task *task_of(struct sched *s, const struct journal_rec *rec)
{
    const struct kind *k = &kinds[rec->op];
    struct task *t = task_new(k->op, k->by_key ? NULL : rec->name);

    if (k->by_key)
        t->meta_key = xstrdup(rec->name);
    if (rec->source)
        t->source = xstrdup(rec->source);
    else if (journal_has_snapshot(rec))
        t->source = journal_snapshot_path(s->conf.journal, rec->seq);
    t->flags = rec->remove ? OBJECT_DELETE : 0;
    return t;
}

/* What is dead may still be read by somebody who looked it up a moment ago. */
static uint64_t grace_end_ms(const struct sched *s, const struct journal_rec *rec)
{
    uint64_t now_s = base_wall_s(), end_s = rec->queued_s + s->conf.grace_s;

    if (rec->op != JOURNAL_RECLAIM || end_s <= now_s)
        return 0;
    return base_now_ms() + MIN(end_s - now_s, s->conf.grace_s) * 1000;
}

void sched_add(struct sched *s, struct journal_rec *rec, const char *lock)
{
    enum sched_class class = kinds[rec->op].class;
    struct sched_pool *p = &s->pool[class];
    struct sched_job *j = sched_job_new(s, class, task_of(s, rec), lock);
    struct sched_job *old, *next;

    j->rec = rec;
    j->priority = kinds[rec->op].priority;
    j->added_no = j->order = ++s->added;
    for (old = j->lock ? TAILQ_FIRST(&j->lock->jobs) : NULL; old; old = next) {
        next = TAILQ_NEXT(old, of_lock);
        s->looked++;
        if (old == j || !old->rec || !old->pending || old->rec->op != rec->op ||
            rec->op == JOURNAL_RECLAIM)
            continue;
        if (rec->op == JOURNAL_REBUILD) {
            s->nreplaced++;
            sched_job_forget(j);
            return;
        }
        if (old->rec->remove && !rec->remove) /* both were promised: one after the other */
            continue;
        j->order = MIN(j->order, old->order);
        s->nreplaced++;
        TAILQ_REMOVE(&p->durable, old, link);
        sched_job_forget(old);
    }
    j->grace_ms = j->retry_at_ms = grace_end_ms(s, rec);
    if (rec->op == JOURNAL_REBUILD) /* what is out of reach now may be back then */
        j->retry_at_ms = base_now_ms() + s->conf.rebuild_min_ms;
    if (j->lock && j->lock->holder && sched_job_is_store(j->lock->holder) && sched_job_is_store(j))
        j->lock->holder->replaced = true;
    TAILQ_INSERT_TAIL(&p->durable, j, link);
    sched_job_count(j);
    sched_place(j);
    if (!s->draining)
        dispatch(s);
}

bool sched_busy(struct sched *s, const char *lock, bool with_rebuild)
{
    const struct sched_lock *l = sched_lock_find(s, lock);

    return l && (l->stores > 0 || (with_rebuild && l->rebuilds > 0));
}

void sched_kick(struct sched *s)
{
    struct sched_job *j;

    for (int c = 0; c < SCHED_CLASSES; c++)
        TAILQ_FOREACH(j, &s->pool[c].durable, link)
        {
            if (j->retry_at_ms <= j->grace_ms)
                continue;
            j->retry_at_ms = j->grace_ms;
            sched_place(j);
        }
    if (!s->draining)
        dispatch(s);
}

static bool same_retrieve(const struct task *a, const struct task *b)
{
    return a->op == TASK_RETRIEVE && b->op == TASK_RETRIEVE && strcmp(a->path, b->path) == 0 &&
           a->fd < 0 && b->fd < 0 && a->replace == b->replace;
}

static struct sched_job *find_retrieve(struct sched *s, const struct task *t)
{
    struct sched_jobs *lists[] = {&s->pool[SCHED_QUICK].commands, &s->pool[SCHED_QUICK].active};
    struct sched_job *j;

    for (size_t i = 0; i < ARRAY_LEN(lists) && t->op == TASK_RETRIEVE; i++)
        TAILQ_FOREACH(j, lists[i], link)
    if (same_retrieve(j->task, t))
        return j;
    return NULL;
}

int sched_submit(struct sched *s, enum sched_class class, struct task *t, const char *lock,
                 sched_done_fn *done, void *arg)
{
    struct sched_job *j = find_retrieve(s, t);
    struct sched_waiter *w;

    if (s->draining)
        return -ESHUTDOWN;
    if (j) {
        task_free(t);
    } else {
        if (s->ncommands >= s->conf.max_commands)
            return -EBUSY;
        j = sched_job_new(s, class, t, lock);
        s->ncommands++;
        TAILQ_INSERT_TAIL(&s->pool[class].commands, j, link);
        sched_place(j);
    }
    w = xcalloc(1, sizeof *w);
    w->done = done;
    w->arg = arg;
    STAILQ_INSERT_TAIL(&j->waiters, w, link);
    dispatch(s);
    return 0;
}

void sched_drain(struct sched *s, void (*idle)(void *arg), void *arg)
{
    s->draining = true;
    s->idle = idle;
    s->idle_arg = arg;
    dispatch(s);
}

/* Commands that have not begun are answered here. */
static void cancel_commands(struct sched *s)
{
    for (int c = 0; c < SCHED_CLASSES; c++) {
        struct sched_job *j;

        while ((j = TAILQ_FIRST(&s->pool[c].commands))) {
            TAILQ_REMOVE(&s->pool[c].commands, j, link);
            j->task->rc = err_set(&j->task->err, ECANCELED, "the daemon stops");
            sched_outcome_command(s, j);
        }
    }
}

void sched_abort(struct sched *s)
{
    atomic_store(&s->stop, true);
    cancel_commands(s);
    dispatch(s);
}

/* --- life ------------------------------------------------------------------------------------ */

/* By priority, then first come first served. */
static bool runs_before(const void *x, const void *y)
{
    const struct sched_job *a = x, *b = y;

    return a->priority != b->priority ? a->priority < b->priority : a->no < b->no;
}

static bool due_before(const void *x, const void *y)
{
    return ((const struct sched_job *)x)->retry_at_ms < ((const struct sched_job *)y)->retry_at_ms;
}

static bool ordered_before(const void *x, const void *y)
{
    return ((const struct sched_job *)x)->order < ((const struct sched_job *)y)->order;
}

static bool queued_before(const void *x, const void *y)
{
    return ((const struct sched_job *)x)->rec->queued_s <
           ((const struct sched_job *)y)->rec->queued_s;
}

int sched_new(struct sched **out, const struct sched_conf *c, struct err *e)
{
    static const char *const names[] = {"store", "quick", "repair"};
    struct sched *s = xcalloc(1, sizeof *s);
    int r = 0;

    s->conf = *c;
    atomic_init(&s->stop, false);
    STAILQ_INIT(&s->barriers);
    for (int i = 0; i < SCHED_CLASSES; i++) {
        TAILQ_INIT(&s->pool[i].commands);
        TAILQ_INIT(&s->pool[i].durable);
        TAILQ_INIT(&s->pool[i].active);
        heap_init(&s->pool[i].ready, runs_before, offsetof(struct sched_job, at_ready));
        s->pool[i].limit = c->threads[i];
    }
    heap_init(&s->delayed, due_before, offsetof(struct sched_job, at_delayed));
    heap_init(&s->order, ordered_before, offsetof(struct sched_job, at_order));
    heap_init(&s->age, queued_before, offsetof(struct sched_job, at_age));
    s->retry = loop_timer_new(c->loop, on_retry, s);
    for (int i = 0; i < SCHED_CLASSES && r == 0; i++)
        r = workq_new(&s->pool[i].threads, names[i], c->threads[i], c->threads[i], e);
    if (r < 0) {
        sched_free(s);
        return r;
    }
    *out = s;
    return 0;
}

static void free_list(struct sched *s, struct sched_jobs *list)
{
    struct sched_job *j;

    while ((j = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, j, link);
        if (j->with)
            s->conf.release(s->conf.arg, j->with);
        sched_job_free(j);
    }
}

void sched_free(struct sched *s)
{
    struct sched_barrier *b;

    if (!s)
        return;
    atomic_store(&s->stop, true);
    for (int i = 0; i < SCHED_CLASSES; i++)
        workq_free(s->pool[i].threads);
    for (int i = 0; i < SCHED_CLASSES; i++) {
        free_list(s, &s->pool[i].commands);
        free_list(s, &s->pool[i].durable);
        free_list(s, &s->pool[i].active);
    }
    while ((b = STAILQ_FIRST(&s->barriers))) {
        STAILQ_REMOVE_HEAD(&s->barriers, link);
        free(b);
    }
    for (int i = 0; i < SCHED_CLASSES; i++)
        heap_fini(&s->pool[i].ready);
    heap_fini(&s->delayed);
    heap_fini(&s->order);
    heap_fini(&s->age);
    loop_timer_free(s->retry);
    free(s);
}
