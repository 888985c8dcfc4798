/* sync - group commit: one job of a helper thread makes the data durable that was written before it
 * started; whoever asks meanwhile shares the next one.  States: engine/namespace_impl.h.
 *
 * The data files are the truth, so a SYNC is one fdatasync for each of them that grew.  The index
 * follows with the watermark (engine/checkpoint.c), for which two of the jobs do more: both sync
 * the index files as well, the second one writes the watermark behind that.
 *
 * After a job that failed: Linux counts the pages that could not be written as clean, so a later
 * sync would succeed and lose them.  New records go to a new segment, and the next job first writes
 * again, from the page cache, what no good one has covered (engine/rescue.c); it waits longer after
 * each failure, and who asks meanwhile hears of the last one. */
#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/engine/sync_job.h"
#include <assert.h>
#include <stdlib.h>

#define PATCHES_A_TURN 4096 /* neighbours are written together */
#define RETRY_MIN_MS   250  /* after a failure; doubled with each that follows */
#define RETRY_MAX_MS   30000
#define HOLD_MS        100 /* for the requests that waited until no job runs */

/* Nothing that somebody was answered waits for a job. */
static bool is_durable(const struct ns *ns)
{
    return ns->sync.durable == ns->sync.writes && !ns_checkpoint_is_flushing(ns);
}

/* --- a job is made --------------------------------------------------------------------------- */

static void take(struct ns_sync_job *j, struct seg *s)
{
    if (s->index.unsynced && (j->first || j->last || s->index_promised)) {
        j->parts[j->n++] = (struct ns_sync_part){.path = xstrdup(s->index.path),
                                                 .seg = s->id,
                                                 .size = s->index.size};
        s->index.unsynced = false;
    }
    if (s->data.unsynced) {
        j->parts[j->n++] = (struct ns_sync_part){.path = xstrdup(s->data.path),
                                                 .seg = s->id,
                                                 .is_data = true,
                                                 .may_go = !s->data.active,
                                                 .from = s->synced,
                                                 .size = s->data.size};
        s->data.unsynced = false;
    }
}

/* The list keeps what has bytes that no job has taken: an entry leaves it only by success. */
static void relist(struct ns *ns)
{
    struct ns_sync_state *st = &ns->sync;
    size_t to = 0;

    for (size_t i = 0; i < st->n; i++) {
        struct seg *s = ns_seg_find(ns, st->unsynced[i]);
        if (!s)
            continue;
        s->noted = s->data.unsynced || s->index.unsynced;
        if (s->noted)
            st->unsynced[to++] = s->id;
    }
    st->n = to;
}

static struct ns_sync_job *job_empty(struct ns *ns)
{
    struct ns_sync_job *j = xcalloc(1, sizeof *j);

    sem_init(&j->ran, 0, 0);
    j->ns = ns;
    ns_ref(ns);
    j->generation = ns->generation;
    return j;
}

/* Takes what is unsynced into a job; all of it is in the files. */
static struct ns_sync_job *job_new(struct ns *ns)
{
    struct ns_sync_state *st = &ns->sync;
    struct ns_sync_job *j = job_empty(ns);

    j->first = ns_checkpoint_begin(ns);
    j->last = !j->first && ns_checkpoint_end(ns, &j->mark);
    j->everything = st->everything;
    j->directories = st->directories;
    j->writes = st->job_writes = st->writes;
    j->parts = xcalloc(st->n * 2 + 1, sizeof *j->parts);
    j->again = st->failed;
    for (size_t i = 0; i < st->n; i++) {
        struct seg *s = ns_seg_find(ns, st->unsynced[i]);
        if (s)
            take(j, s);
    }
    relist(ns);
    st->everything = st->directories = false;
    return j;
}

/* --- it is over ------------------------------------------------------------------------------ */

static void job_succeeded(struct ns_sync_job *j)
{
    struct ns *ns = j->ns;

    ns->sync.failed = false;
    ns->sync.retry_ms = 0;
    ns->sync.durable = MAX(ns->sync.durable, j->writes);
    for (size_t i = 0; i < j->n; i++) {
        struct seg *s = ns_seg_find(ns, j->parts[i].seg);
        if (s && j->parts[i].is_data)
            s->synced = MAX(s->synced, j->parts[i].size);
        else if (s && !s->index.unsynced)
            s->index_promised = false;
    }
    if (j->first && ns->checkpoint.step == CHECKPOINT_FIRST)
        ns_checkpoint_first_done(ns);
    if (j->last && ns->checkpoint.step == CHECKPOINT_LAST)
        ns_checkpoint_done(ns, &j->mark);
    ns->sync.asked &= !j->last;
}

static void flushing_marked(struct ns_sync_job *j)
{
    if (j->result < 0)
        log_error("namespace %s: watermark cannot be written: %s", j->ns->name,
                  strerror(-j->result));
    else
        j->ns->checkpoint.now = j->mark;
    j->ns->sync.mark_error = j->result;
}

/* Descriptors or memory were short: nothing of what was written is lost. */
static bool is_short(int r)
{
    return r == -EMFILE || r == -ENFILE || r == -ENOMEM;
}

/* Nothing of a failed job counts as durable. */
static void job_failed(struct ns_sync_job *j)
{
    struct ns *ns = j->ns;
    struct ns_sync_state *st = &ns->sync;

    log_error("namespace %s: sync failed: %s", ns->name, strerror(-j->result));
    st->asked = false;
    st->failed |= !is_short(j->result);
    st->error = j->result;
    st->retry_ms = MIN(MAX(st->retry_ms * 2, (uint64_t)RETRY_MIN_MS), (uint64_t)RETRY_MAX_MS);
    st->retry_at_ms = base_now_ms() + (is_short(j->result) ? 0 : st->retry_ms);
    st->everything |= j->everything;
    st->directories |= j->directories;
    st->writes++; /* what it covered is not durable, also when durable was told before it was
                   * written
                   */
    ns_checkpoint_failed(ns);
    for (size_t i = 0; i < j->n; i++) {
        struct seg *s = ns_seg_find(ns, j->parts[i].seg);
        if (!s)
            continue;
        if (j->parts[i].is_data)
            s->data.unsynced = true;
        else
            s->index.unsynced = true;
        ns_sync_note_quiet(ns, s);
    }
    if (j->lost) {
        log_error("namespace %s: unsynced records are lost", ns->name);
        st->broken = -EIO;
    }
    if (!is_short(j->result) &&
        (ns_active(ns)->data.size > DATA_HEADER_SIZE || ns_active(ns)->index.last) &&
        ns_seg_rotate(ns) < 0)
        log_error("namespace %s: no new segment after a failed sync", ns->name);
}

static int job_end(struct ns_sync_job *j)
{
    struct ns *ns = j->ns;
    int r = j->result;

    for (size_t i = 0; i < j->n; i++)
        free(j->parts[i].path);
    ns->env->syncs++;
    ns->sync.last_ms = base_now_ms();
    if (!ns->dead && j->generation == ns->generation) { /* else it says nothing about these files */
        if (j->flushing)
            flushing_marked(j);
        else if (r < 0)
            job_failed(j);
        else
            job_succeeded(j);
        ns_seg_tell(ns, r < 0 && !is_short(r) && !j->flushing);
    }
    free(j->parts);
    sem_destroy(&j->ran);
    free(j);
    ns_unref(ns);
    return r;
}

static void start(struct ns *ns);

/* A checkpoint goes on, or is due. */
static bool has_work(const struct ns *ns)
{
    return ns->checkpoint.step == CHECKPOINT_WANTED || ns->checkpoint.step == CHECKPOINT_READY;
}

static bool must_wait(const struct ns *ns)
{
    return ns->sync.retry_ms && base_now_ms() < ns->sync.retry_at_ms;
}

/* Somebody waits for the running job to end, or may be about to run because it has: nothing begins
 * that does not lead to that. */
static bool is_held(const struct ns *ns)
{
    const struct ns_sync_state *st = &ns->sync;

    return (st->idle && !st->asked) || (st->hold_ms && base_now_ms() < st->hold_ms);
}

static void start_if(struct ns *ns, bool anything)
{
    bool on_the_way = ns->checkpoint.step == CHECKPOINT_READY;

    if (anything && !ns->dead && !ns->sync.running && !must_wait(ns) &&
        (on_the_way || !is_held(ns)) && ns_commit(ns) == 0)
        start(ns);
}

/* Nothing runs any more: who waited for that comes next. */
static void release(struct ns *ns)
{
    struct ns_sync_state *st = &ns->sync;
    struct ns_miss *idle = st->idle;

    if (!idle || st->running || st->pumping)
        return;
    st->idle = NULL;
    st->asked = false;
    st->hold_ms = base_now_ms() + HOLD_MS;
    ns_wait_finish(idle, 0);
}

/* Those who wait for a job after the one that has ended.  After a FLUSH it has to be the last one
 * of a checkpoint. */
static void start_next(struct ns *ns)
{
    struct ns_miss *next = ns->sync.next;
    bool is_early = ns_checkpoint_is_flushing(ns) && ns->checkpoint.step == CHECKPOINT_REWRITES;

    if (!next || ns->sync.running || ns->dead || is_held(ns) || is_early)
        return;
    int r = must_wait(ns) ? ns->sync.error : ns_commit(ns); /* what a job covers has to be in the
                                                               files */

    if (r == 0) {
        start(ns);
    } else {
        ns->sync.next = NULL;
        ns_wait_finish(next, r);
    }
}

/* Writes rewrites that are due, so many a turn. */
static void pump(void *arg)
{
    struct ns *ns = arg;
    bool more = !ns->dead && ns->checkpoint.step == CHECKPOINT_REWRITES &&
                rewrite_write(ns, ns->sync.patch_due, PATCHES_A_TURN);

    ns->env->jobs--;
    ns->sync.pumping = more;
    if (more) {
        ns->env->jobs++;
        loop_post(ns->env->loop, pump, ns);
        return;
    }
    if (!ns->dead) {
        ns_checkpoint_rewritten(ns);
        if (ns->checkpoint.step == CHECKPOINT_REWRITES) /* they could not be written */
            ns_checkpoint_failed(ns);
        start_if(ns, ns->checkpoint.step == CHECKPOINT_READY);
        release(ns);
    }
    ns_unref(ns);
}

static void job_back(void *arg)
{
    struct ns_sync_job *j = arg;
    struct ns *ns = j->ns;
    struct ns_miss *now = ns->sync.now;
    int r;

    ns_ref(ns);
    ns->sync.running = NULL;
    ns->sync.now = NULL;
    r = job_end(j);
    if (now)
        ns_wait_finish(now, r);
    start_next(ns);
    start_if(ns, has_work(ns));
    if (ns->sync.pumping || ns->dead || ns->checkpoint.step != CHECKPOINT_REWRITES) {
        release(ns);
        ns->env->jobs--;
        ns_unref(ns);
        return;
    }
    ns->sync.pumping = true; /* our job and reference go over to it */
    pump(ns);
}

static void job_thread(void *arg) /* helper thread */
{
    struct ns_sync_job *j = arg;

    ns_sync_job_run(j);
    sem_post(&j->ran);
    loop_post(j->ns->env->loop, job_back, j);
}

static void job_push(struct ns_sync_job *j)
{
    if (workq_push(j->ns->env->syncer, job_thread, j) < 0) { /* more namespaces at once than the
                                                                queue holds */
        ns_sync_job_run(j);
        sem_post(&j->ran);
        loop_post(j->ns->env->loop, job_back, j);
    }
}

static void run(struct ns *ns, struct ns_sync_job *j)
{
    assert(!ns->sync.running && !ns->sync.now);
    ns->sync.running = j;
    ns->env->jobs++;
    job_push(j);
}

static void start(struct ns *ns)
{
    bool flushing = ns_checkpoint_is_flushing(ns);
    struct ns_sync_job *j;

    if (flushing)
        ns_checkpoint_want(ns);
    j = job_new(ns);
    run(ns, j);
    if (flushing && !j->last)
        return;
    ns->sync.now = ns->sync.next;
    ns->sync.next = NULL;
}

void ns_sync_kick(struct ns *ns)
{
    start_if(ns, !is_durable(ns) || has_work(ns));
}

/* --- at once --------------------------------------------------------------------------------- */

/* What the running job has taken is not durable before it has run. */
static int wait_for_running(struct ns_sync_job *j)
{
    if (!j)
        return 0;
    while (!j->waited && sem_wait(&j->ran) < 0)
        ;
    j->waited = true;
    return j->result;
}

void ns_sync_wait(struct ns *ns)
{
    (void)wait_for_running(ns->sync.running);
}

static void wait_idle(struct ns *ns, struct ns_wait *w)
{
    if (!ns->sync.idle)
        ns->sync.idle = ns_wait_miss(ns);
    ns_wait_add(w, ns->sync.idle);
}

int ns_idle(struct ns *ns, struct ns_wait *w)
{
    struct ns_sync_state *st = &ns->sync;

    if (!st->running && !st->pumping) {
        st->hold_ms = 0;
        if (st->next || has_work(ns))
            ns_sync_soon(ns);
        return 0;
    }
    if (!w) {
        ns_sync_wait(ns);
        return 0;
    }
    wait_idle(ns, w);
    return -EINPROGRESS;
}

int ns_sync_room(struct ns *ns, struct ns_wait *w)
{
    if (ns->patches.queued < REWRITES_MAX)
        return 0;
    ns_sync_ask(ns);
    return ns->sync.failed ? ns->sync.error : ns_idle(ns, w);
}

void ns_sync_ask(struct ns *ns)
{
    ns->sync.asked = true;
    ns_checkpoint_want(ns);
    start_if(ns, true);
}

int ns_sync_mark_flushing(struct ns *ns, struct ns_wait *w)
{
    struct ns_sync_job *j;
    int r = ns->sync.mark_error;

    ns->sync.mark_error = 0;
    if (r < 0 || ns_checkpoint_is_flushing(ns))
        return r;
    j = job_empty(ns);
    j->flushing = true;
    j->mark = ns_checkpoint_flushing(ns);
    if (!w) {
        ns_sync_job_run(j);
        return job_end(j);
    }
    run(ns, j);
    wait_idle(ns, w);
    return -EINPROGRESS;
}

static int run_now(struct ns *ns)
{
    struct ns_sync_job *j;
    int r = ns_commit(ns);

    if (r < 0)
        return r;
    j = job_new(ns);
    ns_sync_job_run(j);
    return job_end(j);
}

int ns_sync_block(struct ns *ns)
{
    int r = wait_for_running(ns->sync.running);

    if (r == 0 && ns_checkpoint_is_flushing(ns))
        return ns_sync_settle(ns, false);
    return r < 0 || is_durable(ns) ? r : run_now(ns);
}

int ns_sync_settle(struct ns *ns, bool closing)
{
    struct ns_checkpoint *cp = &ns->checkpoint;
    const struct ns_sync_job *running = ns->sync.running;
    int r = wait_for_running(ns->sync.running);

    if (running && running->generation != ns->generation)
        r = 0;
    if (closing && r == 0 && ns_checkpoint_is_closed(ns))
        return 0;
    cp->closing = closing;
    cp->step = CHECKPOINT_WANTED; /* one that is under way begins anew: its job is not ours */
    if (r == 0)
        r = run_now(ns);
    if (r == 0 && cp->step == CHECKPOINT_REWRITES)
        rewrite_write(ns, ns->sync.patch_due, SIZE_MAX);
    if (r == 0) {
        ns_checkpoint_rewritten(ns);
        r = cp->step == CHECKPOINT_READY ? run_now(ns) : -EIO;
    }
    cp->closing = false;
    ns_seg_tell(ns, closing || r < 0);
    return r;
}

/* --- whoever asks ---------------------------------------------------------------------------- */

/* At the end of a round: everybody who asked in it shares the job. */
static void begin(void *arg)
{
    struct ns *ns = arg;

    start_next(ns);
    start_if(ns, has_work(ns));
}

void ns_sync_soon(struct ns *ns)
{
    if (ns->sync.running)
        return;
    if (!ns->sync.begin)
        ns->sync.begin = loop_defer_new(ns->env->loop, begin, ns);
    loop_defer_arm(ns->sync.begin);
}

int ns_sync(struct ns *ns, struct ns_wait *w)
{
    struct ns_sync_state *st = &ns->sync;
    struct ns_miss **m;

    if (w && w->sync_done) {
        w->sync_done = false;
        return w->sync_result;
    }
    if (st->broken < 0)
        return st->broken;
    if (is_durable(ns))
        return 0;
    if (must_wait(ns))
        return st->error;
    if (!w)
        return ns_sync_block(ns);
    m = st->running && st->job_writes == st->writes && /* nothing written since the job began? */
                !st->running->flushing && (!ns_checkpoint_is_flushing(ns) || st->running->last)
            ? &st->now
            : &st->next;
    if (!*m) {
        *m = ns_wait_miss(ns);
        (*m)->is_sync = true;
    }
    ns_wait_add(w, *m);
    ns_sync_soon(ns);
    return -EINPROGRESS;
}

bool ns_must_sync(const struct ns *ns)
{
    return ns->env->sync || (ns->env->secure && ns->jumps);
}

void ns_sync_tick(struct ns *ns, uint64_t now_ms)
{
    unsigned every = ns->env->synctime_s;

    ns_checkpoint_tick(ns, now_ms);
    if (ns->sync.next) /* held for somebody who did not come */
        ns_sync_soon(ns);
    start_if(ns,
             has_work(ns) || (ns->sync.failed && !is_durable(ns)) ||
                 (every && !is_durable(ns) && now_ms - ns->sync.last_ms >= every * (uint64_t)1000));
}

/* The namespace goes away: its waiters hear that nothing is durable. */
void ns_sync_abandon(struct ns *ns)
{
    struct ns_miss *m[] = {ns->sync.now, ns->sync.next, ns->sync.idle};

    ns->sync.now = ns->sync.next = ns->sync.idle = NULL;
    for (size_t i = 0; i < ARRAY_LEN(m); i++) {
        if (m[i])
            ns_wait_finish(m[i], -ECANCELED);
    }
}
