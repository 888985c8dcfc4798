/* fs - see cache/fs.h. */
#include "zdbfs/cache/fs.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>

enum { FIRST_CAP = 1024 };

static void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t attr;

    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(c, &attr);
    pthread_condattr_destroy(&attr);
}

int fs_new(struct fs **out, const struct options *opt, struct kv *kv, struct ids *ids)
{
    struct fs *fs = xcalloc(1, sizeof *fs);

    fs->opt = opt;
    fs->kv = kv;
    fs->ids = ids;
    fs->read_only = opt->kv.read_only;
    if (getrandom(&fs->seed, sizeof fs->seed, 0) != sizeof fs->seed)
        fs->seed = base_wall_ns();
    pthread_mutex_init(&fs->lock, NULL);
    cond_init(&fs->changed);
    cond_init(&fs->commit_work);
    cond_init(&fs->write_work);
    cond_init(&fs->flush_work);
    cond_init(&fs->info_work);
    fs->table_cap = FIRST_CAP;
    fs->table = xcalloc(fs->table_cap, sizeof(struct inode *));
    TAILQ_INIT(&fs->lru);
    TAILQ_INIT(&fs->list_lru);
    TAILQ_INIT(&fs->dirty);
    TAILQ_INIT(&fs->orphans);
    TAILQ_INIT(&fs->unstored);
    fs->meta_limit = opt->memory_bytes / 4;
    fs->dirty_meta_limit = fs->meta_limit / 2;
    bcache_init(&fs->bc, opt->memory_bytes - fs->meta_limit);
    fs->refs = refs_new();
    *out = fs;
    return 0;
}

void fs_free(struct fs *fs)
{
    if (!fs)
        return;
    bcache_fini(&fs->bc);
    refs_free(fs->refs);
    free(fs->table);
    free(fs->del_meta.key);
    free(fs->del_data.key);
    free(fs->was.key);
    free(fs->unsynced);
    pthread_cond_destroy(&fs->changed);
    pthread_cond_destroy(&fs->commit_work);
    pthread_cond_destroy(&fs->write_work);
    pthread_cond_destroy(&fs->flush_work);
    pthread_cond_destroy(&fs->info_work);
    pthread_mutex_destroy(&fs->lock);
    free(fs);
}

int fs_wait(struct fs *fs, uint64_t deadline_ms)
{
    struct timespec ts = {(time_t)(deadline_ms / 1000), (long)(deadline_ms % 1000) * 1000000};

    if (base_now_ms() >= deadline_ms)
        return -EIO;
    pthread_cond_timedwait(&fs->changed, &fs->lock, &ts);
    return 0;
}

void fs_changed(struct fs *fs)
{
    pthread_cond_broadcast(&fs->changed);
}

struct timespec fs_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME_COARSE, &ts); /* the clock that the kernel takes times from */
    return ts;
}

void fs_key_push(struct key_list *l, uint64_t key)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? 2 * l->cap : 64;
        uint64_t *fresh = xcalloc(cap, sizeof *fresh);
        if (l->n)
            memcpy(fresh, l->key, l->n * sizeof *fresh);
        free(l->key);
        l->key = fresh;
        l->cap = cap;
    }
    l->key[l->n++] = key;
}

void fs_note_classic(struct fs *fs, bool *classic, uint64_t key, uint32_t crc)
{
    if (!*classic)
        return;
    fs_key_push(&fs->was, key);
    fs_key_push(&fs->was, crc);
    *classic = false;
}

void fs_unsynced_push(struct fs *fs, uint64_t key, uint64_t epoch)
{
    if (fs->nunsynced == fs->unsynced_cap) {
        size_t cap = fs->unsynced_cap ? 2 * fs->unsynced_cap : 64;
        struct unsynced_key *fresh = xcalloc(cap, sizeof *fresh);
        if (fs->nunsynced)
            memcpy(fresh, fs->unsynced, fs->nunsynced * sizeof *fresh);
        free(fs->unsynced);
        fs->unsynced = fresh;
        fs->unsynced_cap = cap;
    }
    fs->unsynced[fs->nunsynced++] = (struct unsynced_key){key, epoch, ++fs->bc.acked_seq};
}

void fs_unsynced_settle(struct fs *fs, uint64_t epoch, uint64_t seq)
{
    size_t kept = 0;

    for (size_t i = 0; i < fs->nunsynced; i++) {
        const struct unsynced_key *u = &fs->unsynced[i];
        if (u->epoch == epoch && u->seq <= seq)
            fs_key_push(&fs->del_data, u->key);
        else if (u->epoch >= epoch)
            fs->unsynced[kept++] = *u;
    }
    fs->nunsynced = kept;
}

void fs_note_dirty(struct fs *fs, uint64_t bytes)
{
    uint64_t half = fs->dirty_meta_limit / 2;
    bool wake = fs->dirty_meta_bytes <= half && fs->dirty_meta_bytes + bytes > half;

    fs->dirty_meta_bytes += bytes;
    if (!fs->dirty_since_ms) {
        fs->dirty_since_ms = fs->change_ms = base_now_ms();
        pthread_cond_signal(&fs->flush_work);
    }
    if (wake)
        pthread_cond_signal(&fs->commit_work);
}

int fs_throttle(struct fs *fs, uint64_t deadline_ms)
{
    int r = 0;

    if (kv_lost(fs->kv))
        return -EROFS;
    fs_lock(fs);
    while (r == 0 && fs->dirty_meta_bytes > fs->dirty_meta_limit) {
        uint64_t seen = fs->commit_attempt;
        pthread_cond_signal(&fs->commit_work);
        r = fs_wait(fs, deadline_ms);
        if (r == 0 && fs->commit_failed > seen && fs->commit_error == -ENOSPC)
            r = -ENOSPC;
    }
    fs_unlock(fs);
    return r;
}
