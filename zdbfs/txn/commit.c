/* commit - see txn/commit.h. */
#include "zdbfs/txn/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "zdbfs/format/redo.h"
#include "zdbfs/core/writeback.h"
#include "zdbfs/txn/point.h"

enum {
    RETRY_MS = 1000,
    RETIRE_RECORDS = 32,
    POINT_RETRY_MS = 60000,
    RETIRE_IDLE_MS = 1000, /* without a new commit: old records are deleted */
    KEEP_BYTES = 1024 * 1024,
};

/* the temp namespace is emptied when it has grown by that, and by that while the disk is nearly
 * full */
#define EMPTY_BYTES     (64 * MIB)
#define EMPTY_LOW_BYTES (256 * KIB)

struct commit {
    struct fs *fs;
    struct journal *j;
    struct points *points;
    bool changed;      /* something was committed since the last point */
    uint64_t point_ms; /* when to make one; 0: not */
    pthread_t thread;
    bool running, stop;  /* stop: under fs.lock */
    uint64_t give_up_ms; /* after stop */
    unsigned failures;   /* in a row */
    uint64_t retire_ms;  /* when to delete old records; 0: nothing to do */
    struct buf stream, value;
    int result;
};

/* ---- encoding ------------------------------------------------------------------------------- */

uint64_t commit_size(const struct inode *in, uint64_t synced_seq)
{
    uint64_t size = in->a.size, stable = in->stable_size;
    const struct block *b;

    if (in->blocks.nunsettled == 0)
        return size;
    if (in->promised_seq && in->promised_seq <= synced_seq)
        stable = MAX(stable, MIN(in->promised_size, size));
    TAILQ_FOREACH(b, &in->blocks.blocks, in_file)
    {
        uint64_t start = (uint64_t)b->idx * INODE_BLOCK;
        bool part = start + b->len > stable && b->stored.len < b->len;
        if (bcache_unsettled(b) && (part || b->stored.longer))
            size = MIN(size, MAX(stable, start + b->stored.len));
    }
    return size;
}

static int encode_list(struct commit *c, struct inode *in, struct dirlist *dl)
{
    struct fs *fs = c->fs;
    uint64_t *id = &in->dir->id[dl->bucket];
    int r = 0;

    if (dl->l.n) {
        buf_clear(&c->value);
        r = dlist_store(&dl->l, *id, &c->value);
        if (r == 0)
            r = redo_format_put_set(&c->stream, *id, buf_slice(&c->value));
        dl->stored = true;
    } else {
        if (dl->stored)
            fs_key_push(&fs->del_meta, *id);
        else if (*id != INODE_NO_LIST)
            ids_give(fs->ids, id, 1);
        *id = INODE_NO_LIST;
        dl->stored = false;
    }
    dl->dirty = false;
    dl->commit_seq = fs->snap_seq;
    return r;
}

static void put_lists(struct buf *b, const struct inode *in)
{
    for (unsigned i = 0; i < INODE_LISTS; i++) {
        const struct dirlist *dl = in->dir->list[i];
        buf_put_le64(b, dl && !dl->stored && !dl->loading ? INODE_NO_LIST : in->dir->id[i]);
    }
}

/* L */
static int encode_inode(struct commit *c, struct inode *in)
{
    struct inode_rec rec = {.a = in->a,
                            .xattrs = slice_of(in->xattrs, in->xattrs_len),
                            .extra = slice_of(in->extra, in->extra_len)};
    struct buf body = BUF_INIT;
    int r = 0;

    for (unsigned i = 0; in->dir && i < INODE_LISTS && r == 0; i++)
        if (in->dir->list[i] && in->dir->list[i]->dirty)
            r = encode_list(c, in, in->dir->list[i]);
    if (in->dir) {
        put_lists(&body, in);
        rec.lists = buf_slice(&body);
    } else if (in->target) {
        rec.target = slice_str(in->target);
    } else {
        for (uint32_t i = 0; i < in->nslots; i++)
            buf_put_le32(&body, in->slot[i]);
        rec.slots = buf_slice(&body);
        rec.a.size = in->stable_size = commit_size(in, c->fs->synced_seq);
    }
    buf_clear(&c->value);
    inode_format_encode(&c->value, &rec);
    buf_fini(&body);
    if (r == 0)
        r = redo_format_put_set(&c->stream, in->ino, buf_slice(&c->value));
    in->dirty = false;
    in->commit_seq = c->fs->snap_seq;
    return r;
}

static int encode_keys(struct commit *c, enum redo_op op, struct key_list *l)
{
    int r = l->n ? redo_format_put_keys(&c->stream, op, l->key, (uint32_t)l->n) : 0;

    l->n = 0;
    if (l->cap > 65536) {
        free(l->key);
        *l = (struct key_list){0};
    }
    return r;
}

static int encode_orphans(struct commit *c)
{
    struct key_list l = {0};
    struct inode *in;
    int r = 0;

    TAILQ_FOREACH(in, &c->fs->orphans, link)
    {
        fs_key_push(&l, in->ino);
        if (in->dirty && r == 0)
            r = encode_inode(c, in);
    }
    if (r == 0)
        r = encode_keys(c, REDO_ORPHANS, &l);
    free(l.key);
    c->fs->orphans_changed = false;
    return r;
}

static bool data_unsynced(const struct fs *fs)
{
    return !TAILQ_EMPTY(&fs->bc.acked) || fs->nunsynced;
}

static bool anything_dirty(const struct fs *fs)
{
    return !TAILQ_EMPTY(&fs->dirty) || fs->orphans_changed || fs->del_meta.n || fs->del_data.n ||
           data_unsynced(fs) || fs->dirty_meta_bytes;
}

/* L: what is dirty goes into c->stream, as commit number snap_seq. */
static void encode(struct commit *c)
{
    struct fs *fs = c->fs;
    struct inode *in;
    int r = 0;

    buf_clear(&c->stream);
    while (r == 0 && (in = TAILQ_FIRST(&fs->dirty))) {
        TAILQ_REMOVE(&fs->dirty, in, link);
        r = encode_inode(c, in);
    }
    if (r == 0)
        r = encode_orphans(c);
    if (r == 0 && fs->was.n)
        r = redo_format_put_was(&c->stream, fs->was.key, (uint32_t)fs->was.n / 2);
    fs->was.n = 0;
    if (r == 0)
        r = encode_keys(c, REDO_DEL_META, &fs->del_meta);
    if (r == 0)
        r = encode_keys(c, REDO_DEL_DATA, &fs->del_data);
    if (r < 0) { /* no memory: stopping here loses what is unsynced, going on would lose the rest */
        log_error("commit %" PRIu64 ": %s", fs->snap_seq, "out of memory");
        abort();
    }
    fs->dirty_meta_bytes = 0;
    fs->dirty_since_ms = 0;
}

/* ---- one commit ----------------------------------------------------------------------------- */

/* Without the lock.  After a failure: false when it is time to give up. */
static bool failed(struct commit *c, const char *what, int r)
{
    struct fs *fs = c->fs;

    fs_lock(fs);
    fs->commit_error = r == -ENOSPC || r == -EROFS ? r : -EIO;
    fs->commit_failed = fs->commit_attempt;
    if (c->failures++ % 60 == 0)
        log_error("commit %" PRIu64 ": %s failed (%s), trying again", fs->snap_seq, what,
                  r == -ENOSPC ? "no space" : "no answer of zdb");
    fs_changed(fs);
    uint64_t until = base_now_ms() + RETRY_MS;
    struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
    while (base_now_ms() < until &&
           !(c->stop && (base_now_ms() >= c->give_up_ms || kv_lost(fs->kv))))
        pthread_cond_timedwait(&fs->commit_work, &fs->lock, &ts);
    bool go_on = !c->stop || (base_now_ms() < c->give_up_ms && !kv_lost(fs->kv));
    fs_unlock(fs);
    return go_on;
}

static void attempt(struct commit *c)
{
    fs_lock(c->fs);
    c->fs->commit_attempt++;
    fs_unlock(c->fs);
}

/* L: a SYNC of that epoch covers what was acknowledged up to seq.  false: some of it was of a
 * server before, and is dirty again. */
static bool settle(struct fs *fs, uint64_t epoch, uint64_t seq)
{
    struct block *b, *next;
    bool whole = true;

    for (b = TAILQ_FIRST(&fs->bc.acked); b && b->acked_seq <= seq; b = next) {
        struct inode *in = container_of(b->file, struct inode, blocks);
        next = TAILQ_NEXT(b, unsettled);
        if (b->acked_epoch != epoch) {
            bcache_unsend(&fs->bc, b);
            whole = false;
            continue;
        }
        uint32_t old = inode_slot(in, b->idx);
        if (b->acked_new && old)
            fs_key_push(&fs->del_data, old);
        if (b->acked_new)
            inode_set_slot(fs, in, b->idx, b->acked_key);
        else if (in->a.size > in->stable_size)
            inode_dirty(fs, in); /* the last commit could not tell the whole size */
        bcache_settle(&fs->bc, b);
    }
    fs_unsynced_settle(fs, epoch, seq);
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    bcache_check(&fs->bc);
#endif
    if (whole)
        fs->synced_seq = seq;
    return whole;
}

/* L, released meanwhile: what zdb has acknowledged of blocks is on stable storage. */
static int sync_data(struct commit *c)
{
    struct fs *fs = c->fs;

    while (data_unsynced(fs)) {
        uint64_t seq = fs->bc.acked_seq, epoch = 0;
        fs_unlock(fs);
        attempt(c);
        int r = kv_sync(fs->kv, ROLE_DATA, kv_deadline(fs->kv), &epoch);
        bool go_on = r == 0 || failed(c, "storing data", r);
        fs_lock(fs);
        if (!go_on)
            return r;
        if (r < 0)
            continue;
        if (settle(fs, epoch, seq)) {
            if (fs->order_seq <= seq)
                break;
            continue; /* a name that is about to be stored is of data that is not */
        }
        fs_unlock(fs);
        r = writeback_all(fs, kv_deadline(fs->kv));
        go_on = r == 0 || failed(c, "storing data again", r);
        fs_lock(fs);
        if (!go_on)
            return r;
    }
    return 0;
}

static int empty_temp(struct commit *c)
{
    uint64_t deadline = kv_deadline(c->fs->kv);

    ids_hold(c->fs->ids);
    int r = journal_empty(c->j, deadline);
    ids_unhold(c->fs->ids, r == 1, deadline);
    return r;
}

/* The disk is full: records that are carried out are dropped now.  0: there is more room. */
static int make_room(struct commit *c)
{
    int r = journal_retire(c->j, kv_deadline(c->fs->kv));
    return r < 0 ? r : empty_temp(c) == 1 ? 0 : -ENOSPC;
}

static int make_durable(struct commit *c)
{
    struct fs *fs = c->fs;

    for (;;) {
        attempt(c);
        int r =
            c->stream.len ? journal_append(c->j, buf_slice(&c->stream), kv_deadline(fs->kv)) : 0;
        if (r == -ENOSPC && journal_bytes(c->j) && make_room(c) == 0)
            r = journal_append(c->j, buf_slice(&c->stream), kv_deadline(fs->kv));
        if (r == 0 || !failed(c, "storing the journal", r))
            return r;
    }
}

static int apply(struct commit *c)
{
    for (;;) {
        attempt(c);
        int r = c->stream.len
                    ? journal_apply_newest(c->j, buf_slice(&c->stream), kv_deadline(c->fs->kv))
                    : 0;
        if (r == 0 || !failed(c, "storing metadata", r))
            return r;
    }
}

static void note_change(struct commit *c)
{
    c->changed = true;
    if (!c->point_ms && c->fs->opt->point_ms)
        c->point_ms = base_now_ms() + c->fs->opt->point_ms;
}

/* L, released meanwhile: nothing may be committed while the header says that the volume stands at a
 * point. */
static int leave_point(struct commit *c)
{
    int r;

    fs_unlock(c->fs);
    do {
        attempt(c);
        r = points_leave(c->points, kv_deadline(c->fs->kv));
    } while (r < 0 && failed(c, "storing the header", r));
    fs_lock(c->fs);
    return r;
}

/* L, released meanwhile. */
static int commit_once(struct commit *c)
{
    struct fs *fs = c->fs;
    uint64_t seq = ++fs->snap_seq; /* who comes after this waits for the next one: the SYNC that
                                      begins now may not cover what it has stored */
    int r = leave_point(c);

    if (r == 0)
        r = sync_data(c);
    if (r < 0)
        return r;
    encode(c);
    fs_unlock(fs);
    r = make_durable(c);
    fs_lock(fs);
    if (r < 0)
        return r;
    fs->durable_seq = seq;
    fs->commit_error = 0;
    fs_changed(fs);
    fs_unlock(fs);
    r = apply(c);
    fs_lock(fs);
    if (r < 0)
        return r;
    fs->applied_seq = seq;
    c->failures = 0;
    note_change(c);
    fs->info_wanted = true; /* deletions make room */
    pthread_cond_signal(&fs->info_work);
    inode_shrink(fs);
    fs_changed(fs);
    buf_clear(&c->stream);
    buf_shrink(&c->stream, KEEP_BYTES);
    return 0;
}

/* ---- the journal's housekeeping ------------------------------------------------------------- */

/* The record with the list of orphans went with the others: store it again. */
static void store_orphans(struct commit *c)
{
    fs_lock(c->fs);
    buf_clear(&c->stream);
    struct key_list l = {0};
    const struct inode *in;
    TAILQ_FOREACH(in, &c->fs->orphans, link)
    {
        if (in->commit_seq && in->commit_seq <= c->fs->applied_seq)
            fs_key_push(&l, in->ino);
    }
    int r = encode_keys(c, REDO_ORPHANS, &l);
    fs_unlock(c->fs);
    free(l.key);
    if (r == 0 && c->stream.len)
        journal_append(c->j, buf_slice(&c->stream), kv_deadline(c->fs->kv));
    buf_clear(&c->stream);
}

/* Without the lock. */
static void tidy(struct commit *c)
{
    uint64_t seq = c->fs->applied_seq; /* only this thread changes it */

    c->retire_ms = 0;
    int r = journal_retire(c->j, kv_deadline(c->fs->kv));
    if (r < 0) {
        c->retire_ms = base_now_ms() + RETRY_MS;
        return;
    }
    fs_lock(c->fs);
    c->fs->kept_seq = seq;
    inode_shrink(c->fs);
    fs_unlock(c->fs);
    if (journal_bytes(c->j) < (c->fs->space_low ? EMPTY_LOW_BYTES : EMPTY_BYTES))
        return;
    if (empty_temp(c) == 1)
        store_orphans(c);
}

/* ---- points --------------------------------------------------------------------------------- */

/* Without the lock; nothing is dirty, or it belongs behind the point. */
static int make_point(struct commit *c, uint64_t deadline_ms)
{
    struct key_list orphans = {0};
    struct fs *fs = c->fs;
    struct point p = {0};
    const struct inode *in;

    int r = journal_retire(c->j, deadline_ms);
    fs_lock(fs);
    if (r == 0)
        fs->kept_seq = fs->applied_seq;
    TAILQ_FOREACH(in, &fs->orphans, link)
    {
        if (in->commit_seq && in->commit_seq <= fs->applied_seq)
            fs_key_push(&orphans, in->ino);
    }
    fs_unlock(fs);
    if (r == 0)
        r = points_reserve(c->points, fs->ids, deadline_ms);
    if (r == 0)
        r = point_make(c->points, orphans.key, orphans.n, deadline_ms, &p);
    free(orphans.key);
    c->point_ms = 0;
    if (r == 0) {
        c->changed = false;
        fs->point = p; /* only this thread changes it */
    } else if (r != -EOPNOTSUPP && fs->opt->point_ms) {
        c->point_ms = base_now_ms() + MIN(fs->opt->point_ms, (uint64_t)POINT_RETRY_MS);
    }
    if (r < 0 && r != fs->point_error)
        log_warn("no point could be made: %s", r == -EOPNOTSUPP
                                                   ? "zdb does not begin new segments for us"
                                               : r == -ENOSPC ? "no space"
                                                              : "zdb does not answer");
    return r;
}

/* L, released meanwhile: everything changed so far is at or before it. */
static int take_point(struct commit *c)
{
    struct fs *fs = c->fs;
    uint64_t want = fs->point_want;

    int r = anything_dirty(fs) ? commit_once(c) : 0;
    if (r < 0)
        return r;
    fs_unlock(fs);
    int made = c->changed ? make_point(c, kv_deadline(fs->kv)) : 0;
    fs_lock(fs);
    fs->point_error = made;
    fs->point_made = want;
    fs_changed(fs);
    return 0;
}

static bool point_wanted(const struct commit *c)
{
    return c->fs->point_want > c->fs->point_made || (c->point_ms && base_now_ms() >= c->point_ms);
}

/* ---- thread --------------------------------------------------------------------------------- */

/* L: is it time for a commit?  *wait_ms: look again then. */
static bool is_wanted(const struct commit *c, uint64_t *wait_ms)
{
    const struct fs *fs = c->fs;
    uint64_t now = base_now_ms();

    *wait_ms = now + 3600 * 1000;
    if (fs->want_seq > fs->snap_seq)
        return true;
    if (c->stop && anything_dirty(fs))
        return true;
    if (fs->dirty_meta_bytes > fs->dirty_meta_limit / 2)
        return true;
    if (fs->data_full && (fs->del_data.n || fs->del_meta.n))
        return true;
    if (fs->bc.acked_bytes > fs->bc.dirty_limit / 2)
        return true;
    if (c->retire_ms)
        *wait_ms = MIN(*wait_ms, c->retire_ms);
    if (c->point_ms)
        *wait_ms = MIN(*wait_ms, c->point_ms);
    return false;
}

/* L, released meanwhile. */
static int work_once(struct commit *c)
{
    struct fs *fs = c->fs;

    int r = 0;
    if (anything_dirty(fs)) {
        r = commit_once(c);
    } else {
        fs->dirty_since_ms = 0;
        if (fs->want_seq > fs->snap_seq)
            fs->durable_seq = fs->applied_seq = ++fs->snap_seq;
        fs_changed(fs);
    }
    if (!c->retire_ms && journal_records(c->j))
        c->retire_ms = base_now_ms() + RETIRE_IDLE_MS;
    return r;
}

static void *run(void *arg)
{
    struct commit *c = arg;
    struct fs *fs = c->fs;
    uint64_t wait_ms;
    int r = 0;

    fs_lock(fs);
    while (r == 0) {
        bool wanted = is_wanted(c, &wait_ms);
        if (point_wanted(c) && !c->stop) {
            r = take_point(c);
        } else if (wanted) {
            r = work_once(c);
        } else if (c->stop) {
            break;
        } else if (!c->retire_ms || base_now_ms() < c->retire_ms) {
            struct timespec ts = {(time_t)(wait_ms / 1000), (long)(wait_ms % 1000) * 1000000};
            pthread_cond_timedwait(&fs->commit_work, &fs->lock, &ts);
            continue;
        }
        if (r == 0 && (journal_records(c->j) >= RETIRE_RECORDS ||
                       (c->retire_ms && base_now_ms() >= c->retire_ms))) {
            fs_unlock(fs);
            tidy(c);
            fs_lock(fs);
        }
    }
    fs_unlock(fs);
    c->result = r;
    return NULL;
}

int commit_start(struct commit **out, struct fs *fs, struct journal *j, struct points *points,
                 struct err *e)
{
    struct commit *c = xcalloc(1, sizeof *c);

    c->fs = fs;
    c->j = j;
    c->points = points;
    if (points_none(points) || journal_replayed(j))
        note_change(c);
    int code = pthread_create(&c->thread, NULL, run, c);
    if (code) {
        free(c);
        return err_sys(e, code, "thread that commits");
    }
    pthread_setname_np(c->thread, "zdbfs-commit");
    *out = c;
    return 0;
}

int commit_wait(struct fs *fs, uint64_t deadline_ms)
{
    int r = 0;

    if (fs->read_only)
        return 0;
    fs_lock(fs);
    uint64_t want = fs->snap_seq + (anything_dirty(fs) ? 1 : 0);
    uint64_t seen = fs->commit_attempt;
    if (want > fs->want_seq) {
        fs->want_seq = want;
        pthread_cond_signal(&fs->commit_work);
    }
    while (r == 0 && fs->durable_seq < want) {
        r = fs_wait(fs, deadline_ms);
        if (r == 0 && fs->durable_seq < want && fs->commit_failed > seen)
            r = fs->commit_error ? fs->commit_error : -EIO;
    }
    fs_unlock(fs);
    return r;
}

int commit_point(struct fs *fs, uint64_t deadline_ms, struct point *out)
{
    int r = 0;

    fs_lock(fs);
    uint64_t want = fs->point_want = MAX(fs->point_want, fs->point_made) + 1;
    uint64_t seen = fs->commit_attempt;
    pthread_cond_signal(&fs->commit_work);
    while (r == 0 && fs->point_made < want) {
        r = fs_wait(fs, deadline_ms);
        if (r == 0 && fs->point_made < want && fs->commit_failed > seen)
            r = fs->commit_error ? fs->commit_error : -EIO;
    }
    if (r == 0)
        r = fs->point_error;
    *out = fs->point;
    fs_unlock(fs);
    return r;
}

int commit_stop(struct commit *c, bool *clean)
{
    struct fs *fs = c->fs;

    c->give_up_ms = kv_deadline(fs->kv);
    inode_delete_orphans(fs);
    int data = writeback_all(fs, c->give_up_ms);
    fs_lock(fs);
    c->stop = true;
    pthread_cond_signal(&fs->commit_work);
    fs_unlock(fs);
    pthread_join(c->thread, NULL);
    int r = c->result, tidied = r;
    if (tidied == 0)
        tidied = journal_retire(c->j, c->give_up_ms);
    if (tidied == 0 && data == 0 && c->changed)
        make_point(c, c->give_up_ms); /* what fails is told there */
    if (tidied == 0)
        tidied = ids_release(fs->ids, c->give_up_ms);
    if (tidied == 0)
        tidied = journal_empty(c->j, c->give_up_ms);
    *clean = tidied >= 0 && data == 0;
    if (r == 0 && tidied < 0)
        log_warn("the journal could not be emptied (%s): the next mount does it",
                 tidied == -ENOSPC ? "no space" : "zdb does not answer");
    if (data < 0)
        log_error("not all data could be stored: %s",
                  data == -ENOSPC ? "no space" : "zdb does not answer");
    else if (r < 0)
        log_error("not all metadata could be stored: %s",
                  r == -ENOSPC ? "no space" : "zdb does not answer");
    buf_fini(&c->stream);
    buf_fini(&c->value);
    free(c);
    return data < 0 ? data : MIN(r, 0);
}
