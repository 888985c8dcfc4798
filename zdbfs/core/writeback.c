/* writeback - see core/writeback.h. */
#include "zdbfs/core/writeback.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

enum {
    BATCH = 16,
    THREADS = 2,
    RETRY_MS = 500,
};

struct writeback {
    struct fs *fs;
    pthread_t thread[THREADS];
    unsigned nthreads;
    bool stop; /* under fs.lock */
};

/* ---- one batch ------------------------------------------------------------------------------ */

struct batch {
    struct block *block[BATCH];
    struct bbuf *buf[BATCH];
    struct kv_req req[BATCH];
    uint64_t key_epoch[BATCH]; /* the key is good in this epoch only; 0: in all */
    size_t n;
};

static struct inode *inode_of(const struct block *b)
{
    return container_of(b->file, struct inode, blocks);
}

static bool can_take(const struct block *b)
{
    return b->state == BLOCK_DIRTY && !b->modifying;
}

/* L: the block is being written from now on. */
static void take(struct fs *fs, struct batch *t, struct block *b)
{
    struct inode *in = inode_of(b);
    uint32_t id = b->acked_epoch ? b->acked_key : inode_slot(in, b->idx);
    bool in_place = id && bcache_in_place(b);
    size_t i = t->n++;

    bcache_begin_write(&fs->bc, b);
    inode_pin(in);
    t->block[i] = b;
    t->buf[i] = b->buf;
    if (b->buf)
        bcache_buf_ref(b->buf);
    t->key_epoch[i] = b->acked_epoch && b->acked_new ? b->acked_epoch : 0;
    t->req[i] = (struct kv_req){.op = in_place ? KV_SET : KV_INSERT,
                                .key = id,
                                .only_epoch = in_place ? t->key_epoch[i] : 0,
                                .value = slice_of(b->buf ? b->buf->data : NULL, b->len)};
}

/* L: zdb has it under a new key, or under the one it had. */
static void stored(struct fs *fs, struct block *b, const struct kv_req *q)
{
    bool fresh = q->op == KV_INSERT;

    fs->inserted_bytes += fresh ? q->value.len : 0;
    fs->stored_bytes += q->value.len;
    if (fresh && b->state == BLOCK_DROPPED)
        fs_unsynced_push(fs, q->key, q->epoch);
    else if (fresh && b->acked_epoch && b->acked_new)
        fs_unsynced_push(fs, b->acked_key, b->acked_epoch);
    bcache_write_acked(&fs->bc, b, (uint32_t)q->key, fresh, q->epoch);
}

static void finish(struct fs *fs, struct batch *t)
{
    for (size_t i = 0; i < t->n; i++) {
        struct block *b = t->block[i];
        struct inode *in = inode_of(b);
        int r = t->req[i].result;
        if (r == 0) {
            fs->data_full = false;
            stored(fs, b, &t->req[i]);
        } else {
            if (b->state != BLOCK_DROPPED) {
                in->write_error = r == -ENOSPC ? -ENOSPC : -EIO;
                if (r == -ENOSPC) {
                    fs->data_full = true;
                    fs->info_ms = MIN(fs->info_ms, 1u); /* what we know of free space is old */
                }
            }
            bcache_write_failed(&fs->bc, b);
        }
        bcache_buf_unref(&fs->bc, t->buf[i]);
        inode_unpin(fs, in);
    }
}

/* Keys that are gone (damaged volume, or with the server that gave them) or namespaces without
 * room: what else can be done for a block. */
static void second_try(struct fs *fs, struct batch *t, uint64_t deadline_ms)
{
    for (size_t i = 0; i < t->n; i++) {
        struct kv_req *q = &t->req[i];
        bool lost = q->op == KV_SET && (q->result == -ENOENT || q->result == -ESTALE);
        bool full = q->op == KV_INSERT && q->result == -ENOSPC && q->key != 0; /* had a key: replace
                                                                                  its value */
        if (!lost && !full)
            continue;
        q->op = lost ? KV_INSERT : KV_SET;
        q->only_epoch = lost ? 0 : t->key_epoch[i];
        kv_write(fs->kv, ROLE_DATA, q, 1, deadline_ms);
    }
}

/* L, released meanwhile. */
static int write_batch(struct fs *fs, struct batch *t, uint64_t deadline_ms)
{
    fs_unlock(fs);
    int r = kv_write(fs->kv, ROLE_DATA, t->req, t->n, deadline_ms);
    for (size_t i = 0; i < t->n; i++)
        if (t->req[i].op == KV_INSERT && t->req[i].result == 0 && t->req[i].key > UINT32_MAX)
            t->req[i].result = -EFBIG; /* the format has 32 bits for it */
    if (r < 0) {
        second_try(fs, t, deadline_ms);
        r = 0;
        for (size_t i = 0; i < t->n && r == 0; i++)
            r = t->req[i].result;
    }
    fs_lock(fs);
    finish(fs, t);
    fs_changed(fs);
    return r == 0 || r == -ENOSPC ? r : -EIO;
}

/* ---- flushing ------------------------------------------------------------------------------- */

/* L: take what was dirty at seq; true when something is still under way elsewhere. */
static bool collect(struct fs *fs, struct bfile *f, uint64_t seq, struct batch *t)
{
    struct block *b;
    bool wait = false;

    TAILQ_FOREACH(b, &f->blocks, in_file)
    {
        if (b->sending)
            wait = wait || b->sent_seq <= seq || b->dirty_seq <= seq;
        else if (b->state == BLOCK_DIRTY && b->dirty_seq <= seq && b->modifying)
            wait = true;
        else if (can_take(b) && b->dirty_seq <= seq && t->n < BATCH)
            take(fs, t, b);
    }
    return wait;
}

int writeback_file(struct fs *fs, struct inode *in, uint64_t deadline_ms)
{
    int r = 0;

    fs_lock(fs);
    uint64_t seq = fs->bc.seq;
    while (r == 0 && in->blocks.ndirty) {
        struct batch t = {0};
        bool wait = collect(fs, &in->blocks, seq, &t);
        if (t.n)
            r = write_batch(fs, &t, deadline_ms);
        else if (wait)
            r = fs_wait(fs, deadline_ms);
        else
            break;
    }
    fs_unlock(fs);
    return r;
}

/* L: oldest first; pass: those that it has tried already are left out. */
static size_t take_oldest(struct fs *fs, uint64_t seq, uint64_t pass, struct batch *t)
{
    struct block *b, *next;

    for (b = TAILQ_FIRST(&fs->bc.dirty); b && t->n < BATCH; b = next) {
        next = TAILQ_NEXT(b, link);
        if (b->dirty_seq > seq || !can_take(b) || (pass && b->tried == pass))
            continue;
        b->tried = pass;
        take(fs, t, b);
    }
    return t->n;
}

static bool dirty_before(const struct fs *fs, uint64_t seq)
{
    const struct block *b;

    for (size_t i = 0; i < fs->bc.cap; i++)
        for (b = fs->bc.table[i]; b; b = b->hash_next)
            if ((b->sending && b->sent_seq <= seq) || (bcache_dirty(b) && b->dirty_seq <= seq))
                return true;
    return false;
}

/* Without room for new blocks, others may still be stored: every block is tried once. */
int writeback_all(struct fs *fs, uint64_t deadline_ms)
{
    int r = 0;
    bool full = false;

    fs_lock(fs);
    uint64_t seq = fs->bc.seq, pass = ++fs->pass;
    while (r == 0) {
        struct batch t = {0};
        if (take_oldest(fs, seq, pass, &t))
            r = write_batch(fs, &t, deadline_ms);
        else if (!full && fs->bc.dirty_bytes && dirty_before(fs, seq))
            r = fs_wait(fs, deadline_ms);
        else
            break;
        full = full || r == -ENOSPC;
        if (r == -ENOSPC)
            r = 0;
    }
    fs_unlock(fs);
    return full ? -ENOSPC : r;
}

int writeback_throttle(struct fs *fs, uint64_t deadline_ms)
{
    int r = 0;

    while (r == 0 && fs->bc.dirty_bytes + fs->bc.acked_bytes > fs->bc.dirty_limit) {
        if (fs->data_full)
            return -ENOSPC;
        pthread_cond_broadcast(&fs->write_work);
        pthread_cond_signal(&fs->commit_work);
        r = fs_wait(fs, deadline_ms);
    }
    return r;
}

/* ---- threads -------------------------------------------------------------------------------- */

/* L: whole blocks first; others when there are too many. */
static void take_work(struct fs *fs, struct batch *t)
{
    struct block *b, *next;

    for (b = TAILQ_FIRST(&fs->bc.ready); b && t->n < BATCH; b = next) {
        next = TAILQ_NEXT(b, ready);
        if (can_take(b))
            take(fs, t, b);
    }
    if (t->n == 0 && fs->bc.dirty_bytes > fs->bc.dirty_limit / 2)
        take_oldest(fs, UINT64_MAX, 0, t);
}

static void *work(void *arg)
{
    struct writeback *w = arg;
    struct fs *fs = w->fs;

    fs_lock(fs);
    while (!w->stop) {
        struct batch t = {0};
        take_work(fs, &t);
        if (t.n == 0) {
            pthread_cond_wait(&fs->write_work, &fs->lock);
            continue;
        }
        if (write_batch(fs, &t, kv_deadline(fs->kv)) < 0 && !w->stop) {
            uint64_t until = base_now_ms() + RETRY_MS;
            struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
            if (fs->data_full && (fs->del_data.n || fs->del_meta.n))
                pthread_cond_signal(&fs->commit_work); /* what was deleted makes room once it is
                                                          committed */
            while (!w->stop && base_now_ms() < until)
                pthread_cond_timedwait(&fs->write_work, &fs->lock, &ts);
        }
    }
    fs_unlock(fs);
    return NULL;
}

int writeback_start(struct writeback **out, struct fs *fs, struct err *e)
{
    struct writeback *w = xcalloc(1, sizeof *w);
    int code = 0;

    w->fs = fs;
    while (code == 0 && w->nthreads < THREADS) {
        code = pthread_create(&w->thread[w->nthreads], NULL, work, w);
        if (code == 0)
            pthread_setname_np(w->thread[w->nthreads++], "zdbfs-write");
    }
    if (code) {
        writeback_stop(w);
        return err_sys(e, code, "threads that store blocks");
    }
    *out = w;
    return 0;
}

void writeback_stop(struct writeback *w)
{
    if (!w)
        return;
    fs_lock(w->fs);
    w->stop = true;
    pthread_cond_broadcast(&w->fs->write_work);
    fs_unlock(w->fs);
    for (unsigned i = 0; i < w->nthreads; i++)
        pthread_join(w->thread[i], NULL);
    free(w);
}
