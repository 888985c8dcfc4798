/* commands - requests of the control socket.  Each one that takes time is a struct work until it is
 * answered. */
#include "zstor/daemon/commands.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/parse.h"
#include "common/path.h"
#include "common/resp.h"
#include "zstor/daemon/handover_reply.h"

#define CHANGED_TRIES 5 /* of a file that changes while it is read and that somebody waits for */
#define WINDOW \
    4 /* files of one directory, objects of one REBUILD ALL, that are handed out at a time */

struct work;

struct part { /* one file of a store */
    struct work *w;
    size_t i;
    unsigned tries; /* in which it changed while it was read */
};

struct work {
    struct commands *c;
    struct control_call *call;
    struct control_req req;  /* strings copied */
    char **names, **objects; /* store: files and what they are stored as; rebuild of all: names are
                                keys */
    struct part *parts;      /* store: one for each name */
    size_t n, next, running;
    size_t good, bad, kept_for_later;
    uint64_t shards;  /* restored */
    struct err first; /* failure */
    LIST_ENTRY(work) link;
};

struct commands {
    struct commands_conf conf;
    LIST_HEAD(, work) all;
    bool rebuilding; /* REBUILD ALL runs */
    STAILQ_HEAD(, parked) parked;
    struct loop_timer *status_timer; /* runs while there are parked ones */
};

struct parked { /* STATUS until the backends were asked */
    struct control_call *call;
    bool json;
    STAILQ_ENTRY(parked) link;
};

static char *copy_of(const char *s)
{
    return s ? xstrdup(s) : NULL;
}

static struct work *work_new(struct commands *c, struct control_call *call,
                             const struct control_req *req)
{
    struct work *w = xcalloc(1, sizeof *w);

    w->c = c;
    w->call = call;
    w->req = *req;
    w->req.file = copy_of(req->file);
    w->req.key_path = copy_of(req->key_path);
    w->req.key = copy_of(req->key);
    w->req.before = copy_of(req->before);
    LIST_INSERT_HEAD(&c->all, w, link);
    return w;
}

static void work_free(struct work *w)
{
    LIST_REMOVE(w, link);
    control_proto_fini(&w->req);
    path_list_free(w->names, w->n);
    path_list_free(w->objects, w->objects ? w->n : 0);
    free(w->parts);
    free(w);
}

static void fail(struct work *w, const char *text)
{
    control_reply_error(w->call, text);
    work_free(w);
}

static const char *refusal(int rc)
{
    return rc == -ESHUTDOWN ? "the daemon stops"
           : rc == -EBUSY   ? "too many commands are waiting, try again"
                            : strerror(-rc);
}

/* t is taken. */
static int submit(struct commands *c, enum sched_class class, struct task *t, sched_done_fn *done,
                  void *arg)
{
    char *lock = NULL;
    int r;

    if (t->op == TASK_STORE || t->op == TASK_REBUILD)
        lock = t->path ? c->conf.lock(c->conf.arg, t->path) : copy_of(t->meta_key);
    r = sched_submit(c->conf.sched, class, t, lock, done, arg);
    if (r < 0)
        task_free(t);
    free(lock);
    return r;
}

/* --- store ----------------------------------------------------------------------------------- */

static void store_more(struct work *w);

static void note_failure(struct work *w, const struct err *e)
{
    if (w->bad++ == 0)
        w->first = *e;
}

static void on_kept(void *arg, int rc, const struct err *e)
{
    struct work *w = arg;

    if (rc < 0)
        log_error("store: could not be queued either: %s", e->text);
    else
        w->kept_for_later++;
    w->running--;
    store_more(w);
}

static void on_stored(void *arg, const struct task *t);

static int submit_part(struct part *p)
{
    struct work *w = p->w;
    struct task *t = task_new(TASK_STORE, w->objects[p->i]);

    t->source = xstrdup(w->names[p->i]);
    t->flags = w->req.remove ? OBJECT_DELETE : 0;
    return submit(w->c, SCHED_STORE, t, on_stored, p);
}

static void on_stored(void *arg, const struct task *t)
{
    struct part *p = arg;
    struct work *w = p->w;
    struct commands *c = w->c;

    if (t->rc == -EAGAIN && ++p->tries < CHANGED_TRIES && submit_part(p) == 0)
        return;
    if (t->rc == 0) {
        w->good++;
    } else {
        note_failure(w, &t->err);
        if (w->req.save_failure && t->rc != -ENOENT &&
            intake_store_as(c->conf.intake, w->names[p->i], w->objects[p->i], w->req.remove,
                            on_kept, w) == 0)
            return; /* on_kept goes on */
    }
    w->running--;
    store_more(w);
}

static void store_answer(struct work *w)
{
    struct buf text = BUF_INIT;

    if (w->bad == 0) {
        control_reply_ok(w->call);
        work_free(w);
        return;
    }
    if (w->n > 1)
        buf_printf(&text, "%zu of %zu files failed, the first: ", w->bad, w->n);
    buf_put_str(&text, w->first.text);
    if (w->kept_for_later)
        buf_printf(&text, " (%s queued and will be tried again)",
                   w->bad == 1 ? "it is" : "failed ones are");
    buf_put_u8(&text, 0);
    fail(w, (const char *)buf_data(&text));
    buf_fini(&text);
}

static void store_more(struct work *w)
{
    size_t window = w->req.stop_at_error ? 1 : WINDOW;

    if (w->req.stop_at_error && w->bad > 0)
        w->next = w->n;
    w->running++; /* a submit that ends at once must not answer from inside this loop */
    while (w->next < w->n && w->running - 1 < window) {
        struct part *p = &w->parts[w->next];
        int r;

        *p = (struct part){.w = w, .i = w->next++};
        r = submit_part(p);
        if (r < 0) {
            struct err e;

            err_set(&e, -r, "%s", refusal(r));
            note_failure(w, &e);
            w->next = w->n;
            break;
        }
        w->running++;
    }
    if (--w->running == 0)
        store_answer(w);
}

static void on_listed(void *arg, int rc, const struct err *e, char **files, char **objects,
                      size_t n)
{
    struct work *w = arg;

    w->names = files;
    w->objects = objects;
    w->n = n;
    if (rc < 0) {
        fail(w, e->text);
        return;
    }
    w->parts = xcalloc(n + 1, sizeof *w->parts);
    store_more(w);
}

static void on_queued(void *arg, int rc, const struct err *e)
{
    struct work *w = arg;

    if (rc < 0) {
        fail(w, e->text);
        return;
    }
    control_reply_ok(w->call);
    work_free(w);
}

static void handle_store(struct work *w)
{
    const struct control_req *q = &w->req;
    struct intake *in = w->c->conf.intake;
    int r = q->notblocking ? intake_store(in, q->file, q->key_path, q->remove, on_queued, w)
                           : intake_list(in, q->file, q->key_path, on_listed, w);

    if (r < 0)
        fail(w, refusal(r));
}

/* --- retrieve, check, rebuild ---------------------------------------------------------------- */

static void on_retrieved(void *arg, const struct task *t)
{
    struct work *w = arg;

    if (t->rc < 0) {
        fail(w, t->err.text);
        return;
    }
    control_reply_ok(w->call);
    work_free(w);
}

static void on_checked(void *arg, const struct task *t)
{
    struct work *w = arg;
    struct buf reply = BUF_INIT;

    if (t->rc < 0) {
        fail(w, t->err.text);
        return;
    }
    if (t->rc == 0) {
        resp_put_nil(&reply);
    } else {
        char hex[2 * ZSTOR_DIGEST_LEN + 1];

        parse_to_hex(t->res.checksum, ZSTOR_DIGEST_LEN, hex);
        resp_put_bulk_str(&reply, hex);
    }
    control_reply(w->call, buf_slice(&reply));
    buf_fini(&reply);
    work_free(w);
}

static void reply_text(struct work *w, const char *text)
{
    struct buf reply = BUF_INIT;

    resp_put_bulk_str(&reply, text);
    control_reply(w->call, buf_slice(&reply));
    buf_fini(&reply);
    work_free(w);
}

static void on_rebuilt(void *arg, const struct task *t)
{
    struct work *w = arg;
    struct err e;

    if (t->rc < 0) {
        fail(w, t->err.text);
    } else if (t->res.shards_lost + t->res.meta_lost > 0) {
        err_set(&e, EIO, "%u of %u shards and %u of %d metadata values could not be restored now",
                t->res.shards_lost, t->res.shards, t->res.meta_lost, ZSTOR_META_COPIES);
        fail(w, e.text);
    } else {
        CLEANUP(base_free) char *line = xasprintf("%u shards restored", t->res.shards_restored);

        reply_text(w, line);
    }
}

static void rebuild_more(struct work *w);

static void on_rebuilt_one(void *arg, const struct task *t)
{
    const char *name = t->res.name[0] ? t->res.name : "its record does not tell the path";
    struct work *w = arg;
    struct err e;

    w->running--;
    w->shards += t->res.shards_restored;
    if (t->rc == -ENOENT) { /* deleted meanwhile */
        w->good++;
    } else if (t->rc < 0) {
        err_set(&e, -t->rc, "%s (%s): %s", t->meta_key, name, t->err.text);
        note_failure(w, &e);
        log_warn("rebuild %s", e.text);
    } else if (t->res.shards_lost + t->res.meta_lost > 0) {
        err_set(&e, EIO, "%s (%s): %u shards and %u metadata values could not be restored now",
                t->meta_key, name, t->res.shards_lost, t->res.meta_lost);
        note_failure(w, &e);
        log_warn("rebuild %s", e.text);
    } else {
        w->good++;
    }
    rebuild_more(w);
}

static void rebuild_answer(struct work *w)
{
    CLEANUP(base_free) char *line = NULL;

    w->c->rebuilding = false;
    if (w->bad > 0) {
        line = xasprintf("%zu of %zu objects are not whole, the first: %s", w->bad, w->n,
                         w->first.text);
        fail(w, line);
        return;
    }
    line = xasprintf("%zu objects whole, %" PRIu64 " shards restored", w->good, w->shards);
    reply_text(w, line);
}

static void rebuild_more(struct work *w)
{
    w->running++; /* see store_more */
    while (w->next < w->n && w->running - 1 < WINDOW) {
        struct task *t = task_new(TASK_REBUILD, NULL);
        int r;

        t->meta_key = xstrdup(w->names[w->next++]);
        r = submit(w->c, SCHED_REPAIR, t, on_rebuilt_one, w);
        if (r < 0) {
            struct err e;

            err_set(&e, -r, "%s", refusal(r));
            note_failure(w, &e);
            w->next = w->n;
            break;
        }
        w->running++;
    }
    if (--w->running == 0)
        rebuild_answer(w);
}

static void on_keys(void *arg, const struct task *t)
{
    struct work *w = arg;

    if (t->rc < 0) {
        w->c->rebuilding = false;
        fail(w, t->err.text);
        return;
    }
    w->names = xcalloc(t->nkeys + 1, sizeof *w->names);
    for (w->n = 0; w->n < t->nkeys; w->n++)
        w->names[w->n] = xstrdup(t->keys[w->n]);
    rebuild_more(w);
}

static void handle_rebuild(struct work *w)
{
    struct task *t;
    int r;

    if (w->req.all) {
        if (w->c->rebuilding) {
            fail(w, "a rebuild of all objects is running");
            return;
        }
        t = task_new(TASK_LIST, NULL);
        t->probe = true;
        r = submit(w->c, SCHED_QUICK, t, on_keys, w);
        if (r < 0)
            fail(w, refusal(r));
        else
            w->c->rebuilding = true;
        return;
    }
    t = task_new(TASK_REBUILD, w->req.file);
    t->probe = true;
    t->meta_key = copy_of(w->req.key);
    r = submit(w->c, SCHED_REPAIR, t, on_rebuilt, w);
    if (r < 0)
        fail(w, refusal(r));
}

static void handle_quick(struct work *w, enum task_op op, sched_done_fn *done)
{
    struct task *t = task_new(op, w->req.file);
    int r;

    t->replace = w->req.force;
    if (w->req.to_fd) {
        t->fd = control_take_fd(w->call);
        if (t->fd < 0) {
            task_free(t);
            fail(w, "RETRIEVE FD: no descriptor came with the request before");
            return;
        }
    }
    r = submit(w->c, SCHED_QUICK, t, done, w);
    if (r < 0)
        fail(w, refusal(r));
}

/* --- status, queue, wait --------------------------------------------------------------------- */

static bool answer_status(struct commands *c, struct control_call *call, bool json)
{
    struct buf text = BUF_INIT, reply = BUF_INIT;
    struct status st = {0};

    if (!c->conf.status(c->conf.arg, &st))
        return false;
    if (json)
        status_json(&text, &st);
    else
        status_table(&text, &st);
    resp_put_array(&reply, 2);
    resp_put_int(&reply, status_at_risk(&st));
    resp_put_bulk(&reply, buf_slice(&text));
    control_reply(call, buf_slice(&reply));
    buf_fini(&text);
    buf_fini(&reply);
    return true;
}

static void handle_status(struct commands *c, struct control_call *call, bool json)
{
    struct parked *p = xcalloc(1, sizeof *p);

    *p = (struct parked){.call = call, .json = json};
    if (STAILQ_EMPTY(&c->parked))
        loop_timer_start(c->status_timer, c->conf.status_wait_ms, false);
    STAILQ_INSERT_TAIL(&c->parked, p, link);
    c->conf.poll(c->conf.arg);
}

void commands_polled(struct commands *c)
{
    struct parked *p;

    while ((p = STAILQ_FIRST(&c->parked)) && answer_status(c, p->call, p->json)) {
        STAILQ_REMOVE_HEAD(&c->parked, link);
        free(p);
    }
    if (STAILQ_EMPTY(&c->parked))
        loop_timer_stop(c->status_timer);
}

static void on_status_timer(void *arg)
{
    commands_polled(arg);
}

#define MAX_LINES 500 /* of one QUEUE LIST */

struct lines {
    struct buf text;
    size_t n, all;
};

static void put_job(void *arg, const struct sched_view *v)
{
    struct lines *l = arg;
    if (l->all++ >= MAX_LINES)
        return;
    uint64_t now = base_wall_s(), age = now > v->rec->queued_s ? now - v->rec->queued_s : 0;
    CLEANUP(buf_fini) struct buf line = BUF_INIT;

    buf_printf(&line, "%" PRIu64 " %s %s %" PRIu64 " bytes, %" PRIu64 " s old", v->rec->seq,
               journal_op_name(v->rec->op), v->rec->name, v->rec->bytes, age);
    if (v->running)
        buf_put_str(&line, ", running");
    if (v->tries)
        buf_printf(&line, ", %u tries failed", v->tries);
    if (v->retry_in_ms)
        buf_printf(&line, ", next in %" PRIu64 " s", (v->retry_in_ms + 999) / 1000);
    if (*v->last_error)
        buf_printf(&line, ": %s", v->last_error);
    resp_put_bulk(&l->text, buf_slice(&line));
    l->n++;
}

static void handle_queue(struct commands *c, struct control_call *call,
                         const struct control_req *req)
{
    CLEANUP(buf_fini) struct buf reply = BUF_INIT;
    struct lines l = {BUF_INIT, 0, 0};
    struct sched_stats st;

    sched_stats(c->conf.sched, &st);
    if (req->list) {
        sched_each(c->conf.sched, put_job, &l);
        if (l.all > l.n) {
            CLEANUP(base_free) char *more = xasprintf("and %zu more", l.all - l.n);

            resp_put_bulk_str(&l.text, more);
            l.n++;
        }
        resp_put_array(&reply, l.n);
        buf_put_slice(&reply, buf_slice(&l.text));
        buf_fini(&l.text);
    } else if (req->count) {
        resp_put_array(&reply, 4);
        resp_put_int(&reply, (int64_t)st.jobs);
        resp_put_int(&reply, (int64_t)st.bytes);
        resp_put_int(&reply, (int64_t)st.oldest_s);
        resp_put_int(&reply, (int64_t)st.failing);
    } else {
        resp_put_int(&reply, (int64_t)st.jobs);
    }
    control_reply(call, buf_slice(&reply));
}

static void on_compared(void *arg, const struct handover_report *r)
{
    struct work *w = arg;
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(buf_fini) struct buf reply = BUF_INIT;

    if (w->req.json) {
        handover_reply_json(&text, r);
        resp_put_bulk(&reply, buf_slice(&text));
    } else {
        handover_reply_resp(&reply, r);
    }
    control_reply(w->call, buf_slice(&reply));
    work_free(w);
}

static void handle_handover(struct work *w)
{
    struct handover_ask ask = {.store = w->req.store, .closed = w->req.closed};

    if (w->req.before && parse_u64(w->req.before, 1, UINT64_MAX, &ask.before_ns) < 0) {
        fail(w, "HANDOVER BEFORE: a number of nanoseconds is expected");
        return;
    }
    w->c->conf.handover(w->c->conf.arg, &ask, on_compared, w);
}

static void on_all_done(void *arg, bool done)
{
    struct work *w = arg;

    if (!done) {
        fail(w, refusal(-ESHUTDOWN));
        return;
    }
    control_reply_ok(w->call);
    work_free(w);
}

static void on_all_in(void *arg)
{
    struct work *w = arg;

    sched_wait(w->c->conf.sched, on_all_done, w);
}

/* --- entry ----------------------------------------------------------------------------------- */

void commands_handle(void *commands, struct control_call *call, const struct control_req *req)
{
    struct commands *c = commands;
    int r;

    switch (req->op) {
    case CONTROL_PING:
        control_reply(call, slice_str("+PONG\r\n"));
        return;
    case CONTROL_STATUS:
        handle_status(c, call, req->json);
        return;
    case CONTROL_QUEUE:
        handle_queue(c, call, req);
        return;
    case CONTROL_SCRUB:
    case CONTROL_BACKEND:
        c->conf.care(c->conf.arg, call, req);
        return;
    default:
        break;
    }
    struct work *w = work_new(c, call, req);

    switch (req->op) {
    case CONTROL_STORE:
        handle_store(w);
        break;
    case CONTROL_RETRIEVE:
        handle_quick(w, TASK_RETRIEVE, on_retrieved);
        break;
    case CONTROL_CHECK:
        handle_quick(w, TASK_CHECK, on_checked);
        break;
    case CONTROL_REBUILD:
        handle_rebuild(w);
        break;
    case CONTROL_HANDOVER:
        handle_handover(w);
        break;
    default: /* WAIT: what is on its way into the queue counts, too */
        r = intake_after(c->conf.intake, on_all_in, w);
        if (r < 0)
            fail(w, refusal(r));
        break;
    }
}

struct commands *commands_new(const struct commands_conf *conf)
{
    struct commands *c = xcalloc(1, sizeof *c);

    c->conf = *conf;
    LIST_INIT(&c->all);
    STAILQ_INIT(&c->parked);
    c->status_timer = loop_timer_new(conf->loop, on_status_timer, c);
    return c;
}

void commands_free(struct commands *c)
{
    struct parked *p;

    if (!c)
        return;
    while (!LIST_EMPTY(&c->all))
        fail(LIST_FIRST(&c->all), refusal(-ESHUTDOWN));
    while ((p = STAILQ_FIRST(&c->parked))) {
        STAILQ_REMOVE_HEAD(&c->parked, link);
        control_reply_error(p->call, refusal(-ESHUTDOWN));
        free(p);
    }
    loop_timer_free(c->status_timer);
    free(c);
}
