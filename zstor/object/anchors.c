/* anchors - see object/anchors.h. */
#include "zstor/object/anchors.h"

#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "zstor/backend/placement.h"

static char *name_of(const struct metastore *ms)
{
    return xasprintf("/%s/zstor/anchor", ms->conf->prefix);
}

/* --- all data backends at once --------------------------------------------------------------- */

struct all {
    size_t n;
    struct backend_addr *addr; /* as the anchor uses them: of those that are no 0-db the names */
    struct exchange *ask;
};

static void all_open(struct all *a, const struct metastore *ms, enum health_track track)
{
    struct placement_site *site = placement_sites(ms->conf, &a->n);
    const struct backend_addr **addr = xcalloc(a->n + 1, sizeof(struct backend_addr *));
    struct pool_conn **conn = xcalloc(a->n + 1, sizeof(struct pool_conn *));
    struct pool_want want = {.track = track, .force = track == HEALTH_READ};
    int *rc = xcalloc(a->n + 1, sizeof *rc);

    a->addr = xcalloc(a->n + 1, sizeof *a->addr);
    a->ask = xcalloc(a->n + 1, sizeof *a->ask);
    for (size_t i = 0; i < a->n; i++) {
        backend_addr_copy(&a->addr[i], site[i].addr);
        a->addr[i].names = a->addr[i].place != BACKEND_AT_ZDB;
        addr[i] = &a->addr[i];
    }
    pool_get_many(ms->pool, addr, a->n, &want, conn, rc);
    for (size_t i = 0; i < a->n; i++)
        a->ask[i].conn = conn[i];
    free(site);
    free(addr);
    free(conn);
    free(rc);
}

static void all_close(struct all *a)
{
    exchange_done(a->ask, a->n);
    for (size_t i = 0; i < a->n; i++)
        backend_addr_fini(&a->addr[i]);
    free(a->addr);
    free(a->ask);
}

static void give_back(struct exchange *x)
{
    if (x->conn)
        pool_put(x->conn, 0);
    x->conn = NULL;
}

/* --- write ----------------------------------------------------------------------------------- */

static const struct changes_place *place_of(const struct changes_state *s, const char *backend)
{
    for (size_t i = 0; i < s->n; i++)
        if (strcmp(s->place[i].backend, backend) == 0)
            return &s->place[i];
    return NULL;
}

static void keep_place(struct changes_state *s, const char *backend, const void *key, size_t len)
{
    struct changes_place *p = &s->place[s->n++];

    *p = (struct changes_place){.backend = xstrdup(backend), .len = MIN(len, sizeof p->key)};
    memcpy(p->key, key, p->len);
}

unsigned anchors_write(const struct metastore *ms, struct slice sealed,
                       const struct changes_state *former, struct changes_state *now)
{
    CLEANUP(base_free) char *name = name_of(ms);
    struct all a;
    unsigned done = 0;

    *now = (struct changes_state){0};
    buf_put_slice(&now->anchor, sealed);
    all_open(&a, ms, HEALTH_WRITE);
    now->place = xcalloc(a.n + 1, sizeof *now->place);
    for (size_t i = 0; i < a.n; i++)
        a.ask[i].op = (struct backend_op){
            .verb = a.addr[i].names ? BACKEND_NAMED_PUT : BACKEND_PUT,
            .key = a.addr[i].names ? slice_str(name) : slice_of(NULL, 0),
            .value = sealed,
        };
    exchange_run(a.ask, a.n, 0, 0, NULL);
    for (size_t i = 0; i < a.n; i++) {
        const struct changes_place *before;
        struct backend_op *op = &a.ask[i].op;
        char text[192];
        bool put = op->rc == 0;

        backend_addr_name(&a.addr[i], text, sizeof text);
        before = place_of(former, text);
        if (put && !a.addr[i].names)
            keep_place(now, text, op->out.p, op->out.len);
        else if (!put && before)
            keep_place(now, text, before->key, before->len);
        exchange_fini(&a.ask[i], 1);
        if (!put)
            give_back(&a.ask[i]);
        *op = (struct backend_op){.verb = BACKEND_SYNC};
    }
    exchange_run(a.ask, a.n, 0, 0, NULL);
    for (size_t i = 0; i < a.n; i++)
        done += a.ask[i].op.rc == 0;
    all_close(&a);
    return done;
}

static bool same_place(const struct changes_place *a, const struct changes_place *b)
{
    return b && a->len == b->len && memcmp(a->key, b->key, a->len) == 0;
}

void anchors_drop(const struct metastore *ms, const struct changes_state *a,
                  const struct changes_state *b)
{
    struct all all;

    all_open(&all, ms, HEALTH_WRITE);
    for (size_t i = 0; i < all.n; i++) {
        const struct changes_place *p;
        char text[192];

        backend_addr_name(&all.addr[i], text, sizeof text);
        p = place_of(a, text);
        if (p && !same_place(p, place_of(b, text))) {
            all.ask[i].op =
                (struct backend_op){.verb = BACKEND_DEL, .key = slice_of(p->key, p->len)};
            continue;
        }
        give_back(&all.ask[i]); /* nothing to do there */
    }
    exchange_run(all.ask, all.n, 0, 0, NULL);
    all_close(&all);
}

/* --- find ------------------------------------------------------------------------------------ */

struct look {
    const struct metastore *ms;
    uint64_t most;
    struct changes_state *where; /* NULL: not asked for */
    struct anchor *best;         /* the newest so far */
    bool found, sealed, two;
};

/* Is it an anchor?  True: of ours, this backend need not be looked at further. */
static bool take(struct look *l, struct slice bytes)
{
    struct anchor a;
    int r = anchor_open(bytes, l->ms->conf->prefix, l->ms->conf->key, &a);

    l->sealed = l->sealed || r == -EKEYREJECTED;
    if (r < 0)
        return false;
    l->two = l->two || (l->found && memcmp(a.volume, l->best->volume, sizeof a.volume) != 0);
    if (!l->found || anchor_newer(&a, l->best)) {
        anchor_fini(l->best);
        *l->best = a;
    } else {
        anchor_fini(&a);
    }
    return l->found = true;
}

static int ask_one(const struct metastore *ms, const struct backend_addr *a, struct exchange *x,
                   enum backend_verb verb, struct slice key)
{
    int r = x->conn ? 0 : pool_get(ms->pool, a, HEALTH_READ, &x->conn, NULL);

    if (r < 0)
        return r;
    x->op = (struct backend_op){.verb = verb, .key = key};
    exchange_run(x, 1, 0, 0, NULL);
    return x->op.rc;
}

/* One page of keys; 1: found; 0. */
static int look_page(struct look *l, const struct backend_addr *a, const struct backend_op *page)
{
    struct exchange x = {0};
    int r = 0;

    for (size_t i = 0; i < page->nrows && r == 0; i++) {
        r = ask_one(l->ms, a, &x, BACKEND_GET, page->rows[i]);
        r = r == 0 ? take(l, x.op.out) : r == -ENOENT ? 0 : r;
        if (r == 1 && l->where) {
            char text[192];

            backend_addr_name(a, text, sizeof text);
            keep_place(l->where, text, page->rows[i].p, page->rows[i].len);
        }
        exchange_fini(&x, 1);
    }
    if (x.conn)
        exchange_done(&x, 1);
    return r;
}

static int look_back(struct look *l, const struct backend_addr *a)
{
    CLEANUP(buf_fini) struct buf cursor = BUF_INIT;
    uint64_t seen = 0;
    int r = 0;

    while (r == 0 && seen < l->most) {
        struct exchange x = {0};

        r = ask_one(l->ms, a, &x, BACKEND_NEWEST, buf_slice(&cursor));
        if (r == 0)
            r = look_page(l, a, &x.op);
        seen += x.op.nrows + 1;
        buf_clear(&cursor);
        if (r == 0)
            buf_put_slice(&cursor, x.op.out);
        exchange_done(&x, 1);
        if (r == 0 && cursor.len == 0)
            return 0;
    }
    return r;
}

static int look_name(struct look *l, const struct backend_addr *a)
{
    CLEANUP(base_free) char *name = name_of(l->ms);
    struct exchange x = {0};
    int r = ask_one(l->ms, a, &x, BACKEND_NAMED_GET, slice_str(name));

    r = r == 0 ? take(l, x.op.out) : r == -ENOENT ? 0 : r;
    exchange_done(&x, 1);
    return r;
}

int anchors_find(const struct metastore *ms, uint64_t look, struct anchor *out,
                 struct changes_state *where, unsigned *silent, struct err *e)
{
    struct look l = {.ms = ms, .most = look, .where = where, .best = out};
    struct all a;

    *out = (struct anchor){0};
    *silent = 0;
    all_open(&a, ms, HEALTH_READ);
    exchange_done(a.ask, a.n); /* asked one after the other */
    for (size_t i = 0; i < a.n; i++)
        a.ask[i] = (struct exchange){0};
    if (where) {
        *where = (struct changes_state){0};
        where->place = xcalloc(a.n + 1, sizeof *where->place);
    }
    for (size_t i = 0; i < a.n; i++) {
        int r = a.addr[i].names ? look_name(&l, &a.addr[i]) : look_back(&l, &a.addr[i]);

        if (r < 0) {
            struct err why;

            err_sys(&why, -r, "backend %s", a.addr[i].address);
            log_warn("metadata log: not asked: %s", why.text);
            (*silent)++;
        }
    }
    all_close(&a);
    if (l.found && l.two) {
        anchor_fini(out);
        return err_set(
            e, EEXIST,
            "the data backends have metadata logs of two volumes with this prefix and key");
    }
    if (l.found)
        return 1;
    if (l.sealed)
        return err_set(e, EKEYREJECTED, "the metadata log was made with another key");
    return *silent
               ? err_set(e, EHOSTUNREACH,
                         "no metadata log was found, and %u data backends did not answer", *silent)
               : 0;
}
