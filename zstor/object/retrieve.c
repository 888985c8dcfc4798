/* retrieve - shards to file.  The file gets its name (object/place.h), or the caller its answer,
 * only when the tag, the stream and the checksum of the content have been verified and all of it is
 * on disk. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "zstor/object/decode.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/place.h"
#include "zstor/object/reconstruct.h"

#define ATTEMPTS 3 /* a store may replace the object while it is read */

struct output {         /* where the content goes */
    struct place place; /* fd -1: a descriptor of the caller's */
    const char *name;
    int fd;
};

static void output_fini(struct output *w)
{
    place_fini(&w->place);
}

static int output_restart(struct output *w)
{
    return lseek(w->fd, 0, SEEK_SET) < 0 || ftruncate(w->fd, 0) < 0 ? -errno : 0;
}

/* Count what was met, tell how many shards need a rebuild. */
static unsigned count_losses(struct objects *o, const struct fetch *f)
{
    unsigned lost = 0;

    for (unsigned i = 0; i < f->n; i++) {
        OBJECT_COUNT(o, shards_missing, f->shard[i].state == FETCH_MISSING);
        OBJECT_COUNT(o, shards_corrupt, f->shard[i].state == FETCH_CORRUPT);
        OBJECT_COUNT(o, shards_unreachable, f->shard[i].state == FETCH_UNREACHABLE);
        lost += f->shard[i].state >= FETCH_MISSING;
    }
    OBJECT_COUNT(o, hedged, f->hedged);
    return lost;
}

static int fail_text(int r, const struct meta_record *m, const struct fetch *f,
                     const struct output *w, struct err *e)
{
    unsigned kept[ZSTOR_MAX_SHARDS];

    switch (r) {
    case -EIO:
        return err_set(e, EIO, "only %u of the %u shards that are needed could be read",
                       fetch_kept(f, kept, ZSTOR_MAX_SHARDS), m->geo.data);
    case -EBADMSG:
        return err_set(e, EBADMSG, "content fails verification");
    case -ECANCELED:
        return err_set(e, ECANCELED, "stopped");
    default:
        return err_sys(e, -r, "%s", w->name);
    }
}

/* What was fetched to the temporary file; 0 when tag, stream and checksum are right. */
static int unpack(const struct meta_record *m, const struct fetch *f, struct output *w,
                  const struct object_ctl *ctl, struct object_result *res)
{
    struct shardread *in = NULL;
    struct decode_result dec;
    int r = shardread_new(&in, m->geo, f);

    if (r == 0)
        r = output_restart(w);
    if (r == 0)
        r = decode_blob(shardread_blob, in, shardread_blob_len(in), m->key, w->fd, ctl, &dec);
    if (r == 0 && memcmp(dec.checksum, m->checksum, sizeof dec.checksum) != 0)
        r = -EBADMSG;
    if (r == 0)
        res->size = dec.size;
    shardread_free(in);
    return r;
}

/* One attempt: shards to the temporary file, verified.  The tag covers every byte of the shards
 * that were used, so their own digests are only looked at when it is wrong, to find out whose fault
 * it is. */
static int fill(struct objects *o, const struct meta_record *m, struct output *w,
                const struct object_ctl *ctl, struct object_result *res, struct err *e)
{
    CLEANUP(fetch_fini) struct fetch f = {0};
    struct fetch_conf fc = object_fetch_conf(o, m);
    int r;

    fc.lazy = true;
    r = fetch_enough(&f, &fc, ctl);
    if (r == 0)
        r = unpack(m, &f, w, ctl, res);
    if (r == -EBADMSG) {
        int wrong = fetch_check(&f, &fc);
        fc.lazy = false;
        r = wrong < 0 ? wrong : wrong > 0 ? fetch_enough(&f, &fc, ctl) : r;
        if (r == 0)
            r = unpack(m, &f, w, ctl, res);
    }
    res->shards_lost = count_losses(o, &f);
    return r < 0 ? fail_text(r, m, &f, w, e) : 0;
}

static bool replaced(const struct meta_record *a, const struct meta_record *b)
{
    return a->has_tail != b->has_tail || a->generation != b->generation ||
           memcmp(a->checksum, b->checksum, sizeof a->checksum) != 0 ||
           memcmp(a->key, b->key, sizeof a->key) != 0 ||
           memcmp(a->shards[0].digest, b->shards[0].digest, sizeof a->shards[0].digest) != 0;
}

/* fill, again when the object was replaced in between. */
static int fill_current(struct objects *o, const char *key, struct meta_record *m, struct output *w,
                        const struct object_ctl *ctl, struct object_result *res, struct err *e)
{
    int r = fill(o, m, w, ctl, res, e);

    for (int attempt = 1; attempt < ATTEMPTS && (r == -EIO || r == -EBADMSG); attempt++) {
        struct metastore_state st;
        struct meta_record now;
        if (metastore_load(&o->meta, key, &now, &st, NULL) != 1)
            return r;
        if (!replaced(m, &now)) {
            meta_record_fini(&now);
            return r;
        }
        meta_record_fini(m);
        *m = now;
        object_fill_result(o, m, &st, res);
        r = fill(o, m, w, ctl, res, e);
    }
    return r;
}

/* The file that `to` means is open for the content.  1: nothing is to be done, it has that content.
 */
static int output_open(struct objects *o, struct output *w, const struct object_target *to,
                       const char *path, const struct meta_record *m, struct err *e)
{
    const char *name = to->path ? to->path : path;
    struct stat st;
    int r;

    if (to->fd >= 0) {
        *w = (struct output){.place.fd = -1, .name = "output", .fd = to->fd};
        if (fstat(to->fd, &st) < 0 || !S_ISREG(st.st_mode) || fcntl(to->fd, F_GETFL) & O_APPEND)
            return err_set(e, EINVAL, "the output is not a regular file that can be rewritten");
        return 0;
    }
    if (!to->replace && stat(name, &st) == 0 && S_ISREG(st.st_mode) &&
        place_same(name, m->checksum) == 1) {
        w->name = name;
        return 1;
    }
    r = place_open(&w->place, name, to->replace ? PLACE_FORCE : PLACE_NEW,
                   o->conf->zdb_data_dir_path, e);
    w->fd = w->place.fd;
    w->name = w->place.path;
    return r;
}

static int bring(struct objects *o, const char *key, struct meta_record *m, struct output *w,
                 const struct object_ctl *ctl, struct object_result *res, struct err *e)
{
    int r = fill_current(o, key, m, w, ctl, res, e);

    if (r < 0)
        return r;
    if (w->place.fd >= 0)
        return place_publish(&w->place, e);
    r = io_fsync(w->fd);
    return r < 0 ? err_sys(e, -r, "%s", w->name) : 0;
}

int object_retrieve(struct objects *o, const char *path, const char *meta_key,
                    const struct object_target *to, const struct object_ctl *ctl,
                    struct object_result *res, struct err *e)
{
    static const struct object_target own = OBJECT_OWN_PATH;
    CLEANUP(output_fini) struct output w = {.fd = -1, .place.fd = -1};
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m;
    int r;

    *res = (struct object_result){0};
    to = to ? to : &own;
    if (!to->path && to->fd < 0 && !path)
        return err_set(e, EINVAL, "an object given by its key needs an output file");
    r = object_load(o, path, meta_key, &key, &m, &st, e);
    if (r < 0)
        return r;
    if (r == 0)
        return err_set(e, ENOENT, "no metadata found for file");
    object_fill_result(o, &m, &st, res);
    r = output_open(o, &w, to, path, &m, e);
    if (r == 1)
        res->skipped = true;
    else if (r == 0)
        r = bring(o, key, &m, &w, ctl, res, e);
    meta_record_fini(&m);
    if (r < 0 || res->skipped)
        return MIN(r, 0);
    OBJECT_COUNT(o, retrieved, 1);
    OBJECT_COUNT(o, retrieved_bytes, res->size);
    if (res->unproved_newest)
        log_warn("retrieve %s: too few metadata backends answered: that this is the newest cannot "
                 "be proved",
                 path ? path : key);
    if (res->shards_lost)
        log_warn("retrieve %s: %u of %u shards are lost or out of reach", path ? path : key,
                 res->shards_lost, res->shards);
    return 0;
}
