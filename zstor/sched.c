/* sched - durable jobs and commands on three pools of threads. */
#include "zstor/sched.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include <uthash.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/workq.h"

struct waiter { /* of a command */
    sched_done_fn *done;
    void *arg;
    STAILQ_ENTRY(waiter) link;
};

#define REMIND_MS (10 * 60 * 1000)

/* One job.  In exactly one list: the commands, durable or running list of its class. */
struct job {
    struct sched *s;
    enum sched_class class;
    struct task *task;
    struct lock *lock;           /* NULL: none */
    STAILQ_HEAD(, waiter) waiters; /* commands only */
    TAILQ_ENTRY(job) link;
    void *with;                  /* while it runs */
    uint64_t started_no;         /* s->added when it was started */
    /* durable jobs only */
    struct journal_rec *rec;     /* NULL: a command */
    uint64_t added_no;           /* the how-manieth that was added */
    uint64_t order;              /* for sched_wait: added_no, or that of the oldest one it replaced */
    bool replaced;               /* runs, and a newer one is queued: not to be tried again */
    unsigned tries;
    uint64_t retry_at_ms;        /* 0: now */
    char last_error[256];
};

TAILQ_HEAD(jobs, job);

/* Everything with one lock name; there while any job has it. */
struct lock {
    char *name;
    unsigned stores, rebuilds;   /* jobs that have it */
    struct job *holder;          /* runs now */
    UT_hash_handle hh;
};

struct barrier { /* one sched_wait */
    uint64_t added;              /* jobs up to this order */
    void (*fn)(void *arg);
    void *arg;
    STAILQ_ENTRY(barrier) link;
};

struct pool {
    struct workq *threads;
    unsigned running, limit;
    struct jobs commands, durable, active;
};

struct sched {
    struct sched_conf conf;
    struct pool pool[SCHED_CLASSES];
    struct lock *locks;
    struct loop_timer *retry;
    STAILQ_HEAD(, barrier) barriers;
    atomic_bool stop;
    bool draining;
    void (*idle)(void *arg);
    void *idle_arg;
    uint64_t added, ncommands;
    uint64_t done, failed_tries, nreplaced, dropped;
    /* what has been said of the jobs that fail now: an outage is a few lines, however many jobs it meets */
    uint64_t failing;            /* durable jobs with failed tries */
    int said[8];                 /* their error codes that were logged */
    unsigned nsaid;
    uint64_t said_ms;
};

/* --- locks --------------------------------------------------------------------------------------- */

static struct lock *lock_find(const struct sched *s, const char *name)
{
    struct lock *l = NULL;

    HASH_FIND_STR(s->locks, name, l);
    return l;
}

static void lock_count(struct job *j, int by)
{
    unsigned *n = j->task->op == TASK_REBUILD ? &j->lock->rebuilds : &j->lock->stores;

    *n = by > 0 ? *n + 1 : *n - 1;
}

static void lock_take(struct sched *s, struct job *j, const char *name)
{
    struct lock *l;

    if (!name)
        return;
    l = lock_find(s, name);
    if (!l) {
        l = xcalloc(1, sizeof *l);
        l->name = xstrdup(name);
        HASH_ADD_KEYPTR(hh, s->locks, l->name, strlen(l->name), l);
    }
    j->lock = l;
    lock_count(j, 1);
}

static void lock_drop(struct sched *s, struct job *j)
{
    struct lock *l = j->lock;

    if (!l)
        return;
    lock_count(j, -1);
    j->lock = NULL;
    if (l->stores + l->rebuilds > 0)
        return;
    HASH_DEL(s->locks, l);
    free(l->name);
    free(l);
}

/* --- jobs ---------------------------------------------------------------------------------------- */

static struct job *job_new(struct sched *s, enum sched_class class, struct task *t, const char *lock)
{
    struct job *j = xcalloc(1, sizeof *j);

    j->s = s;
    j->class = class;
    j->task = t;
    STAILQ_INIT(&j->waiters);
    lock_take(s, j, lock);
    return j;
}

/* j is in no list any more. */
static void job_free(struct job *j)
{
    struct sched *s = j->s;
    struct waiter *w;

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

static bool is_store(const struct job *j)
{
    return j->rec && j->rec->op == JOURNAL_STORE;
}

/* The job is done with, however it ended: out of the journal, too. */
static void forget(struct job *j)
{
    if (j->rec)
        journal_remove(j->s->conf.journal, j->rec);
    job_free(j);
}

static struct job *next_durable_store(const struct sched *s, const char *lock)
{
    struct job *j;

    TAILQ_FOREACH (j, &s->pool[SCHED_STORE].durable, link)
        if (j->lock && strcmp(j->lock->name, lock) == 0 && is_store(j))
            return j;
    return NULL;
}

/* --- waiting for the queue ----------------------------------------------------------------------- */

static uint64_t oldest_order(const struct sched *s)
{
    const struct pool *p = &s->pool[SCHED_STORE];
    uint64_t oldest = UINT64_MAX;
    const struct job *j;

    TAILQ_FOREACH (j, &p->durable, link)
        if (is_store(j))
            oldest = MIN(oldest, j->order);
    TAILQ_FOREACH (j, &p->active, link)
        if (is_store(j))
            oldest = MIN(oldest, j->order);
    return oldest;
}

static void wake_barriers(struct sched *s)
{
    uint64_t oldest;
    struct barrier *b;

    if (STAILQ_EMPTY(&s->barriers))
        return;
    oldest = oldest_order(s);
    while ((b = STAILQ_FIRST(&s->barriers)) && b->added < oldest) { /* the first has the lowest number */
        STAILQ_REMOVE_HEAD(&s->barriers, link);
        b->fn(b->arg);
        free(b);
    }
}

void sched_wait(struct sched *s, void (*fn)(void *arg), void *arg)
{
    struct barrier *b = xcalloc(1, sizeof *b);

    *b = (struct barrier){.added = s->added, .fn = fn, .arg = arg};
    STAILQ_INSERT_TAIL(&s->barriers, b, link);
    wake_barriers(s);
}

/* --- running ------------------------------------------------------------------------------------- */

static void dispatch(struct sched *s);

static void on_done(void *arg);

static void on_thread(void *arg) /* job thread */
{
    struct job *j = arg;

    j->s->conf.run(j->task, j->with, &j->s->stop);
    loop_post(j->s->conf.loop, on_done, j);
}

static int start(struct sched *s, struct job *j)
{
    struct pool *p = &s->pool[j->class];
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
    if (j->lock)
        j->lock->holder = j;
    p->running++;
    return 0;
}

static void run_list(struct sched *s, struct pool *p, struct jobs *list, uint64_t now)
{
    struct job *j, *next;

    for (j = TAILQ_FIRST(list); j && p->running < p->limit; j = next) {
        next = TAILQ_NEXT(j, link);
        if (j->retry_at_ms > now || (j->lock && j->lock->holder))
            continue;
        if (start(s, j) < 0)
            return;
    }
}

static bool any_running(const struct sched *s)
{
    for (int c = 0; c < SCHED_CLASSES; c++)
        if (s->pool[c].running)
            return true;
    return false;
}

static void arm_retry(struct sched *s, uint64_t now)
{
    uint64_t first = UINT64_MAX;
    struct job *j;

    for (int c = 0; c < SCHED_CLASSES; c++)
        TAILQ_FOREACH (j, &s->pool[c].durable, link)
            if (j->retry_at_ms > now)
                first = MIN(first, j->retry_at_ms);
    if (first == UINT64_MAX || s->draining)
        loop_timer_stop(s->retry);
    else
        loop_timer_start(s->retry, first - now, false);
}

static void dispatch(struct sched *s)
{
    uint64_t now = base_now_ms();

    for (int c = 0; c < SCHED_CLASSES && !atomic_load(&s->stop); c++) {
        struct pool *p = &s->pool[c];

        run_list(s, p, &p->commands, now);
        run_list(s, p, &p->durable, now);
    }
    arm_retry(s, now);
    if (s->draining && s->idle && !any_running(s)) {
        void (*idle)(void *) = s->idle;

        s->idle = NULL;
        idle(s->idle_arg);
    }
}

static void on_retry(void *arg)
{
    dispatch(arg);
}

/* --- outcomes ------------------------------------------------------------------------------------ */

/* min * 2^tries (rebuilds: 4^tries), at most max, then a random part of the upper half. */
static uint64_t delay_ms(const struct sched *s, const struct job *j)
{
    bool store = is_store(j);
    uint64_t min = store ? s->conf.retry_min_ms : s->conf.rebuild_min_ms;
    uint64_t max = store ? s->conf.retry_max_ms : s->conf.rebuild_max_ms;
    unsigned shift = MIN((j->tries - 1) * (store ? 1 : 2), 30u);
    uint64_t full = min > max >> shift ? max : min << shift;
    uint32_t rnd = 0;

    if (digest_random(&rnd, sizeof rnd) < 0)
        rnd = 0;
    return full / 2 + rnd % (full / 2 + 1);
}

static bool gone_for_good(const char *path)
{
    CLEANUP(base_free) char *dir = path_dir(path);

    return access(dir, F_OK) == 0 && access(path, F_OK) < 0 && errno == ENOENT;
}

/* The first failure of its kind in an outage, and now and then a reminder, is a warning. */
static bool worth_a_warning(struct sched *s, int code)
{
    uint64_t now = base_now_ms();
    bool said = false;

    for (unsigned i = 0; i < s->nsaid; i++)
        said = said || s->said[i] == code;
    if (said && now - s->said_ms < REMIND_MS)
        return false;
    if (!said && s->nsaid < ARRAY_LEN(s->said))
        s->said[s->nsaid++] = code;
    s->said_ms = now;
    return true;
}

static void try_again(struct sched *s, struct job *j, const struct err *why)
{
    bool warn = worth_a_warning(s, why->code);
    uint64_t delay;

    s->failing += j->tries++ == 0;
    s->failed_tries++;
    delay = delay_ms(s, j);
    j->retry_at_ms = base_now_ms() + delay;
    memset(j->last_error, 0, sizeof j->last_error);
    memcpy(j->last_error, why->text, MIN(strlen(why->text), sizeof j->last_error - 1));
    if (warn || log_enabled(LOG_LVL_DEBUG))
        log_write(warn ? LOG_LVL_WARN : LOG_LVL_DEBUG,
                  "%s %s: try %u failed, next one in %" PRIu64 ".%" PRIu64 " s (%" PRIu64 " jobs fail now): %s", task_name(j->task->op),
                  j->rec->name, j->tries, delay / 1000, delay % 1000 / 100, s->failing, why->text);
    /* keeps its place among the others */
    struct jobs *list = &s->pool[j->class].durable;
    struct job *at;

    TAILQ_FOREACH (at, list, link)
        if (at->added_no > j->added_no)
            break;
    if (at)
        TAILQ_INSERT_BEFORE(at, j, link);
    else
        TAILQ_INSERT_TAIL(list, j, link);
}

static void durable_done(struct sched *s, struct job *j)
{
    const struct task *t = j->task;

    if (t->rc == 0 && (t->op != TASK_REBUILD || t->res.shards_lost + t->res.meta_lost == 0)) {
        s->done++;
        if (j->tries)
            log_debug("%s %s: done after %u failed tries", task_name(t->op), j->rec->name, j->tries);
        forget(j);
        return;
    }
    if (j->replaced) {
        struct job *newer = j->lock ? next_durable_store(s, j->lock->name) : NULL;

        if (newer) {
            newer->order = MIN(newer->order, j->order);
            s->nreplaced++;
            forget(j);
            return;
        }
    }
    if (t->rc == -ECANCELED && atomic_load(&s->stop)) {
        job_free(j); /* stays in the journal */
        return;
    }
    if (t->rc == -ENOENT && (t->op == TASK_REBUILD || gone_for_good(t->source))) {
        s->dropped++;
        if (t->op == TASK_STORE)
            log_error("store %s: dropped, the file is gone: %s", j->rec->name, t->err.text);
        else
            log_info("rebuild %s: dropped, the object is gone", j->rec->name);
        forget(j);
        return;
    }
    if (t->rc == 0) {
        struct err why;

        err_set(&why, EIO, "%u shards and %u metadata values could not be restored yet", t->res.shards_lost, t->res.meta_lost);
        try_again(s, j, &why);
        return;
    }
    try_again(s, j, &t->err);
}

/* A store that somebody waited for is done: pending durable stores of that object that were there before it began are older. */
static void replace_older(struct sched *s, const struct job *command)
{
    struct job *j, *next;

    for (j = TAILQ_FIRST(&s->pool[SCHED_STORE].durable); j; j = next) {
        next = TAILQ_NEXT(j, link);
        if (is_store(j) && j->lock == command->lock && j->added_no <= command->started_no && !j->rec->remove) {
            TAILQ_REMOVE(&s->pool[SCHED_STORE].durable, j, link);
            s->nreplaced++;
            forget(j);
        }
    }
}

static void command_done(struct sched *s, struct job *j)
{
    struct waiter *w;

    if (j->task->op == TASK_STORE && j->task->rc == 0 && j->lock)
        replace_older(s, j);
    s->ncommands--;
    while ((w = STAILQ_FIRST(&j->waiters))) {
        STAILQ_REMOVE_HEAD(&j->waiters, link);
        w->done(w->arg, j->task);
        free(w);
    }
    job_free(j);
}

static void on_done(void *arg)
{
    struct job *j = arg;
    struct sched *s = j->s;
    struct pool *p = &s->pool[j->class];

    TAILQ_REMOVE(&p->active, j, link);
    p->running--;
    if (j->lock)
        j->lock->holder = NULL;
    s->conf.release(s->conf.arg, j->with);
    j->with = NULL;
    s->conf.finished(s->conf.arg, j->task);
    if (j->rec)
        durable_done(s, j);
    else
        command_done(s, j);
    wake_barriers(s);
    dispatch(s);
}

/* --- entry --------------------------------------------------------------------------------------- */

static struct task *task_of(struct sched *s, const struct journal_rec *rec)
{
    struct task *t = task_new(rec->op == JOURNAL_STORE ? TASK_STORE : TASK_REBUILD, rec->name);

    if (rec->op == JOURNAL_STORE) {
        t->source = rec->source ? xstrdup(rec->source) : journal_snapshot_path(s->conf.journal, rec->seq);
        t->flags = rec->remove ? OBJECT_DELETE : 0;
    }
    return t;
}

void sched_add(struct sched *s, struct journal_rec *rec, const char *lock)
{
    enum sched_class class = rec->op == JOURNAL_STORE ? SCHED_STORE : SCHED_REPAIR;
    struct pool *p = &s->pool[class];
    struct job *j = job_new(s, class, task_of(s, rec), lock);
    struct job *old, *next;

    j->rec = rec;
    j->added_no = j->order = ++s->added;
    for (old = TAILQ_FIRST(&p->durable); old; old = next) {
        next = TAILQ_NEXT(old, link);
        if (old->lock != j->lock || !j->lock)
            continue;
        if (class == SCHED_REPAIR) {
            s->nreplaced++;
            forget(j);
            return;
        }
        if (old->rec->remove && !rec->remove) /* both were promised: one after the other */
            continue;
        j->order = MIN(j->order, old->order);
        s->nreplaced++;
        TAILQ_REMOVE(&p->durable, old, link);
        forget(old);
    }
    if (class == SCHED_REPAIR) /* what is out of reach now may be back then */
        j->retry_at_ms = base_now_ms() + s->conf.rebuild_min_ms;
    if (j->lock && j->lock->holder && is_store(j->lock->holder) && is_store(j))
        j->lock->holder->replaced = true;
    TAILQ_INSERT_TAIL(&p->durable, j, link);
    if (!s->draining)
        dispatch(s);
}

bool sched_busy(struct sched *s, const char *lock, bool with_rebuild)
{
    const struct lock *l = lock_find(s, lock);

    return l && (l->stores > 0 || (with_rebuild && l->rebuilds > 0));
}

void sched_kick(struct sched *s)
{
    struct job *j;

    for (int c = 0; c < SCHED_CLASSES; c++)
        TAILQ_FOREACH (j, &s->pool[c].durable, link)
            j->retry_at_ms = 0;
    if (!s->draining)
        dispatch(s);
}

static bool same_retrieve(const struct task *a, const struct task *b)
{
    return a->op == TASK_RETRIEVE && b->op == TASK_RETRIEVE && strcmp(a->path, b->path) == 0 && !a->output == !b->output &&
           (!a->output || strcmp(a->output, b->output) == 0);
}

static struct job *find_retrieve(struct sched *s, const struct task *t)
{
    struct jobs *lists[] = {&s->pool[SCHED_QUICK].commands, &s->pool[SCHED_QUICK].active};
    struct job *j;

    for (size_t i = 0; i < ARRAY_LEN(lists) && t->op == TASK_RETRIEVE; i++)
        TAILQ_FOREACH (j, lists[i], link)
            if (same_retrieve(j->task, t))
                return j;
    return NULL;
}

int sched_submit(struct sched *s, enum sched_class class, struct task *t, const char *lock, sched_done_fn *done, void *arg)
{
    struct job *j = find_retrieve(s, t);
    struct waiter *w;

    if (s->draining)
        return -ESHUTDOWN;
    if (j) {
        task_free(t);
    } else {
        if (s->ncommands >= s->conf.max_commands)
            return -EBUSY;
        j = job_new(s, class, t, lock);
        s->ncommands++;
        TAILQ_INSERT_TAIL(&s->pool[class].commands, j, link);
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
        struct job *j;

        while ((j = TAILQ_FIRST(&s->pool[c].commands))) {
            TAILQ_REMOVE(&s->pool[c].commands, j, link);
            j->task->rc = err_set(&j->task->err, ECANCELED, "the daemon stops");
            command_done(s, j);
        }
    }
}

void sched_abort(struct sched *s)
{
    atomic_store(&s->stop, true);
    cancel_commands(s);
    dispatch(s);
}

/* --- what there is ------------------------------------------------------------------------------- */

static void count(const struct job *j, bool running, uint64_t now_s, struct sched_stats *out)
{
    if (!j->rec) {
        out->commands += running;
        return;
    }
    if (!is_store(j)) {
        out->rebuilds++;
        return;
    }
    out->jobs++;
    out->bytes += j->rec->bytes;
    out->failing += j->tries > 0;
    if (now_s > j->rec->queued_s)
        out->oldest_s = MAX(out->oldest_s, now_s - j->rec->queued_s);
}

void sched_stats(const struct sched *s, struct sched_stats *out)
{
    uint64_t now_s = base_wall_s();
    const struct job *j;

    *out = (struct sched_stats){
        .done = s->done, .failed_tries = s->failed_tries, .replaced = s->nreplaced, .dropped = s->dropped};
    for (int c = 0; c < SCHED_CLASSES; c++) {
        const struct pool *p = &s->pool[c];

        TAILQ_FOREACH (j, &p->durable, link)
            count(j, false, now_s, out);
        TAILQ_FOREACH (j, &p->active, link)
            count(j, true, now_s, out);
        TAILQ_FOREACH (j, &p->commands, link)
            out->commands++;
        out->running[c] = p->running;
    }
}

void sched_each(const struct sched *s, sched_each_fn *fn, void *arg)
{
    uint64_t now = base_now_ms();
    const struct job *j;

    for (int c = 0; c < SCHED_CLASSES; c++) {
        const struct jobs *lists[] = {&s->pool[c].active, &s->pool[c].durable};

        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
            TAILQ_FOREACH (j, lists[i], link) {
                struct sched_view v = {.rec = j->rec, .running = i == 0, .tries = j->tries, .last_error = j->last_error};

                if (!j->rec)
                    continue;
                if (i == 1 && j->retry_at_ms > now)
                    v.retry_in_ms = j->retry_at_ms - now;
                fn(arg, &v);
            }
    }
}

/* --- life ---------------------------------------------------------------------------------------- */

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
        s->pool[i].limit = c->threads[i];
    }
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

static void free_list(struct sched *s, struct jobs *list)
{
    struct job *j;

    while ((j = TAILQ_FIRST(list))) {
        TAILQ_REMOVE(list, j, link);
        if (j->with)
            s->conf.release(s->conf.arg, j->with);
        job_free(j);
    }
}

void sched_free(struct sched *s)
{
    struct barrier *b;

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
    loop_timer_free(s->retry);
    free(s);
}
