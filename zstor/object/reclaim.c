/* reclaim - deletes shard values nobody refers to any more (object/object_impl.h). */
#include <errno.h>
#include <stdlib.h>

#include "common/log.h"
#include "zstor/backend/exchange.h"
#include "zstor/format/record_bond.h"
#include "zstor/object/fetch.h"
#include "zstor/object/object_impl.h"

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

static size_t delete_shard(struct objects *o, const struct meta_shard *s,
                           const struct meta_record *keep)
{
    const struct backend_addr *known = zstor_conf_find(o->conf, &s->addr);
    struct meta_key batch[BATCH];
    struct pool_conn *c;
    size_t done = 0, n = 0;
    int r = pool_get(o->pool, known ? known : &s->addr, HEALTH_WRITE, &c, NULL);

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

void object_reclaim(struct objects *o, const struct meta_shard *shards, unsigned n,
                    const struct meta_record *keep)
{
    for (unsigned i = 0; i < n; i++) {
        size_t done;
        if (!shards[i].present || shards[i].nkeys == 0)
            continue;
        done = delete_shard(o, &shards[i], keep);
        OBJECT_COUNT(o, old_values_deleted, done);
        OBJECT_COUNT(o, old_values_leaked, shards[i].nkeys - done);
        if (done < shards[i].nkeys)
            log_warn("backend %s: %zu old values could not be deleted", shards[i].addr.address,
                     shards[i].nkeys - done);
    }
}

void object_reclaim_record(struct objects *o, const struct meta_record *old,
                           const struct metastore_state *st, const struct meta_record *keep,
                           const struct object_ctl *ctl)
{
    CLEANUP(fetch_fini) struct fetch f = {0};
    struct fetch_conf fc = object_fetch_conf(o, old);
    unsigned n = geometry_total(old->geo);

    if (!st->proved) {
        for (unsigned i = 0; i < n; i++)
            OBJECT_COUNT(o, old_values_leaked, old->shards[i].nkeys);
        log_warn("%s: the shards of its former record stay: nothing proves that they are its own",
                 record_title(keep ? keep : old, "an object"));
        return;
    }
    if (fetch_verify(&f, &fc, ctl) < 0)
        return;
    for (unsigned i = 0; i < n; i++) {
        if (f.shard[i].state == FETCH_GOOD)
            object_reclaim(o, &old->shards[i], 1, keep);
        else
            OBJECT_COUNT(o, old_values_leaked, old->shards[i].nkeys);
    }
}
