/* upload - see object/upload.h. */
#include "zstor/object/upload.h"

#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "zstor/format/erasure.h"
#include "zstor/format/hash_lanes.h"

#define SUB_WINDOW ((size_t)64 * 1024) /* read, computed and hashed while it is in the cache */
#define MIN_RATE                                                                     \
    (16 * 1024) /* bytes per second; who is slower for long is not worth waiting for \
                 */
#define SLACK_MS ((uint64_t)600 * 1000)

struct window {    /* one value of every shard */
    uint8_t **src; /* [geo.data] */
    uint8_t **out; /* [nt]: shard bytes, into src or computed */
    uint8_t *memory;
};

struct lane { /* one target with a connection */
    struct upload_target *t;
    struct pool_conn *conn; /* NULL: failed or none */
    size_t room;            /* of t->keys */
};

struct upload {
    struct pool *pool;
    const struct upload_source *src;
    unsigned nt;
    struct lane *lane;
    struct zclient **clients;
    size_t value_size;
    struct window win[2];
    struct erasure *code;      /* computes the targets that are not among the sources; NULL: none */
    uint8_t **computed;        /* their places in the current sub-window */
    unsigned *computed_target; /* which target each is */
    unsigned ncomputed;
    struct shardsum *sums;
    const struct object_ctl *ctl;
    uint64_t started_ms, sent;
};

static size_t value_size(struct geometry geo, unsigned nt, uint64_t shard_len)
{
    size_t size = UPLOAD_MEMORY / 2 / (geo.data + nt) / 4096 * 4096;

    size = MIN(size, ZSTOR_MAX_VALUE);
    return (size_t)MIN((uint64_t)size, shard_len);
}

uint64_t upload_values(struct geometry geo, unsigned nt, uint64_t shard_len)
{
    size_t size = value_size(geo, nt, shard_len);

    return (shard_len + size - 1) / size;
}

static void upload_fini(struct upload *u)
{
    for (unsigned i = 0; u->lane && i < u->nt; i++)
        pool_put(u->lane[i].conn, u->lane[i].t->rc < 0 ? 1 : 0);
    for (unsigned w = 0; w < 2; w++) {
        free(u->win[w].src);
        free(u->win[w].out);
        free(u->win[w].memory);
    }
    free(u->lane);
    free(u->clients);
    free(u->computed);
    free(u->computed_target);
    erasure_free(u->code);
    shardsum_free(u->sums);
}

static int source_of(const struct upload_source *s, unsigned index) /* position among the sources,
                                                                       or -1 */
{
    for (unsigned j = 0; j < s->geo.data; j++)
        if ((s->have ? s->have[j] : j) == index)
            return (int)j;
    return -1;
}

static int init_windows(struct upload *u, const struct upload_target *t)
{
    unsigned nd = u->src->geo.data, want[ZSTOR_MAX_SHARDS];

    u->computed = xcalloc(u->nt + 1, sizeof(uint8_t *));
    u->computed_target = xcalloc(u->nt + 1, sizeof(unsigned));
    for (unsigned i = 0; i < u->nt; i++)
        if (source_of(u->src, t[i].index) < 0) {
            want[u->ncomputed] = t[i].index;
            u->computed_target[u->ncomputed++] = i;
        }
    if (u->ncomputed) {
        int r = erasure_new(&u->code, u->src->geo, u->src->have, want, u->ncomputed);
        if (r < 0)
            return r;
    }
    for (unsigned w = 0; w < 2; w++) {
        struct window *win = &u->win[w];
        uint8_t *p = win->memory = malloc((nd + u->ncomputed) * u->value_size);
        if (!p)
            return -ENOMEM;
        win->src = xcalloc(nd, sizeof(uint8_t *));
        win->out = xcalloc(u->nt, sizeof(uint8_t *));
        for (unsigned j = 0; j < nd; j++, p += u->value_size)
            win->src[j] = p;
        for (unsigned i = 0; i < u->nt; i++) {
            int j = source_of(u->src, t[i].index);
            win->out[i] = j >= 0 ? win->src[j] : p;
            p += j >= 0 ? 0 : u->value_size;
        }
    }
    return 0;
}

/* --- making a window ------------------------------------------------------------------------- */

/* len bytes of all shards at off of the shard, at `at` of the window. */
static int make_sub_window(struct upload *u, struct window *win, uint64_t off, size_t at,
                           size_t len)
{
    const uint8_t *in[ZSTOR_MAX_SHARDS];

    for (unsigned j = 0; j < u->src->geo.data; j++) {
        int r = u->src->read(u->src->arg, j, off, win->src[j] + at, len);
        if (r < 0)
            return r;
        in[j] = win->src[j] + at;
    }
    if (u->code) {
        for (unsigned k = 0; k < u->ncomputed; k++)
            u->computed[k] = win->out[u->computed_target[k]] + at;
        erasure_apply(u->code, len, in, u->computed);
    }
    for (unsigned i = 0; i < u->nt; i++)
        in[i] = win->out[i] + at;
    shardsum_update(u->sums, in, len);
    return 0;
}

static int make_window(struct upload *u, struct window *win, uint64_t off, size_t len)
{
    size_t sub =
        MAX(SUB_WINDOW * 8 / MAX(u->nt + u->src->geo.data, 8u) / 4096 * 4096, (size_t)4096);

    for (size_t at = 0; at < len; at += sub) {
        int r = make_sub_window(u, win, off + at, at, MIN(sub, len - at));
        if (r < 0)
            return r;
    }
    return 0;
}

/* --- the wire -------------------------------------------------------------------------------- */

/* rc < 0 is the lane's end.  broken: the connection cannot be used further. */
static void lane_fail(struct lane *l, int rc, bool broken, const char *why)
{
    log_warn("backend %s: shard %u not stored: %s", pool_peer(l->conn), l->t->index, why);
    l->t->rc = rc;
    pool_put(l->conn, broken ? rc : zclient_pending(pool_zclient(l->conn)) ? 1 : 0);
    l->conn = NULL;
}

static void lane_error_reply(struct lane *l, const redisReply *reply)
{
    struct slice text = zclient_bulk(reply);
    char said[200];
    int rc =
        memmem(text.p ? text.p : (const uint8_t *)"", text.len, "No space", 8) ? -ENOSPC : -EIO;
    struct err e;

    err_set(&e, EIO, "server says: %s", backend_text(text, said, sizeof said));
    lane_fail(l, rc, false, e.text);
}

static void lane_take_key(struct lane *l, const redisReply *reply)
{
    struct meta_key key;

    if (zclient_is_error(reply)) {
        lane_error_reply(l, reply);
    } else if (reply->type != REDIS_REPLY_STRING ||
               meta_key_from_wire(zclient_bulk(reply), &key) < 0) {
        lane_fail(l, -EPROTO, true, "reply to SET is not a key");
    } else {
        if (l->t->nkeys == l->room) {
            size_t room = l->room ? l->room * 2 : 16;
            struct meta_key *keys = realloc(l->t->keys, room * sizeof *keys);
            if (!keys) {
                lane_fail(l, -ENOMEM, false, "out of memory");
                return;
            }
            l->t->keys = keys;
            l->room = room;
        }
        l->t->keys[l->t->nkeys++] = key;
    }
}

static void lane_take_sync(struct lane *l, const redisReply *reply)
{
    struct slice text = zclient_bulk(reply);

    if (zclient_is_ok(reply))
        return;
    if (zclient_is_error(reply) && text.len && memmem(text.p, text.len, "not supported", 13))
        return; /* the original server: its acknowledgement is all there is */
    if (zclient_is_error(reply))
        lane_error_reply(l, reply);
    else
        lane_fail(l, -EPROTO, true, "reply to SYNC is not a status");
}

static void lane_step(struct upload *u, struct lane *l, bool sync)
{
    struct zclient *z = pool_zclient(l->conn);
    uint64_t limit = SLACK_MS + u->sent / MIN_RATE * 1000;
    redisReply *reply = NULL;
    struct err e;
    int r;

    if (zclient_status(z) == 0) {
        if (zclient_pending(z) && (pool_stalled(l->conn) || base_now_ms() - u->started_ms > limit))
            lane_fail(l, -ETIMEDOUT, true, "no progress");
        return;
    }
    r = zclient_pull(z, &reply, &e);
    if (r < 0) {
        lane_fail(l, r, true, e.text);
        return;
    }
    pool_watch(l->conn);
    if (sync)
        lane_take_sync(l, reply);
    else
        lane_take_key(l, reply);
    freeReplyObject(reply);
}

static size_t refresh_clients(struct upload *u)
{
    size_t open = 0;

    for (unsigned i = 0; i < u->nt; i++) {
        struct pool_conn *c = u->lane[i].conn;
        u->clients[i] = c ? pool_zclient(c) : NULL;
        open += c && zclient_pending(u->clients[i]);
    }
    return open;
}

/* Until nothing is due any more. */
static int collect(struct upload *u, bool sync)
{
    while (refresh_clients(u)) {
        if (ctl_stopped(u->ctl))
            return -ECANCELED;
        zclient_drive(u->clients, u->nt, false, base_now_ms() + 500);
        for (unsigned i = 0; i < u->nt; i++)
            if (u->lane[i].conn)
                lane_step(u, &u->lane[i], sync);
    }
    return 0;
}

static void push_all(struct upload *u, const struct window *win, size_t len)
{
    for (unsigned i = 0; i < u->nt; i++) {
        struct lane *l = &u->lane[i];
        struct slice set[3] = {slice_str("SET"), slice_of(NULL, 0),
                               slice_of(win ? win->out[i] : NULL, len)};
        struct slice sync = slice_str("SYNC");
        int r;
        if (!l->conn)
            continue;
        pool_watch(l->conn);
        r = zclient_push(pool_zclient(l->conn), win ? 3 : 1, win ? set : &sync);
        if (r < 0)
            lane_fail(l, r, true, "connection is not usable");
    }
    refresh_clients(u);
    zclient_drive(u->clients, u->nt, false, 0); /* hands the kernel what it takes, does not wait */
}

static void connect_lanes(struct upload *u, struct upload_target *t)
{
    const struct backend_addr **addr = xcalloc(u->nt + 1, sizeof(struct backend_addr *));
    struct pool_conn **conn = xcalloc(u->nt + 1, sizeof(struct pool_conn *));
    int *rc = xcalloc(u->nt + 1, sizeof *rc);

    for (unsigned i = 0; i < u->nt; i++)
        addr[i] = t[i].addr;
    pool_get_many(u->pool, addr, u->nt, 0, conn, rc);
    for (unsigned i = 0; i < u->nt; i++) {
        u->lane[i] = (struct lane){.t = &t[i], .conn = conn[i]};
        t[i].rc = rc[i];
    }
    free(addr);
    free(conn);
    free(rc);
}

static int run(struct upload *u, uint64_t base, uint64_t total)
{
    uint64_t len = u->src->shard_len;
    unsigned w = 0;
    int r;

    for (uint64_t off = 0; off < len; off += u->value_size, w ^= 1) {
        size_t n = (size_t)MIN((uint64_t)u->value_size, len - off);
        r = make_window(u, &u->win[w], off, n); /* while the window before is on its way */
        if (r == 0)
            r = collect(u, false);
        if (r < 0)
            return r;
        push_all(u, &u->win[w], n);
        u->sent += n;
        ctl_progress(u->ctl, MIN(base + u->sent * u->src->geo.data, total), total);
    }
    r = collect(u, false);
    if (r < 0)
        return r;
    push_all(u, NULL, 0);
    return collect(u, true);
}

int upload_run(struct pool *p, const struct upload_source *src, struct upload_target *t,
               unsigned nt, const struct object_ctl *ctl, uint64_t base, uint64_t total)
{
    CLEANUP(upload_fini)
    struct upload u = {.pool = p, .src = src, .nt = nt, .ctl = ctl, .started_ms = base_now_ms()};
    int r;

    for (unsigned i = 0; i < nt; i++) {
        t[i].keys = NULL;
        t[i].nkeys = 0;
        t[i].rc = -EHOSTDOWN;
    }
    u.value_size = value_size(src->geo, nt, src->shard_len);
    u.lane = xcalloc(nt + 1, sizeof *u.lane);
    u.clients = xcalloc(nt + 1, sizeof(struct zclient *));
    u.sums = shardsum_new(nt);
    connect_lanes(&u, t);
    r = init_windows(&u, t);
    if (r == 0)
        r = run(&u, base, total);
    for (unsigned i = 0; i < nt; i++) {
        if (r < 0 && t[i].rc == 0)
            t[i].rc = r;
        shardsum_final(u.sums, i, t[i].digest);
    }
    return r;
}
