/* retrieve - shards to file.  The file is made under a temporary name beside its place and
 * gets its own name only when the tag, the stream and the checksum of the content have been
 * verified and all of it is on disk. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/object/decode.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/reconstruct.h"

#define ATTEMPTS 3 /* a store may replace the object while it is read */

struct output {
    char *path, *dir, *tmp;
    int fd;
    bool named; /* tmp exists; else the file has no name yet, and a crash leaves nothing */
};

static void output_fini(struct output *w)
{
    if (w->fd >= 0) {
        close(w->fd);
        if (w->named)
            unlink(w->tmp);
    }
    free(w->path);
    free(w->dir);
    free(w->tmp);
}

/* The temporary file beside the target; a target that is a symlink stays one. */
static int output_open(struct objects *o, struct output *w, const char *target, struct err *e)
{
    uint8_t salt[8];
    char hex[2 * sizeof salt + 1];
    struct stat st;
    char *real;
    int r;

    w->path = xstrdup(target);
    w->dir = path_dir(target);
    r = path_mkdirs(w->dir, 0777);
    if (r < 0)
        return err_sys(e, -r, "%s", w->dir);
    real = realpath(target, NULL);
    if (real) {
        free(w->path);
        free(w->dir);
        w->path = real;
        w->dir = path_dir(real);
    }
    if (stat(w->path, &st) < 0)
        st.st_mode = 0;
    else if (!S_ISREG(st.st_mode))
        return err_set(e, S_ISDIR(st.st_mode) ? EISDIR : EINVAL, "%s: not a regular file", w->path);
    if (o->random(salt, sizeof salt) < 0)
        return err_set(e, EIO, "no random numbers");
    parse_to_hex(salt, sizeof salt, hex);
    w->tmp =
        xasprintf("%s/.%.200s.%s", strcmp(w->dir, "/") == 0 ? "" : w->dir, path_base(w->path), hex);
    w->fd = open(w->dir, O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);
    if (w->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) { /* a file system
                                                                                       without it */
        w->fd = open(w->tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        w->named = w->fd >= 0;
    }
    if (w->fd < 0)
        return err_sys(e, errno, "%s", w->tmp);
    if (st.st_mode) {
        /* what was there keeps its owner and mode; who may not give files away leaves the owner */
        if (fchown(w->fd, st.st_uid, st.st_gid) < 0)
            log_debug("%s: owner not kept: %s", w->path, strerror(errno));
        if (fchmod(w->fd, st.st_mode & 07777) < 0)
            return err_sys(e, errno, "%s", w->tmp);
    }
    return 0;
}

static int output_restart(struct output *w)
{
    return lseek(w->fd, 0, SEEK_SET) < 0 || ftruncate(w->fd, 0) < 0 ? -errno : 0;
}

static int output_publish(struct output *w, struct err *e)
{
    int r = io_fsync(w->fd);

    if (r < 0)
        return err_sys(e, -r, "%s", w->tmp);
    assert(w->tmp);
    if (!w->named) { /* linkat does not replace a file, rename does */
        char self[64];
        snprintf(self, sizeof self, "/proc/self/fd/%d", w->fd);
        if (linkat(AT_FDCWD, self, AT_FDCWD, w->tmp, AT_SYMLINK_FOLLOW) < 0)
            return err_sys(e, errno, "%s", w->tmp);
        w->named = true;
    }
    if (rename(w->tmp, w->path) < 0)
        return err_sys(e, errno, "%s", w->path);
    close(w->fd); /* its content is on disk already */
    w->fd = -1;
    r = path_sync_dir(w->dir);
    return r < 0 ? err_sys(e, -r, "%s", w->dir) : 0;
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
        return err_sys(e, -r, "%s", w->path);
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

int object_retrieve(struct objects *o, const char *path, const char *meta_key, const char *output,
                    const struct object_ctl *ctl, struct object_result *res, struct err *e)
{
    CLEANUP(output_fini) struct output w = {.fd = -1};
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m;
    int r;

    *res = (struct object_result){0};
    if (!output && !path)
        return err_set(e, EINVAL, "an object given by its key needs an output file");
    r = object_load(o, path, meta_key, &key, &m, &st, e);
    if (r < 0)
        return r;
    if (r == 0)
        return err_set(e, ENOENT, "no metadata found for file");
    object_fill_result(o, &m, &st, res);
    r = output_open(o, &w, output ? output : path, e);
    if (r == 0)
        r = fill_current(o, key, &m, &w, ctl, res, e);
    if (r == 0)
        r = output_publish(&w, e);
    meta_record_fini(&m);
    if (r < 0)
        return r;
    OBJECT_COUNT(o, retrieved, 1);
    OBJECT_COUNT(o, retrieved_bytes, res->size);
    if (res->shards_lost)
        log_warn("retrieve %s: %u of %u shards are lost or out of reach", path ? path : key,
                 res->shards_lost, res->shards);
    return 0;
}
