/* redis - the kind of backend that is a server of the redis protocol which is not a 0-db: redis,
 * valkey, KeyDB, kvrocks.  Only words that all of them know are sent; never SYNC, which begins a
 * replication.  docs/FORMATS.md says which keys are used.  A value counts as written when the
 * server has acknowledged it: what it does then is its configuration's affair. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/digest.h"
#include "common/parse.h"
#include "common/zclient.h"
#include "zstor/backend/op.h"
#include "zstor/backend/resp_link.h"

#define MARK       "qsfs:backend"
#define VALUES     "qsfs:v:"
#define NAMES      "qsfs:n:"
#define PREFIX_LEN 7u
#define ID_LEN     16u
#define KEY_LEN    8u
#define TIME_LEN   8u /* in front of a named value: when it was written */
#define MAX_ROWS   1000000u
#define PAGE       "1000"

struct redis_link {
    struct resp_link link; /* first */
    struct backend_addr addr;
    STAILQ_HEAD(, waiting) waiting;
};

/* What was submitted, in order. */
struct waiting {
    bool local;           /* has no reply to wait for */
    uint8_t key[KEY_LEN]; /* of a PUT */
    struct buf value;     /* of a NAMED_PUT, borrowed by the client */
    STAILQ_ENTRY(waiting) next;
};

struct outcome { /* what the outcome points into */
    redisReply *reply;
    uint8_t key[KEY_LEN];
};

static void waiting_free(struct waiting *w)
{
    buf_fini(&w->value);
    free(w);
}

static void redis_close(void *link)
{
    struct redis_link *l = link;
    struct waiting *w;

    if (!l)
        return;
    zclient_close(l->link.client);
    while ((w = STAILQ_FIRST(&l->waiting))) {
        STAILQ_REMOVE_HEAD(&l->waiting, next);
        waiting_free(w);
    }
    backend_addr_fini(&l->addr);
    free(l);
}

/* --- opening --------------------------------------------------------------------------------- */

/* One word and its answer; an error of the server is -EACCES with its words. */
static int call(struct redis_link *l, redisReply **out, struct err *e, unsigned argc,
                const struct slice *argv)
{
    char text[120];
    int r = zclient_call(l->link.client, out, e, argc, argv);

    if (r < 0 || !zclient_is_error(*out))
        return r;
    backend_text(zclient_bulk(*out), text, sizeof text);
    freeReplyObject(*out);
    *out = NULL;
    return err_set(e, EACCES, "the server says: %s", text);
}

static int call_ok(struct redis_link *l, struct err *e, unsigned argc, const struct slice *argv)
{
    redisReply *reply = NULL;
    int r = call(l, &reply, e, argc, argv);

    if (r == 0)
        freeReplyObject(reply);
    return r;
}

static int read_mark(struct redis_link *l, char id[2 * ID_LEN + 1], struct err *e)
{
    struct slice argv[2] = {slice_str("GET"), slice_str(MARK)}, v;
    redisReply *reply = NULL;
    uint8_t raw[ID_LEN];
    int r = call(l, &reply, e, 2, argv);

    if (r < 0)
        return r;
    v = zclient_bulk(reply);
    if (zclient_is_nil(reply)) {
        r = 0;
    } else if (parse_hex(v, raw, sizeof raw) < 0) {
        r = err_set(e, EBADMSG, "key " MARK " is not one of ours");
    } else {
        parse_to_hex(raw, sizeof raw, id);
        r = 1;
    }
    freeReplyObject(reply);
    return r;
}

/* Who it is: a random number that the first one to come here has left. */
static int identify(struct redis_link *l, char *identity, size_t size, struct err *e)
{
    char id[2 * ID_LEN + 1] = "";
    uint8_t raw[ID_LEN];
    struct slice argv[4] = {slice_str("SET"), slice_str(MARK), {0}, slice_str("NX")};
    int r = read_mark(l, id, e);

    if (r == 0 && digest_random(raw, sizeof raw) < 0)
        return err_set(e, EIO, "no random numbers");
    if (r == 0) {
        parse_to_hex(raw, sizeof raw, id);
        argv[2] = slice_str(id);
        r = call_ok(l, e, 4, argv);
        if (r == 0)
            r = read_mark(l, id, e); /* two may have come at the same time */
        if (r == 0)
            r = err_set(e, EPROTO, "what is written is not kept");
    }
    if (r < 0)
        return r;
    snprintf(identity, size, "redis %s %s", id, l->addr.names ? "names" : "values");
    return 0;
}

static int redis_open(void **link, const struct backend_addr *a,
                      const struct backend_limits *limits, char *identity, size_t size,
                      struct err *e)
{
    struct zclient_conf zc = {.host = a->host,
                              .port = a->port_text,
                              .connect_timeout_ms = limits->connect_ms,
                              .io_timeout_ms = limits->connect_ms,
                              .open_timeout_ms = limits->connect_ms,
                              .max_reply = limits->max_answer};
    struct redis_link *l = xcalloc(1, sizeof *l);
    struct slice auth[2] = {slice_str("AUTH"), slice_str(a->password ? a->password : "")};
    struct slice choose[2] = {slice_str("SELECT"), slice_str(a->db)};
    int r;

    STAILQ_INIT(&l->waiting);
    backend_addr_copy(&l->addr, a);
    r = zclient_open(&l->link.client, &zc, e);
    if (r == 0 && a->password)
        r = call_ok(l, e, 2, auth);
    if (r == 0)
        r = call_ok(l, e, 2, choose);
    if (r == 0)
        r = identify(l, identity, size, e);
    if (r < 0) {
        redis_close(l);
        return r;
    }
    *link = l;
    return 0;
}

/* --- asking ---------------------------------------------------------------------------------- */

static void named_value(struct waiting *w, struct slice value)
{
    buf_put_le64(&w->value, base_wall_s());
    buf_put_slice(&w->value, value);
}

static int redis_submit(void *link, struct backend_op *op)
{
    struct redis_link *l = link;
    struct waiting *w = xcalloc(1, sizeof *w);
    CLEANUP(buf_fini) struct buf key = BUF_INIT;
    struct slice argv[6];
    unsigned argc = 2;

    STAILQ_INSERT_TAIL(&l->waiting, w, next);
    buf_put_str(&key, l->addr.names ? NAMES : VALUES);
    switch (op->verb) {
    case BACKEND_INFO:
        argv[0] = slice_str("INFO");
        return zclient_push(l->link.client, 1, argv);
    case BACKEND_SYNC:
    case BACKEND_NEWEST: /* its values have no order: what has to be found has a name */
        w->local = true;
        return 0;
    case BACKEND_LIST:
        buf_put_str(&key, "*");
        argv[0] = slice_str("SCAN");
        argv[1] = op->key.len ? op->key : slice_str("0");
        argv[2] = slice_str("MATCH");
        argv[3] = buf_slice(&key);
        argv[4] = slice_str("COUNT");
        argv[5] = slice_str(PAGE);
        return zclient_push(l->link.client, 6, argv);
    case BACKEND_PUT:
        if (digest_random(w->key, sizeof w->key) < 0)
            return -EIO;
        buf_put(&key, w->key, sizeof w->key);
        argv[0] = slice_str("SET");
        argv[2] = op->value;
        argv[3] = slice_str("NX"); /* never over another value */
        argc = 4;
        break;
    case BACKEND_NAMED_PUT:
        named_value(w, op->value);
        argv[0] = slice_str("SET");
        argv[2] = buf_slice(&w->value);
        argc = 3;
        break;
    case BACKEND_GET:
    case BACKEND_NAMED_GET:
        argv[0] = slice_str("GET");
        break;
    case BACKEND_DEL:
    case BACKEND_NAMED_DEL:
        argv[0] = slice_str("DEL");
        break;
    case BACKEND_TIME:
        argv[0] = slice_str("GETRANGE");
        argv[2] = slice_str("0");
        argv[3] = slice_str("7");
        argc = 4;
        break;
    }
    if (op->verb != BACKEND_PUT)
        buf_put_slice(&key, op->key);
    argv[1] = buf_slice(&key);
    if (key.len > 512) /* longer ones are not copied, and none of ours is */
        return -ENAMETOOLONG;
    return zclient_push(l->link.client, argc, argv);
}

/* --- answers --------------------------------------------------------------------------------- */

/* The number in a line "name:number" of INFO. */
static bool number_of(struct slice text, const char *name, uint64_t *out)
{
    CLEANUP(base_free) char *want = xasprintf("\n%s", name);
    const uint8_t *at = memmem(text.p, text.len, want, strlen(want));
    size_t n = 0;

    if (!at)
        return false;
    at += strlen(want);
    while (at + n < text.p + text.len && at[n] >= '0' && at[n] <= '9')
        n++;
    return parse_u64_slice(slice_of(at, n), 0, UINT64_MAX, out) == 0;
}

static bool has(struct slice text, const char *line)
{
    return text.len && memmem(text.p, text.len, line, strlen(line));
}

static int take_info(const struct redis_link *l, struct backend_op *op, struct slice text)
{
    CLEANUP(base_free) char *keys = xasprintf("db%s:keys=", l->addr.db);
    struct backend_info *i = op->info;
    uint64_t total = 0;

    *i = (struct backend_info){.mode = l->addr.names ? BACKEND_USERKEY : BACKEND_SEQUENTIAL,
                               .index_disk_free = UINT64_MAX,
                               .data_disk_free = UINT64_MAX};
    (void)number_of(text, keys, &i->entries); /* not there while there is none */
    if (!number_of(text, "used_memory:", &i->data_size_bytes))
        return -EPROTO;
    (void)number_of(text, "maxmemory:", &i->data_limits_bytes); /* not all have one */
    if (number_of(text, "total_system_memory:", &total))
        i->data_disk_free = total - MIN(total, i->data_size_bytes);
    snprintf(i->name, sizeof i->name, "%s", l->addr.address);
    if (has(text, "\nrole:slave"))
        i->locked = true;
    if (i->data_limits_bytes && !has(text, "\nmaxmemory_policy:noeviction")) {
        i->locked = true; /* it would throw values away */
        snprintf(i->name, sizeof i->name, "%.100s (its maxmemory-policy is not noeviction)",
                 l->addr.address);
    }
    return 0;
}

static int refused(struct backend_op *op, struct slice text)
{
    backend_text(text, op->said, sizeof op->said);
    if (has(text, "OOM"))
        return -ENOSPC;
    return has(text, "READONLY") ? -EROFS : -EIO;
}

static int take_value(struct backend_op *op, struct slice v, bool named)
{
    uint64_t off = op->off, n;

    if (named) {
        if (v.len < TIME_LEN)
            return -EPROTO;
        off += TIME_LEN;
    }
    off = MIN(off, (uint64_t)v.len);
    n = v.len - off;
    if (op->len)
        n = MIN(n, op->len);
    op->out = slice_of(v.p + off, (size_t)n);
    return 0;
}

static int take_rows(struct backend_op *op, const redisReply *reply)
{
    const redisReply *list;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return -EPROTO;
    list = reply->element[1];
    op->out = zclient_bulk(reply->element[0]);
    if (op->out.len == 0 || op->out.len > 64 || list->elements > MAX_ROWS)
        return -EPROTO;
    if (slice_eq_str(op->out, "0"))
        op->out = slice_of(NULL, 0);
    op->rows = xcalloc(list->elements + 1, sizeof *op->rows);
    for (size_t i = 0; i < list->elements; i++) {
        struct slice key = zclient_bulk(list->element[i]);
        if (key.len <= PREFIX_LEN)
            continue;
        op->rows[op->nrows++] = slice_of(key.p + PREFIX_LEN, key.len - PREFIX_LEN);
    }
    return 0;
}

static int understand(const struct redis_link *l, struct backend_op *op, struct outcome *o)
{
    const redisReply *reply = o->reply;
    struct slice text = zclient_bulk(reply);
    bool value = reply->type == REDIS_REPLY_STRING, nil = zclient_is_nil(reply);

    if (zclient_is_error(reply))
        return refused(op, text);
    switch (op->verb) {
    case BACKEND_INFO:
        return value ? take_info(l, op, text) : -EPROTO;
    case BACKEND_PUT:
        op->out = slice_of(o->key, sizeof o->key);
        return zclient_is_ok(reply) ? 0 : -EPROTO;
    case BACKEND_NAMED_PUT:
        return zclient_is_ok(reply) ? 0 : -EPROTO;
    case BACKEND_GET:
    case BACKEND_NAMED_GET:
        if (!value)
            return nil ? -ENOENT : -EPROTO;
        return take_value(op, text, op->verb == BACKEND_NAMED_GET);
    case BACKEND_DEL:
    case BACKEND_NAMED_DEL:
        return reply->type == REDIS_REPLY_INTEGER ? 0 : -EPROTO;
    case BACKEND_TIME:
        if (!value || (text.len && text.len != TIME_LEN))
            return -EPROTO;
        if (!text.len)
            return -ENOENT;
        op->time_s = le64_get(text.p);
        return 0;
    case BACKEND_LIST:
        return take_rows(op, reply);
    case BACKEND_SYNC:
    case BACKEND_NEWEST:
        break;
    }
    return -EPROTO;
}

static void release(void *holder)
{
    struct outcome *o = holder;

    freeReplyObject(o->reply);
    free(o);
}

static int redis_take(void *link, struct backend_op *op)
{
    struct redis_link *l = link;
    struct waiting *w = STAILQ_FIRST(&l->waiting);
    struct outcome *o;
    redisReply *reply = NULL;
    int r;

    if (!w)
        return 0;
    if (w->local) {
        op->rc = 0;
    } else {
        if (zclient_status(l->link.client) == 0)
            return 0;
        r = zclient_pull(l->link.client, &reply, NULL);
        if (r < 0)
            return r;
        o = xcalloc(1, sizeof *o);
        o->reply = reply;
        memcpy(o->key, w->key, sizeof o->key);
        op->holder = o;
        op->release = release;
        op->rc = understand(l, op, o);
    }
    op->answered = true;
    STAILQ_REMOVE_HEAD(&l->waiting, next);
    waiting_free(w);
    return 1;
}

const struct backend_kind backend_redis = {
    .name = "redis",
    .open = redis_open,
    .close = redis_close,
    .submit = redis_submit,
    .take = redis_take,
    .want = resp_link_want,
    .move = resp_link_move,
    .flush = resp_link_flush,
    .moved = resp_link_moved,
    .idle = resp_link_idle,
};
