/* store - file to shards and metadata.  Order: everything that can refuse, then shards, then
 * metadata, then what was replaced; so a crash leaves the old object or the new one, and at worst
 * values that nobody refers to. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/log.h"
#include "zstor/format/object_name.h"
#include "zstor/object/encode.h"
#include "zstor/format/record_value.h"
#include "zstor/object/guard.h"
#include "zstor/object/lock.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/remove.h"
#include "zstor/object/split.h"
#include "zstor/object/spool.h"
#include "zstor/object/upload.h"
#include "zstor/object/volume.h"

struct store {
    struct objects *o;
    const struct object_ctl *ctl;
    const char *source;
    char *key;
    int fd;
    struct stat st; /* of the source, before it was read */
    bool have_old;
    struct meta_record old;
    struct metastore_state old_state;
    struct spool *spool; /* the blob */
    struct geometry geo;
    struct split split;     /* of the blob */
    struct meta_record rec; /* the new record; rec.shards[i].nkeys > 0: shard i is stored */
    struct placement_site *site;
    size_t nsites;
    size_t place[ZSTOR_MAX_SHARDS]; /* site of each shard; NO_PLACE */
    struct err why;                 /* last reason why a shard was not stored */
    bool only_space;                /* every such reason was lack of room */
};

#define NO_PLACE SIZE_MAX

static void store_fini(struct store *s)
{
    if (s->have_old)
        meta_record_fini(&s->old);
    if (s->rec.shards)
        meta_record_fini(&s->rec);
    spool_free(s->spool);
    base_close(&s->fd);
    free(s->site);
    free(s->key);
}

/* --- the source ------------------------------------------------------------------------------ */

static int open_source(struct store *s, struct err *e)
{
    s->fd = open(s->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a fifo must not hold us */
    if (s->fd < 0 && errno == ENOENT) {
        remove_undo(s->source);
        s->fd = open(s->source, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    }
    if (s->fd < 0)
        return err_sys(e, errno, "Could not load file metadata of %s", s->source);
    if (fstat(s->fd, &s->st) < 0)
        return err_sys(e, errno, "%s", s->source);
    if (!S_ISREG(s->st.st_mode))
        return err_set(e, EINVAL, "%s: only files can be stored", s->source);
    return 0;
}

static bool same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int hash_source(struct store *s, uint8_t sum[DIGEST_LEN])
{
    int r = digest_fd(s->fd, s->ctl ? s->ctl->stop : NULL, sum);

    return r < 0 ? r : lseek(s->fd, 0, SEEK_SET) < 0 ? -errno : 0;
}

/* Is the object there already, as the configuration wants it, with this content?  1, 0, -errno.
 * Shards that a degraded store left out are no reason to send the others again: the result tells of
 * them, and a rebuild adds them. */
static int unchanged(struct store *s)
{
    const struct meta_record *m = &s->old;
    uint8_t sum[DIGEST_LEN];
    unsigned stored = 0;
    int r;

    if (!s->have_old || m->geo.data != s->geo.data || m->geo.parity != s->geo.parity)
        return 0;
    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        bool here = m->shards[i].present && m->shards[i].nkeys > 0;
        if (here && !zstor_conf_find(s->o->conf, &m->shards[i].addr))
            return 0;
        stored += here;
    }
    if (stored < s->geo.data)
        return 0;
    if (m->has_tail && m->size != META_SIZE_UNKNOWN && m->size != (uint64_t)s->st.st_size)
        return 0;
    r = hash_source(s, sum);
    return r < 0 ? r : memcmp(sum, m->checksum, sizeof sum) == 0;
}

/* --- metadata -------------------------------------------------------------------------------- */

static int save(struct store *s, struct meta_record *m, struct object_result *res, struct err *e)
{
    unsigned acks;
    int r;

    r = guard_change(&s->o->meta, s->have_old ? &s->old : NULL, e);
    if (r < 0)
        return r;
    m->has_tail = true;
    if (s->o->meta.volume)
        volume_sign(s->o->meta.volume, m);
    m->generation = object_next_generation(s->o, s->key,
                                           s->have_old && s->old.has_tail ? s->old.generation : 0);
    r = metastore_save(&s->o->meta, s->key, m, &acks, e);
    if (r < 0)
        return r;
    OBJECT_COUNT(s->o, meta_partial, acks < ZSTOR_META_COPIES);
    object_fill_result(s->o, m,
                       &(struct metastore_state){.good = acks, .lost = ZSTOR_META_COPIES - acks},
                       res);
    return 0;
}

static int skip(struct store *s, struct object_result *res, struct err *e)
{
    int r = 0;

    if (s->old_state.good < ZSTOR_META_WRITE_QUORUM) { /* left by a write that did not reach the
                                                          quorum: finish it */
        r = metastore_writable(&s->o->meta, ZSTOR_META_WRITE_QUORUM, e);
        if (r == 0)
            r = save(s, &s->old, res, e);
    } else {
        object_fill_result(s->o, &s->old, &s->old_state, res);
    }
    if (r < 0)
        return r;
    res->skipped = true;
    res->size = (uint64_t)s->st.st_size;
    OBJECT_COUNT(s->o, skipped, 1);
    log_debug("Skipping %s because it's already uploaded", s->source);
    return 0;
}

/* --- encode ---------------------------------------------------------------------------------- */

static int encode(struct store *s, const char *object_path, struct err *e)
{
    struct encode_result enc;
    uint8_t nonce[CRYPT_NONCE_LEN];
    struct stat now;
    int r;

    meta_record_init(&s->rec, s->geo);
    r = s->o->random(s->rec.key, sizeof s->rec.key);
    if (r == 0)
        r = s->o->random(nonce, sizeof nonce);
    if (r < 0)
        return err_set(e, EIO, "no random numbers");
    s->spool = spool_new(s->o->conf->state_dir);
    r = encode_file(s->fd, (uint64_t)s->st.st_size, s->rec.key, nonce, s->spool, s->ctl, &enc);
    if (r < 0)
        return r == -ECANCELED ? err_set(e, ECANCELED, "stopped") : err_sys(e, -r, "%s", s->source);
    if (fstat(s->fd, &now) < 0 || !same_file(&s->st, &now) || enc.size != (uint64_t)now.st_size)
        return err_set(e, EAGAIN, "%s changed while it was read", s->source);
    memcpy(s->rec.checksum, enc.checksum, sizeof s->rec.checksum);
    s->rec.size = enc.size;
    s->rec.blob_len = spool_len(s->spool);
    s->rec.time_ns = base_wall_ns();
    s->rec.host = s->o->host[0] ? xstrdup(s->o->host) : NULL;
    r = keypath_name(object_path, s->o->conf->root, &s->rec.name, e);
    if (r < 0)
        return r;
    split_init(&s->split, s->spool, s->geo);
    return 0;
}

/* --- shards ---------------------------------------------------------------------------------- */

static unsigned stored(const struct store *s)
{
    unsigned n = 0;

    for (unsigned i = 0; i < geometry_total(s->geo); i++)
        n += s->rec.shards[i].nkeys > 0;
    return n;
}

static void place_all(struct store *s)
{
    size_t at[ZSTOR_MAX_SHARDS];
    unsigned n = geometry_total(s->geo);
    struct err e = {0};
    bool satisfied;
    int r = placement_choose(s->o->conf, s->site, s->nsites, s->o->random, at, &e);

    if (r < 0) {
        r = placement_complete(s->o->conf, s->site, s->nsites, n, s->o->random, at, &satisfied);
        log_warn("store %s: redundancy cannot be had now (%s): %d of %u shards get a place",
                 s->source, e.text, MAX(r, 0), n);
        r = MAX(r, 0);
    } else {
        r = (int)n;
    }
    for (unsigned i = 0; i < n; i++)
        s->place[i] = i < (unsigned)r ? at[i] : NO_PLACE;
}

/* New places for what is not stored; 0: there are none left. */
static unsigned place_missing(struct store *s)
{
    unsigned missing[ZSTOR_MAX_SHARDS] = {0}, n = 0;
    size_t at[ZSTOR_MAX_SHARDS] = {0};
    bool satisfied;
    int r;

    for (unsigned i = 0; i < geometry_total(s->geo); i++) {
        if (s->rec.shards[i].nkeys == 0) {
            missing[n++] = i;
            s->place[i] = NO_PLACE;
        } else {
            s->site[s->place[i]].kept = 1;
        }
    }
    if (n == 0)
        return 0;
    r = placement_complete(s->o->conf, s->site, s->nsites, n, s->o->random, at, &satisfied);
    for (int k = 0; k < r; k++)
        s->place[missing[k]] = at[k];
    return r > 0 ? (unsigned)r : 0;
}

static void note_failure(struct store *s, const struct upload_target *t)
{
    s->only_space = s->only_space && t->rc == -ENOSPC;
    err_sys(&s->why, -t->rc, "%s", t->addr->address);
    s->site[s->place[t->index]].usable = false;
    if (t->nkeys) { /* what was written before it failed */
        struct meta_shard part = {
            .present = true, .keys = t->keys, .nkeys = t->nkeys, .addr = *t->addr};
        object_reclaim(s->o, &part, 1, NULL);
    }
    free(t->keys);
}

/* Write the shards that have a place and are not stored (all: get the digests of all shards as
 * well). */
static int upload_round(struct store *s, bool all)
{
    struct upload_source src = {
        .geo = s->geo, .shard_len = s->split.shard_len, .read = split_read, .arg = &s->split};
    struct upload_target *t = xcalloc(geometry_total(s->geo), sizeof *t);
    uint64_t size = MAX(s->rec.size, (uint64_t)1);
    unsigned nt = 0;
    int r;

    for (unsigned i = 0; i < geometry_total(s->geo); i++) {
        bool wanted = s->rec.shards[i].nkeys == 0 && s->place[i] != NO_PLACE;
        if (wanted || all)
            t[nt++] = (struct upload_target){.index = i,
                                             .addr = wanted ? s->site[s->place[i]].addr : NULL};
    }
    r = upload_run(s->o->pool, &src, t, nt, s->ctl, size, size * 2);
    for (unsigned k = 0; k < nt; k++) {
        struct meta_shard *m = &s->rec.shards[t[k].index];
        memcpy(m->digest, t[k].digest, sizeof m->digest);
        if (!t[k].addr)
            continue;
        if (t[k].rc < 0) {
            note_failure(s, &t[k]);
            continue;
        }
        m->present = true;
        m->keys = t[k].keys;
        m->nkeys = t[k].nkeys;
        m->born = t[k].born;
        backend_addr_copy(&m->addr, t[k].addr);
    }
    free(t);
    return r;
}

/* Entries of shards that are not stored: upstream wants all of them listed, so each names a backend
 * that has none yet. */
static void list_missing(struct store *s)
{
    for (unsigned i = 0; i < geometry_total(s->geo); i++) {
        struct meta_shard *m = &s->rec.shards[i];
        size_t at = 0;
        if (m->present)
            continue;
        for (size_t k = 0; k < s->nsites; k++) {
            bool taken = false;
            for (unsigned j = 0; j < geometry_total(s->geo) && !taken; j++)
                taken = s->rec.shards[j].present &&
                        backend_addr_same(&s->rec.shards[j].addr, s->site[k].addr);
            if (!taken) {
                at = k;
                break;
            }
        }
        m->present = true;
        backend_addr_copy(&m->addr, s->site[at].addr);
    }
}

static int write_shards(struct store *s, struct err *e)
{
    unsigned n = geometry_total(s->geo), have;
    int r;

    place_all(s);
    r = upload_round(s, true);
    while (r == 0 && stored(s) < n && place_missing(s) > 0)
        r = upload_round(s, false);
    have = stored(s);
    if (r == 0 && have < s->geo.data)
        r = err_set(e, s->only_space && s->why.code ? ENOSPC : ENOLINK,
                    "only %u of %u shards could be stored, %u are needed (%s)", have, n,
                    s->geo.data, s->why.code ? s->why.text : "no usable backend");
    else if (r < 0)
        r = r == -ECANCELED ? err_set(e, ECANCELED, "stopped") : err_sys(e, -r, "%s", s->source);
    if (r < 0)
        object_reclaim(s->o, s->rec.shards, n, NULL);
    return r;
}

/* --- the whole ------------------------------------------------------------------------------- */

static int check_limits(struct store *s, struct err *e)
{
    uint64_t keys = upload_values(s->geo, geometry_total(s->geo), s->split.shard_len);

    /* one upload of all shards makes the most values; names of backends are short beside them */
    if (meta_format_bound(&s->rec, keys) + 600 * (uint64_t)geometry_total(s->geo) >
        2 * (META_VALUE_MAX - 64))
        return err_set(e, EFBIG, "%s: too large, its metadata would not fit a metadata backend",
                       s->source);
    return 0;
}

static int upload_and_save(struct store *s, struct object_result *res, struct err *e)
{
    struct err why = {0};
    bool buried;
    int r = check_limits(s, e);

    if (r == 0) /* before anything is written that could not be referred to */
        r = metastore_writable(&s->o->meta, ZSTOR_META_DATA, e);
    if (r < 0)
        return r;
    object_sites(s->o, s->split.shard_len, &s->site, &s->nsites, &why);
    s->why = why;
    s->only_space = why.code == 0 || why.code == ENOSPC;
    r = write_shards(s, e);
    if (r < 0)
        return r;
    list_missing(s);
    buried = s->have_old && object_bury(s->o, s->key, &s->old, &s->old_state, &s->rec);
    r = save(s, &s->rec, res, e);
    if (r < 0) { /* some backends may have the new record: its shards must stay, the next try
                    finishes it */
        log_warn("store %s: shards are stored, metadata is not: %s", s->source, e ? e->text : "");
        return r;
    }
    if (s->have_old && !buried)
        object_reclaim_record(s->o, &s->old, &s->old_state, &s->rec, s->ctl);
    OBJECT_COUNT(s->o, stored, 1);
    OBJECT_COUNT(s->o, stored_bytes, s->rec.size);
    OBJECT_COUNT(s->o, degraded, res->shards_lost > 0);
    if (res->shards_lost)
        log_warn("store %s: %u of %u shards are not stored yet", s->source, res->shards_lost,
                 res->shards);
    return 0;
}

static int store(struct store *s, const char *object_path, unsigned flags,
                 struct object_result *res, struct err *e)
{
    struct err damaged;
    CLEANUP(base_close) int lock = -1;
    int r = open_source(s, e);

    if (r == 0)
        r = object_key(s->o->conf, object_path, &s->key, e);
    if (r == 0)
        r = object_lock(s->o->conf->state_dir, s->key, s->ctl, &lock, e);
    if (r < 0)
        return r;
    r = metastore_load(&s->o->meta, s->key, &s->old, &s->old_state, &damaged);
    s->have_old = r == 1;
    if (r == -EBADMSG && s->old_state.sealed) { /* is it the key that is wrong? */
        r = guard_change(&s->o->meta, NULL, e);
        if (r < 0)
            return r;
        r = -EBADMSG;
    }
    if (r == -EBADMSG)
        log_warn("store %s: replacing damaged metadata (%s)", s->source, damaged.text);
    else if (r == -EHOSTUNREACH && s->old_state.nils >= ZSTOR_META_DATA)
        /* two have nothing, the others cannot be asked: what they may have is older */
        log_debug("store %s: %s", s->source, damaged.text);
    else if (r < 0)
        return err_set(e, -r, "%s", damaged.text);
    r = flags & OBJECT_FORCE ? 0 : unchanged(s);
    if (r < 0)
        return r == -ECANCELED ? err_set(e, ECANCELED, "stopped") : err_sys(e, -r, "%s", s->source);
    if (r == 1)
        return skip(s, res, e);
    r = guard_change(&s->o->meta, s->have_old ? &s->old : NULL, e); /* before anything is sent */
    if (r == 0)
        r = encode(s, object_path, e);
    return r < 0 ? r : upload_and_save(s, res, e);
}

int object_store(struct objects *o, const char *source, const char *object_path, unsigned flags,
                 const struct object_ctl *ctl, struct object_result *res, struct err *e)
{
    CLEANUP(store_fini)
    struct store s = {.o = o,
                      .ctl = ctl,
                      .source = source,
                      .fd = -1,
                      .geo = {o->conf->minimal_shards,
                              o->conf->expected_shards - o->conf->minimal_shards}};
    int r;

    *res = (struct object_result){0};
    r = store(&s, object_path, flags, res, e);
    if (r == 0 && flags & OBJECT_DELETE) {
        struct local_id id;
        struct err why = {0};

        local_id_of(&id, &s.st);
        if (remove_stored(source, &id, res->checksum, &why) < 0)
            log_warn("stored, but not removed: %s", why.text);
    }
    return r;
}
