/* fetch - see object/fetch.h.
 *
 * A lane is one shard on one connection.  It asks for one value more than it has got, so that the
 * next one travels while the last one is hashed.  States of a shard: untried -> running -> one of
 * the four ends; a lane that is not needed any more goes back to untried. */
#include "zstor/object/fetch.h"

#include <errno.h>
#include <stdlib.h>

#include "common/digest.h"
#include "common/log.h"
#include "zstor/backend/exchange.h"
#include "zstor/conf.h"

#define ASK_AHEAD 2

struct lane {
    unsigned index; /* of the shard */
    struct pool_conn *conn;
    size_t asked, got; /* values */
    struct digest digest;
    struct spool *spool;             /* NULL: only verified */
    struct backend_op op[ASK_AHEAD]; /* value i is asked by op[i % ASK_AHEAD] */
    uint8_t raw[ASK_AHEAD][8];       /* their keys */
    uint64_t len;
    bool hedged; /* a competitor was started because of it */
};

struct run {
    struct fetch *f;
    const struct fetch_conf *c;
    const struct object_ctl *ctl;
    bool keep;
    struct lane *lane[FETCH_LANES]; /* operations on their way must not move */
    unsigned nlanes;
    unsigned order[ZSTOR_MAX_SHARDS], norder, next; /* candidates still to be tried:
                                                       order[next..norder) */
    uint64_t bytes;
    uint64_t expect; /* bytes of one value at the most; 0: not known */
    int fatal;       /* -errno of our own side */
};

static const struct backend_addr *addr_of(const struct fetch_conf *c, unsigned index)
{
    const struct backend_addr *a = &c->record->shards[index].addr;
    const struct backend_addr *known = c->zconf ? zstor_conf_find(c->zconf, a) : NULL;

    return known ? known : a;
}

/* --- one lane -------------------------------------------------------------------------------- */

static void lane_end(struct run *r, unsigned at, enum fetch_state state, int put)
{
    struct lane *l = r->lane[at];
    struct fetch_shard *s = &r->f->shard[l->index];

    if (put >= 0 && l->hedged)
        exchange_leave(l->conn);
    pool_put(l->conn, put < 0 ? put : exchange_pending(l->conn) ? 1 : put);
    for (unsigned i = 0; i < ASK_AHEAD; i++)
        backend_op_fini(&l->op[i]);
    s->state = state;
    if (state == FETCH_GOOD) {
        s->unverified = r->keep && r->c->lazy;
        s->len = l->len;
        s->spool = l->spool;
    } else {
        spool_free(l->spool);
    }
    free(l);
    r->lane[at] = r->lane[--r->nlanes];
}

static int lane_ask(struct run *r, struct lane *l)
{
    const struct meta_shard *s = &r->c->record->shards[l->index];

    while (l->asked < s->nkeys && l->asked - l->got < ASK_AHEAD) {
        unsigned i = (unsigned)(l->asked % ASK_AHEAD);
        size_t n = meta_key_to_wire(&s->keys[l->asked], l->raw[i]);
        int rc;
        l->op[i] = (struct backend_op){.verb = BACKEND_GET,
                                       .key = slice_of(l->raw[i], n),
                                       .expect = r->expect};
        rc = exchange_submit(l->conn, &l->op[i]);
        if (rc < 0)
            return rc;
        l->asked++;
    }
    return 0;
}

/* true: the lane has ended */
static bool lane_take(struct run *r, unsigned at, const struct backend_op *op)
{
    struct lane *l = r->lane[at];
    const struct meta_shard *s = &r->c->record->shards[l->index];
    struct slice v = op->out;
    uint8_t sum[DIGEST_LEN];

    if (op->rc < 0) {
        log_debug("backend %s: shard %u: value %zu of %zu: %s", pool_peer(l->conn), l->index,
                  l->got + 1, s->nkeys, op->said[0] ? op->said : "not there");
        lane_end(r, at, FETCH_MISSING, 0);
        return true;
    }
    if (!(r->keep && r->c->lazy))
        digest_update(&l->digest, v.p, v.len);
    l->len += v.len;
    r->bytes += v.len;
    if (l->spool) {
        int rc = spool_append(l->spool, v.p, v.len);
        if (rc < 0) {
            r->fatal = rc;
            lane_end(r, at, FETCH_UNTRIED, 0);
            return true;
        }
    }
    if (++l->got < s->nkeys)
        return false;
    digest_final(&l->digest, sum);
    if (l->len == 0 || (!(r->keep && r->c->lazy) && memcmp(sum, s->digest, sizeof sum) != 0)) {
        log_debug("backend %s: shard %u: digest is wrong", pool_peer(l->conn), l->index);
        lane_end(r, at, FETCH_CORRUPT, 0);
    } else {
        lane_end(r, at, FETCH_GOOD, 0);
    }
    return true;
}

/* true: the lane has ended (and its place was filled by another) */
static bool lane_step(struct run *r, unsigned at)
{
    struct lane *l = r->lane[at];

    for (;;) {
        struct backend_op *op = &l->op[l->got % ASK_AHEAD];
        int rc = lane_ask(r, l);
        bool ended;
        if (rc == 0 && op->rc == -EINPROGRESS)
            return false;
        if (rc == 0 && !op->answered)
            rc = op->rc;
        if (rc < 0) {
            log_debug("backend %s: shard %u: not read", pool_peer(l->conn), l->index);
            lane_end(r, at, FETCH_UNREACHABLE, rc);
            return true;
        }
        ended = lane_take(r, at, op);
        if (ended)
            return true;
        backend_op_fini(op);
    }
}

/* --- which shards ---------------------------------------------------------------------------- */

static void candidates(struct run *r, bool retry)
{
    const struct meta_record *m = r->c->record;

    r->norder = r->next = 0;
    for (int down = 0; down < 2; down++)
        for (unsigned i = 0; i < r->f->n; i++) {
            struct fetch_shard *s = &r->f->shard[i];
            struct pool_health h;
            bool open = s->state == FETCH_UNTRIED || (retry && s->state == FETCH_UNREACHABLE) ||
                        (r->keep && s->state == FETCH_GOOD && !s->spool);
            if (!open)
                continue;
            if (!m->shards[i].present || m->shards[i].nkeys == 0) {
                s->state = FETCH_MISSING;
                continue;
            }
            pool_health(r->c->pool, addr_of(r->c, i), &h);
            if (h.down == (down == 1))
                r->order[r->norder++] = i;
        }
}

/* Start up to `want` further candidates; those that get no connection are unreachable. */
static void start(struct run *r, unsigned want, bool retry)
{
    const struct backend_addr *addr[FETCH_LANES];
    struct pool_conn *conn[FETCH_LANES];
    unsigned index[FETCH_LANES], n = 0;
    struct pool_want w = {.track = retry ? HEALTH_LINK : HEALTH_READ, /* slow ones, too */
                          .stop = r->ctl ? r->ctl->stop : NULL};
    int rc[FETCH_LANES];

    want = MIN(want, FETCH_LANES - r->nlanes);
    for (; n < want && r->next < r->norder; n++) {
        index[n] = r->order[r->next++];
        addr[n] = addr_of(r->c, index[n]);
    }
    if (n == 0)
        return;
    w.force = retry && r->keep; /* the object cannot be read without them: a mark "down" does not
                                   count now */
    w.wait_ms = retry || !r->keep ? 0 : r->c->hedge_ms;
    pool_get_many(r->c->pool, addr, n, &w, conn, rc);
    for (unsigned i = 0; i < n; i++) {
        struct fetch_shard *s = &r->f->shard[index[i]];
        struct lane *l;
        if (rc[i] < 0) {
            s->state = FETCH_UNREACHABLE;
            continue;
        }
        l = r->lane[r->nlanes] = xcalloc(1, sizeof *l);
        *l = (struct lane){.index = index[i], .conn = conn[i]};
        digest_init(&l->digest);
        if (r->keep)
            l->spool = spool_new(r->c->dir);
        s->state = FETCH_RUNNING;
        r->nlanes++;
    }
}

static unsigned count_kept(const struct fetch *f)
{
    unsigned n = 0;

    for (unsigned i = 0; i < f->n; i++)
        n += f->shard[i].state == FETCH_GOOD && f->shard[i].spool;
    return n;
}

/* How many more lanes should run now: enough for what is still needed, and one for each silent one.
 */
static unsigned lanes_wanted(struct run *r)
{
    unsigned need, have = 0;

    if (!r->keep)
        return r->f->n;
    need = r->c->record->geo.data - MIN(count_kept(r->f), r->c->record->geo.data);
    for (unsigned i = 0; i < r->nlanes; i++) {
        struct lane *l = r->lane[i];
        /* a slow line still moves bytes; a value that takes much longer than that is slow enough
         * all the same */
        uint64_t age = exchange_age_ms(l->conn);
        bool silent = age >= r->c->hedge_ms &&
                      (exchange_quiet_ms(l->conn) >= r->c->hedge_ms || age >= 5 * r->c->hedge_ms);
        if (silent && !l->hedged && r->next < r->norder) {
            l->hedged = true;
            r->f->hedged++;
            log_debug("backend %s: shard %u: silent, asking for another one", pool_peer(l->conn),
                      l->index);
        }
        have += !l->hedged;
    }
    return need > have ? need - have : 0;
}

static void drive(struct run *r)
{
    struct pool_conn *conn[FETCH_LANES];

    for (unsigned i = 0; i < r->nlanes; i++)
        conn[i] = r->lane[i]->conn;
    exchange_drive(conn, r->nlanes, true, base_now_ms() + MIN(r->c->hedge_ms, (uint64_t)250));
    for (unsigned i = 0; i < r->nlanes;)
        i += !lane_step(r, i);
}

static int run(struct run *r, bool retry)
{
    uint64_t total = r->c->record->has_tail ? r->c->record->blob_len : 0;

    candidates(r, retry);
    for (;;) {
        unsigned want;
        if (ctl_stopped(r->ctl))
            return -ECANCELED;
        if (r->fatal < 0)
            return r->fatal;
        if (r->keep && count_kept(r->f) >= r->c->record->geo.data)
            return 0;
        want = lanes_wanted(r);
        if (want)
            start(r, want, retry);
        if (r->nlanes == 0 && r->next == r->norder)
            return r->keep ? -EIO : 0;
        if (r->nlanes == 0)
            continue; /* none of those could be reached: the next ones */
        for (unsigned i = 0; i < r->nlanes; i++)
            (void)lane_ask(r, r->lane[i]); /* its failure shows in lane_step */
        drive(r);
        ctl_progress(r->ctl, MIN(r->bytes, total ? total : r->bytes), total * 2);
    }
}

static int fetch(struct fetch *f, const struct fetch_conf *c, bool keep, bool retry,
                 const struct object_ctl *ctl)
{
    struct run *r = xcalloc(1, sizeof *r);
    int rc;

    if (!f->shard) {
        f->n = geometry_total(c->record->geo);
        f->shard = xcalloc(f->n, sizeof *f->shard);
    }
    r->f = f;
    r->c = c;
    r->ctl = ctl;
    r->keep = keep;
    if (c->record->has_tail)
        r->expect =
            MIN(geometry_shard_len(c->record->geo, c->record->blob_len), (uint64_t)ZSTOR_MAX_REPLY);
    rc = run(r, retry);
    while (r->nlanes)
        lane_end(r, 0, FETCH_UNTRIED, 1);
    free(r);
    return rc;
}

int fetch_enough(struct fetch *f, const struct fetch_conf *c, const struct object_ctl *ctl)
{
    int rc = fetch(f, c, true, false, ctl);

    /* what was too slow to connect or broke gets a second, patient try before the object is given
     * up */
    return rc == -EIO ? fetch(f, c, true, true, ctl) : rc;
}

int fetch_verify(struct fetch *f, const struct fetch_conf *c, const struct object_ctl *ctl)
{
    int rc = fetch(f, c, false, false, ctl);

    return rc == 0 ? fetch(f, c, false, true, ctl) : rc;
}

/* 1: the digest is right, 0: it is not, or -errno */
static int check_spool(const struct spool *spool, const uint8_t *want)
{
    uint8_t piece[32768], sum[DIGEST_LEN];
    struct digest d;

    digest_init(&d);
    for (uint64_t off = 0, n; off < spool_len(spool); off += n) {
        int r;
        n = MIN(spool_len(spool) - off, (uint64_t)sizeof piece);
        r = spool_read(spool, off, piece, (size_t)n);
        if (r < 0)
            return r;
        digest_update(&d, piece, (size_t)n);
    }
    digest_final(&d, sum);
    return memcmp(sum, want, sizeof sum) == 0;
}

int fetch_check(struct fetch *f, const struct fetch_conf *c)
{
    int wrong = 0;

    for (unsigned i = 0; i < f->n; i++) {
        struct fetch_shard *s = &f->shard[i];
        int r = 1;
        if (s->state == FETCH_GOOD && s->spool && s->unverified)
            r = check_spool(s->spool, c->record->shards[i].digest);
        if (r < 0)
            return r;
        s->unverified = false;
        if (r == 1)
            continue;
        wrong++;
        s->state = FETCH_CORRUPT;
        spool_free(s->spool);
        s->spool = NULL;
    }
    return wrong;
}

void fetch_fini(struct fetch *f)
{
    for (unsigned i = 0; f->shard && i < f->n; i++)
        spool_free(f->shard[i].spool);
    free(f->shard);
    *f = (struct fetch){0};
}

unsigned fetch_kept(const struct fetch *f, unsigned *index, unsigned max)
{
    unsigned n = 0;

    for (unsigned i = 0; i < f->n && n < max; i++)
        if (f->shard[i].state == FETCH_GOOD && f->shard[i].spool)
            index[n++] = i;
    return n;
}
