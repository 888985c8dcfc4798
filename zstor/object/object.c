/* object - see object/object.h: life of a struct objects, names, and the use cases that touch
 * metadata only.  Store, retrieve and rebuild have files of their own. */
#include "zstor/object/object.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/path.h"
#include "zstor/backend/exchange.h"
#include "zstor/format/object_name.h"
#include "zstor/format/record_bond.h"
#include "zstor/object/claim.h"
#include "zstor/object/guard.h"
#include "zstor/object/listing.h"
#include "zstor/object/lock.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/volume.h"

#define DEFAULT_HEDGE_MS 2000

int object_open(struct objects **out, const struct object_conf *c, struct err *e)
{
    struct objects *o = xcalloc(1, sizeof *o);
    int r = pool_new(&o->pool, &c->pool);

    if (r < 0) {
        free(o);
        return err_sys(e, -r, "connection pool");
    }
    o->conf = c->conf;
    o->marks = c->marks;
    o->stats = c->stats ? c->stats : &o->own_stats;
    o->hedge_ms = c->hedge_ms ? c->hedge_ms : DEFAULT_HEDGE_MS;
    o->random = c->random ? c->random : digest_random;
    o->meta = (struct metastore){.pool = o->pool,
                                 .conf = c->conf,
                                 .grace_ms = o->hedge_ms,
                                 .random = o->random,
                                 .changes = c->changes,
                                 .volume = c->volume};
    if (gethostname(o->host, sizeof o->host - 1) < 0)
        o->host[0] = '\0';
    *out = o;
    return 0;
}

void object_close(struct objects *o)
{
    if (!o)
        return;
    pool_free(o->pool);
    free(o);
}

struct pool *object_pool(struct objects *o)
{
    return o->pool;
}

void object_reclaim_later(struct objects *o, object_bury_fn *fn, void *arg)
{
    o->bury = fn;
    o->bury_arg = arg;
}

int object_check_key(struct objects *o, struct err *e)
{
    return claim_key(&o->meta, e);
}

int object_claim(struct objects *o, bool takeover, const atomic_bool *stop, struct err *e)
{
    return o->meta.volume ? claim_take(&o->meta, takeover, stop, e) : 0;
}

void object_renew(struct objects *o)
{
    struct err e = {0};
    bool held = o->meta.volume && volume_held(o->meta.volume);
    int r = guard_change(&o->meta, NULL, &e);

    if (held && (r == -EBUSY || r == -EKEYREJECTED))
        log_error("%s", e.text);
}

void object_give_back(struct objects *o)
{
    if (o->meta.volume)
        claim_give_back(&o->meta);
}

int object_key(const struct zstor_conf *c, const char *path, char **out, struct err *e)
{
    return keypath_key(c->prefix, path, c->root, out, e);
}

int object_store_path(const char *path, const char *key_dir, char **out, struct err *e)
{
    const char *base = path_base(path);
    CLEANUP(base_free) char *dir = key_dir ? xstrdup(key_dir) : path_dir(path);
    CLEANUP(base_free) char *name = NULL;
    int r;

    if (*base == '\0' || strcmp(base, ".") == 0 || strcmp(base, "..") == 0)
        return err_set(e, EINVAL, "%s: not the name of a file", path);
    name = path_join(*dir ? dir : ".", base);
    r = keypath_resolve(name, out);
    return r < 0 ? err_sys(e, -r, "%s", name) : 0;
}

uint64_t object_next_generation(const struct objects *o, const char *key, uint64_t old)
{
    bool deleted;
    uint64_t known = o->meta.volume ? volume_generation(o->meta.volume, key, &deleted) : 0;

    return MAX(MAX(old, known) + 1, base_wall_ns() / 1000);
}

struct fetch_conf object_fetch_conf(struct objects *o, const struct meta_record *m)
{
    return (struct fetch_conf){.pool = o->pool,
                               .zconf = o->conf,
                               .record = m,
                               .dir = o->conf->state_dir,
                               .hedge_ms = o->hedge_ms};
}

static int load_path(struct objects *o, const char *path, char **key, struct meta_record *out,
                     struct metastore_state *st, struct err *e)
{
    int r = object_key(o->conf, path, key, e);

    if (r < 0)
        return r;
    r = metastore_load(&o->meta, *key, out, st, e);
    if (r != 1) {
        free(*key);
        *key = NULL;
    }
    return r;
}

int object_load(struct objects *o, const char *path, const char *meta_key, char **key,
                struct meta_record *out, struct metastore_state *st, struct err *e)
{
    CLEANUP(base_free) char *clean = NULL, *real = NULL;
    struct err again;
    int r, r2;

    *key = NULL;
    if (!path) {
        r = metastore_load(&o->meta, meta_key, out, st, e);
        if (r == 1)
            *key = xstrdup(meta_key);
        return r;
    }
    r = load_path(o, path, key, out, st, e);
    if ((r != 0 && r != -EINVAL) || object_store_path(path, NULL, &real, NULL) < 0)
        return r;
    clean = keypath_clean(path);
    if (!real || strcmp(clean, real) == 0)
        return r;
    r2 = load_path(o, real, key, out, st, &again);
    if (r2 == -EINVAL) /* say what is wrong with the name that was given */
        return r;
    if (r2 < 0 && e)
        *e = again;
    return r2;
}

static void fill_name(const struct meta_record *m, char *out, size_t size)
{
    snprintf(out, size, "%s", record_title(m, ""));
    for (; *out; out++)
        if ((uint8_t)*out < ' ' || *out == 0x7f)
            *out = '?';
}

void object_fill_result(const struct objects *o, const struct meta_record *m,
                        const struct metastore_state *st, struct object_result *res)
{
    memcpy(res->checksum, m->checksum, sizeof res->checksum);
    res->size = m->has_tail && m->size != META_SIZE_UNKNOWN ? m->size : 0;
    res->generation = m->has_tail ? m->generation : 0;
    res->shards = geometry_total(m->geo);
    res->shards_needed = m->geo.data;
    res->shards_lost = res->backends_unconfigured = 0;
    for (unsigned i = 0; i < res->shards; i++) {
        const struct meta_shard *s = &m->shards[i];
        res->shards_lost += !s->present || s->nkeys == 0;
        res->backends_unconfigured += s->present && s->nkeys && !zstor_conf_find(o->conf, &s->addr);
    }
    res->meta_lost = st->lost + st->unreachable;
    res->meta_good = st->good;
    res->meta_unreachable = st->unreachable;
    res->unproved_newest = st->unproved_newest;
    fill_name(m, res->name, sizeof res->name);
}

int object_check(struct objects *o, const char *path, const char *meta_key,
                 struct object_result *res, struct err *e)
{
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m;
    int r = object_load(o, path, meta_key, &key, &m, &st, e);

    *res = (struct object_result){0};
    if (r != 1)
        return r;
    object_fill_result(o, &m, &st, res);
    meta_record_fini(&m);
    return 1;
}

int object_describe(struct objects *o, const char *path, const char *meta_key, struct buf *out,
                    struct err *e)
{
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m;
    int r = object_load(o, path, meta_key, &key, &m, &st, e);

    if (r != 1)
        return r;
    meta_format_json(&m, 0, out);
    meta_record_fini(&m);
    return 1;
}

int object_delete(struct objects *o, const char *path, const char *meta_key,
                  const struct object_ctl *ctl, struct err *e)
{
    CLEANUP(base_close) int lock = -1;
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m = {0};
    bool buried = false;
    int r = object_load(o, path, meta_key, &key, &m, &st, e);

    if (r < 0 && r != -EBADMSG) /* a damaged record can still be removed */
        return r;
    if (!key)
        r = path ? object_key(o->conf, path, &key, e) : 0;
    if (!key && !path)
        key = xstrdup(meta_key);
    if (r >= 0)
        r = object_lock(o->conf->state_dir, key, ctl, &lock, e);
    if (r >= 0 && m.shards) { /* as it is now that nobody else writes it */
        meta_record_fini(&m);
        m = (struct meta_record){0};
        r = metastore_load(&o->meta, key, &m, &st, e);
        r = r == -EBADMSG ? 0 : r;
    }
    if (r >= 0)
        r = guard_change(&o->meta, m.shards ? &m : NULL, e);
    if (r >= 0 && m.shards)
        buried = object_bury(o, key, &m, &st, NULL);
    if (r >= 0)
        r = ctl_stopped(ctl) ? err_set(e, ECANCELED, "stopped")
                             : metastore_remove(&o->meta, key, e);
    if (r == 0 && m.shards && !buried)
        object_reclaim_record(o, &m, &st, NULL, ctl);
    if (m.shards)
        meta_record_fini(&m);
    return r;
}

int object_each(struct objects *o, object_key_fn *fn, void *arg, struct err *e)
{
    return listing_each(&o->meta, fn, arg, e);
}

struct all {
    struct objects *o;
    const struct object_ctl *ctl;
    object_rebuilt_fn *fn;
    void *arg;
    uint64_t failed;
};

static int rebuild_one(void *arg, const char *key)
{
    struct all *a = arg;
    struct object_result res;
    struct err e = {0};
    int r;

    if (ctl_stopped(a->ctl))
        return -ECANCELED;
    r = object_rebuild(a->o, NULL, key, a->ctl, &res, &e);
    a->failed += r < 0;
    return a->fn ? a->fn(a->arg, key, r, &res, &e) : 0;
}

int object_rebuild_all(struct objects *o, const struct object_ctl *ctl, object_rebuilt_fn *fn,
                       void *arg, struct err *e)
{
    struct all a = {.o = o, .ctl = ctl, .fn = fn, .arg = arg};
    int r = listing_each(&o->meta, rebuild_one, &a, e);

    if (r == 0 && a.failed)
        return err_set(e, EIO, "%llu objects could not be rebuilt", (unsigned long long)a.failed);
    return r == -ECANCELED ? err_set(e, ECANCELED, "stopped") : r;
}

/* It answers, but do writes work?  And is it the same store as one before it, under another name?
 */
static int may_take_shards(struct pool *p, const struct placement_site *s, size_t i, struct err *e)
{
    struct pool_health h, other;

    pool_health(p, s[i].addr, &h);
    if (h.track[HEALTH_WRITE].down && h.retry_in_ms)
        return err_set(e, EHOSTDOWN, "writes fail: %s", h.last_error);
    for (size_t k = 0; k < i && h.identity[0]; k++) {
        pool_health(p, s[k].addr, &other);
        if (strcmp(h.identity, other.identity) == 0)
            return err_set(e, EEXIST, "is the same namespace as %s, it counts once",
                           s[k].addr->address);
    }
    return 0;
}

void object_sites(struct objects *o, uint64_t need, struct placement_site **sites, size_t *n,
                  struct err *why)
{
    struct placement_site *s = placement_sites(o->conf, n);
    const struct backend_addr **addr = xcalloc(*n + 1, sizeof(struct backend_addr *));
    struct backend_info *info = xcalloc(*n + 1, sizeof *info);
    int *rc = xcalloc(*n + 1, sizeof *rc);

    for (size_t i = 0; i < *n; i++)
        addr[i] = s[i].addr;
    exchange_info(o->pool, addr, *n, false, NULL, info, rc);
    for (size_t i = 0; i < *n; i++) {
        struct err own = {0};
        if (rc[i] == 0)
            rc[i] = backend_info_writable(&info[i], BACKEND_SEQUENTIAL, need, &own);
        else
            err_set(&own, -rc[i], "does not answer");
        if (rc[i] == 0 && marks_get(o->marks, addr[i]) & MARK_DRAIN)
            rc[i] = err_set(&own, EROFS, "is drained");
        if (rc[i] == 0)
            rc[i] = may_take_shards(o->pool, s, i, &own);
        s[i].usable = rc[i] == 0;
        if (rc[i] == 0)
            s[i].weight *=
                (double)MIN(MAX(backend_info_free(&info[i]), (uint64_t)MIB), (uint64_t)1 << 50);
        if (rc[i] < 0) {
            log_debug("backend %s: not used: %s", addr[i]->address, own.text);
            err_set(why, -rc[i], "%s: %s", addr[i]->address, own.text);
        }
    }
    *sites = s;
    free(addr);
    free(info);
    free(rc);
}

void object_probe(struct objects *o)
{
    size_t n;
    struct placement_site *s = placement_sites(o->conf, &n);
    const struct backend_addr **addr =
        xcalloc(n + ZSTOR_META_COPIES, sizeof(struct backend_addr *));
    struct backend_info *info = xcalloc(n + ZSTOR_META_COPIES, sizeof *info);
    int *rc = xcalloc(n + ZSTOR_META_COPIES, sizeof *rc);

    for (size_t i = 0; i < n; i++)
        addr[i] = s[i].addr;
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++)
        addr[n + i] = &o->conf->meta[i];
    exchange_info(o->pool, addr, n + ZSTOR_META_COPIES, true, NULL, info, rc);
    free(s);
    free(addr);
    free(info);
    free(rc);
}
