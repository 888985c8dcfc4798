/* upload - see object/upload.h. */
#include "zstor/object/upload.h"

#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "zstor/backend/exchange.h"
#include "zstor/format/erasure.h"
#include "zstor/format/hash_lanes.h"

#define SUB_WINDOW ((size_t)64 * 1024) /* read, computed and hashed while it is in the cache */
#define LAG        4 /* a lane may be so many times slower than the others, or pool_conf.lag_ms */

struct window {    /* one value of every shard */
    uint8_t **src; /* [geo.data] */
    uint8_t **out; /* [nt]: shard bytes, into src or computed */
    uint8_t *memory;
};

struct lane { /* one target with a connection */
    struct upload_target *t;
    struct pool_conn *conn;     /* NULL: failed or none */
    struct backend_op op, born; /* born: goes before the SYNC, so it is done when that is */
    bool asked;                 /* op is submitted and its outcome not taken */
    size_t room;                /* of t->keys */
    uint8_t last[8];            /* of them, on the wire */
};

struct upload {
    struct pool *pool;
    const struct upload_source *src;
    unsigned nt;
    struct lane *lane;
    struct pool_conn **conn;
    size_t value_size;
    struct window win[2];
    struct erasure *code;      /* computes the targets that are not among the sources; NULL: none */
    uint8_t **computed;        /* their places in the current sub-window */
    unsigned *computed_target; /* which target each is */
    unsigned ncomputed;
    struct shardsum *sums;
    const struct object_ctl *ctl;
    uint64_t pushed_ms; /* when this round of operations was begun */
    uint64_t others_ms; /* and when more than half of them were done; 0: they are not */
    uint64_t sent;
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
        if (u->lane[i].conn) {
            pool_put(u->lane[i].conn, u->lane[i].t->rc < 0 ? 1 : 0);
            backend_op_fini(&u->lane[i].op);
            backend_op_fini(&u->lane[i].born);
        }
    for (unsigned w = 0; w < 2; w++) {
        free(u->win[w].src);
        free(u->win[w].out);
        free(u->win[w].memory);
    }
    free(u->lane);
    free(u->conn);
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
    pool_put(l->conn, broken ? rc : exchange_pending(l->conn) ? 1 : 0);
    backend_op_fini(&l->op);
    backend_op_fini(&l->born);
    l->asked = false;
    l->conn = NULL;
}

static int add_key(struct lane *l, const struct meta_key *key)
{
    if (l->t->nkeys == l->room) {
        size_t room = l->room ? l->room * 2 : 16;
        struct meta_key *keys = realloc(l->t->keys, room * sizeof *keys);
        if (!keys)
            return -ENOMEM;
        l->t->keys = keys;
        l->room = room;
    }
    l->t->keys[l->t->nkeys++] = *key;
    return 0;
}

/* The outcome of the lane's operation. */
static void lane_take(struct lane *l)
{
    struct backend_op *op = &l->op;
    struct meta_key key;
    struct err e;

    l->asked = false;
    if (op->rc < 0 && op->said[0])
        err_set(&e, -op->rc, "the backend says: %s", op->said);
    else if (op->rc < 0)
        err_sys(&e, -op->rc, op->answered ? "its answer makes no sense" : "no answer");
    if (op->rc < 0)
        lane_fail(l, op->rc, !op->answered || op->rc == -EPROTO, e.text);
    else if (op->verb == BACKEND_PUT && meta_key_from_wire(op->out, &key) < 0)
        lane_fail(l, -EPROTO, true, "its answer is not a key");
    else if (op->verb == BACKEND_PUT && add_key(l, &key) < 0)
        lane_fail(l, -ENOMEM, false, "out of memory");
    else
        backend_op_fini(op);
    if (op->verb == BACKEND_SYNC && l->conn && l->born.rc == 0)
        l->t->born = l->born.time_s;
}

/* Far behind the others, which are enough to read the object: it is given up, its shard goes
 * elsewhere. */
static bool lags(const struct upload *u, uint64_t now)
{
    uint64_t took = u->others_ms - u->pushed_ms;

    return u->others_ms && now - u->others_ms > MAX(pool_lag_ms(u->pool), LAG * took);
}

/* How many operations are not done. */
static size_t take_done(struct upload *u)
{
    size_t open = 0, alive = 0;
    uint64_t now = base_now_ms();

    for (unsigned i = 0; i < u->nt; i++) {
        struct lane *l = &u->lane[i];
        if (l->conn && l->asked && l->op.rc != -EINPROGRESS)
            lane_take(l);
        alive += l->conn != NULL;
        open += l->conn && l->asked;
    }
    if (!u->others_ms && open * 2 < alive && alive - open >= u->src->geo.data)
        u->others_ms = now;
    if (!open || !lags(u, now))
        return open;
    for (unsigned i = 0; i < u->nt; i++) {
        struct lane *l = &u->lane[i];
        if (!l->conn || !l->asked)
            continue;
        exchange_leave(l->conn);
        lane_fail(l, -ETIMEDOUT, false, "much slower than the others");
    }
    return 0;
}

/* Until nothing is due any more. */
static int collect(struct upload *u)
{
    while (take_done(u)) {
        if (ctl_stopped(u->ctl))
            return -ECANCELED;
        for (unsigned i = 0; i < u->nt; i++)
            u->conn[i] = u->lane[i].conn;
        exchange_drive(u->conn, u->nt, true, base_now_ms() + 250);
    }
    return 0;
}

/* When was the last value written?  A namespace gives each number once, unless it was emptied:
 * whoever has the last number of this time still has all before it. */
static void ask_born(struct lane *l)
{
    l->born = (struct backend_op){.verb = BACKEND_TIME, .rc = -ENOENT};
    if (l->t->nkeys == 0)
        return;
    l->born.key = slice_of(l->last, meta_key_to_wire(&l->t->keys[l->t->nkeys - 1], l->last));
    (void)exchange_submit(l->conn, &l->born); /* what breaks the connection, the SYNC tells */
}

/* One value of every shard; win NULL: SYNC. */
static void push_all(struct upload *u, const struct window *win, size_t len)
{
    u->pushed_ms = base_now_ms();
    u->others_ms = 0;
    for (unsigned i = 0; i < u->nt; i++) {
        struct lane *l = &u->lane[i];
        if (!l->conn)
            continue;
        l->op = (struct backend_op){.verb = win ? BACKEND_PUT : BACKEND_SYNC,
                                    .value = slice_of(win ? win->out[i] : NULL, len)};
        l->asked = true;
        if (!win)
            ask_born(l);
        if (exchange_submit(l->conn, &l->op) < 0)
            lane_take(l);
    }
    for (unsigned i = 0; i < u->nt; i++)
        u->conn[i] = u->lane[i].conn;
    exchange_drive(u->conn, u->nt, false, 0); /* hands the kernel what it takes, does not wait */
}

static void connect_lanes(struct upload *u, struct upload_target *t)
{
    const struct backend_addr **addr = xcalloc(u->nt + 1, sizeof(struct backend_addr *));
    struct pool_want w = {.track = HEALTH_WRITE,
                          .grace_ms = pool_lag_ms(u->pool),
                          .stop = u->ctl ? u->ctl->stop : NULL};
    int *rc = xcalloc(u->nt + 1, sizeof *rc);

    for (unsigned i = 0; i < u->nt; i++) {
        addr[i] = t[i].addr;
        w.enough += addr[i] != NULL;
    }
    w.enough = MAX((w.enough + 1) / 2, (size_t)u->src->geo.data); /* see lags() */
    pool_get_many(u->pool, addr, u->nt, &w, u->conn, rc);
    for (unsigned i = 0; i < u->nt; i++) {
        u->lane[i] = (struct lane){.t = &t[i], .conn = u->conn[i]};
        t[i].rc = rc[i];
    }
    free(addr);
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
            r = collect(u);
        if (r < 0)
            return r;
        push_all(u, &u->win[w], n);
        u->sent += n;
        ctl_progress(u->ctl, MIN(base + u->sent * u->src->geo.data, total), total);
    }
    r = collect(u);
    if (r < 0)
        return r;
    push_all(u, NULL, 0);
    return collect(u);
}

int upload_run(struct pool *p, const struct upload_source *src, struct upload_target *t,
               unsigned nt, const struct object_ctl *ctl, uint64_t base, uint64_t total)
{
    CLEANUP(upload_fini)
    struct upload u = {.pool = p, .src = src, .nt = nt, .ctl = ctl};
    int r;

    for (unsigned i = 0; i < nt; i++) {
        t[i].keys = NULL;
        t[i].nkeys = 0;
        t[i].born = 0;
        t[i].rc = -EHOSTDOWN;
    }
    u.value_size = value_size(src->geo, nt, src->shard_len);
    u.lane = xcalloc(nt + 1, sizeof *u.lane);
    u.conn = xcalloc(nt + 1, sizeof(struct pool_conn *));
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
