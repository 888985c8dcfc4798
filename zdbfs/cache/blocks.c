/* blocks - see cache/blocks.h. */
#include "zdbfs/cache/blocks.h"

#include <assert.h>
#include <stdlib.h>

#include "zdbfs/format/inode.h"
#include "zdbfs/store/kv.h"

enum { FIRST_CAP = 1024, SMALLEST = 4096, OVERHEAD = 256 };

void bcache_init(struct bcache *bc, uint64_t limit_bytes)
{
    *bc = (struct bcache){.limit_bytes = limit_bytes, .dirty_limit = limit_bytes / 2};
    bc->cap = FIRST_CAP;
    bc->table = xcalloc(bc->cap, sizeof(struct block *));
    TAILQ_INIT(&bc->lru);
    TAILQ_INIT(&bc->dirty);
    TAILQ_INIT(&bc->ready);
}

void bcache_file_init(struct bfile *f)
{
    TAILQ_INIT(&f->blocks);
    f->n = f->ndirty = 0;
}

/* Bytes of a buffer behind the len of its block are undefined. */

/* ---- buffers -------------------------------------------------------------------------------- */

struct bbuf *bcache_buf_new(struct bcache *bc, uint32_t cap)
{
    struct bbuf *b = xcalloc(1, sizeof *b);

    b->refs = 1;
    b->cap = SMALLEST;
    while (b->cap < cap)
        b->cap *= 2;
    b->data = malloc(b->cap);
    if (!b->data)
        abort();
    bc->used_bytes += b->cap;
    return b;
}

struct bbuf *bcache_buf_adopt(struct bcache *bc, void *reply, struct slice v)
{
    struct bbuf *b = xcalloc(1, sizeof *b);

    *b = (struct bbuf){1, (uint32_t)v.len, (uint8_t *)(uintptr_t)v.p, reply};
    bc->used_bytes += b->cap;
    return b;
}

void bcache_buf_ref(struct bbuf *b)
{
    b->refs++;
}

void bcache_buf_unref(struct bcache *bc, struct bbuf *b)
{
    if (!b || --b->refs)
        return;
    bc->used_bytes -= b->cap;
    if (b->reply)
        kv_val_free_reply(b->reply);
    else
        free(b->data);
    free(b);
}

/* ---- table ---------------------------------------------------------------------------------- */

static size_t slot_of(size_t cap, uint64_t ino, uint32_t idx)
{
    uint64_t h = (ino * 0x9e3779b97f4a7c15ull) ^ (idx * 0xc2b2ae3d27d4eb4full);
    return (size_t)(h ^ h >> 29) & (cap - 1);
}

struct block *bcache_find(const struct bcache *bc, uint64_t ino, uint32_t idx)
{
    struct block *b = bc->table[slot_of(bc->cap, ino, idx)];

    while (b && (b->ino != ino || b->idx != idx))
        b = b->hash_next;
    return b;
}

static void grow(struct bcache *bc)
{
    size_t cap = bc->cap * 2;
    struct block **table = xcalloc(cap, sizeof(struct block *));

    for (size_t i = 0; i < bc->cap; i++) {
        struct block *b, *next;
        for (b = bc->table[i]; b; b = next) {
            next = b->hash_next;
            size_t s = slot_of(cap, b->ino, b->idx);
            b->hash_next = table[s];
            table[s] = b;
        }
    }
    free(bc->table);
    bc->table = table;
    bc->cap = cap;
}

struct block *bcache_add(struct bcache *bc, struct bfile *f, uint64_t ino, uint32_t idx)
{
    struct block *b = xcalloc(1, sizeof *b);

    if (bc->n >= bc->cap)
        grow(bc);
    b->file = f;
    b->ino = ino;
    b->idx = idx;
    b->loading = true;
    size_t s = slot_of(bc->cap, ino, idx);
    b->hash_next = bc->table[s];
    bc->table[s] = b;
    bc->n++;
    TAILQ_INSERT_TAIL(&f->blocks, b, in_file);
    f->n++;
    bc->used_bytes += OVERHEAD;
    return b;
}

void bcache_loaded(struct bcache *bc, struct block *b, struct bbuf *buf, uint32_t len)
{
    b->loading = false;
    b->buf = buf;
    b->len = b->stored_len = len;
    if (!b->dropped)
        TAILQ_INSERT_HEAD(&bc->lru, b, link);
}

static void maybe_free(struct bcache *bc, struct block *b)
{
    if (!b->dropped || b->pins || b->writing)
        return;
    bcache_buf_unref(bc, b->buf);
    free(b);
}

static uint64_t weight(const struct block *b)
{
    return b->buf ? b->buf->cap : 0;
}

static void leave_lists(struct bcache *bc, struct block *b)
{
    if (b->queued) {
        TAILQ_REMOVE(&bc->ready, b, ready);
        b->queued = false;
    }
    if (b->loading || b->writing)
        return;
    TAILQ_REMOVE(b->dirty ? &bc->dirty : &bc->lru, b, link);
}

void bcache_drop(struct bcache *bc, struct block *b)
{
    struct block **p = &bc->table[slot_of(bc->cap, b->ino, b->idx)];

    while (*p != b)
        p = &(*p)->hash_next;
    *p = b->hash_next;
    bc->n--;
    leave_lists(bc, b);
    if (b->dirty) {
        bc->dirty_bytes -= weight(b);
        b->file->ndirty--;
    }
    TAILQ_REMOVE(&b->file->blocks, b, in_file);
    b->file->n--;
    bc->used_bytes -= OVERHEAD;
    b->dropped = true;
    b->dirty = false;
    maybe_free(bc, b);
}

void bcache_pin(struct bcache *bc, struct block *b)
{
    (void)bc;
    b->pins++;
}

void bcache_unpin(struct bcache *bc, struct block *b)
{
    b->pins--;
    maybe_free(bc, b);
}

void bcache_touch(struct bcache *bc, struct block *b)
{
    if (b->loading || b->dirty || b->dropped)
        return;
    TAILQ_REMOVE(&bc->lru, b, link);
    TAILQ_INSERT_HEAD(&bc->lru, b, link);
}

void bcache_own_buffer(struct bcache *bc, struct block *b, uint32_t room)
{
    struct bbuf *old = b->buf;

    if (room < b->len)
        room = b->len;
    if (old && old->refs == 1 && !old->reply && old->cap >= room)
        return;
    /* a block that grows will go on growing; one that is only replaced keeps its size */
    struct bbuf *fresh =
        bcache_buf_new(bc,
                       MIN(old && old->cap < room ? MAX(room, 2 * old->cap) : room, INODE_BLOCK));
    if (old && b->len)
        memcpy(fresh->data, old->data, b->len);
    if (b->dirty)
        bc->dirty_bytes += fresh->cap - (old ? (uint64_t)old->cap : 0);
    bcache_buf_unref(bc, old);
    b->buf = fresh;
}

void bcache_mark_dirty(struct bcache *bc, struct block *b, bool whole)
{
    b->dirty_seq = ++bc->seq;
    if (b->dropped)
        return;
    if (!b->dirty) {
        TAILQ_REMOVE(&bc->lru, b, link);
        TAILQ_INSERT_TAIL(&bc->dirty, b, link);
        b->dirty = true;
        b->dirty_ms = base_now_ms();
        bc->dirty_bytes += weight(b);
        b->file->ndirty++;
    }
    if (whole && !b->queued) {
        TAILQ_INSERT_TAIL(&bc->ready, b, ready);
        b->queued = true;
    }
}

void bcache_begin_write(struct bcache *bc, struct block *b)
{
    assert(b->dirty && !b->writing && !b->modifying && !b->dropped);
    leave_lists(bc, b);
    b->writing = true;
    b->writing_seq = b->dirty_seq;
    b->cow_again = false;
}

void bcache_end_write(struct bcache *bc, struct block *b, bool stored)
{
    b->writing = false;
    if (b->dropped) {
        maybe_free(bc, b);
        return;
    }
    if (stored)
        b->cow = b->cow_again;
    if (stored && b->dirty_seq == b->writing_seq) {
        b->dirty = false;
        bc->dirty_bytes -= weight(b);
        b->file->ndirty--;
        TAILQ_INSERT_HEAD(&bc->lru, b, link);
        if (b->queued) {
            TAILQ_REMOVE(&bc->ready, b, ready);
            b->queued = false;
        }
        return;
    }
    b->dirty_ms = base_now_ms();
    TAILQ_INSERT_TAIL(&bc->dirty, b, link);
}

bool bcache_make_room(struct bcache *bc, uint64_t more)
{
    struct block *b, *before;

    for (b = TAILQ_LAST(&bc->lru, block_list); b && bc->used_bytes + more > bc->limit_bytes;
         b = before) {
        before = TAILQ_PREV(b, block_list, link);
        if (b->pins == 0)
            bcache_drop(bc, b);
    }
    return bc->used_bytes + more <= bc->limit_bytes;
}

void bcache_drop_clean(struct bcache *bc)
{
    struct block *b, *before;

    for (b = TAILQ_LAST(&bc->lru, block_list); b; b = before) {
        before = TAILQ_PREV(b, block_list, link);
        if (b->pins == 0)
            bcache_drop(bc, b);
    }
}

void bcache_check(const struct bcache *bc)
{
    uint64_t dirty = 0;
    size_t n = 0, lru = 0, listed = 0;
    const struct block *b;

    for (size_t i = 0; i < bc->cap; i++)
        for (b = bc->table[i]; b; b = b->hash_next) {
            n++;
            assert(!b->dropped && (!b->writing || b->dirty) && (!b->loading || !b->dirty));
            assert(!b->buf || b->len <= b->buf->cap);
            if (b->dirty)
                dirty += weight(b);
        }
    TAILQ_FOREACH(b, &bc->lru, link)
    {
        lru++;
        assert(!b->dirty && !b->loading);
    }
    TAILQ_FOREACH(b, &bc->dirty, link)
    {
        listed++;
        assert(b->dirty && !b->writing);
    }
    assert(n == bc->n && dirty == bc->dirty_bytes && lru + listed <= n);
}

void bcache_fini(struct bcache *bc)
{
    for (size_t i = 0; i < bc->cap; i++)
        while (bc->table[i])
            bcache_drop(bc, bc->table[i]);
    free(bc->table);
    *bc = (struct bcache){0};
}
