/* reclaim - deletes shard values nobody refers to any more (object/object_impl.h). */
#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "zstor/backend/exchange.h"
#include "zstor/format/record_bond.h"
#include "zstor/object/fetch.h"
#include "zstor/object/guard.h"
#include "zstor/object/lock.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/volume.h"

#define BATCH 64

static bool refers(const struct meta_record *m, const struct backend_addr *a,
                   const struct meta_key *k)
{
    for (unsigned i = 0; m && i < geometry_total(m->geo); i++) {
        const struct meta_shard *s = &m->shards[i];
        if (!s->present || !backend_addr_same(&s->addr, a))
            continue;
        for (size_t v = 0; v < s->nkeys; v++)
            if (s->keys[v].id == k->id)
                return true;
    }
    return false;
}

/* Up to BATCH keys, pipelined.  Deleted (or not there) in *done; -errno when the connection broke.
 */
static int delete_batch(struct pool_conn *c, const struct meta_key *keys, size_t n, size_t *done)
{
    struct backend_op op[BATCH];
    uint8_t raw[BATCH][8];

    for (size_t i = 0; i < n; i++) {
        op[i] = (struct backend_op){.verb = BACKEND_DEL,
                                    .key = slice_of(raw[i], meta_key_to_wire(&keys[i], raw[i]))};
        (void)exchange_submit(c, &op[i]);
    }
    exchange_drive(&c, 1, false, UINT64_MAX); /* each has its deadline */
    for (size_t i = 0; i < n; i++) {
        *done += op[i].rc == 0;
        backend_op_fini(&op[i]);
    }
    return exchange_broken(c);
}

static const struct backend_addr *address_of(const struct objects *o, const struct meta_shard *s)
{
    const struct backend_addr *known = zstor_conf_find(o->conf, &s->addr);

    return known ? known : &s->addr;
}

/* How many are gone now.  The last one goes last: while it is there it proves the others (is_born).
 */
static size_t delete_shard(struct objects *o, const struct meta_shard *s,
                           const struct meta_record *keep)
{
    struct meta_key batch[BATCH];
    struct pool_conn *c;
    size_t done = 0, n = 0;
    int r = pool_get(o->pool, address_of(o, s), HEALTH_WRITE, &c, NULL);

    if (r < 0)
        return 0;
    for (size_t i = 0; i < s->nkeys && r == 0; i++) {
        if (refers(keep, &s->addr, &s->keys[i])) {
            done++;
            continue;
        }
        batch[n++] = s->keys[i];
        if (n == BATCH) {
            r = delete_batch(c, batch, n, &done);
            n = 0;
        }
    }
    if (n && r == 0)
        r = delete_batch(c, batch, n, &done);
    pool_put(c, r);
    return done;
}

static size_t reclaim_shard(struct objects *o, const struct meta_shard *s,
                            const struct meta_record *keep)
{
    size_t done = delete_shard(o, s, keep);

    OBJECT_COUNT(o, old_values_deleted, done);
    return s->nkeys - done;
}

static void leak(struct objects *o, const struct meta_shard *s, size_t n)
{
    OBJECT_COUNT(o, old_values_leaked, n);
    if (n)
        log_warn("backend %s: %zu old values could not be deleted", s->addr.address, n);
}

void object_reclaim(struct objects *o, const struct meta_shard *shards, unsigned n,
                    const struct meta_record *keep)
{
    for (unsigned i = 0; i < n; i++)
        if (shards[i].present && shards[i].nkeys)
            leak(o, &shards[i], reclaim_shard(o, &shards[i], keep));
}

/* --- of a record that was replaced ----------------------------------------------------------- */

/* Are the values under its keys still this shard's?  1: the last one was written when the record
 * says; 0: it is gone, and those before it with it or never to be told from others; -ESTALE: it
 * cannot be told so; other -errno: ask again later. */
static int is_born(struct objects *o, const struct meta_shard *s)
{
    uint8_t raw[8];
    struct exchange ask = {.op = {.verb = BACKEND_TIME}};
    int r;

    if (!s->born)
        return -ESTALE;
    r = pool_get(o->pool, address_of(o, s), HEALTH_READ, &ask.conn, NULL);
    if (r < 0)
        return r;
    ask.op.key = slice_of(raw, meta_key_to_wire(&s->keys[s->nkeys - 1], raw));
    exchange_run(&ask, 1, 0, 0, NULL);
    r = ask.op.rc == 0         ? ask.op.time_s == s->born ? 1 : -ESTALE
        : ask.op.rc == -ENOENT ? 0
        : ask.op.answered      ? -ESTALE
                               : ask.op.rc;
    exchange_done(&ask, 1);
    return r;
}

/* What the times do not tell is read, every byte. */
static int read_rest(struct objects *o, const struct meta_record *old, const bool *unknown,
                     const struct meta_record *keep, const struct object_ctl *ctl, size_t *later)
{
    CLEANUP(fetch_fini) struct fetch f = {0};
    struct fetch_conf fc = object_fetch_conf(o, old);
    unsigned n = geometry_total(old->geo);
    int r;

    f.n = n;
    f.shard = xcalloc(n, sizeof *f.shard);
    for (unsigned i = 0; i < n; i++)
        f.shard[i].state = unknown[i] ? FETCH_UNTRIED : FETCH_MISSING;
    r = fetch_verify(&f, &fc, ctl);
    for (unsigned i = 0; i < n && r == 0; i++) {
        if (!unknown[i])
            continue;
        if (f.shard[i].state == FETCH_GOOD)
            *later += reclaim_shard(o, &old->shards[i], keep);
        else if (f.shard[i].state == FETCH_UNREACHABLE)
            *later += old->shards[i].nkeys;
        else
            OBJECT_COUNT(o, old_values_leaked, old->shards[i].nkeys);
    }
    return r;
}

/* *later: values whose backend does not answer now. */
static int reclaim_record(struct objects *o, const struct meta_record *old,
                          const struct meta_record *keep, const struct object_ctl *ctl,
                          size_t *later)
{
    bool unknown[ZSTOR_MAX_SHARDS] = {false}, any = false;
    unsigned n = geometry_total(old->geo);

    for (unsigned i = 0; i < n; i++) {
        const struct meta_shard *s = &old->shards[i];
        int r;
        if (!s->present || s->nkeys == 0)
            continue;
        if (ctl_stopped(ctl))
            return -ECANCELED;
        r = is_born(o, s);
        if (r == 1)
            *later += reclaim_shard(o, s, keep);
        else if (r == -ESTALE)
            any = unknown[i] = true;
        else if (r < 0)
            *later += s->nkeys;
    }
    return any ? read_rest(o, old, unknown, keep, ctl, later) : 0;
}

/* The shards of old that keep has not; the rest is as a record that nobody reads: no data key. */
static unsigned dead_of(const struct meta_record *old, const struct meta_record *keep,
                        struct meta_record *dead)
{
    unsigned n = 0;

    meta_record_copy(dead, old);
    memset(dead->key, 0, sizeof dead->key);
    for (unsigned i = 0; i < geometry_total(old->geo); i++) {
        struct meta_shard *s = &dead->shards[i];
        bool live = s->nkeys && refers(keep, &s->addr, &s->keys[s->nkeys - 1]);
        if (live)
            s->nkeys = 0;
        n += s->present && s->nkeys > 0;
    }
    return n;
}

bool object_bury(struct objects *o, const char *key, const struct meta_record *old,
                 const struct metastore_state *st, const struct meta_record *keep)
{
    struct meta_record dead;
    struct err e = {0};
    int r = 0;

    if (!o->bury || !st->proved)
        return false;
    if (dead_of(old, keep, &dead)) {
        r = o->bury(o->bury_arg, key, &dead, &e);
        if (r < 0)
            log_warn("%s: its former shards cannot be put on the queue: %s", record_title(old, key),
                     e.text);
    }
    meta_record_fini(&dead);
    return r == 0;
}

void object_reclaim_record(struct objects *o, const struct meta_record *old,
                           const struct metastore_state *st, const struct meta_record *keep,
                           const struct object_ctl *ctl)
{
    unsigned n = geometry_total(old->geo);
    size_t later = 0;

    if (!st->proved) {
        for (unsigned i = 0; i < n; i++)
            OBJECT_COUNT(o, old_values_leaked, old->shards[i].nkeys);
        log_warn("%s: the shards of its former record stay: nothing proves that they are its own",
                 record_title(keep ? keep : old, "an object"));
        return;
    }
    (void)reclaim_record(o, old, keep, ctl, &later);
    OBJECT_COUNT(o, old_values_leaked, later);
    if (later)
        log_warn("%s: %zu old values could not be deleted", record_title(old, "an object"), later);
}

/* Is `now` (r of its load: 1, or 0 there is none) the record that has replaced the one of these
 * shards, and will it stay?  1, 0: they are not dead, -errno: it cannot be told now. */
static int replaced(const struct objects *o, const char *key, const struct meta_record *dead,
                    const struct meta_record *now, const struct metastore_state *st, int r,
                    struct err *e)
{
    bool deleted = false;

    if (r == 0) {
        if (o->meta.volume && volume_generation(o->meta.volume, key, &deleted) && !deleted)
            return err_set(e, EAGAIN, "the metadata backends do not know the object any more");
        return 1;
    }
    if (!st->proved || st->unproved_newest || st->good < ZSTOR_META_WRITE_QUORUM)
        return err_set(e, EAGAIN, "only %u metadata backends have its newest record", st->good);
    return !now->has_tail || now->generation > dead->generation;
}

int object_reclaim_dead(struct objects *o, const char *key, const struct meta_record *dead,
                        const struct object_ctl *ctl, struct err *e)
{
    CLEANUP(base_close) int lock = -1;
    struct metastore_state st = {0};
    struct meta_record now = {0};
    size_t later = 0;
    int r = object_lock(o->conf->state_dir, key, ctl, &lock, e), there;

    if (r < 0)
        return r;
    there = metastore_load(&o->meta, key, &now, &st, e);
    if (there < 0)
        return there;
    r = replaced(o, key, dead, &now, &st, there, e);
    if (r == 1) {
        r = guard_change(&o->meta, there ? &now : NULL, e);
        if (r == 0)
            r = reclaim_record(o, dead, there ? &now : NULL, ctl, &later);
        if (r == -ECANCELED)
            err_set(e, ECANCELED, "stopped");
    }
    if (there)
        meta_record_fini(&now);
    return r == 0 && later ? err_set(e, EHOSTUNREACH, "%zu old values cannot be deleted now", later)
                           : r;
}
