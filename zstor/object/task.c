/* task - struct task -> the object_... call it stands for. */
#include "zstor/object/task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "zstor/format/record.h"
#include "zstor/object/metalog.h"

#define MAX_DEAD ((size_t)64 * MIB)         /* of the record of a reclaim */
#define MAX_KEYS ((size_t)64 * 1024 * 1024) /* of one list; more is refused */

const char *task_name(enum task_op op)
{
    static const char *const names[] = {"store",  "retrieve", "check",   "rebuild",     "list",
                                        "repair", "survey",   "reclaim", "metadata log"};

    return names[op];
}

struct task *task_new(enum task_op op, const char *path)
{
    struct task *t = xcalloc(1, sizeof *t);

    t->op = op;
    t->fd = -1;
    t->path = path ? xstrdup(path) : NULL;
    return t;
}

void task_free(struct task *t)
{
    if (!t)
        return;
    free(t->path);
    free(t->meta_key);
    free(t->source);
    if (t->fd >= 0)
        close(t->fd);
    free(t->local);
    path_list_free(t->keys, t->nkeys);
    free(t->good);
    free(t);
}

static bool id_of(struct local_id *out, const char *path)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return false;
    local_id_of(out, &st);
    return true;
}

static void run_store(struct task *t, struct objects *o, const struct object_ctl *ctl)
{
    struct local_id before = {0}, after = {0};
    bool there = id_of(&before, t->source);

    t->rc = object_store(o, t->source, t->path, t->flags, ctl, &t->res, &t->err);
    t->id_known = t->rc == 0 && there && id_of(&after, t->source) && local_id_eq(&before, &after);
    t->id = after;
    t->local = t->id_known ? realpath(t->source, NULL) : NULL;
    t->id_known = t->local != NULL;
}

static void run_retrieve(struct task *t, struct objects *o, const struct object_ctl *ctl)
{
    struct object_target to = {.fd = t->fd, .replace = t->replace};

    t->rc = object_retrieve(o, t->path, t->meta_key, &to, ctl, &t->res, &t->err);
    t->local = t->rc == 0 && t->fd < 0 && !t->res.skipped ? realpath(t->path, NULL) : NULL;
    t->id_known = t->local && id_of(&t->id, t->local);
}

struct keys {
    char **list;
    unsigned *good; /* survey only */
    size_t n, cap;
};

static int add_key(void *arg, const char *key)
{
    struct keys *k = arg;

    if (k->n == k->cap) {
        size_t cap = k->cap ? 2 * k->cap : 1024;
        char **more = cap > MAX_KEYS ? NULL : realloc(k->list, cap * sizeof *more);

        if (!more)
            return -ENOMEM;
        k->list = more;
        k->cap = cap;
    }
    k->list[k->n++] = xstrdup(key);
    return 0;
}

static void run_list(struct task *t, struct objects *o)
{
    struct keys k = {0};

    t->rc = object_each(o, add_key, &k, &t->err);
    if (t->rc == -ENOMEM)
        err_set(&t->err, ENOMEM, "too many objects to list");
    t->keys = k.list;
    t->nkeys = k.n;
}

static int add_found(void *arg, const char *key, unsigned good)
{
    struct keys *k = arg;
    size_t cap = k->cap;
    int r = add_key(k, key);

    if (r < 0)
        return r;
    if (k->cap != cap) {
        unsigned *more = realloc(k->good, k->cap * sizeof *more);

        if (!more)
            return -ENOMEM;
        k->good = more;
    }
    k->good[k->n - 1] = good;
    return 0;
}

static void run_survey(struct task *t, struct objects *o, const struct object_ctl *ctl)
{
    struct keys k = {0};

    t->rc = object_survey(o, ctl, add_found, &k, &t->seen, &t->err);
    t->keys = k.list;
    t->good = k.good;
    t->nkeys = k.n;
}

static void run_reclaim(struct task *t, struct objects *o, const struct object_ctl *ctl)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    struct meta_record dead;

    t->rc = path_read(t->source, MAX_DEAD, &bytes, &t->err);
    if (t->rc == 0)
        t->rc = meta_format_decode(buf_slice(&bytes), &dead, &t->err) < 0 ? -EINVAL : 0;
    if (t->rc < 0)
        return;
    t->rc = object_reclaim_dead(o, t->meta_key, &dead, ctl, &t->err);
    meta_record_fini(&dead);
}

void task_run(struct task *t, struct objects *o, const atomic_bool *stop)
{
    struct object_ctl ctl = {.stop = stop};

    err_clear(&t->err);
    t->res = (struct object_result){0};
    t->id_known = false;
    free(t->local);
    t->local = NULL;
    if (t->probe)
        object_probe(o);
    switch (t->op) {
    case TASK_STORE:
        run_store(t, o, &ctl);
        break;
    case TASK_RETRIEVE:
        run_retrieve(t, o, &ctl);
        break;
    case TASK_CHECK:
        t->rc = object_check(o, t->path, t->meta_key, &t->res, &t->err);
        break;
    case TASK_REBUILD:
        t->rc = object_rebuild(o, t->path, t->meta_key, &ctl, &t->res, &t->err);
        break;
    case TASK_LIST:
        run_list(t, o);
        break;
    case TASK_REPAIR:
        t->rc = object_repair(o, t->meta_key, &ctl, &t->res, &t->err);
        break;
    case TASK_SURVEY:
        run_survey(t, o, &ctl);
        break;
    case TASK_RECLAIM:
        run_reclaim(t, o, &ctl);
        break;
    case TASK_META_LOG:
        t->rc = metalog_flush(o, &ctl, &t->err);
        break;
    }
}
