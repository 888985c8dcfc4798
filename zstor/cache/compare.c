/* compare - local segments against remote records. */
#include "zstor/cache/compare.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"
#include "zstor/cache/scan.h"

struct finding {
    char *file, *object;
    bool rebuild;
    STAILQ_ENTRY(finding) link;
};

struct pass { /* the thread's, then the loop's */
    struct engine *engine;
    STAILQ_HEAD(, finding) found;
    int rc;
    struct err err;
};

struct reconcile {
    struct reconcile_conf conf;
    struct workq *thread;
    struct loop_timer *timer;
    atomic_bool stop;
    struct pass *pass; /* NULL: none */
    int last_rc;
    struct reconcile_stats st;
};

static void pass_free(struct pass *p)
{
    struct finding *f;

    while ((f = STAILQ_FIRST(&p->found))) {
        STAILQ_REMOVE_HEAD(&p->found, link);
        free(f->file);
        free(f->object);
        free(f);
    }
    engine_put(p->engine);
    free(p);
}

static void add(struct pass *p, const struct datadir_file *f, const char *object, bool rebuild)
{
    struct finding *x = xcalloc(1, sizeof *x);

    *x = (struct finding){.file = xstrdup(f->path), .object = xstrdup(object), .rebuild = rebuild};
    STAILQ_INSERT_TAIL(&p->found, x, link);
}

static int look_at(struct reconcile *rc, struct pass *p, const struct datadir_file *f)
{
    CLEANUP(base_free) char *object = NULL;
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct object_result res = {0};
    int r;

    if (hashes_marked(rc->conf.hashes, f->path, &f->id, HASHES_CONFIRMED))
        return 0;
    r = object_store_path(f->path, NULL, &object, &p->err);
    if (r < 0)
        return r == -ENOENT ? 0 : r;
    r = object_check(p->engine->objects, object, NULL, &res, &p->err);
    if (r < 0)
        return r;
    if (r == 0) {
        add(p, f, object, false);
        return 0;
    }
    r = hashes_of(rc->conf.hashes, f->path, &f->id, &rc->stop, digest);
    if (r == -ESTALE) /* evicted, or being written: not sealed after all */
        return 0;
    if (r < 0)
        return r == -ECANCELED ? r : err_sys(&p->err, -r, "read %s", f->path);
    if (memcmp(digest, res.checksum, sizeof digest) != 0)
        add(p, f, object, false);
    else if (res.shards_lost > 0) /* metadata values are counted as lost while a backend is just out
                                     of reach */
        add(p, f, object, true);
    else
        hashes_mark(rc->conf.hashes, f->path, &f->id, HASHES_CONFIRMED);
    return 0;
}

static void on_done(void *arg);

static void on_thread(void *arg)
{
    struct reconcile *rc = arg;
    struct pass *p = rc->pass;
    struct datadir d;

    p->rc = datadir_scan(p->engine->conf->zdb_data_dir_path, &d, &p->err);
    for (size_t i = 0; i < d.n && p->rc == 0 && !atomic_load(&rc->stop); i++) {
        int r = d.files[i].sealed ? look_at(rc, p, &d.files[i]) : 0;

        if (r == -EHOSTUNREACH || r == -ECANCELED)
            p->rc = r;
        else if (r < 0)
            log_error("queue: cannot compare %s with what is stored: %s", d.files[i].path,
                      p->err.text);
    }
    datadir_fini(&d);
    loop_post(rc->conf.loop, on_done, rc);
}

static void begin(void *arg)
{
    struct reconcile *rc = arg;

    if (rc->pass || !rc->conf.engine->conf->zdb_data_dir_path)
        return;
    rc->pass = xcalloc(1, sizeof *rc->pass);
    rc->pass->engine = engine_get(rc->conf.engine);
    STAILQ_INIT(&rc->pass->found);
    if (workq_push(rc->thread, on_thread, rc) < 0) { /* never: one slot, one pass */
        pass_free(rc->pass);
        rc->pass = NULL;
    }
}

static void on_done(void *arg)
{
    struct reconcile *rc = arg;
    struct pass *p = rc->pass;
    struct finding *f;

    STAILQ_FOREACH(f, &p->found, link)
    {
        rc->st.queued++;
        if (f->rebuild)
            rc->conf.rebuild(rc->conf.arg, f->object);
        else
            rc->conf.store(rc->conf.arg, f->file, f->object);
    }
    if (p->rc == 0)
        rc->st.passes++;
    else if (p->rc != rc->last_rc)
        log_warn(
            "queue: segments could not be compared with what is stored, will be tried again: %s",
            p->err.text);
    rc->last_rc = p->rc;
    loop_timer_start(rc->timer, p->rc < 0 ? rc->conf.retry_ms : rc->conf.period_ms, false);
    pass_free(p);
    rc->pass = NULL;
}

void reconcile_stats(const struct reconcile *rc, struct reconcile_stats *out)
{
    *out = rc->st;
}

void reconcile_swap(struct reconcile *rc, struct engine *g)
{
    engine_put(rc->conf.engine);
    rc->conf.engine = engine_get(g);
    begin(rc);
}

int reconcile_new(struct reconcile **out, const struct reconcile_conf *c, struct err *e)
{
    struct reconcile *rc = xcalloc(1, sizeof *rc);
    int r;

    rc->conf = *c;
    engine_get(rc->conf.engine);
    atomic_init(&rc->stop, false);
    rc->timer = loop_timer_new(c->loop, begin, rc);
    r = workq_new(&rc->thread, "reconcile", 1, 1, e);
    if (r < 0) {
        reconcile_free(rc);
        return r;
    }
    begin(rc);
    *out = rc;
    return 0;
}

void reconcile_free(struct reconcile *rc)
{
    if (!rc)
        return;
    atomic_store(&rc->stop, true);
    workq_free(rc->thread);
    if (rc->pass)
        pass_free(rc->pass);
    loop_timer_free(rc->timer);
    engine_put(rc->conf.engine);
    free(rc);
}
