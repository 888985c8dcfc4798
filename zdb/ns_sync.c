/* ns_sync - group commit: one job of a helper thread makes everything durable that was written before it started; whoever
 * asks meanwhile shares the next one.  Data files go before index files.  States: ns_impl.h. */
#include "common/io.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/workq.h"
#include "zdb/ns_impl.h"
#include <assert.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

struct part {
    struct file *file; /* referenced */
    uint32_t seg;
    bool is_data;
    uint64_t size;     /* of the file when the job was made */
};

struct job {
    struct ns *ns;     /* referenced */
    struct part *parts;
    size_t n;
    bool everything, directories;
    int result;
};

void ns_sync_note(struct ns *ns, struct seg *s)
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

void ns_sync_forget(struct ns *ns)
{
    ns->sync.n = 0;
    for (size_t i = 0; i < ns->nsegs; i++)
        ns->segs[i]->noted = false;
}

static bool is_clean(const struct ns *ns)
{
    return ns->sync.n == 0 && !ns->sync.everything && !ns->sync.directories;
}

static void add_part(struct job *j, struct file *f, uint32_t seg, bool is_data, uint64_t size)
{
    j->parts[j->n++] = (struct part){files_ref(f), seg, is_data, size};
}

/* Takes what is unsynced into a job. */
static struct job *job_new(struct ns *ns)
{
    struct ns_sync_state *st = &ns->sync;
    struct job *j = xcalloc(1, sizeof *j);
    int r;

    j->ns = ns;
    ns_ref(ns);
    j->everything = st->everything;
    j->directories = st->directories;
    j->parts = xcalloc(st->n * 2 + 1, sizeof *j->parts);
    for (int pass = 0; pass < 2; pass++) { /* data files first */
        for (size_t i = 0; i < st->n; i++) {
            struct seg *s = ns_seg_find(ns, st->unsynced[i]);
            if (!s)
                continue;
            if (pass == 0 && s->data.unsynced) {
                r = data_open(&s->data);
                if (r == 0)
                    add_part(j, s->data.file, s->id, true, s->data.size);
                else if (r != -ENOENT || s->data.active) /* a sealed one may have been evicted */
                    j->result = r;
                s->data.unsynced = false;
            } else if (pass == 1 && s->index.unsynced) {
                r = index_file_open(&s->index);
                if (r == 0)
                    add_part(j, s->index.file, s->id, false, s->index.size);
                else
                    j->result = r;
                s->index.unsynced = false;
            }
        }
    }
    ns_sync_forget(ns);
    st->everything = st->directories = false;
    return j;
}

static int sync_fs(const char *dir)
{
    CLEANUP(base_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd < 0 || syncfs(fd) < 0 ? -errno : 0;
}

static void job_run(struct job *j) /* helper thread */
{
    int r = j->result;

    if (r == 0 && j->everything) {
        r = sync_fs(j->ns->data_dir);
        if (r == 0)
            r = sync_fs(j->ns->index_dir);
    }
    for (size_t i = 0; r == 0 && i < j->n; i++)
        r = io_fdatasync(j->parts[i].file->fd);
    if (r == 0 && j->directories) {
        r = path_sync_dir(j->ns->data_dir);
        if (r == 0)
            r = path_sync_dir(j->ns->index_dir);
    }
    j->result = r;
}

/* Nothing of a failed job counts as durable. */
static void job_failed(struct job *j)
{
    struct ns *ns = j->ns;

    log_error("namespace %s: sync failed: %s", ns->name, strerror(-j->result));
    ns->sync.everything |= j->everything;
    ns->sync.directories |= j->directories;
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
}

static int job_end(struct job *j)
{
    struct ns *ns = j->ns;
    int r = j->result;

    for (size_t i = 0; i < j->n; i++)
        files_unref(j->parts[i].file);
    if (r < 0 && !ns->dead)
        job_failed(j);
    ns->env->syncs++;
    ns->sync.last_ms = base_now_ms();
    free(j->parts);
    free(j);
    ns_unref(ns);
    return r;
}

static void start(struct ns *ns);

static void job_back(void *arg)
{
    struct job *j = arg;
    struct ns *ns = j->ns;
    struct ns_miss *now = ns->sync.now;
    int r;

    ns_ref(ns);
    ns->env->jobs--;
    ns->sync.running = false;
    ns->sync.now = NULL;
    r = job_end(j);
    if (now)
        ns_wait_finish(now, r);
    if (ns->sync.next && !ns->dead)
        start(ns);
    ns_unref(ns);
}

static void job_thread(void *arg) /* helper thread */
{
    struct job *j = arg;

    job_run(j);
    loop_post(j->ns->env->loop, job_back, j);
}

static void start(struct ns *ns)
{
    struct job *j = job_new(ns);

    assert(!ns->sync.running && !ns->sync.now);
    ns->sync.running = true;
    ns->sync.now = ns->sync.next;
    ns->sync.next = NULL;
    ns->env->jobs++;
    if (workq_push(ns->env->syncer, job_thread, j) < 0) { /* more namespaces at once than the queue holds */
        job_run(j);
        loop_post(ns->env->loop, job_back, j);
    }
}

void ns_sync_kick(struct ns *ns)
{
    if (!ns->sync.running && !is_clean(ns))
        start(ns);
}

int ns_sync_block(struct ns *ns)
{
    struct job *j;

    if (is_clean(ns))
        return 0;
    j = job_new(ns);
    job_run(j);
    return job_end(j);
}

int ns_sync(struct ns *ns, struct ns_wait *w)
{
    struct ns_sync_state *st = &ns->sync;
    struct ns_miss **m;

    if (w && w->sync_done) {
        w->sync_done = false;
        return w->sync_result;
    }
    if (is_clean(ns) && !st->running)
        return 0;
    if (!w)
        return ns_sync_block(ns);
    m = st->running && is_clean(ns) ? &st->now : &st->next; /* nothing written since the running job began? */
    if (!*m) {
        *m = ns_wait_miss(ns);
        (*m)->is_sync = true;
    }
    ns_wait_add(w, *m);
    if (!st->running)
        start(ns);
    return -EINPROGRESS;
}

bool ns_must_sync(const struct ns *ns)
{
    return ns->env->sync;
}

void ns_sync_tick(struct ns *ns, uint64_t now_ms)
{
    unsigned every = ns->env->synctime_s;

    if (every && now_ms - ns->sync.last_ms >= every * (uint64_t)1000)
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
