/* space - see core/space.h. */
#include "zdbfs/core/space.h"

#include <errno.h>
#include <stdlib.h>

#include "zdbfs/cache/inodes.h"
#include "zdbfs/core/writeback.h"
#include "zdbfs/txn/commit.h"

enum {
    FRESH_MS = 500,   /* what was heard is good for so long */
    PATIENCE_MS = 80, /* statfs waits so long for better numbers */
    REFUSED_MS = 100, /* after a refusal others are refused for so long without asking */
    ASK_MS = 10000,
    FRAGMENT = 1024,
    NAME_BYTES = 1024, /* what a new file costs in the meta namespace, about */
};

#define RESERVE_MIN (4 * MIB)
#define RESERVE_MAX (64 * MIB)
#define UNKNOWN     UINT64_MAX

struct space {
    struct fs *fs;
    pthread_t thread;
    bool stop; /* under fs.lock */
};

/* ---- counting ------------------------------------------------------------------------------- */

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

/* L: bytes of data that the volume holds or has promised to hold. */
static uint64_t used_bytes(const struct fs *fs)
{
    return fs->info_data.data_bytes + fs->inserted_bytes + fs->bc.dirty_bytes + fs->admitted_bytes +
           fs->booked_bytes;
}

/* L: what the disk of a namespace has left; everything stored takes new room there at first. */
static uint64_t disk_left(const struct fs *fs, const struct kv_info *info)
{
    if (info->free_bytes == UNKNOWN)
        return UNKNOWN;
    return minus(info->free_bytes,
                 fs->stored_bytes + fs->bc.dirty_bytes + fs->admitted_bytes + fs->dirty_meta_bytes);
}

/* L: room for new data; UNKNOWN: nothing limits it. */
static uint64_t data_left(const struct fs *fs)
{
    uint64_t used = used_bytes(fs), left = disk_left(fs, &fs->info_data);

    if (left != UNKNOWN)
        left = minus(left, fs->space_reserve + fs->booked_bytes);
    if (fs->opt->size_given)
        left = MIN(left, minus(fs->opt->size_bytes, used));
    if (fs->info_data.limit_bytes)
        left = MIN(left, minus(fs->info_data.limit_bytes, used));
    return left;
}

/* L: room for names and attributes. */
static uint64_t name_left(const struct fs *fs)
{
    uint64_t left = disk_left(fs, &fs->info_meta);

    if (left != UNKNOWN)
        left = minus(left, fs->space_reserve / 2);
    if (fs->info_meta.limit_bytes)
        left = MIN(left, minus(fs->info_meta.limit_bytes,
                               fs->info_meta.data_bytes + fs->dirty_meta_bytes));
    return left;
}

/* L: blocks in that range that have no place yet. */
static uint64_t hole_bytes(const struct fs *fs, const struct inode *in, uint64_t off, uint64_t n)
{
    uint64_t holes = 0, part;

    for (uint64_t pos = off; pos < off + n; pos += part) {
        uint32_t idx = (uint32_t)(pos / INODE_BLOCK);
        part = MIN(INODE_BLOCK - pos % INODE_BLOCK, off + n - pos);
        if (idx >= in->nslots && in->blocks.n == 0) /* nothing but a hole from here on */
            return holes + off + n - pos;
        if (!inode_slot(in, idx) && !bcache_find(&fs->bc, in->ino, idx))
            holes += part;
    }
    return holes;
}

/* ---- asking --------------------------------------------------------------------------------- */

/* L */
static void heard(struct fs *fs, const struct kv_info *meta, const struct kv_info *data,
                  uint64_t inserted, uint64_t stored)
{
    fs->info_meta = *meta;
    fs->info_data = *data;
    fs->inserted_bytes = minus(fs->inserted_bytes, inserted);
    fs->stored_bytes = minus(fs->stored_bytes, stored);
    fs->info_ms = base_now_ms();
    if (!fs->space_reserve && data->free_bytes != UNKNOWN) {
        uint64_t part = (data->free_bytes + data->data_bytes) / 16;
        fs->space_reserve = MAX(RESERVE_MIN, MIN(RESERVE_MAX, part));
    }
    fs->space_low = MIN(data->free_bytes, meta->free_bytes) < 2 * fs->space_reserve;
    fs_changed(fs);
}

/* L, released meanwhile. */
static int ask(struct fs *fs, uint64_t deadline_ms)
{
    uint64_t inserted = fs->inserted_bytes, stored = fs->stored_bytes;
    struct kv_info meta, data;

    fs_unlock(fs);
    int r = kv_info(fs->kv, ROLE_META, deadline_ms, &meta);
    if (r == 0)
        r = kv_info(fs->kv, ROLE_DATA, deadline_ms, &data);
    fs_lock(fs);
    if (r == 0)
        heard(fs, &meta, &data, inserted, stored);
    return r;
}

static void *run(void *arg)
{
    struct space *s = arg;
    struct fs *fs = s->fs;

    fs_lock(fs);
    while (!s->stop) {
        uint64_t now = base_now_ms();
        if (!fs->info_wanted) {
            pthread_cond_wait(&fs->info_work, &fs->lock);
            continue;
        }
        if (fs->info_ms && now - fs->info_ms < FRESH_MS) {
            uint64_t until = fs->info_ms + FRESH_MS;
            struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
            pthread_cond_timedwait(&fs->info_work, &fs->lock, &ts);
            continue;
        }
        fs->info_wanted = false;
        ask(fs, kv_deadline(fs->kv));
    }
    fs_unlock(fs);
    return NULL;
}

/* L */
static void want_fresh(struct fs *fs)
{
    if (fs->info_ms && base_now_ms() - fs->info_ms < FRESH_MS)
        return;
    fs->info_wanted = true;
    pthread_cond_signal(&fs->info_work);
}

int space_start(struct space **out, struct fs *fs, struct err *e)
{
    struct space *s = xcalloc(1, sizeof *s);

    s->fs = fs;
    fs_lock(fs);
    int r = ask(fs, base_now_ms() + ASK_MS); /* from now on there is an answer */
    fs_unlock(fs);
    if (r < 0) {
        free(s);
        return err_sys(e, -r, "asking zdb for free space (NSINFO)");
    }
    int code = pthread_create(&s->thread, NULL, run, s);
    if (code) {
        free(s);
        return err_sys(e, code, "thread that asks for free space");
    }
    pthread_setname_np(s->thread, "zdbfs-space");
    *out = s;
    return 0;
}

void space_stop(struct space *s)
{
    if (!s)
        return;
    fs_lock(s->fs);
    s->stop = true;
    pthread_cond_signal(&s->fs->info_work);
    fs_unlock(s->fs);
    pthread_join(s->thread, NULL);
    free(s);
}

/* ---- statfs --------------------------------------------------------------------------------- */

int space_statfs(struct fs *fs, struct statvfs *out)
{
    fs_lock(fs);
    uint64_t asked = base_now_ms();
    want_fresh(fs);
    while (fs->info_wanted && fs->info_ms + FRESH_MS <= asked &&
           fs_wait(fs, asked + PATIENCE_MS) == 0)
        ;
    bool known = fs->info_ms != 0;
    uint64_t used = used_bytes(fs), left = data_left(fs), names = name_left(fs);
    uint64_t entries = fs->info_meta.entries;
    fs_unlock(fs);
    if (!known)
        return -EIO;
    if (left == UNKNOWN)
        left = minus(fs->opt->size_bytes, used);
    uint64_t total = used + left;
    if (fs->opt->size_given)
        total = MIN(total, MAX(fs->opt->size_bytes, used));
    uint64_t more = names == UNKNOWN ? left / NAME_BYTES : names / NAME_BYTES;
    *out = (struct statvfs){
        .f_bsize = INODE_BLOCK,
        .f_frsize = FRAGMENT,
        .f_blocks = total / FRAGMENT,
        .f_bfree = left / FRAGMENT,
        .f_bavail = left / FRAGMENT,
        .f_files = entries + more,
        .f_ffree = more,
        .f_favail = more,
        .f_namemax = 255,
    };
    return 0;
}

/* ---- admitting ------------------------------------------------------------------------------ */

/* L: zdb had no room, although we had thought so, and it was not asked since. */
static bool doubtful(const struct fs *fs)
{
    return (fs->data_full || fs->commit_error == -ENOSPC) &&
           base_now_ms() >= fs->info_ms + REFUSED_MS;
}

/* L: so much new data, of which `holes` have no place yet and are not booked. */
static bool fits(const struct fs *fs, uint64_t holes, uint64_t n)
{
    uint64_t disk = disk_left(fs, &fs->info_data);

    if (holes && data_left(fs) < holes)
        return false;
    return disk == UNKNOWN || minus(disk, fs->space_reserve) >= n;
}

/* L, released meanwhile: it does not seem to fit.  Count exactly; when something was deleted that
 * zdb does not know of yet, it is told first. */
static int try_harder(struct fs *fs, uint64_t holes, uint64_t n, uint64_t deadline_ms)
{
    bool deleted = fs->del_data.n || fs->del_meta.n;

    if (!deleted && fs->refused_ms && base_now_ms() < fs->refused_ms + REFUSED_MS)
        return -ENOSPC;
    fs->store_wanted = fs->store_wanted || deleted;
    fs_unlock(fs);
    int r = writeback_all(fs, deadline_ms);
    if (r == 0 || r == -ENOSPC)
        r = deleted ? commit_wait(fs, deadline_ms) : 0;
    fs_lock(fs);
    for (uint64_t seq = fs->durable_seq, seen = fs->commit_attempt;
         r == 0 && deleted && fs->applied_seq < seq && fs->commit_failed <= seen;)
        r = fs_wait(fs, deadline_ms); /* until zdb has deleted it */
    if (r == 0)
        r = ask(fs, deadline_ms);
    if (r == 0 && !fits(fs, holes, n))
        r = -ENOSPC;
    fs->refused_ms = r == -ENOSPC ? base_now_ms() : 0;
    return r;
}

int space_admit(struct fs *fs, struct inode *in, uint64_t off, uint64_t n, uint64_t deadline_ms)
{
    int r = 0;

    fs_lock(fs);
    uint64_t holes = hole_bytes(fs, in, off, n), booked = MIN(in->booked, holes);
    if (doubtful(fs) || !fits(fs, holes - booked, n))
        r = try_harder(fs, holes - booked, n, deadline_ms);
    if (r == 0) {
        booked = MIN(booked, in->booked);
        in->booked -= booked;
        fs->booked_bytes -= booked;
        fs->admitted_bytes += n;
    }
    if (fs->space_low || data_left(fs) < RESERVE_MAX)
        want_fresh(fs);
    fs_unlock(fs);
    return r;
}

void space_admitted(struct fs *fs, uint64_t n)
{
    fs_lock(fs);
    fs->admitted_bytes -= n;
    fs_unlock(fs);
}

int space_book(struct fs *fs, struct inode *in, uint64_t off, uint64_t n, uint64_t deadline_ms)
{
    int r = 0;

    fs_lock(fs);
    uint64_t holes = minus(hole_bytes(fs, in, off, n), in->booked);
    if (!fits(fs, holes, holes))
        r = try_harder(fs, holes, holes, deadline_ms);
    if (r == 0 && in->state == INODE_READY) {
        in->booked += holes;
        fs->booked_bytes += holes;
    }
    fs_unlock(fs);
    return r;
}

void space_unbook(struct fs *fs, struct inode *in, uint64_t off, uint64_t n)
{
    fs_lock(fs);
    uint64_t less = MIN(in->booked, hole_bytes(fs, in, off, n));
    in->booked -= less;
    fs->booked_bytes -= less;
    fs_unlock(fs);
}

int space_admit_name(struct fs *fs, uint64_t deadline_ms)
{
    int r = 0;

    fs_lock(fs);
    if (doubtful(fs) || (name_left(fs) < NAME_BYTES && base_now_ms() >= fs->info_ms + REFUSED_MS))
        r = ask(fs, deadline_ms);
    if (r == 0 && name_left(fs) < NAME_BYTES)
        r = -ENOSPC;
    if (fs->space_low)
        want_fresh(fs);
    fs_unlock(fs);
    return r;
}
