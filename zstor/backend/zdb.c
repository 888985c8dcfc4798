/* zdb - the kind of backend that speaks to a 0-db, ours or the original (spec zdb-protocol).  The
 * only file above common/ that knows the redis protocol. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/parse.h"
#include "common/zclient.h"
#include "zstor/backend/op.h"
#include "zstor/backend/resp_link.h"

#define MAX_ROWS 1000000 /* of one page of a listing */

struct zdb_link {
    struct resp_link link; /* first */
    char *ns;
    bool ours; /* it said that it is a 0-db: it may be asked to SYNC */
    STAILQ_HEAD(, waiting) waiting;
};

/* What was submitted, in order; local: has no reply to wait for. */
struct waiting {
    bool local;
    STAILQ_ENTRY(waiting) next;
};

static void zdb_close(void *link)
{
    struct zdb_link *l = link;
    struct waiting *w;

    if (!l)
        return;
    while ((w = STAILQ_FIRST(&l->waiting))) {
        STAILQ_REMOVE_HEAD(&l->waiting, next);
        free(w);
    }
    zclient_close(l->link.client);
    free(l->ns);
    free(l);
}

/* The value behind "name: " in a text of such lines; empty when it is not there. */
static struct slice line_of(struct slice text, const char *name)
{
    size_t n = strlen(name);

    while (text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        size_t len = nl ? (size_t)(nl - text.p) : text.len;
        if (len > n + 2 && memcmp(text.p, name, n) == 0 && memcmp(text.p + n, ": ", 2) == 0) {
            len -= text.p[len - 1] == '\r';
            return slice_of(text.p + n + 2, len - n - 2);
        }
        len += nl != NULL;
        text.p += len;
        text.len -= len;
    }
    return slice_of(NULL, 0);
}

/* INFO: is it a 0-db, and which one?  What it does not say it is not: no failure. */
static int recognise(struct zdb_link *l, char *identity, size_t size, struct err *e)
{
    struct slice ask = slice_str("INFO"), text, name;
    redisReply *reply = NULL;
    uint64_t id;
    int r = zclient_call(l->link.client, &reply, e, 1, &ask);

    if (r < 0)
        return r;
    text = zclient_bulk(reply);
    if (reply->type != REDIS_REPLY_STRING)
        text = slice_of(NULL, 0);
    name = line_of(text, "server_name");
    l->ours = name.len >= 4 && memcmp(name.p, "0-db", 4) == 0;
    identity[0] = '\0';
    if (l->ours && parse_u64_slice(line_of(text, "instance_id"), 1, UINT64_MAX, &id) == 0)
        snprintf(identity, size, "0-db %llu %s", (unsigned long long)id, l->ns);
    freeReplyObject(reply);
    return 0;
}

static int zdb_open(void **link, const struct backend_addr *a, const struct backend_limits *limits,
                    char *identity, size_t size, struct err *e)
{
    struct zclient_conf zc = {.host = a->host,
                              .port = a->port_text,
                              .ns = a->ns,
                              .password = a->password,
                              .plain_auth = true,
                              .connect_timeout_ms = limits->connect_ms,
                              .io_timeout_ms = limits->connect_ms,
                              .open_timeout_ms = limits->connect_ms,
                              .max_reply = limits->max_answer};
    struct zdb_link *l = xcalloc(1, sizeof *l);
    int r;

    STAILQ_INIT(&l->waiting);
    l->ns = xstrdup(a->ns ? a->ns : "default");
    r = zclient_open(&l->link.client, &zc, e);
    if (r == 0)
        r = recognise(l, identity, size, e);
    if (r < 0) {
        zdb_close(l);
        return r;
    }
    *link = l;
    return 0;
}

static int zdb_submit(void *link, struct backend_op *op)
{
    struct zdb_link *l = link;
    struct waiting *w = xcalloc(1, sizeof *w);
    struct slice argv[3] = {slice_of(NULL, 0), op->key, op->value};
    unsigned argc = 2;
    int r = 0;

    STAILQ_INSERT_TAIL(&l->waiting, w, next);
    switch (op->verb) {
    case BACKEND_INFO:
        argv[0] = slice_str("NSINFO");
        argv[1] = slice_str(l->ns);
        break;
    case BACKEND_PUT: /* a sequential namespace: it numbers its values itself */
        argv[1] = slice_of(NULL, 0);
        /* fall through */
    case BACKEND_NAMED_PUT:
        argv[0] = slice_str("SET");
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
        argv[0] = slice_str("KEYTIME");
        break;
    case BACKEND_SYNC: /* a redis would begin a replication */
        argv[0] = slice_str("SYNC");
        argc = 1;
        w->local = !l->ours;
        break;
    case BACKEND_LIST:
        argv[0] = slice_str("SCAN");
        argc = op->key.len ? 2 : 1;
        break;
    case BACKEND_NEWEST:
        argv[0] = slice_str("RSCAN");
        argc = op->key.len ? 2 : 1;
        break;
    }
    if (!w->local)
        r = zclient_push(l->link.client, argc, argv);
    return r;
}

/* --- answers --------------------------------------------------------------------------------- */

static bool says(struct slice text, const char *words)
{
    return text.len && memmem(text.p, text.len, words, strlen(words));
}

static int refused(struct backend_op *op, struct slice text)
{
    backend_text(text, op->said, sizeof op->said);
    switch (op->verb) {
    case BACKEND_DEL:
    case BACKEND_NAMED_DEL:
        if (says(text, "not found"))
            return 0;
        break;
    case BACKEND_LIST:
    case BACKEND_NEWEST:
        if (says(text, "No more data"))
            return 0;
        break;
    case BACKEND_SYNC: /* the original: its acknowledgement is all there is */
        if (says(text, "not supported"))
            return 0;
        break;
    default:
        break;
    }
    if (says(text, "No space"))
        return -ENOSPC;
    return says(text, "read-only") ? -EROFS : -EIO;
}

static int take_rows(struct backend_op *op, const redisReply *reply)
{
    const redisReply *list;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return -EPROTO;
    list = reply->element[1];
    op->out = zclient_bulk(reply->element[0]);
    if (op->out.len == 0 || op->out.len > 64 || list->elements > MAX_ROWS ||
        slice_eq(op->out, op->key)) /* a cursor that stands still would keep us for ever */
        return -EPROTO;
    op->rows = xcalloc(list->elements + 1, sizeof *op->rows);
    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *row = list->element[i];
        if (row->type != REDIS_REPLY_ARRAY || row->elements < 1)
            return -EPROTO;
        op->rows[op->nrows++] = zclient_bulk(row->element[0]);
    }
    return 0;
}

static int take_part(struct backend_op *op, struct slice v)
{
    uint64_t off = MIN(op->off, (uint64_t)v.len), n = v.len - off;

    if (op->len)
        n = MIN(n, op->len);
    op->out = slice_of(v.p + off, (size_t)n);
    return 0;
}

static int understand(struct backend_op *op, const redisReply *reply)
{
    struct slice text = zclient_bulk(reply);
    bool value = reply->type == REDIS_REPLY_STRING, nil = zclient_is_nil(reply);

    if (zclient_is_error(reply))
        return refused(op, text);
    switch (op->verb) {
    case BACKEND_INFO:
        return value ? backend_info_parse(text, op->info, NULL) : -EPROTO;
    case BACKEND_PUT:
        op->out = text;
        return value && (text.len == 4 || text.len == 8) ? 0 : -EPROTO;
    case BACKEND_GET:
    case BACKEND_NAMED_GET:
        return nil ? -ENOENT : value ? take_part(op, text) : -EPROTO;
    case BACKEND_NAMED_PUT: /* the key, or nil when the same content is there already */
        return value || nil || zclient_is_ok(reply) ? 0 : -EPROTO;
    case BACKEND_DEL:
    case BACKEND_NAMED_DEL:
        return nil || zclient_is_ok(reply) ? 0 : -EPROTO;
    case BACKEND_SYNC:
        return zclient_is_ok(reply) ? 0 : -EPROTO;
    case BACKEND_TIME:
        if (reply->type != REDIS_REPLY_INTEGER || reply->integer < 0)
            return nil ? -ENOENT : -EPROTO;
        op->time_s = (uint64_t)reply->integer;
        return 0;
    case BACKEND_LIST:
    case BACKEND_NEWEST:
        return take_rows(op, reply);
    }
    return -EPROTO;
}

static void release(void *holder)
{
    freeReplyObject(holder);
}

static int zdb_take(void *link, struct backend_op *op)
{
    struct zdb_link *l = link;
    struct waiting *w = STAILQ_FIRST(&l->waiting);
    redisReply *reply = NULL;
    int r;

    if (!w)
        return 0;
    if (w->local) {
        op->rc = 0;
        op->answered = true;
    } else {
        if (zclient_status(l->link.client) == 0)
            return 0;
        r = zclient_pull(l->link.client, &reply, NULL);
        if (r < 0)
            return r;
        op->answered = true;
        op->holder = reply;
        op->release = release;
        op->rc = understand(op, reply);
    }
    STAILQ_REMOVE_HEAD(&l->waiting, next);
    free(w);
    return 1;
}

const struct backend_kind backend_zdb = {
    .name = "zdb",
    .open = zdb_open,
    .close = zdb_close,
    .submit = zdb_submit,
    .take = zdb_take,
    .want = resp_link_want,
    .move = resp_link_move,
    .flush = resp_link_flush,
    .moved = resp_link_moved,
    .idle = resp_link_idle,
};
