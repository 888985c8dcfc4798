/* metalog - see object/metalog.h. */
#include "zstor/object/metalog.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include "zstor/object/anchors.h"
#include "zstor/object/changes.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/volume.h"

#define PART_MAX    ((size_t)4 << 30) /* bytes of one that is read */
#define WHOLE_LEAST 1000u             /* changes, before all is written anew */

struct run {
    struct objects *o;
    const struct object_ctl *ctl;
    struct changes_work work;
    struct changes_state state; /* of before */
    struct anchor anchor;       /* the former one, then the new one */
    char **dead;                /* metadata keys of parts that nobody needs any more */
    size_t ndead, cap;
    size_t parts; /* that were met */
    int fd;       /* of the part that is being made */
};

static void run_fini(struct run *u)
{
    changes_state_fini(&u->state);
    anchor_fini(&u->anchor);
    path_list_free(u->dead, u->ndead);
    base_close(&u->fd);
}

static char *part_path(const struct objects *o, uint64_t sequence)
{
    const char *root = o->conf->root ? o->conf->root : "";
    size_t n = strlen(root);

    while (n && root[n - 1] == '/')
        n--;
    return xasprintf("%.*s" METALOG_DIR "%020" PRIu64, (int)n, root, sequence);
}

static void bury(struct run *u, const char *key)
{
    if (u->ndead == u->cap) {
        char **more;

        u->cap = u->cap ? 2 * u->cap : 16;
        more = xcalloc(u->cap, sizeof *more);
        if (u->ndead)
            memcpy(more, u->dead, u->ndead * sizeof *more);
        free(u->dead);
        u->dead = more;
    }
    u->dead[u->ndead++] = xstrdup(key);
}

/* --- one part -------------------------------------------------------------------------------- */

static int sink(void *arg, struct slice bytes)
{
    return io_write_full(((struct run *)arg)->fd, bytes.p, bytes.len);
}

static bool named_part(const struct meta_record *m)
{
    const char *name = m->name ? m->name : "";

    return strncmp(name + (*name == '/'), &METALOG_DIR[1], strlen(METALOG_DIR) - 1) == 0;
}

/* Parts are not in the log; a whole one finds here what is left of former ones. */
static bool is_part(void *arg, const char *key, const struct meta_record *m)
{
    struct run *u = arg;

    if (!named_part(m))
        return false;
    u->parts++;
    if (u->work.whole)
        bury(u, key);
    return true;
}

/* A whole part replaces all others: it must not be of metadata backends that have lost what they
 * had. */
static int nothing_lost(const struct run *u, const struct backup_counts *n, struct err *e)
{
    struct volume *v = u->o->meta.volume;
    size_t known = v ? volume_alive(v) : 0, there = n->objects + n->failed + u->parts;

    if (there + known / 10 >= known)
        return 0;
    return err_set(e, ENODATA,
                   "the metadata backends have %zu of %zu objects, nothing is replaced: "
                   "zstor meta recover brings back what the log has",
                   there, known);
}

static int fill(struct run *u, const char *path, struct backup_counts *n, struct err *e)
{
    const struct backup_what what = {.sink = sink,
                                     .arg = u,
                                     .key = u->work.whole ? NULL : u->work.key,
                                     .n = u->work.n,
                                     .skip = is_part,
                                     .ctl = u->ctl};
    int r;

    u->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (u->fd < 0)
        return err_sys(e, errno, "%s", path);
    r = backup_make(u->o, &what, n, e);
    base_close(&u->fd);
    u->fd = -1;
    /* what is damaged for good must not keep the others out */
    r = r == -EIO && n->unreachable == 0 ? 0 : r;
    return r == 0 && u->work.whole ? nothing_lost(u, n, e) : r;
}

/* The record of a part as it is now; -ENOENT. */
static int fetch_record(struct run *u, struct anchor_part *p, struct err *e)
{
    struct metastore_state st;
    struct meta_record m;
    int r = metastore_load(&u->o->meta, p->key, &m, &st, e);

    if (r <= 0)
        return r == 0 ? err_set(e, ENOENT, "a part of the metadata log is gone") : r;
    buf_clear(&p->record);
    meta_format_encode(&m, &p->record);
    meta_record_fini(&m);
    return 0;
}

/* A new part behind those of the anchor. */
static int add_part(struct run *u, struct err *e)
{
    uint64_t last = u->anchor.n ? u->anchor.part[u->anchor.n - 1].sequence : 0;
    struct anchor_part *p = &u->anchor.part[u->anchor.n];
    CLEANUP(base_free) char *source = path_join(u->o->conf->state_dir, "metadata-log.part");
    CLEANUP(base_free) char *path = NULL;
    struct object_result res;
    struct backup_counts n = {0};
    int r;

    *p = (struct anchor_part){.whole = u->work.whole,
                              .sequence = MAX(last + 1, base_wall_ns() / 1000)};
    path = part_path(u->o, p->sequence);
    r = object_key(u->o->conf, path, &p->key, e);
    if (r < 0)
        return r;
    u->anchor.n++;
    changes_own(u->o->meta.changes, p->key, false);
    r = fill(u, source, &n, e);
    p->records = n.objects;
    if (r == 0)
        r = object_store(u->o, source, path, 0, u->ctl, &res, e);
    unlink(source);
    return r < 0 ? r : fetch_record(u, p, e);
}

/* --- the anchor ------------------------------------------------------------------------------ */

static void drop_parts(struct run *u)
{
    for (size_t i = 0; i < u->anchor.n; i++) {
        bury(u, u->anchor.part[i].key);
        free(u->anchor.part[i].key);
        buf_fini(&u->anchor.part[i].record);
        u->anchor.part[i] = (struct anchor_part){0};
    }
    u->anchor.n = 0;
}

/* The former anchor, with its parts as they are now. */
static void load_former(struct run *u)
{
    const struct zstor_conf *c = u->o->conf;
    struct err why = {0};

    if (changes_state_read(c->state_dir, &u->state) < 0 ||
        anchor_open(buf_slice(&u->state.anchor), c->prefix, c->key, &u->anchor) < 0)
        u->work.whole = true; /* what is left of others is found by their names */
    for (size_t i = 0; i < u->anchor.n; i++) {
        changes_own(u->o->meta.changes, u->anchor.part[i].key, false);
        if (fetch_record(u, &u->anchor.part[i], &why) == -ENOENT)
            u->work.whole = true;
    }
}

static bool too_long(const struct run *u)
{
    uint64_t later = u->work.n;

    if (u->anchor.n == 0 || u->anchor.n == ANCHOR_MAX_PARTS)
        return true;
    for (size_t i = 1; i < u->anchor.n; i++)
        later += u->anchor.part[i].records;
    return later > MAX(u->anchor.part[0].records, (uint64_t)WHOLE_LEAST);
}

/* So many have it that it survives what the data survives. */
static unsigned copies_needed(const struct objects *o)
{
    return o->conf->expected_shards - o->conf->minimal_shards + 1;
}

static int write_anchor(struct run *u, struct changes_state *now, struct err *e)
{
    CLEANUP(buf_fini) struct buf sealed = BUF_INIT;
    const struct zstor_conf *c = u->o->conf;
    struct volume *v = u->o->meta.volume;
    uint8_t nonce[CRYPT_NONCE_LEN];
    unsigned copies;
    int r;

    u->anchor.sequence = u->anchor.part[u->anchor.n - 1].sequence;
    u->anchor.sequence = MAX(u->anchor.sequence, base_wall_ns() / 1000);
    u->anchor.time_ns = base_wall_ns();
    if (v) {
        u->anchor.epoch = volume_epoch(v);
        memcpy(u->anchor.instance, volume_instance(v), sizeof u->anchor.instance);
        (void)volume_id(v, u->anchor.volume);
    }
    r = u->o->random(nonce, sizeof nonce);
    if (r == 0)
        r = anchor_seal(&u->anchor, c->prefix, c->key, nonce, &sealed);
    if (r < 0)
        return err_sys(e, -r, "anchor of the metadata log");
    copies = anchors_write(&u->o->meta, buf_slice(&sealed), &u->state, now);
    return copies >= copies_needed(u->o)
               ? 0
               : err_set(e, ENOLINK, "%u data backends have the anchor, %u are needed", copies,
                         copies_needed(u->o));
}

/* --- the whole ------------------------------------------------------------------------------- */

static void remove_dead(struct run *u)
{
    for (size_t i = 0; i < u->ndead; i++) {
        bool live = false;
        struct err why = {0};

        for (size_t k = 0; k < u->anchor.n; k++)
            live = live || strcmp(u->anchor.part[k].key, u->dead[i]) == 0;
        if (live)
            continue;
        changes_own(u->o->meta.changes, u->dead[i], true);
        if (object_delete(u->o, NULL, u->dead[i], u->ctl, &why) < 0)
            log_warn("metadata log: a former part only takes space: %s", why.text);
    }
}

static int flush(struct run *u, struct changes_state *now, struct err *e)
{
    int r;

    load_former(u);
    u->work.whole = u->work.whole || too_long(u);
    if (u->work.whole)
        drop_parts(u);
    r = u->work.whole || u->work.n ? add_part(u, e) : 0;
    return r < 0 ? r : write_anchor(u, now, e);
}

int metalog_flush(struct objects *o, const struct object_ctl *ctl, struct err *e)
{
    CLEANUP(run_fini) struct run u = {.o = o, .ctl = ctl, .fd = -1};
    CLEANUP(changes_state_fini) struct changes_state now = {0};
    struct changes *c = o->meta.changes;
    size_t n;
    bool whole;
    int r;

    changes_begin(c, &u.work);
    r = flush(&u, &now, e);
    n = u.work.n;
    whole = u.work.whole;
    if (r < 0) {
        anchors_drop(&o->meta, &now, &u.state);
        (void)changes_end(c, &u.work, NULL, NULL);
        return r;
    }
    r = changes_end(c, &u.work, &now, e);
    if (r < 0)
        return r;
    anchors_drop(&o->meta, &u.state, &now);
    remove_dead(&u);
    log_debug("metadata log: %s of %zu changes, %zu parts now", whole ? "all records" : "a part", n,
              u.anchor.n);
    return 0;
}

/* --- recovery -------------------------------------------------------------------------------- */

static int restore_part(struct objects *o, const struct anchor_part *p, struct backup_seen *seen,
                        const struct object_ctl *ctl, struct backup_counts *n, struct err *e)
{
    const struct backup_how how = {.newer = true, .seen = seen};
    CLEANUP(base_free) char *path = path_join(o->conf->state_dir, "metadata-log.part");
    CLEANUP(base_close) int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct object_target to = {.fd = fd};
    CLEANUP(buf_fini) struct buf in = BUF_INIT;
    struct object_result res;
    int r;

    if (fd < 0)
        return err_sys(e, errno, "%s", path);
    r = object_retrieve(o, NULL, p->key, &to, ctl, &res, e);
    if (r == 0)
        r = path_read(path, PART_MAX, &in, e);
    unlink(path);
    if (r == 0)
        r = backup_restore(o, buf_slice(&in), &how, n, e);
    return r < 0 ? err_prefix(e, "metadata log, part %" PRIu64, p->sequence) : 0;
}

/* state_dir goes on with this log. */
static int remember(struct objects *o, const struct anchor *a, struct changes_state *where,
                    struct err *e)
{
    uint8_t nonce[CRYPT_NONCE_LEN];
    int r = o->random(nonce, sizeof nonce);

    if (r == 0)
        r = anchor_seal(a, o->conf->prefix, o->conf->key, nonce, &where->anchor);
    if (r < 0)
        return err_sys(e, -r, "anchor of the metadata log");
    return changes_state_write(o->conf->state_dir, where, e);
}

/* The volume has to be ours, with an epoch behind that of the log. */
static int claim(struct objects *o, const struct anchor *a, bool takeover, struct err *e)
{
    struct volume *v = o->meta.volume;
    bool ours;
    int r;

    if (!v)
        return 0;
    ours = memcmp(a->instance, volume_instance(v), sizeof a->instance) == 0;
    if (!ours && !takeover && volume_epoch(v) <= a->epoch)
        return err_set(
            e, EBUSY,
            "the log was written by another machine; if that one will never write again: zstor "
            "meta recover --takeover");
    r = volume_bind(v, a->volume, e); /* or a new volume would be made of its data */
    if (r == 0)
        r = object_claim(o, takeover, NULL, e);
    if (r == 0 && !ours && volume_epoch(v) <= a->epoch) {
        r = volume_hold(v, a->epoch + 1, 0, e);
        if (r == 0) {
            volume_forget(v);
            r = object_claim(o, takeover, NULL, e);
        }
    }
    return r;
}

int metalog_recover(struct objects *o, bool takeover, const struct object_ctl *ctl,
                    struct backup_counts *n, struct err *e)
{
    CLEANUP(anchor_fini) struct anchor a = {0};
    CLEANUP(changes_state_fini) struct changes_state where = {0};
    struct backup_counts parts = {0};
    struct backup_seen *seen;
    unsigned silent;
    int r = anchors_find(&o->meta, ANCHORS_LOOK, &a, &where, &silent, e);

    *n = (struct backup_counts){0};
    if (r <= 0)
        return r == 0 ? err_set(e, ENOENT, "no data backend has a metadata log") : r;
    r = claim(o, &a, takeover, e);
    for (size_t i = 0; i < a.n && r >= 0; i++)
        r = backup_restore_record(o, a.part[i].key, buf_slice(&a.part[i].record), true, &parts, e);
    seen = backup_seen_new();
    for (size_t i = a.n; i > 0 && r >= 0; i--)
        r = restore_part(o, &a.part[i - 1], seen, ctl, n, e);
    backup_seen_free(seen);
    if (r >= 0)
        r = remember(o, &a, &where, e);
    return MIN(r, 0);
}

static int is_there(void *arg, const char *key)
{
    (void)arg;
    (void)key;
    return 1;
}

#define BEGIN_LOOK 1000 /* values of each backend: an anchor is among the newest */

int metalog_begin(struct objects *o, struct err *e)
{
    CLEANUP(changes_state_fini) struct changes_state s = {0};
    CLEANUP(anchor_fini) struct anchor a = {0};
    struct err why = {0};
    unsigned silent;

    if (changes_state_read(o->conf->state_dir, &s) == 0 ||
        object_each(o, is_there, NULL, &why) != 0)
        return 0;
    return anchors_find(&o->meta, BEGIN_LOOK, &a, NULL, &silent, &why) == 1
               ? err_set(
                     e, EEXIST,
                     "the metadata backends are empty, and the data backends have a metadata log: "
                     "zstor meta recover")
               : 0;
}
