/* block - see core/block.h. */
#include "zdbfs/core/block.h"

#include <errno.h>
#include <inttypes.h>

#include "common/log.h"

enum { BS = INODE_BLOCK };

uint32_t block_extent(const struct inode *in, uint32_t idx)
{
    uint64_t start = (uint64_t)idx * BS;

    if (in->a.size <= start)
        return 0;
    return (uint32_t)MIN(in->a.size - start, (uint64_t)BS);
}

/* L: what was fetched for a loading block, which is pinned.  v is emptied.  On failure the block is
 * dropped. */
static int finish_load(struct fs *fs, struct inode *in, struct block *b, uint32_t id, int r,
                       struct kv_val *v)
{
    struct bbuf *buf = NULL;
    uint32_t len = 0;

    if (r == 0 && b->state != BLOCK_DROPPED && (!v->found || v->v.len > BS)) {
        log_error("inode %" PRIu64 ": block %u (key %u) is %s", in->ino, b->idx, id,
                  v->found ? "too long" : "missing");
        r = -EIO;
    }
    if (r < 0 || b->state == BLOCK_DROPPED) {
        if (b->state != BLOCK_DROPPED)
            bcache_drop(&fs->bc, b);
        return r;
    }
    if (v->v.len) {
        buf = bcache_buf_adopt(&fs->bc, v->reply, v->v);
        len = (uint32_t)v->v.len;
        v->reply = NULL;
    }
    bcache_loaded(&fs->bc, b, buf, MIN(len, block_extent(in, b->idx)), len);
    return 0;
}

int block_get(struct fs *fs, struct inode *in, uint32_t idx, uint64_t deadline_ms,
              struct block **out)
{
    for (;;) {
        struct block *b = bcache_find(&fs->bc, in->ino, idx);
        int r = 0;
        if (b) {
            bcache_pin(&fs->bc, b);
            while (b->state == BLOCK_LOADING && r == 0)
                r = fs_wait(fs, deadline_ms);
            if (r == 0 && b->state != BLOCK_DROPPED) {
                bcache_touch(&fs->bc, b);
                *out = b;
                return 0;
            }
            bcache_unpin(&fs->bc, b);
            if (r < 0)
                return r;
            if (base_now_ms() >= deadline_ms)
                return -EIO;
            continue;
        }
        uint32_t id = inode_slot(in, idx);
        bcache_make_room(&fs->bc, BS);
        b = bcache_add(&fs->bc, &in->blocks, in->ino, idx);
        bcache_pin(&fs->bc, b);
        if (id == 0) {
            bcache_loaded(&fs->bc, b, NULL, 0, 0);
            *out = b;
            return 0;
        }
        struct kv_val v = {0};
        fs_unlock(fs);
        r = kv_get(fs->kv, ROLE_DATA, id, deadline_ms, &v);
        fs_lock(fs);
        r = finish_load(fs, in, b, id, r, &v);
        fs_changed(fs);
        kv_val_fini(&v);
        if (r == 0 && b->state != BLOCK_DROPPED) {
            *out = b;
            return 0;
        }
        bcache_unpin(&fs->bc, b);
        if (r < 0)
            return r;
    }
}

void block_fetch(struct fs *fs, struct inode *in, uint32_t from, uint32_t to, uint64_t deadline_ms)
{
    struct block *b[BLOCK_FETCH_MAX];
    uint64_t key[BLOCK_FETCH_MAX];
    struct kv_val val[BLOCK_FETCH_MAX];
    size_t n = 0;

    for (uint32_t idx = from; idx < to && idx < in->nslots && n < BLOCK_FETCH_MAX; idx++) {
        if (!in->slot[idx] || bcache_find(&fs->bc, in->ino, idx))
            continue;
        key[n] = in->slot[idx];
        b[n] = bcache_add(&fs->bc, &in->blocks, in->ino, idx);
        bcache_pin(&fs->bc, b[n++]);
    }
    if (n == 0)
        return;
    bcache_make_room(&fs->bc, n * BS);
    fs_unlock(fs);
    int r = kv_get_many(fs->kv, ROLE_DATA, key, n, deadline_ms, val);
    fs_lock(fs);
    for (size_t i = 0; i < n; i++) {
        finish_load(fs, in, b[i], (uint32_t)key[i], r, &val[i]);
        bcache_unpin(&fs->bc, b[i]);
    }
    fs_changed(fs);
    for (size_t i = 0; i < n; i++)
        kv_val_fini(&val[i]);
}
