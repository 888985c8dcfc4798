/* sync - group commit: one job of a helper thread makes everything durable that was written
 * before it started; whoever asks meanwhile shares the next one.  States: engine/namespace_impl.h.
 * Rewrites in place that waited for it (engine/rewrite.c) are written after the job, and durable
 * with the next one. Then the data files are marked: all before the mark is on the disk, all behind
 * it is played again by the load. */
#include "common/io.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/workq.h"
#include "zdb/engine/namespace_impl.h"
#include <assert.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define PATCHES_A_TURN 4096  /* neighbours are written together */
#define PATCHES_MAX    65536 /* then they are worth a sync */
#define PATCH_AGE_MS   1000
#define SYNC_AGE_MS                                                                            \
    30000 /* also when nobody asks: what comes behind the marks has to be played again after a \
             crash */
#define RETRY_MS  1000      /* after a failure */
#define MARK_STEP (1 * MIB) /* a mark of the active file costs a little: it may lag so much */

struct part {
    struct file *file; /* referenced */
    uint32_t seg;
    bool is_data;
    struct data_mark mark; /* data: as it was when the job was made */
};

struct ns_sync_job {
    struct ns *ns; /* referenced */
    struct part *parts;
    size_t n;
    uint64_t writes;         /* changes that it covers */
    uint64_t clock, written; /* newest patch, newest written patch when it was made */
    uint64_t generation;     /* of the files that it is about: ns.generation when it was made */
    bool everything, directories;
    int result;
    sem_t ran; /* posted when the helper thread is done with it */
    bool waited;
};

void ns_sync_note_quiet(struct ns *ns, struct seg *s)
{
    struct ns_sync_state *st = &ns->sync;

    if (s->noted)
        return;
    s->noted = true;
    if (st->n == st->cap) {
        size_t cap = st->cap ? st->cap * 2 : 4;
        uint32_t *p = xcalloc(cap, sizeof *p);
        if (st->n)
            memcpy(p, st->unsynced, st->n * sizeof *p);
        free(st->unsynced);
        st->unsynced = p;
        st->cap = cap;
    }
    st->unsynced[st->n++] = s->id;
}

void ns_sync_note(struct ns *ns, struct seg *s)
{
    ns->sync.writes++;
    ns_sync_note_quiet(ns, s);
}

void ns_sync_forget(struct ns *ns)
{
    ns->sync.n = 0;
    for (size_t i = 0; i < ns->nsegs; i++)
        ns->segs[i]->noted = false;
}

/* Nothing that somebody was answered waits for a job. */
static bool is_durable(const struct ns *ns)
{
    return ns->sync.durable == ns->sync.writes;
}

void ns_sync_directories(struct ns *ns)
{
    ns->sync.directories = true;
    ns->sync.writes++;
}

void ns_sync_everything(struct ns *ns)
{
    ns->sync.everything = true;
    ns_sync_directories(ns);
}

static void add_part(struct ns_sync_job *j, struct file *f, const struct seg *s, bool is_data)
{
    j->parts[j->n++] =
        (struct part){files_ref(f),
                      s->id,
                      is_data,
                      {s->data.size, s->index.size, s->data.active ? j->ns->last_data : 0}};
}

static void take_segment(struct ns_sync_job *j, struct seg *s, bool data)
{
    int r = 0;

    if (data && s->data.unsynced) {
        r = data_open(&s->data);
        if (r == 0)
            add_part(j, s->data.file, s, true);
        else if (r == -ENOENT && !s->data.active)
            r = 0; /* evicted: it is where it went to */
        s->data.unsynced = r < 0;
    } else if (!data && s->index.unsynced) {
        r = index_file_open(&s->index);
        if (r == 0)
            add_part(j, s->index.file, s, false);
        s->index.unsynced = r < 0;
    }
    if (r < 0)
        j->result = r;
}

/* What no file could be opened for stays on the list: an entry leaves it only by success. */
static void keep_open_failures(struct ns *ns)
{
    for (size_t i = 0; i < ns->nsegs; i++) {
        if (ns->segs[i]->data.unsynced || ns->segs[i]->index.unsynced)
            ns_sync_note_quiet(ns, ns->segs[i]);
    }
}

/* Takes what is unsynced into a job. */
static struct ns_sync_job *job_new(struct ns *ns)
{
    struct ns_sync_state *st = &ns->sync;
    struct ns_sync_job *j = xcalloc(1, sizeof *j);

    sem_init(&j->ran, 0, 0);
    j->ns = ns;
    ns_ref(ns);
    ns_patch_close(ns);
    j->generation = ns->generation;
    j->everything = st->everything;
    j->directories = st->directories;
    j->writes = st->job_writes = st->writes;
    j->clock = st->job_clock = ns->patches.clock;
    j->written = ns_patch_written(ns);
    j->parts = xcalloc(st->n * 2 + 1, sizeof *j->parts);
    for (int data = 0; data <= 1; data++) {
        for (size_t i = 0; i < st->n; i++) {
            struct seg *s = ns_seg_find(ns, st->unsynced[i]);
            if (s)
                take_segment(j, s, data);
        }
    }
    ns_sync_forget(ns);
    if (j->result < 0)
        keep_open_failures(ns);
    st->everything = st->directories = false;
    return j;
}

static int sync_fs(const char *dir)
{
    CLEANUP(base_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || syncfs(fd) < 0 ? -errno : 0;
}

static void job_run(struct ns_sync_job *j) /* helper thread, or the loop when it has to be at once
                                            */
{
    int r = j->result;

    if (r == 0 && j->everything) {
        r = sync_fs(j->ns->index_dir);
        if (r == 0)
            r = sync_fs(j->ns->data_dir);
    }
    if (r == 0 && j->directories) {
        r = path_sync_dir(j->ns->index_dir);
        if (r == 0)
            r = path_sync_dir(j->ns->data_dir);
    }
    for (size_t i = 0; r == 0 && i < j->n; i++)
        r = io_fdatasync(j->parts[i].file->fd);
    j->result = r;
}

/* Hooks of a jump wait for rewrites that are durable: one more job when they are written. */
static void kick_for_jumps(struct ns *ns)
{
    if (!ns->dead && ns->jumps && ns_patch_written(ns) >= ns->sync.patch_due)
        ns_sync_kick(ns);
}

static void pump(void *arg)
{
    struct ns *ns = arg;

    ns->env->jobs--;
    ns->sync.pumping = !ns->dead && ns_patch_write(ns, ns->sync.patch_due, PATCHES_A_TURN);
    if (ns->sync.pumping) {
        ns->env->jobs++;
        loop_post(ns->env->loop, pump, ns);
    } else {
        kick_for_jumps(ns);
        ns_unref(ns);
    }
}

static void write_mark(struct ns *ns, struct seg *s)
{
    if (s->safe.size <= s->marked ||
        (s->data.active && !ns->sync.settling && s->marked && s->safe.size < s->marked + MARK_STEP))
        return;
    data_mark(&s->data, &s->safe);
    s->marked = s->safe.size;
}

/* Marks wait until the patches that were queued when their data was synced are durable themselves.
 */
static void set_marks(struct ns *ns, const struct ns_sync_job *j)
{
    for (size_t i = 0; i < j->n; i++) {
        const struct part *p = &j->parts[i];
        struct seg *s = p->is_data ? ns_seg_find(ns, p->seg) : NULL;
        if (!s)
            continue;
        s->synced = MAX(s->synced, p->mark.size);
        s->later = p->mark; /* takes the place of an older one that waits there */
        s->later_clock = j->clock;
    }
    for (size_t i = ns->nsegs; i-- > 0;) {
        struct seg *s = ns->segs[i];
        for (int k = 0; k < 2; k++) { /* the one that waits, then the one behind it */
            if (!s->next.size && s->later.size) {
                s->next = s->later;
                s->next_clock = s->later_clock;
                s->later.size = 0;
            }
            if (s->next.size && s->next_clock <= j->written) {
                s->safe = s->next;
                s->next.size = 0;
            }
        }
        write_mark(ns, s);
    }
}

/* Everything that was there at load is durable now. */
static void set_first_marks(struct ns *ns)
{
    for (size_t i = 0; i + 1 < ns->nsegs; i++) {
        struct seg *s = ns->segs[i];
        struct stat st;
        if (s->unmarked && data_open(&s->data) == 0 && fstat(s->data.file->fd, &st) == 0)
            data_mark(&s->data, &(struct data_mark){(uint64_t)st.st_size, s->index.size, 0});
        s->unmarked = false;
    }
}

static void job_succeeded(struct ns_sync_job *j)
{
    struct ns *ns = j->ns;

    ns->sync.failed = false;
    ns->sync.durable = MAX(ns->sync.durable, j->writes);
    ns->sync.patch_due = MAX(ns->sync.patch_due, j->clock);
    ns->sync.patch_durable = MAX(ns->sync.patch_durable, j->written);
    set_marks(ns, j);
    if (j->everything && ns->patches.n + ns->patches.flags == 0)
        set_first_marks(ns);
}

/* Nothing of a failed job counts as durable.  The pages that could not be written count as clean
 * now, so they are written again, and new records go to a new segment. */
static void job_failed(struct ns_sync_job *j)
{
    struct ns *ns = j->ns;

    log_error("namespace %s: sync failed: %s", ns->name, strerror(-j->result));
    ns->sync.failed = true;
    ns->sync.everything |= j->everything;
    ns->sync.directories |= j->directories;
    ns->sync.writes++; /* what it covered is not durable, also when durable was told before it was
                          written */
    for (size_t i = 0; i < j->n; i++) {
        struct seg *s = ns_seg_find(ns, j->parts[i].seg);
        if (!s)
            continue;
        if (j->parts[i].is_data)
            s->data.unsynced = true;
        else
            s->index.unsynced = true;
        ns_sync_note(ns, s);
    }
    ns_rescue(ns);
}

static int job_end(struct ns_sync_job *j)
{
    struct ns *ns = j->ns;
    int r = j->result;

    for (size_t i = 0; i < j->n; i++)
        files_unref(j->parts[i].file);
    ns->env->syncs++;
    ns->sync.last_ms = base_now_ms();
    if (!ns->dead && j->generation == ns->generation) { /* else it says nothing about these files */
        if (r < 0)
            job_failed(j);
        else
            job_succeeded(j);
        ns_seg_tell(ns, r < 0);
    }
    free(j->parts);
    sem_destroy(&j->ran);
    free(j);
    ns_unref(ns);
    return r;
}

static void start(struct ns *ns);

/* Those who wait for a job after the one that has ended. */
static void start_next(struct ns *ns)
{
    struct ns_miss *next = ns->sync.next;
    int r = ns_commit(ns); /* what a job covers has to be in the files */

    if (r == 0) {
        start(ns);
    } else {
        ns->sync.next = NULL;
        ns_wait_finish(next, r);
    }
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
    if (ns->sync.next && !ns->sync.running && !ns->dead)
        start_next(ns);
    kick_for_jumps(ns);
    if (ns->sync.pumping || ns->dead || ns_patch_written(ns) >= ns->sync.patch_due) {
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

    job_run(j);
    sem_post(&j->ran);
    loop_post(j->ns->env->loop, job_back, j);
}

static void job_push(struct ns_sync_job *j)
{
    if (workq_push(j->ns->env->syncer, job_thread, j) < 0) { /* more namespaces at once than the
                                                                queue holds */
        job_run(j);
        sem_post(&j->ran);
        loop_post(j->ns->env->loop, job_back, j);
    }
}

static void start(struct ns *ns)
{
    struct ns_sync_job *j = job_new(ns);

    assert(!ns->sync.running && !ns->sync.now);
    ns->sync.running = j;
    ns->sync.now = ns->sync.next;
    ns->sync.next = NULL;
    ns->env->jobs++;
    job_push(j);
}

void ns_sync_kick(struct ns *ns)
{
    if (ns->sync.failed && base_now_ms() - ns->sync.last_ms < RETRY_MS)
        return;
    if (!ns->sync.running && (!is_durable(ns) || ns->sync.n || ns_patch_any(ns) || ns->jumps) &&
        ns_commit(ns) == 0)
        start(ns);
}

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

int ns_sync_block(struct ns *ns)
{
    struct ns_sync_job *j;
    int r = wait_for_running(ns->sync.running);

    if (r < 0)
        return r;
    if (is_durable(ns) && ns->sync.n == 0)
        return 0;
    r = ns_commit(ns);
    if (r < 0)
        return r;
    j = job_new(ns);
    job_run(j);
    return job_end(j);
}

/* Nothing waits for anything: what is there is durable. */
static void mark_all(struct ns *ns)
{
    for (size_t i = 0; i < ns->nsegs; i++) {
        struct seg *s = ns->segs[i];
        if (s->data.active || s->next.size || s->later.size)
            s->safe =
                (struct data_mark){s->data.size, s->index.size, s->data.active ? ns->last_data : 0};
        s->next.size = s->later.size = 0;
        write_mark(ns, s);
    }
}

int ns_sync_settle(struct ns *ns)
{
    int r = 0;

    ns->sync.settling = true;
    for (int i = 0; r == 0 && i < 3 && (ns_patch_any(ns) || ns->sync.n || !is_durable(ns)); i++) {
        r = ns_sync_block(ns);
        if (r == 0)
            ns_patch_write(ns, ns->patches.clock, SIZE_MAX);
    }
    if (r == 0 && !ns_patch_any(ns) && ns->sync.n == 0 && is_durable(ns))
        mark_all(ns);
    ns_seg_tell(ns, true);
    ns->sync.settling = false;
    return r;
}

/* At the end of a round: everybody who asked in it shares the job. */
static void begin(void *arg)
{
    struct ns *ns = arg;

    if (!ns->dead && !ns->sync.running && ns->sync.next)
        start_next(ns);
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
    if (!w)
        return ns_sync_block(ns);
    m = st->running && st->job_writes == st->writes ? &st->now : &st->next; /* nothing written since
                                                                               the job began? */
    if (!*m) {
        *m = ns_wait_miss(ns);
        (*m)->is_sync = true;
    }
    ns_wait_add(w, *m);
    if (!st->running) {
        if (!st->begin)
            st->begin = loop_defer_new(ns->env->loop, begin, ns);
        loop_defer_arm(st->begin);
    }
    return -EINPROGRESS;
}

bool ns_must_sync(const struct ns *ns)
{
    return ns->env->sync || (ns->env->secure && ns->jumps);
}

void ns_sync_tick(struct ns *ns, uint64_t now_ms)
{
    unsigned every = ns->env->synctime_s;

    if (ns->sync.failed || (every && now_ms - ns->sync.last_ms >= every * (uint64_t)1000) ||
        ns->patches.n > PATCHES_MAX || now_ms - ns->sync.last_ms >= SYNC_AGE_MS ||
        (ns_patch_any(ns) && now_ms - ns->patches.since_ms >= PATCH_AGE_MS))
        ns_sync_kick(ns);
}

/* The namespace goes away: its waiters hear that nothing is durable. */
void ns_sync_abandon(struct ns *ns)
{
    struct ns_miss *m[2] = {ns->sync.now, ns->sync.next};

    ns->sync.now = ns->sync.next = NULL;
    for (size_t i = 0; i < 2; i++) {
        if (m[i])
            ns_wait_finish(m[i], -ECANCELED);
    }
}
