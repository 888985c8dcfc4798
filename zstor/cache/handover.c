/* handover - local files against remote records. */
#include "zstor/cache/handover.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include <uthash.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"
#include "zstor/cache/scan.h"

#define YOUNG_S 2

/* One file that is only here, or is as its record says; then judge() has the last word, because a
 * record can be read before it is on stable storage: while its job is not done it is not stored. */
struct found {
    struct handover_item it;
    struct local_id id; /* when it was looked at */
    bool same;          /* as its record */
    bool rebuild;       /* the same, but its object lacks shards; a rebuild is wanted */
    bool store;         /* to be queued */
    STAILQ_ENTRY(found) link;
    UT_hash_handle hh; /* by object */
};

STAILQ_HEAD(founds, found);

struct asker {
    struct handover_ask ask;
    handover_fn *fn;
    void *arg;
    STAILQ_ENTRY(asker) link;
};

STAILQ_HEAD(askers, asker);

struct pass { /* the thread's, then the loop's */
    struct engine *engine;
    struct handover_ask ask; /* of all that wait for it */
    uint64_t period_s;
    struct founds found;
    struct found *by_object;
    struct handover_report rep;
};

struct handover {
    struct handover_conf conf;
    struct workq *thread;
    struct loop_timer *timer;
    atomic_bool stop;
    struct pass *pass;       /* NULL: none */
    struct askers now, next; /* that wait for this pass, for the next one */
    int last_rc;
    struct handover_stats st;
};

const char *handover_state_name(enum handover_state s)
{
    static const char *const names[] = {"not stored", "changed", "unknown"};

    return names[s];
}

static void found_free(struct found *f)
{
    free(f->it.file);
    free(f->it.object);
    free(f->it.why);
    free(f);
}

static void pass_free(struct pass *p)
{
    struct found *f;

    HASH_CLEAR(hh, p->by_object);
    while ((f = STAILQ_FIRST(&p->found))) {
        STAILQ_REMOVE_HEAD(&p->found, link);
        found_free(f);
    }
    free(p->rep.item);
    engine_put(p->engine);
    free(p);
}

/* --- thread ---------------------------------------------------------------------------------- */

static bool is_open(const struct pass *p, const struct datadir_file *f)
{
    uint64_t changed = (uint64_t)f->id.mtime_s * 1000000000 + (uint64_t)f->id.mtime_ns;

    if (p->ask.closed)
        return false;
    if (f->kind != DATADIR_SEGMENT && p->ask.before_ns && changed > p->ask.before_ns)
        return true;
    return !f->sealed;
}

static struct found *add(struct pass *p, const struct datadir_file *f, const char *object)
{
    struct found *x = xcalloc(1, sizeof *x);
    uint64_t now = base_wall_s(), changed = (uint64_t)f->id.mtime_s;

    x->it = (struct handover_item){.file = xstrdup(f->path),
                                   .object = xstrdup(object),
                                   .open = is_open(p, f),
                                   .bytes = f->id.size,
                                   .age_s = now > changed ? now - changed : 0};
    x->id = f->id;
    STAILQ_INSERT_TAIL(&p->found, x, link);
    return x;
}

/* A pass that nobody asked for leaves to the hooks what they will bring. */
static bool worth_storing(const struct pass *p, const struct datadir_file *f,
                          const struct handover_item *it)
{
    if (it->open && !(p->ask.store && f->kind != DATADIR_SEGMENT))
        return false;
    return p->ask.store || f->kind == DATADIR_SEGMENT || it->age_s >= p->period_s;
}

static struct found *only_here(struct pass *p, const struct datadir_file *f, const char *object,
                               enum handover_state state, uint64_t remote_bytes)
{
    struct found *x = add(p, f, object);

    x->it.state = state;
    if (state == HANDOVER_CHANGED && f->kind == DATADIR_SEGMENT && remote_bytes < f->id.size)
        x->it.bytes -= remote_bytes;
    x->store = state != HANDOVER_UNKNOWN && worth_storing(p, f, &x->it);
    return x;
}

static void unknown(struct pass *p, const struct datadir_file *f, const char *object,
                    const char *why)
{
    only_here(p, f, object, HANDOVER_UNKNOWN, 0)->it.why = xstrdup(why);
}

/* A file that was written a moment ago may be written again without a later time in its state:
 * clocks of file systems tick. */
static bool is_young(const struct datadir_file *f)
{
    int64_t now = (int64_t)base_wall_s();

    return f->id.mtime_s >= now - YOUNG_S;
}

static struct found *same_as_remote(struct pass *p, const struct datadir_file *f,
                                    const char *object)
{
    struct found *x = add(p, f, object);

    x->same = true;
    return x;
}

/* Compare one file with its record. */
static int look_at(struct handover *h, struct pass *p, const struct datadir_file *f)
{
    CLEANUP(base_free) char *object = NULL;
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct object_result res = {0};
    struct err why = {0};
    int r;

    p->rep.compared_files++;
    if (f->empty || hashes_marked(h->conf.hashes, f->path, &f->id, HASHES_CONFIRMED))
        return 0;
    r = object_store_path(f->path, NULL, &object, &why);
    if (r < 0)
        return r == -ENOENT ? 0 : err_set(&p->rep.err, -r, "%s", why.text);
    if (p->rep.rc == -EHOSTUNREACH) { /* asked in vain a moment ago */
        unknown(p, f, object, p->rep.err.text);
        return 0;
    }
    r = object_check(p->engine->objects, object, NULL, &res, &why);
    if (r < 0) {
        unknown(p, f, object, why.text);
        p->rep.err = why;
        return r;
    }
    if (r == 0) {
        only_here(p, f, object, HANDOVER_NOT_STORED, 0);
        return 0;
    }
    if (res.size && res.size != f->id.size) {
        only_here(p, f, object, HANDOVER_CHANGED, res.size);
        return 0;
    }
    r = hashes_of(h->conf.hashes, f->path, &f->id, &h->stop, digest);
    if (r == -ESTALE) { /* evicted, or being written */
        if (!f->sealed || f->kind != DATADIR_SEGMENT)
            only_here(p, f, object, HANDOVER_CHANGED, 0);
        return 0;
    }
    if (r < 0) {
        unknown(p, f, object, strerror(-r));
        return r == -ECANCELED ? r : err_sys(&p->rep.err, -r, "read %s", f->path);
    }
    if (is_young(f))
        hashes_forget(h->conf.hashes, f->path);
    if (memcmp(digest, res.checksum, sizeof digest) != 0)
        only_here(p, f, object, HANDOVER_CHANGED, 0);
    else if (res.meta_good + res.meta_unreachable < ZSTOR_META_WRITE_QUORUM)
        only_here(p, f, object, HANDOVER_NOT_STORED, 0); /* storing it again completes its record */
    else
        same_as_remote(p, f, object)->rebuild = res.shards_lost > 0;
    return 0;
}

static void look(struct handover *h, struct pass *p, int scanned, const struct datadir *d)
{
    if (scanned < 0)
        p->rep.rc = scanned;
    for (size_t i = 0; i < d->n && !atomic_load(&h->stop); i++) {
        int r = look_at(h, p, &d->files[i]);

        if (r == -EHOSTUNREACH || r == -ECANCELED || (r < 0 && p->rep.rc == 0))
            p->rep.rc = r;
        if (r < 0 && r != -EHOSTUNREACH && r != -ECANCELED)
            log_error("handover: cannot compare %s with what is stored: %s", d->files[i].path,
                      p->rep.err.text);
    }
}

static void on_done(void *arg);

static void on_thread(void *arg)
{
    struct handover *h = arg;
    struct pass *p = h->pass;
    const struct zstor_conf *c = p->engine->conf;
    struct datadir d;

    p->rep.began_ns = base_wall_ns();
    if (c->zdb_data_dir_path) {
        int r = datadir_scan(c->zdb_data_dir_path, &d, &p->rep.err);

        look(h, p, r, &d);
        datadir_fini(&d);
    }
    if (c->zdb_index_dir_path) {
        int r = datadir_scan_index(c->zdb_index_dir_path, &d, &p->rep.err);

        look(h, p, r, &d);
        datadir_fini(&d);
    }
    loop_post(h->conf.loop, on_done, h);
}

/* --- loop ------------------------------------------------------------------------------------ */

static bool same(const struct handover_ask *a, const struct handover_ask *b)
{
    return a->store == b->store && a->closed == b->closed && a->before_ns == b->before_ns;
}

static void begin(void *arg)
{
    struct handover *h = arg;
    struct asker *a;

    if (h->pass)
        return;
    h->pass = xcalloc(1, sizeof *h->pass);
    h->pass->engine = engine_get(h->conf.engine);
    h->pass->period_s = h->conf.period_ms / 1000;
    STAILQ_INIT(&h->pass->found);
    /* only those that ask for the same share a pass */
    while ((a = STAILQ_FIRST(&h->next))) {
        if (STAILQ_EMPTY(&h->now))
            h->pass->ask = a->ask;
        else if (!same(&h->pass->ask, &a->ask))
            break;
        STAILQ_REMOVE_HEAD(&h->next, link);
        STAILQ_INSERT_TAIL(&h->now, a, link);
    }
    if (workq_push(h->thread, on_thread, h) < 0) { /* never: one slot, one pass */
        pass_free(h->pass);
        h->pass = NULL;
    }
}

/* What the queue says of the files. */
static void explain(void *arg, const struct sched_view *v)
{
    struct pass *p = arg;
    struct found *f = NULL;

    if (v->rec->op != JOURNAL_STORE)
        return;
    HASH_FIND_STR(p->by_object, v->rec->name, f);
    if (!f || f->it.why)
        return;
    f->it.why = v->running       ? xstrdup("being stored")
                : *v->last_error ? xstrdup(v->last_error)
                                 : xstrdup("queued");
    p->rep.failing_files += v->tries > 0;
}

static void count(struct handover *h, struct pass *p)
{
    struct handover_report *rep = &p->rep;
    struct found *f;

    STAILQ_FOREACH(f, &p->found, link)
    if (!f->rebuild)
        HASH_ADD_KEYPTR(hh, p->by_object, f->it.object, strlen(f->it.object), f);
    if (p->by_object)
        sched_each(h->conf.sched, explain, p);
    rep->item = xcalloc(HANDOVER_ITEMS, sizeof *rep->item);
    STAILQ_FOREACH(f, &p->found, link)
    {
        if (f->rebuild) {
            rep->degraded_files++;
            continue;
        }
        if (!f->it.why)
            f->it.why = xstrdup(f->it.open ? "zdb writes it" : "no job");
        rep->files++;
        rep->bytes += f->it.bytes;
        rep->open_files += f->it.open;
        rep->open_bytes += f->it.open ? f->it.bytes : 0;
        rep->unknown_files += f->it.state == HANDOVER_UNKNOWN;
        rep->oldest_s = MAX(rep->oldest_s, f->it.age_s);
        if (rep->nitems < HANDOVER_ITEMS)
            rep->item[rep->nitems++] = f->it;
    }
}

/* What is as its record and has no store to wait for is stored, and leaves the list unless a
 * rebuild is wanted. */
static void judge(struct handover *h, struct pass *p)
{
    struct founds all = STAILQ_HEAD_INITIALIZER(all);
    struct found *f;

    STAILQ_CONCAT(&all, &p->found);
    while ((f = STAILQ_FIRST(&all))) {
        STAILQ_REMOVE_HEAD(&all, link);
        if (f->same && h->conf.busy(h->conf.arg, f->it.object, false)) {
            f->it.state = HANDOVER_NOT_STORED;
            f->same = f->rebuild = false;
        } else if (f->same && h->conf.unlogged(h->conf.arg, f->it.object)) {
            f->it.state = HANDOVER_NOT_STORED;
            f->it.why = xstrdup("its record is not in the metadata log yet");
            f->same = f->rebuild = false;
        }
        if (!f->same || f->rebuild) {
            STAILQ_INSERT_TAIL(&p->found, f, link);
            continue;
        }
        hashes_mark(h->conf.hashes, f->it.file, &f->id, HASHES_CONFIRMED);
        found_free(f);
    }
}

static void hand_over(struct handover *h, struct pass *p)
{
    struct found *f;

    STAILQ_FOREACH(f, &p->found, link)
    {
        if ((!f->store && !f->rebuild) || h->conf.busy(h->conf.arg, f->it.object, true))
            continue;
        h->st.queued++;
        if (f->rebuild) {
            h->conf.rebuild(h->conf.arg, f->it.object);
            continue;
        }
        f->it.handed = true;
        h->conf.store(h->conf.arg, f->it.file, f->it.object);
    }
}

static void on_done(void *arg)
{
    struct handover *h = arg;
    struct pass *p = h->pass;
    const struct handover_report *rep = &p->rep;
    struct asker *a;

    judge(h, p);
    hand_over(h, p);
    count(h, p);
    if (rep->rc == 0) {
        h->st.passes++;
    } else if (rep->rc != h->last_rc) {
        log_warn("handover: local files could not be compared with what is stored, will be tried "
                 "again: %s",
                 rep->err.text);
    }
    h->last_rc = rep->rc;
    h->st.known = rep->rc == 0;
    h->st.files = rep->files;
    h->st.bytes = rep->bytes;
    h->st.open_files = rep->open_files;
    h->st.open_bytes = rep->open_bytes;
    h->st.oldest_s = rep->oldest_s;
    loop_timer_start(h->timer, rep->rc < 0 ? h->conf.retry_ms : h->conf.period_ms, false);
    h->pass = NULL;
    while ((a = STAILQ_FIRST(&h->now))) {
        STAILQ_REMOVE_HEAD(&h->now, link);
        a->fn(a->arg, rep);
        free(a);
    }
    pass_free(p);
    if (!STAILQ_EMPTY(&h->next))
        begin(h);
}

void handover_ask(struct handover *h, const struct handover_ask *ask, handover_fn *fn, void *arg)
{
    struct asker *a = xcalloc(1, sizeof *a);

    *a = (struct asker){.ask = *ask, .fn = fn, .arg = arg};
    STAILQ_INSERT_TAIL(&h->next, a, link);
    begin(h);
}

void handover_stats(const struct handover *h, struct handover_stats *out)
{
    *out = h->st;
}

void handover_swap(struct handover *h, struct engine *g)
{
    engine_put(h->conf.engine);
    h->conf.engine = engine_get(g);
    begin(h);
}

int handover_new(struct handover **out, const struct handover_conf *c, struct err *e)
{
    struct handover *h = xcalloc(1, sizeof *h);
    int r;

    h->conf = *c;
    engine_get(h->conf.engine);
    atomic_init(&h->stop, false);
    STAILQ_INIT(&h->now);
    STAILQ_INIT(&h->next);
    h->timer = loop_timer_new(c->loop, begin, h);
    r = workq_new(&h->thread, "handover", 1, 1, e);
    if (r < 0) {
        handover_free(h);
        return r;
    }
    begin(h);
    *out = h;
    return 0;
}

static void drop(struct askers *list)
{
    struct asker *a;

    while ((a = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        free(a);
    }
}

void handover_free(struct handover *h)
{
    if (!h)
        return;
    atomic_store(&h->stop, true);
    workq_free(h->thread);
    if (h->pass)
        pass_free(h->pass);
    drop(&h->now);
    drop(&h->next);
    loop_timer_free(h->timer);
    engine_put(h->conf.engine);
    free(h);
}
