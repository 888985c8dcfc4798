/* rebuild - verify every shard, compute what is lost from the others (nothing is decrypted),
 * place it elsewhere, move what lies on backends that the configuration no longer has, and bring
 * the metadata values up to date.  Geometry is the record's, whatever the configuration says now.
 */
#include <errno.h>
#include <stdlib.h>

#include "common/buf.h"
#include "common/log.h"
#include "zstor/object/guard.h"
#include "zstor/object/lock.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/reconstruct.h"
#include "zstor/object/upload.h"
#include "zstor/object/volume.h"

struct rebuild {
    struct objects *o;
    const struct object_ctl *ctl;
    char *key;
    struct meta_record rec; /* as loaded */
    struct meta_record new; /* with what was restored */
    struct metastore_state st;
    enum fetch_state state[ZSTOR_MAX_SHARDS];
    bool move[ZSTOR_MAX_SHARDS]; /* good, but on a backend that is not configured any more */
    bool trust;                  /* object_repair */
    unsigned n;
    uint64_t shard_len;
    struct meta_shard *old;          /* entries that were replaced */
    bool old_good[ZSTOR_MAX_SHARDS]; /* and verified: their values are this object's and can be
                                        deleted */
    unsigned nold;
};

static void rebuild_fini(struct rebuild *b)
{
    for (unsigned i = 0; i < b->nold; i++) {
        free(b->old[i].keys);
        backend_addr_fini(&b->old[i].addr);
    }
    free(b->old);
    if (b->rec.shards)
        meta_record_fini(&b->rec);
    if (b->new.shards)
        meta_record_fini(&b->new);
    free(b->key);
}

/* What need not be read, and what need not be tried. */
static void believe(struct rebuild *b, struct fetch *f)
{
    const struct assess_conf ac = object_assess_conf(b->o);
    enum assess_state state[ZSTOR_MAX_SHARDS];

    assess(&ac, &b->rec, state);
    f->n = b->n;
    f->shard = xcalloc(b->n, sizeof *f->shard);
    for (unsigned i = 0; i < b->n; i++)
        f->shard[i].state = state[i] == ASSESS_GOOD   ? FETCH_GOOD
                            : state[i] == ASSESS_LOST ? FETCH_MISSING
                                                      : FETCH_UNTRIED;
}

static int verify(struct rebuild *b, struct err *e)
{
    CLEANUP(fetch_fini) struct fetch f = {0};
    struct fetch_conf fc = object_fetch_conf(b->o, &b->rec);
    const struct assess_conf ac = object_assess_conf(b->o);
    int r;

    if (b->rec.has_tail)
        b->shard_len = geometry_shard_len(b->rec.geo, b->rec.blob_len);
    if (b->trust)
        believe(b, &f);
    r = fetch_verify(&f, &fc, b->ctl);
    if (r < 0)
        return err_set(e, -r, "stopped");
    for (unsigned i = 0; i < b->n; i++) {
        b->state[i] = f.shard[i].state;
        if (b->state[i] == FETCH_GOOD) {
            b->shard_len = f.shard[i].len ? f.shard[i].len : b->shard_len;
            b->move[i] = assess_leaves(&ac, &b->rec.shards[i]);
        }
        OBJECT_COUNT(b->o, shards_missing, f.shard[i].state == FETCH_MISSING);
        OBJECT_COUNT(b->o, shards_corrupt, f.shard[i].state == FETCH_CORRUPT);
        OBJECT_COUNT(b->o, shards_unreachable, f.shard[i].state == FETCH_UNREACHABLE);
    }
    return 0;
}

static unsigned still_lost(const struct rebuild *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->n; i++)
        n += b->state[i] != FETCH_GOOD;
    return n;
}

static unsigned to_move(const struct rebuild *b)
{
    unsigned n = 0;

    for (unsigned i = 0; i < b->n; i++)
        n += b->move[i];
    return n;
}

/* Places for the lost shards, then for those to be moved; how many got one.  target[k] / at[k]:
 * shard and site. */
static unsigned choose_places(struct rebuild *b, const struct placement_site *site, size_t nsites,
                              unsigned *target, size_t *at)
{
    unsigned want = 0;
    bool satisfied = true;
    int r;

    for (unsigned i = 0; i < b->n; i++)
        if (b->state[i] != FETCH_GOOD)
            target[want++] = i;
    for (unsigned i = 0; i < b->n; i++)
        if (b->move[i])
            target[want++] = i;
    r = placement_complete(b->o->conf, site, nsites, want, b->o->random, at, &satisfied);
    if (r > 0 && !satisfied)
        log_info(
            "rebuild %s: the redundancy over groups cannot be had with the backends that are left",
            b->key);
    return r > 0 ? (unsigned)r : 0;
}

static void mark_kept(struct rebuild *b, struct placement_site *site, size_t nsites)
{
    for (size_t k = 0; k < nsites; k++) {
        site[k].kept = 0;
        for (unsigned i = 0; i < b->n; i++)
            if (b->state[i] == FETCH_GOOD &&
                backend_addr_same(&b->new.shards[i].addr, site[k].addr))
                site[k].kept = 1;
    }
}

/* The restored shard takes its place in the new record; the former entry is kept for reclaiming. */
static void take_restored(struct rebuild *b, struct upload_target *t)
{
    struct meta_shard *m = &b->new.shards[t->index];

    b->old_good[b->nold] = b->move[t->index] && b->st.proved;
    b->old[b->nold++] = *m;
    b->move[t->index] = false;
    m->present = true;
    m->keys = t->keys;
    m->nkeys = t->nkeys;
    m->born = t->born;
    m->addr = (struct backend_addr){0};
    backend_addr_copy(&m->addr, t->addr);
    b->state[t->index] = FETCH_GOOD;
}

static void reclaim_target(struct rebuild *b, struct upload_target *t)
{
    if (t->nkeys) {
        struct meta_shard part = {
            .present = true, .keys = t->keys, .nkeys = t->nkeys, .addr = *t->addr};
        object_reclaim(b->o, &part, 1, NULL);
    }
    free(t->keys);
}

/* One round over the lost shards; how many were restored, or -errno. */
static int restore_round(struct rebuild *b, struct shardread *in, struct placement_site *site,
                         size_t nsites)
{
    struct upload_source src = {.geo = b->rec.geo,
                                .shard_len = shardread_shard_len(in),
                                .have = shardread_have(in),
                                .read = shardread_source,
                                .arg = in};
    struct upload_target *t = xcalloc(b->n, sizeof *t);
    unsigned target[ZSTOR_MAX_SHARDS], n, done = 0;
    size_t at[ZSTOR_MAX_SHARDS];
    int r = 0;

    mark_kept(b, site, nsites);
    n = choose_places(b, site, nsites, target, at);
    for (unsigned k = 0; k < n; k++)
        t[k] = (struct upload_target){.index = target[k], .addr = site[at[k]].addr};
    if (n)
        r = upload_run(b->o->pool, &src, t, n, b->ctl, 0, src.shard_len * src.geo.data);
    for (unsigned k = 0; k < n; k++) {
        /* an absent entry has no digest to compare with; then the new one is the record's */
        const struct meta_shard *m = &b->rec.shards[t[k].index];
        bool right = !m->present || memcmp(t[k].digest, m->digest, sizeof t[k].digest) == 0;
        if (r == 0 && t[k].rc == 0 && right) {
            memcpy(b->new.shards[t[k].index].digest, t[k].digest, sizeof t[k].digest);
            take_restored(b, &t[k]);
            done++;
            continue;
        }
        if (r == 0 && t[k].rc == 0)
            r = -EBADMSG; /* the digests of the record contradict each other */
        site[at[k]].usable = false;
        reclaim_target(b, &t[k]);
    }
    free(t);
    return r < 0 ? r : (int)done;
}

/* Shards to their places, round by round until nothing is left or no place. */
static int restore_from(struct rebuild *b, struct placement_site *site, size_t nsites,
                        unsigned *restored)
{
    CLEANUP(fetch_fini) struct fetch f = {0};
    struct fetch_conf fc = object_fetch_conf(b->o, &b->rec);
    struct shardread *in = NULL;
    int r, round = 1;

    f.n = b->n;
    f.shard = xcalloc(b->n, sizeof *f.shard);
    for (unsigned i = 0; i < b->n; i++) /* what is known to be lost is not asked for again */
        f.shard[i].state = b->state[i] == FETCH_GOOD ? FETCH_UNTRIED : b->state[i];
    r = fetch_enough(&f, &fc, b->ctl);
    for (unsigned i = 0; i < b->n; i++) /* what was believed and is not so */
        if (b->state[i] == FETCH_GOOD &&
            (f.shard[i].state == FETCH_MISSING || f.shard[i].state == FETCH_CORRUPT)) {
            b->state[i] = f.shard[i].state;
            b->move[i] = false;
        }
    if (r == 0)
        r = shardread_new(&in, b->rec.geo, &f);
    while (r == 0 && round > 0 && still_lost(b) + to_move(b)) {
        round = restore_round(b, in, site, nsites);
        r = MIN(round, 0);
        *restored += (unsigned)MAX(round, 0);
    }
    shardread_free(in);
    return r;
}

static int restore(struct rebuild *b, unsigned *restored, struct err *e)
{
    struct placement_site *site = NULL;
    unsigned target[ZSTOR_MAX_SHARDS];
    size_t nsites, at[ZSTOR_MAX_SHARDS];
    struct err why = {0};
    int r = 0;

    if (b->n - still_lost(b) < b->rec.geo.data)
        return err_set(e, EIO, "only %u good shards, %u are needed to rebuild",
                       b->n - still_lost(b), b->rec.geo.data);
    b->old = xcalloc(b->n, sizeof *b->old);
    object_sites(b->o, b->shard_len, &site, &nsites, &why);
    mark_kept(b, site, nsites);
    if (choose_places(b, site, nsites, target, at)) /* else nothing is fetched for nothing */
        r = restore_from(b, site, nsites, restored);
    free(site);
    switch (r) {
    case 0:
        if (still_lost(b) + to_move(b))
            log_warn("rebuild %s: %u lost shards have no place, %u cannot be moved to a configured "
                     "backend: %s",
                     b->key, still_lost(b), to_move(b),
                     why.code ? why.text : "every usable backend has one already");
        return 0;
    case -EIO:
        return err_set(e, EIO, "too few good shards to rebuild, %u are needed", b->rec.geo.data);
    case -EBADMSG:
        return err_set(e, EBADMSG, "shards fail verification");
    case -ECANCELED:
        return err_set(e, ECANCELED, "stopped");
    default:
        return err_sys(e, -r, "rebuild");
    }
}

static void log_moves(const struct rebuild *b)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT;
    CLEANUP(base_free) char *line = NULL;

    for (int side = 0; side < 2; side++) {
        const struct meta_record *m = side ? &b->new : &b->rec;
        buf_put_str(&text, side ? " to " : "");
        for (unsigned i = 0; i < b->n; i++) {
            char name[192] = "-";
            if (m->shards[i].present)
                backend_addr_name(&m->shards[i].addr, name, sizeof name);
            buf_printf(&text, "%s%s", i ? "," : "", name);
        }
    }
    line = buf_take_str(&text);
    log_info("Rebuild file from %s", line);
}

/* Nobody may have replaced the object since it was loaded. */
static int still_current(struct rebuild *b, struct err *e)
{
    struct metastore_state st;
    struct meta_record now;
    int r = metastore_load(&b->o->meta, b->key, &now, &st, e);
    bool same;

    if (r == 0)
        return err_set(e, EAGAIN, "the object was deleted meanwhile");
    if (r < 0)
        return r;
    same = now.has_tail == b->rec.has_tail && now.generation == b->rec.generation &&
           memcmp(now.checksum, b->rec.checksum, sizeof now.checksum) == 0 &&
           memcmp(now.key, b->rec.key, sizeof now.key) == 0;
    meta_record_fini(&now);
    return same ? 0 : err_set(e, EAGAIN, "the object was replaced meanwhile");
}

static int save(struct rebuild *b, struct object_result *res, struct err *e)
{
    unsigned acks = 0;
    bool buried = false;
    int r = still_current(b, e);

    if (r == 0)
        r = guard_change(&b->o->meta, &b->rec, e);
    if (r == 0) {
        b->new.has_tail = true;
        if (b->o->meta.volume)
            volume_sign(b->o->meta.volume, &b->new);
        b->new.generation =
            object_next_generation(b->o, b->key, b->rec.has_tail ? b->rec.generation : 0);
        buried = b->nold && object_bury(b->o, b->key, &b->rec, &b->st, &b->new);
        r = metastore_save(&b->o->meta, b->key, &b->new, &acks, e);
    }
    if (r < 0) {
        if (acks == 0 && r == -EAGAIN) /* nothing refers to what was restored */
            for (unsigned i = 0; i < b->n; i++)
                object_reclaim(b->o, &b->new.shards[i], 1, &b->rec);
        return r;
    }
    res->meta_lost = ZSTOR_META_COPIES - acks;
    res->generation = b->new.generation;
    for (unsigned i = 0; i < b->nold && !buried; i++)
        if (b->old_good[i])
            object_reclaim(b->o, &b->old[i], 1, &b->new);
        else /* not there, not readable, or not proven to be ours: never deleted */
            OBJECT_COUNT(b->o, old_values_leaked, b->old[i].nkeys);
    return 0;
}

static int rebuild(struct rebuild *b, struct object_result *res, struct err *e)
{
    unsigned restored = 0;
    int r = verify(b, e);

    if (r < 0)
        return r;
    res->shards_lost = still_lost(b);
    meta_record_copy(&b->new, &b->rec);
    if (res->shards_lost + to_move(b)) {
        r = guard_change(&b->o->meta, &b->rec, e);
        if (r == 0)
            r = metastore_writable(&b->o->meta, ZSTOR_META_WRITE_QUORUM, e); /* before anything is
                                                   uploaded that could not be referred to */
        if (r == 0)
            r = restore(b, &restored, e);
        if (r < 0)
            return r;
    }
    OBJECT_COUNT(b->o, verified, !b->trust);
    if (restored || b->st.lost || b->rec.irregular)
        r = save(b, res, e);
    if (r < 0)
        return r;
    if (restored) {
        log_moves(b);
        OBJECT_COUNT(b->o, rebuilt, 1);
        OBJECT_COUNT(b->o, shards_rebuilt, restored);
    }
    res->shards_restored = restored;
    res->shards_lost = still_lost(b);
    res->backends_unconfigured = to_move(b);
    return 0;
}

int object_repair(struct objects *o, const char *meta_key, const struct object_ctl *ctl,
                  struct object_result *res, struct err *e)
{
    CLEANUP(rebuild_fini) struct rebuild b = {.o = o, .ctl = ctl, .trust = true};
    int r;

    *res = (struct object_result){0};
    r = object_load(o, NULL, meta_key, &b.key, &b.rec, &b.st, e);
    if (r <= 0)
        return r == 0 ? err_set(e, ENOENT, "no metadata found for file") : r;
    b.n = geometry_total(b.rec.geo);
    object_fill_result(o, &b.rec, &b.st, res);
    return rebuild(&b, res, e);
}

int object_rebuild(struct objects *o, const char *path, const char *meta_key,
                   const struct object_ctl *ctl, struct object_result *res, struct err *e)
{
    CLEANUP(rebuild_fini) struct rebuild b = {.o = o, .ctl = ctl};
    CLEANUP(base_close) int lock = -1;
    int r;

    *res = (struct object_result){0};
    if (!path && !meta_key)
        return err_set(e, EINVAL, "Either `file` or `key` argument must be set");
    if (path && meta_key)
        return err_set(e, EINVAL, "Only one of `file` or `key` argument must be set");
    r = object_load(o, path, meta_key, &b.key, &b.rec, &b.st, e);
    if (r == 1)
        r = object_lock(o->conf->state_dir, b.key, ctl, &lock, e);
    if (r == 0 && lock >= 0) { /* as it is now that nobody else writes it */
        meta_record_fini(&b.rec);
        b.rec = (struct meta_record){0};
        r = metastore_load(&o->meta, b.key, &b.rec, &b.st, e);
    }
    if (r == 0)
        return err_set(e, ENOENT, "no metadata found for file");
    if (r < 0)
        return r;
    b.n = geometry_total(b.rec.geo);
    object_fill_result(o, &b.rec, &b.st, res);
    return rebuild(&b, res, e);
}
