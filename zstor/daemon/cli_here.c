/* cli_here - the commands in this process, without a daemon. */
#include "zstor/daemon/cli_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/daemon/cli_recover.h"
#include "zstor/object/backup.h"
#include "zstor/object/changes.h"
#include "zstor/object/metalog.h"
#include "zstor/object/engine.h"
#include "zstor/daemon/poller.h"
#include "zstor/daemon/status.h"
#include "zstor/object/remove.h"
#include "zstor/object/task.h"
#include "zstor/queue/journal.h"
#include "zstor/object/volume.h"
#include "zstor/state_dir.h"

#define CHANGED_TRIES 5 /* of a file that changes while it is read */

/* volume: for what writes; NULL for what only reads. */
static int open_engine(struct cli *c, struct engine **out, struct volume *volume)
{
    struct zstor_conf *conf = c->conf;
    struct err e = {0};

    if (volume && conf->metadata_log && changes_open(&c->changes, conf->state_dir, false, &e) < 0) {
        (void)cli_fail(&e);
        return 1; /* what it returns, said here for the analyzer: *out is not set */
    }
    c->conf = NULL;
    return engine_open(out, conf, NULL, NULL, volume, c->changes, &e) < 0 ? cli_fail(&e) : 0;
}

static int open_volume(struct cli *c, struct volume **out)
{
    struct err e = {0};

    if (state_dir_own(c->conf->state_dir, c->conf, &e) < 0 ||
        volume_open(out, c->conf->state_dir, c->conf->lease_ms, &e) < 0)
        return cli_fail(&e);
    return 0;
}

/* What this machine remembers of a volume that it writes, for one who reads; none is no fault. */
static void open_memory(struct cli *c, struct volume **out)
{
    CLEANUP(base_free) char *file = path_join(c->conf->state_dir, "instance");
    struct err e = {0};

    if (access(file, R_OK) == 0 && volume_open(out, c->conf->state_dir, c->conf->lease_ms, &e) < 0)
        log_debug("%s", e.text);
}

/* Zero, or the line was written: the key is not the volume's.  Too few backends to tell are told
 * by others. */
static int check_key(struct engine *g)
{
    struct err e = {0};

    return object_check_key(g->objects, &e) == -EKEYREJECTED ? cli_fail(&e) : 0;
}

int cli_here_takeover(struct cli *c)
{
    struct volume *v = NULL;
    struct engine *g = NULL;
    struct err e = {0};
    int code = open_volume(c, &v);

    if (code == 0)
        code = open_engine(c, &g, v);
    if (code == 0 && object_claim(g->objects, true, NULL, &e) < 0)
        code = cli_fail_zstor(e.text);
    if (code == 0) {
        printf("the volume is ours now, epoch %" PRIu64 "\n", volume_epoch(v));
        object_give_back(g->objects);
    }
    engine_put(g);
    volume_close(v);
    return code;
}

static int store_files(struct cli *c, struct engine *g, char **files, size_t n, struct err *first)
{
    size_t bad = 0;

    for (size_t i = 0; i < n && !(bad && c->req.stop_at_error); i++) {
        char *object = NULL;
        struct task *t;

        struct err e = {0};

        if (object_store_path(files[i], c->req.key_path, &object, &e) == 0) {
            t = task_new(TASK_STORE, object);
            t->source = xstrdup(files[i]);
            t->flags = c->req.remove ? OBJECT_DELETE : 0;
            for (int tries = 0; tries == 0 || (t->rc == -EAGAIN && tries < CHANGED_TRIES); tries++)
                task_run(t, g->objects, NULL);
            if (t->rc < 0)
                e = t->err;
            task_free(t);
            free(object);
        }
        if (e.code && bad++ == 0)
            *first = e;
    }
    return bad ? -first->code : 0;
}

static int local_store(struct cli *c, struct engine *g)
{
    struct err e = {0};
    char **files = NULL;
    size_t n = 0;
    int r;

    remove_undo(c->req.file);
    r = snapshot_files(c->req.file, &files, &n, &e);
    if (r == 0) {
        r = store_files(c, g, files, n, &e);
        path_list_free(files, n);
    }
    return r < 0 ? cli_fail_zstor(e.text) : 0;
}

static void print_checksum(const uint8_t sum[ZSTOR_DIGEST_LEN])
{
    char hex[2 * ZSTOR_DIGEST_LEN + 1];

    parse_to_hex(sum, ZSTOR_DIGEST_LEN, hex);
    puts(hex);
}

static int not_whole(const struct object_result *res)
{
    struct err e;

    err_set(&e, EIO, "%u of %u shards and %u of %d metadata values could not be restored now",
            res->shards_lost, res->shards, res->meta_lost, ZSTOR_META_COPIES);
    return cli_fail_zstor(e.text);
}

static int local_one(struct cli *c, struct engine *g, enum task_op op)
{
    struct task *t = task_new(op, c->req.file);
    int code = 0;

    t->meta_key = c->req.key ? xstrdup(c->req.key) : NULL;
    task_run(t, g->objects, NULL);
    if (t->rc >= 0 && t->res.unproved_newest)
        cli_warn_stderr(
            "too few metadata backends answered: that this is the newest cannot be proved");
    if (t->rc < 0)
        code = cli_fail_zstor(t->err.text);
    else if (op == TASK_CHECK && t->rc == 1)
        print_checksum(t->res.checksum);
    else if (op == TASK_REBUILD && t->res.shards_lost + t->res.meta_lost > 0)
        code = not_whole(&t->res);
    task_free(t);
    return code;
}

static int local_retrieve(struct cli *c, struct engine *g, struct cli_output *out)
{
    struct task *t = task_new(TASK_RETRIEVE, c->req.file);
    struct err e = {0};
    int r;

    t->fd = out->fd < 0 ? -1 : dup(out->fd);
    t->replace = c->req.force;
    task_run(t, g->objects, NULL);
    e = t->err;
    r = t->rc < 0 ? t->rc : cli_output_publish(out, &e);
    task_free(t);
    return r < 0 ? cli_fail_zstor(e.text) : 0;
}

struct all {
    uint64_t objects, bad, shards;
};

static int count_rebuilt(void *arg, const char *key, int rc, const struct object_result *res,
                         const struct err *e)
{
    struct all *a = arg;

    a->objects++;
    a->shards += res->shards_restored;
    if (rc < 0 || res->shards_lost + res->meta_lost > 0) {
        a->bad++;
        fprintf(stderr, "%s (%s): %s\n", key,
                res->name[0] ? res->name : "its record does not tell the path",
                rc < 0 && e ? e->text
                            : "not whole, shards or metadata values could not be restored now");
    }
    return 0;
}

static int local_rebuild_all(struct engine *g)
{
    struct all a = {0};
    struct err e = {0};
    int r = object_rebuild_all(g->objects, NULL, count_rebuilt, &a, &e);

    if (a.bad) {
        err_set(&e, EIO, "%" PRIu64 " of %" PRIu64 " objects are not whole", a.bad, a.objects);
        return cli_fail_zstor(e.text);
    }
    if (r < 0)
        return cli_fail_zstor(e.text);
    printf("%" PRIu64 " objects whole, %" PRIu64 " shards restored\n", a.objects, a.shards);
    return 0;
}

/* In this process also beside a daemon: the lock of the object is in state_dir. */
int cli_here_forget(struct cli *c)
{
    struct object_result res;
    struct volume *v = NULL;
    struct engine *g = NULL;
    struct err e = {0};
    int r, code = open_volume(c, &v);

    if (code == 0)
        code = open_engine(c, &g, v);
    if (code == 0) {
        r = object_check(g->objects, c->req.file, c->req.key, &res, &e);
        if (r == 0)
            r = err_set(&e, ENOENT, "no metadata found for %s",
                        c->req.file ? c->req.file : c->req.key);
        if (r > 0 || r == -EBADMSG)
            r = object_delete(g->objects, c->req.file, c->req.key, NULL, &e);
        code = r < 0 ? cli_fail_zstor(e.text) : 0;
    }
    engine_put(g);
    volume_close(v);
    return code;
}

/* The lock of the queue keeps daemons away: one that runs would go on with the former key. */
int cli_here_rekey(struct cli *c)
{
    struct object_rekeyed done = {0};
    struct journal *queue = NULL;
    struct volume *v = NULL;
    struct engine *g = NULL;
    struct err e = {0};
    int code = open_volume(c, &v);

    if (code == 0 && journal_open(&queue, c->conf->state_dir, &e) < 0)
        code = cli_fail(&e);
    if (code == 0)
        code = open_engine(c, &g, v);
    if (code == 0) {
        int r = object_rekey(g->objects, NULL, &done, &e);

        printf("%" PRIu64 " objects, %" PRIu64 " written with the new key, %" PRIu64
               " could not be\n",
               done.objects, done.changed, done.failed);
        code = r < 0 ? cli_fail_zstor(e.text) : 0;
        if (code == 0)
            puts("the former key is not needed any more: put the new one also into "
                 "meta.config.encryption.key");
        object_give_back(g->objects);
    }
    engine_put(g);
    journal_close(queue);
    volume_close(v);
    return code;
}

/* Without a daemon: on a machine that has nothing yet none runs. */
int cli_here_recover(struct cli *c)
{
    struct volume *v = NULL;
    struct engine *g = NULL;
    struct err e = {0};
    int code = open_volume(c, &v);

    if (code == 0)
        code = open_engine(c, &g, v);
    if (code == 0)
        code = cli_recover(g->objects, g->conf, c->takeover, c->words, c->nwords, &e);
    if (code < 0)
        code = cli_fail(&e);
    if (g)
        object_give_back(g->objects);
    engine_put(g);
    volume_close(v);
    return code;
}

static int append(void *out, struct slice bytes)
{
    buf_put_slice(out, bytes);
    return 0;
}

static int meta_backup(struct engine *g, const char *file)
{
    CLEANUP(buf_fini) struct buf out = BUF_INIT;
    struct backup_counts n;
    struct err e = {0};
    struct backup_what what = {.sink = append, .arg = &out};
    int r = backup_make(g->objects, &what, &n, &e), w = 0;
    struct err io = {0};

    if (r == 0 || n.failed) {
        if (strcmp(file, "-") == 0)
            w = fwrite(buf_data(&out), 1, out.len, stdout) == out.len ? 0 : -EIO;
        else
            w = path_replace(file, buf_slice(&out), 0600, &io);
    }
    if (w < 0)
        return io.code ? cli_fail(&io) : 1;
    if (strcmp(file, "-") != 0 && (r == 0 || n.failed))
        printf("%" PRIu64 " records\n", n.objects);
    return r < 0 ? cli_fail_zstor(e.text) : 0;
}

static int told(int r, const struct backup_counts *n, const struct err *e)
{
    if (r == 0 || n->failed)
        printf("%" PRIu64 " records restored, %" PRIu64 " are there or were deleted, %" PRIu64
               " could not be restored\n",
               n->objects, n->kept, n->failed);
    return r < 0 ? cli_fail_zstor(e->text) : 0;
}

static int meta_restore(struct engine *g, const char *file)
{
    CLEANUP(buf_fini) struct buf in = BUF_INIT;
    struct backup_counts n = {0};
    struct err e = {0};
    int r;

    if (path_read(file, (size_t)4 << 30, &in, &e) < 0)
        return cli_fail(&e);
    r = backup_restore(g->objects, buf_slice(&in), NULL, &n, &e);
    return told(r, &n, &e);
}

static int meta_recover(struct cli *c, struct engine *g)
{
    struct backup_counts n;
    struct err e = {0};
    int r = metalog_recover(g->objects, c->takeover, NULL, &n, &e);

    if (r == 0 || n.failed)
        object_give_back(g->objects);
    return told(r, &n, &e);
}

int cli_here_meta(struct cli *c)
{
    bool recover = c->nwords == 1 && strcmp(c->words[0], "recover") == 0;
    bool backup = c->nwords == 2 && strcmp(c->words[0], "backup") == 0;
    struct journal *queue = NULL;
    struct volume *v = NULL;
    struct engine *g = NULL;
    struct err e = {0};
    int code = 0;

    if (!recover && !backup && (c->nwords != 2 || strcmp(c->words[0], "restore") != 0))
        return cli_fail_usage("meta: needs backup or restore, and a file; or recover");
    if (backup)
        open_memory(c, &v);
    else
        code = open_volume(c, &v);
    if (code == 0 && recover && journal_open(&queue, c->conf->state_dir, &e) < 0)
        code = cli_fail(&e); /* a daemon runs, which keeps the log */
    if (code == 0)
        code = open_engine(c, &g, v);
    if (code == 0)
        code = backup    ? meta_backup(g, c->words[1])
               : recover ? meta_recover(c, g)
                         : meta_restore(g, c->words[1]);
    engine_put(g);
    journal_close(queue);
    volume_close(v);
    return code;
}

int cli_here_run(struct cli *c)
{
    CLEANUP(cli_output_fini) struct cli_output out = {.fd = -1, .to = -1, .place.fd = -1};
    bool writes = c->req.op == CONTROL_STORE || c->req.op == CONTROL_REBUILD;
    struct volume *v = NULL;
    struct engine *g = NULL;
    struct err e = {0};
    int code;

    if (c->req.op == CONTROL_WAIT) /* without a daemon nothing is queued */
        return 0;
    if (c->req.op == CONTROL_QUEUE)
        return cli_fail_text(
            "the configuration has no `socket`: without a daemon there is no queue");
    if (cli_output_open(&out, c->output, c->req.force, c->conf->zdb_data_dir_path, &e) < 0)
        return cli_fail_zstor(e.text);
    code = writes ? open_volume(c, &v) : 0;
    if (!writes)
        open_memory(c, &v);
    if (code == 0)
        code = open_engine(c, &g, v);
    if (code) {
        volume_close(v);
        return code;
    }
    switch (c->req.op) {
    case CONTROL_STORE:
        code = local_store(c, g);
        break;
    case CONTROL_RETRIEVE:
        code = local_retrieve(c, g, &out);
        break;
    case CONTROL_CHECK:
        code = local_one(c, g, TASK_CHECK);
        break;
    default:
        code = c->req.all ? local_rebuild_all(g) : local_one(c, g, TASK_REBUILD);
        break;
    }
    engine_put(g);
    volume_close(v);
    return code;
}

static int print_status(bool json, const struct status *st)
{
    struct buf text = BUF_INIT;

    if (json)
        status_json(&text, st);
    else
        status_table(&text, st);
    fwrite(buf_data(&text), 1, text.len, stdout);
    buf_fini(&text);
    return status_at_risk(st);
}

int cli_here_status(struct cli *c, const char *note)
{
    struct status st = {.note = note};
    struct engine *g = NULL;
    struct poller_backend *list;
    int code = open_engine(c, &g, NULL);

    if (code)
        return code;
    code = check_key(g);
    if (code) {
        engine_put(g);
        return code;
    }
    list = poller_ask(g->conf, g->objects, &st.n);
    st.backends = list;
    code = print_status(c->req.json, &st) || note; /* a daemon that should run and does not is a
                                                      risk */
    free(list);
    engine_put(g);
    return code;
}

int cli_here_test(struct cli *c)
{
    size_t n = 0, bad = 0, up[2] = {0, 0};
    struct poller_backend *list;
    struct engine *g = NULL;
    int code = open_engine(c, &g, NULL);

    if (code)
        return code;
    code = check_key(g);
    if (code) {
        engine_put(g);
        return code;
    }
    list = poller_ask(g->conf, g->objects, &n);
    for (size_t i = 0; i < n; i++) {
        char name[400];

        up[list[i].meta] += list[i].up;
        if (list[i].up)
            continue;
        bad++;
        backend_addr_name(list[i].addr, name, sizeof name);
        fprintf(stderr, "Error: %s backend %s: %s\n", list[i].meta ? "metadata" : "data", name,
                list[i].error);
        log_error("test: %s backend %s: %s", list[i].meta ? "metadata" : "data", name,
                  list[i].error);
    }
    if (c->ready_only)
        code = up[0] < g->conf->minimal_shards || up[1] < ZSTOR_META_DATA;
    else
        code = bad > 0;
    free(list);
    engine_put(g);
    return code;
}
