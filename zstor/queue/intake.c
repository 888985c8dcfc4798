/* intake - copy, journal, hand over. */
#include "zstor/queue/intake.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/workq.h"
#include "zstor/object/engine.h"
#include "zstor/object/object.h"
#include "zstor/object/remove.h"
#include "zstor/queue/snapshots.h"

#define MAX_ASKED 4096

struct intake {
    struct intake_conf conf;
    struct workq *thread;
    LIST_HEAD(, ask) asked;
};

enum ask_kind { ASK_STORE, ASK_REBUILD, ASK_LIST, ASK_AFTER };

struct ask { /* one request; the helper thread's between push and post, else the loop's */
    struct intake *in;
    struct engine *engine;
    enum ask_kind kind;
    char *file, *key_path, *object;
    bool remove;
    intake_done_fn *done;
    intake_list_fn *list;
    void (*after)(void *arg);
    void *arg;
    int rc;
    struct err err;
    char **files, **objects;
    size_t n, nobjects;
    struct journal_rec **recs; /* durable, to be handed over */
    size_t nrecs;
    LIST_ENTRY(ask) link;
};

static void ask_free(struct ask *a)
{
    for (size_t i = 0; i < a->nrecs; i++)
        journal_rec_free(a->recs[i]);
    free(a->recs);
    engine_put(a->engine);
    LIST_REMOVE(a, link);
    path_list_free(a->files, a->n);
    path_list_free(a->objects, a->nobjects);
    free(a->file);
    free(a->key_path);
    free(a->object);
    free(a);
}

/* --- helper thread --------------------------------------------------------------------------- */

static int resolve(struct ask *a)
{
    int r;

    remove_undo(a->file);
    r = snapshot_files(a->file, &a->files, &a->n, &a->err);
    if (r < 0)
        return r;
    a->objects = xcalloc(a->n + 1, sizeof *a->objects);
    for (size_t i = 0; i < a->n && r == 0; i++) {
        if (a->object)
            a->objects[i] = xstrdup(a->object);
        else
            r = object_store_path(a->files[i], a->key_path, &a->objects[i], &a->err);
        if (r == 0)
            a->nobjects = i + 1;
        if (r == 0 && a->engine) { /* inside root */
            char *key = NULL;

            r = object_key(a->engine->conf, a->objects[i], &key, &a->err);
            free(key);
        }
    }
    return r;
}

static int copy_source(struct journal *j, struct journal_rec *rec, const char *file,
                       struct local_id *of, struct err *e)
{
    CLEANUP(base_free) char *copy = journal_snapshot_path(j, rec->seq);
    int r = snapshot_take(file, copy, &rec->bytes, of, e);

    if (r < 0)
        return r;
    r = path_sync_dir(journal_snapshot_dir(j));
    if (r < 0) {
        unlink(copy);
        return err_sys(e, -r, "sync %s", journal_snapshot_dir(j));
    }
    return 0;
}

/* Its copy is in the queue: the source goes, if it still is what was copied. */
static void remove_copied(struct journal *j, const struct journal_rec *rec, const char *file,
                          const struct local_id *of)
{
    CLEANUP(base_free) char *copy = journal_snapshot_path(j, rec->seq);
    CLEANUP(base_close) int fd = open(copy, O_RDONLY | O_CLOEXEC);
    uint8_t sum[ZSTOR_DIGEST_LEN];
    struct err why = {0};
    int r = fd < 0 ? -errno : digest_fd(fd, NULL, sum);

    if (r < 0)
        err_sys(&why, -r, "%s", copy);
    else
        r = remove_stored(file, of, sum, &why);
    if (r < 0)
        log_warn("store: queued, but not removed: %s", why.text);
}

static int queue_one(struct ask *a, const char *file, const char *object)
{
    struct journal *j = a->in->conf.journal;
    struct journal_rec *rec = xcalloc(1, sizeof *rec);
    struct local_id of = {0};
    int r = 0;

    *rec = (struct journal_rec){
        .seq = journal_next(j),
        .op = a->kind == ASK_STORE ? JOURNAL_STORE : JOURNAL_REBUILD,
        .name = xstrdup(object),
        .queued_s = base_wall_s(),
    };
    if (rec->op == JOURNAL_STORE && local_is_data(file)) {
        struct stat st;

        rec->source = realpath(file, NULL); /* what is read, wherever links point later */
        if (!rec->source || stat(rec->source, &st) < 0)
            r = err_sys(&a->err, errno, "Could not load file metadata for %s", file);
        else
            rec->bytes = (uint64_t)st.st_size;
        rec->remove = a->remove;
    } else if (rec->op == JOURNAL_STORE) {
        r = copy_source(j, rec, file, &of, &a->err);
    }
    if (r == 0) {
        r = journal_add(j, rec, &a->err);
        if (r < 0)
            journal_remove(j, rec); /* the copy */
    }
    if (r < 0) {
        journal_rec_free(rec);
        return r;
    }
    a->recs[a->nrecs++] = rec;
    if (a->remove && !rec->source && rec->op == JOURNAL_STORE)
        remove_copied(j, rec, file, &of);
    return 0;
}

static void serve(struct ask *a)
{
    if (a->kind == ASK_AFTER)
        return;
    if (a->kind == ASK_REBUILD) {
        a->recs = xcalloc(1, sizeof(struct journal_rec *));
        a->rc = queue_one(a, NULL, a->object);
        return;
    }
    a->rc = resolve(a);
    if (a->kind == ASK_LIST || a->rc < 0)
        return;
    a->recs = xcalloc(a->n + 1, sizeof(struct journal_rec *));
    for (size_t i = 0; i < a->n && a->rc == 0; i++)
        a->rc = queue_one(a, a->files[i], a->objects[i]);
}

static void on_loop(void *arg)
{
    struct ask *a = arg;
    struct intake *in = a->in;
    size_t nrecs = a->nrecs;

    a->nrecs = 0; /* taken */
    for (size_t i = 0; i < nrecs; i++)
        in->conf.added(in->conf.arg, a->recs[i]);
    if (a->kind == ASK_AFTER) {
        a->after(a->arg);
    } else if (a->kind == ASK_LIST) {
        a->list(a->arg, a->rc, &a->err, a->files, a->objects, a->n);
        a->files = a->objects = NULL;
        a->n = a->nobjects = 0;
    } else if (a->done) {
        a->done(a->arg, a->rc, &a->err);
    } else if (a->rc < 0) {
        log_error("queue: %s", a->err.text);
    }
    ask_free(a);
}

static void on_thread(void *arg)
{
    struct ask *a = arg;
    struct loop *l = a->in->conf.loop;

    serve(a);
    loop_post(l, on_loop, a);
}

/* --- loop ------------------------------------------------------------------------------------ */

static struct ask *ask_new(struct intake *in, enum ask_kind kind)
{
    struct ask *a = xcalloc(1, sizeof *a);

    a->in = in;
    a->engine = in->conf.engine ? engine_get(in->conf.engine) : NULL;
    LIST_INSERT_HEAD(&in->asked, a, link);
    a->kind = kind;
    return a;
}

static int push(struct ask *a)
{
    int r = workq_push(a->in->thread, on_thread, a);

    if (r < 0)
        ask_free(a);
    return r == -EAGAIN ? -EBUSY : r;
}

int intake_store(struct intake *in, const char *file, const char *key_path, bool remove,
                 intake_done_fn *done, void *arg)
{
    struct ask *a = ask_new(in, ASK_STORE);

    a->file = xstrdup(file);
    a->key_path = key_path ? xstrdup(key_path) : NULL;
    a->remove = remove;
    a->done = done;
    a->arg = arg;
    return push(a);
}

int intake_store_as(struct intake *in, const char *file, const char *object_path, bool remove,
                    intake_done_fn *done, void *arg)
{
    struct ask *a = ask_new(in, ASK_STORE);

    a->file = xstrdup(file);
    a->object = xstrdup(object_path);
    a->remove = remove;
    a->done = done;
    a->arg = arg;
    return push(a);
}

int intake_rebuild(struct intake *in, const char *object_path)
{
    struct ask *a = ask_new(in, ASK_REBUILD);

    a->object = xstrdup(object_path);
    return push(a);
}

int intake_list(struct intake *in, const char *file, const char *key_path, intake_list_fn *done,
                void *arg)
{
    struct ask *a = ask_new(in, ASK_LIST);

    a->file = xstrdup(file);
    a->key_path = key_path ? xstrdup(key_path) : NULL;
    a->list = done;
    a->arg = arg;
    return push(a);
}

int intake_after(struct intake *in, void (*fn)(void *arg), void *arg)
{
    struct ask *a = ask_new(in, ASK_AFTER);

    a->after = fn;
    a->arg = arg;
    return push(a);
}

int intake_new(struct intake **out, const struct intake_conf *c, struct err *e)
{
    struct intake *in = xcalloc(1, sizeof *in);
    int r;

    in->conf = *c;
    LIST_INIT(&in->asked);
    r = workq_new(&in->thread, "intake", 1, MAX_ASKED, e);
    if (r < 0) {
        free(in);
        return r;
    }
    if (in->conf.engine)
        engine_get(in->conf.engine);
    *out = in;
    return 0;
}

void intake_swap(struct intake *in, struct engine *g)
{
    engine_put(in->conf.engine);
    in->conf.engine = engine_get(g);
}

void intake_free(struct intake *in)
{
    if (!in)
        return;
    workq_free(in->thread);
    while (!LIST_EMPTY(&in->asked))
        ask_free(LIST_FIRST(&in->asked));
    engine_put(in->conf.engine);
    free(in);
}
