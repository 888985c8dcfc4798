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
    TAILQ_INIT(&bc->acked);
}

void bcache_file_init(struct bfile *f)
{
    TAILQ_INIT(&f->blocks);
    f->n = f->ndirty = f->nunsettled = 0;
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
    b->state = BLOCK_LOADING;
    size_t s = slot_of(bc->cap, ino, idx);
    b->hash_next = bc->table[s];
    bc->table[s] = b;
    bc->n++;
    TAILQ_INSERT_TAIL(&f->blocks, b, in_file);
    f->n++;
    bc->used_bytes += OVERHEAD;
    return b;
}

static uint64_t weight(const struct block *b)
{
    return b->buf ? b->buf->cap : 0;
}

static bool on_lru(const struct block *b)
{
    return b->state == BLOCK_CLEAN && !b->acked_epoch;
}

/* The only place where a block changes its state: lists and sums follow from it. */
static void enter(struct bcache *bc, struct block *b, enum block_state state)
{
    bool was_dirty = bcache_dirty(b), was_unsettled = bcache_unsettled(b);

    if (on_lru(b))
        TAILQ_REMOVE(&bc->lru, b, link);
    else if (b->state == BLOCK_CLEAN)
        bc->acked_bytes -= weight(b);
    else if (b->state == BLOCK_DIRTY)
        TAILQ_REMOVE(&bc->dirty, b, link);
    b->state = state;
    if (on_lru(b))
        TAILQ_INSERT_HEAD(&bc->lru, b, link);
    else if (state == BLOCK_CLEAN)
        bc->acked_bytes += weight(b);
    else if (state == BLOCK_DIRTY)
        TAILQ_INSERT_TAIL(&bc->dirty, b, link);
    if (was_dirty && !bcache_dirty(b)) {
        bc->dirty_bytes -= weight(b);
        b->file->ndirty--;
    } else if (!was_dirty && bcache_dirty(b)) {
        bc->dirty_bytes += weight(b);
        b->file->ndirty++;
    }
    b->file->nunsettled += (unsigned)bcache_unsettled(b) - (unsigned)was_unsettled;
    if (b->queued && state != BLOCK_DIRTY && state != BLOCK_REWRITE) {
        TAILQ_REMOVE(&bc->ready, b, ready);
        b->queued = false;
    }
}

/* epoch 0: the acknowledged payload is settled or given up. */
static void set_acked(struct bcache *bc, struct block *b, uint64_t epoch)
{
    bool was_unsettled = bcache_unsettled(b);

    if (b->state == BLOCK_CLEAN && !b->acked_epoch != !epoch) {
        if (epoch) {
            TAILQ_REMOVE(&bc->lru, b, link);
            bc->acked_bytes += weight(b);
        } else {
            TAILQ_INSERT_HEAD(&bc->lru, b, link);
            bc->acked_bytes -= weight(b);
        }
    }
    if (b->acked_epoch)
        TAILQ_REMOVE(&bc->acked, b, unsettled);
    if (epoch)
        TAILQ_INSERT_TAIL(&bc->acked, b, unsettled);
    b->acked_epoch = epoch;
    b->file->nunsettled += (unsigned)bcache_unsettled(b) - (unsigned)was_unsettled;
}

void bcache_loaded(struct bcache *bc, struct block *b, struct bbuf *buf, uint32_t len,
                   uint32_t payload)
{
    b->buf = buf;
    b->len = len;
    b->stored = (struct payload){MIN(len, payload), payload > len};
    if (b->state == BLOCK_LOADING)
        enter(bc, b, BLOCK_CLEAN);
}

static void maybe_free(struct bcache *bc, struct block *b)
{
    if (b->state != BLOCK_DROPPED || b->pins || b->sending)
        return;
    bcache_buf_unref(bc, b->buf);
    free(b);
}

void bcache_drop(struct bcache *bc, struct block *b)
{
    struct block **p = &bc->table[slot_of(bc->cap, b->ino, b->idx)];

    while (*p != b)
        p = &(*p)->hash_next;
    *p = b->hash_next;
    bc->n--;
    set_acked(bc, b, 0);
    enter(bc, b, BLOCK_DROPPED);
    TAILQ_REMOVE(&b->file->blocks, b, in_file);
    b->file->n--;
    bc->used_bytes -= OVERHEAD;
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
    if (!on_lru(b))
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
    if (bcache_dirty(b))
        bc->dirty_bytes += fresh->cap - (old ? (uint64_t)old->cap : 0);
    else if (b->state == BLOCK_CLEAN && b->acked_epoch)
        bc->acked_bytes += fresh->cap - (old ? (uint64_t)old->cap : 0);
    bcache_buf_unref(bc, old);
    b->buf = fresh;
}

void bcache_mark_dirty(struct bcache *bc, struct block *b, bool whole)
{
    b->dirty_seq = ++bc->seq;
    if (b->state == BLOCK_DROPPED)
        return;
    if (b->state == BLOCK_CLEAN) {
        b->dirty_ms = base_now_ms();
        enter(bc, b, BLOCK_DIRTY);
    } else if (b->state == BLOCK_WRITING) {
        enter(bc, b, BLOCK_REWRITE);
    }
    if (whole && !b->queued) {
        TAILQ_INSERT_TAIL(&bc->ready, b, ready);
        b->queued = true;
    }
}

/* A payload that is sent over the one below it may already be there in its place. */
void bcache_cut(struct bcache *bc, struct block *b, uint32_t len)
{
    struct payload *p[] = {&b->stored, b->acked_epoch ? &b->acked : NULL,
                           b->sending ? &b->sent : NULL};
    bool changed = b->len > len, longer = false;

    b->len = MIN(b->len, len);
    for (int i = 2; i >= 0; i--) {
        if (!p[i])
            continue;
        longer = longer || p[i]->longer || p[i]->len > len;
        p[i]->longer = longer;
        p[i]->len = MIN(p[i]->len, len);
    }
    if (changed || longer)
        bcache_mark_dirty(bc, b, false);
}

bool bcache_in_place(const struct block *b)
{
    return b->acked_epoch ? !b->acked.longer : !b->stored.longer;
}

void bcache_begin_write(struct bcache *bc, struct block *b)
{
    assert(b->state == BLOCK_DIRTY && !b->modifying && !b->sending);
    enter(bc, b, BLOCK_WRITING);
    b->sending = true;
    b->sent = (struct payload){b->len, false};
    b->sent_seq = b->dirty_seq;
}

void bcache_write_failed(struct bcache *bc, struct block *b)
{
    b->sending = false;
    if (b->state == BLOCK_DROPPED) {
        maybe_free(bc, b);
        return;
    }
    b->dirty_ms = base_now_ms();
    enter(bc, b, BLOCK_DIRTY);
}

void bcache_write_acked(struct bcache *bc, struct block *b, uint32_t key, bool new_key,
                        uint64_t epoch)
{
    b->sending = false;
    if (b->state == BLOCK_DROPPED) {
        maybe_free(bc, b);
        return;
    }
    b->acked = b->sent;
    b->acked_new = new_key || (b->acked_epoch && b->acked_new && b->acked_key == key);
    b->acked_key = key;
    b->acked_seq = ++bc->acked_seq;
    set_acked(bc, b, epoch);
    if (b->state == BLOCK_REWRITE)
        b->dirty_ms = base_now_ms();
    enter(bc, b, b->state == BLOCK_REWRITE ? BLOCK_DIRTY : BLOCK_CLEAN);
}

void bcache_settle(struct bcache *bc, struct block *b)
{
    b->stored = b->acked;
    set_acked(bc, b, 0);
}

void bcache_unsend(struct bcache *bc, struct block *b)
{
    set_acked(bc, b, 0);
    if (b->state == BLOCK_CLEAN) {
        b->dirty_ms = base_now_ms();
        bcache_mark_dirty(bc, b, true);
    }
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

static void check_block(const struct block *b)
{
    bool busy = b->state == BLOCK_WRITING || b->state == BLOCK_REWRITE;

    assert(b->state != BLOCK_DROPPED && b->sending == busy);
    assert(!b->buf || b->len <= b->buf->cap);
    assert(!b->queued || b->state == BLOCK_DIRTY || b->state == BLOCK_REWRITE);
    if (b->state == BLOCK_LOADING)
        assert(!b->buf && !b->acked_epoch && !b->modifying);
    if (b->state == BLOCK_CLEAN) { /* what zdb has is what is in memory */
        const struct payload *p = b->acked_epoch ? &b->acked : &b->stored;
        assert(p->len <= b->len);
    }
    if (b->state == BLOCK_WRITING)
        assert(b->sent_seq == b->dirty_seq);
    if (b->acked_epoch)
        assert(b->acked_key && b->acked_seq);
}

void bcache_check(const struct bcache *bc)
{
    uint64_t dirty_bytes = 0, acked_bytes = 0, seq = 0;
    size_t n = 0, nlru = 0, ndirty = 0, nacked = 0;
    const struct block *b;

    for (size_t i = 0; i < bc->cap; i++)
        for (b = bc->table[i]; b; b = b->hash_next) {
            check_block(b);
            n++;
            nlru += on_lru(b);
            ndirty += b->state == BLOCK_DIRTY;
            nacked += b->acked_epoch != 0;
            dirty_bytes += bcache_dirty(b) ? weight(b) : 0;
            acked_bytes += b->state == BLOCK_CLEAN && b->acked_epoch ? weight(b) : 0;
        }
    TAILQ_FOREACH(b, &bc->lru, link)
    {
        assert(on_lru(b) && nlru-- > 0);
    }
    TAILQ_FOREACH(b, &bc->dirty, link)
    {
        assert(b->state == BLOCK_DIRTY && ndirty-- > 0);
    }
    TAILQ_FOREACH(b, &bc->acked, unsettled)
    {
        assert(b->acked_seq > seq && nacked-- > 0);
        seq = b->acked_seq;
    }
    assert(n == bc->n && nlru == 0 && ndirty == 0 && nacked == 0);
    assert(dirty_bytes == bc->dirty_bytes && acked_bytes == bc->acked_bytes);
}

void bcache_fini(struct bcache *bc)
{
    for (size_t i = 0; i < bc->cap; i++)
        while (bc->table[i])
            bcache_drop(bc, bc->table[i]);
    free(bc->table);
    *bc = (struct bcache){0};
}
