/* commit - see txn/commit.h. */
#include "zdbfs/txn/commit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "zdbfs/core/writeback.h"
#include "zdbfs/txn/apply.h"
#include "zdbfs/txn/point.h"
#include "zdbfs/txn/record.h"

enum {
    RETRY_MS = 1000,
    POINT_RETRY_MS = 60000,
    /* a checkpoint: so long after the last commit, or the first since the last one; with so many
     * records, or blocks that are to be deleted */
    IDLE_MS = 1000,
    AGE_MS = 30000,
    AHEAD_RECORDS = 4096,
    AHEAD_BLOCKS = 1024,
};

/* or bytes of records */
#define AHEAD_BYTES (16 * MIB)

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
    bool running, stop;       /* stop: under fs.lock */
    uint64_t give_up_ms;      /* after stop */
    unsigned failures;        /* in a row */
    uint64_t idle_ms, age_ms; /* when a checkpoint is due; 0: nothing to do */
    struct record rec;
    int result;
};

/* ---- one commit ----------------------------------------------------------------------------- */

static bool data_unsynced(const struct fs *fs)
{
    return !TAILQ_EMPTY(&fs->bc.acked) || fs->nunsynced;
}

static bool anything_dirty(const struct fs *fs)
{
    return !TAILQ_EMPTY(&fs->dirty) || fs->orphans_changed || fs->del_meta.n || fs->del_data.n ||
           data_unsynced(fs) || fs->dirty_meta_bytes;
}

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

/* The disk is full: what the journal says is done now, and its space given back. */
static int make_room(struct commit *c)
{
    int r = journal_catch_up(c->j, kv_deadline(c->fs->kv));
    return r < 0 ? r : empty_temp(c) == 1 ? 0 : -ENOSPC;
}

static int make_durable(struct commit *c)
{
    struct fs *fs = c->fs;
    struct slice changes = buf_slice(&c->rec.changes);

    for (;;) {
        attempt(c);
        int r = changes.len ? journal_append(c->j, changes, kv_deadline(fs->kv)) : 0;
        if (r == -ENOSPC && journal_bytes(c->j) && make_room(c) == 0)
            r = journal_append(c->j, changes, kv_deadline(fs->kv));
        if (r == 0 || !failed(c, "storing the journal", r))
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

/* L, released meanwhile: what commits have told is in the meta namespace, and the journal not
 * needed any more. */
static int store_values(struct commit *c, uint64_t seq)
{
    struct fs *fs = c->fs;
    int r;

    fs_unlock(fs);
    do {
        attempt(c);
        r = apply_stream(fs->kv, buf_slice(&c->rec.values), kv_deadline(fs->kv));
        if (r == 0)
            r = journal_retire(c->j, kv_deadline(fs->kv));
    } while (r < 0 && failed(c, "storing metadata", r));
    buf_clear(&c->rec.values);
    buf_shrink(&c->rec.values, 0);
    fs_lock(fs);
    if (r < 0)
        return r;
    c->idle_ms = c->age_ms = 0;
    fs->applied_seq = seq;
    fs->store_wanted = false;
    fs->info_wanted = true; /* deletions make room */
    pthread_cond_signal(&fs->info_work);
    inode_shrink(fs);
    fs_changed(fs);
    return 0;
}

/* L, released meanwhile.  checkpoint: and everything that was ever told is in the meta namespace.
 */
static int commit_once(struct commit *c, bool checkpoint)
{
    struct fs *fs = c->fs;
    uint64_t seq = ++fs->snap_seq; /* who comes after this waits for the next one: the SYNC that
                                      begins now may not cover what it has stored */
    int r = leave_point(c);

    if (r == 0)
        r = sync_data(c);
    if (r < 0)
        return r;
    r = record_changes(&c->rec, fs);
    if (r == 0 && checkpoint)
        r = record_values(&c->rec, fs);
    if (r < 0) { /* no memory: stopping here loses what is unsynced, going on would lose the rest */
        log_error("commit %" PRIu64 ": %s", fs->snap_seq, "out of memory");
        abort();
    }
    fs->dirty_meta_bytes = 0;
    fs->dirty_since_ms = 0;
    fs_unlock(fs);
    r = make_durable(c);
    fs_lock(fs);
    if (r < 0)
        return r;
    fs->durable_seq = seq;
    fs->commit_error = 0;
    c->failures = 0;
    if (c->rec.changes.len) {
        note_change(c);
        c->idle_ms = base_now_ms() + IDLE_MS;
        c->age_ms = c->age_ms ? c->age_ms : base_now_ms() + AGE_MS;
    }
    fs->info_wanted = true;
    pthread_cond_signal(&fs->info_work);
    fs_changed(fs);
    return checkpoint ? store_values(c, seq) : 0;
}

/* L: the meta namespace has to follow now. */
static bool is_checkpoint_due(const struct commit *c)
{
    const struct fs *fs = c->fs;
    uint64_t now = base_now_ms();

    if (!record_ahead(&c->rec, fs) && journal_records(c->j) == 0)
        return false;
    return fs->store_wanted || fs->data_full || fs->space_low || fs->meta_bytes > fs->meta_limit ||
           journal_ahead_bytes(c->j) > AHEAD_BYTES || journal_records(c->j) > AHEAD_RECORDS ||
           c->rec.del_data.n > AHEAD_BLOCKS || now >= c->idle_ms || now >= c->age_ms;
}

/* ---- the journal's housekeeping ------------------------------------------------------------- */

/* The record with the list of orphans went with the others: store it again. */
static void store_orphans(struct commit *c)
{
    fs_lock(c->fs);
    int r = record_orphans(&c->rec, c->fs);
    fs_unlock(c->fs);
    if (r == 0 && c->rec.changes.len)
        journal_append(c->j, buf_slice(&c->rec.changes), kv_deadline(c->fs->kv));
}

/* Without the lock, after a checkpoint: what fails is tried after the next one. */
static void tidy(struct commit *c)
{
    if (journal_bytes(c->j) < (c->fs->space_low ? EMPTY_LOW_BYTES : EMPTY_BYTES))
        return;
    if (empty_temp(c) == 1)
        store_orphans(c);
}

/* L, released meanwhile. */
static int checkpoint(struct commit *c)
{
    int r = commit_once(c, true);

    fs_unlock(c->fs);
    if (r == 0)
        tidy(c);
    fs_lock(c->fs);
    return r;
}

/* ---- points --------------------------------------------------------------------------------- */

/* Without the lock, after a checkpoint. */
static int make_point(struct commit *c, uint64_t deadline_ms)
{
    struct key_list orphans = {0};
    struct fs *fs = c->fs;
    struct point p = {0};
    const struct inode *in;

    fs_lock(fs);
    TAILQ_FOREACH(in, &fs->orphans, link)
    {
        if (in->commit_seq && in->commit_seq <= fs->applied_seq)
            fs_key_push(&orphans, in->ino);
    }
    fs_unlock(fs);
    int r = points_reserve(c->points, fs->ids, deadline_ms);
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

    bool ahead = anything_dirty(fs) || record_ahead(&c->rec, fs) || journal_records(c->j);
    int r = ahead ? checkpoint(c) : 0;
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
    if (c->idle_ms)
        *wait_ms = MIN(*wait_ms, MIN(c->idle_ms, c->age_ms));
    if (c->point_ms)
        *wait_ms = MIN(*wait_ms, c->point_ms);
    return false;
}

/* L, released meanwhile. */
static int work_once(struct commit *c)
{
    struct fs *fs = c->fs;

    if (anything_dirty(fs))
        return commit_once(c, false);
    fs->dirty_since_ms = 0;
    if (fs->want_seq > fs->snap_seq)
        fs->durable_seq = ++fs->snap_seq;
    if (!record_ahead(&c->rec, fs))
        fs->applied_seq = fs->durable_seq;
    fs_changed(fs);
    return 0;
}

/* L, released meanwhile: what there is to do, most urgent first.  1: nothing. */
static int work(struct commit *c, uint64_t *wait_ms)
{
    bool wanted = is_wanted(c, wait_ms);

    if (point_wanted(c) && !c->stop)
        return take_point(c);
    if (wanted && !is_checkpoint_due(c))
        return work_once(c);
    if (is_checkpoint_due(c) ||
        (c->stop && (record_ahead(&c->rec, c->fs) || journal_records(c->j))))
        return checkpoint(c);
    return 1;
}

static void *run(void *arg)
{
    struct commit *c = arg;
    struct fs *fs = c->fs;
    uint64_t wait_ms;
    int r = 0;

    fs_lock(fs);
    while (r == 0) {
        r = work(c, &wait_ms);
        if (r != 1)
            continue;
        r = 0;
        if (c->stop)
            break;
        struct timespec ts = {(time_t)(wait_ms / 1000), (long)(wait_ms % 1000) * 1000000};
        pthread_cond_timedwait(&fs->commit_work, &fs->lock, &ts);
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
    record_fini(&c->rec);
    free(c);
    return data < 0 ? data : MIN(r, 0);
}
