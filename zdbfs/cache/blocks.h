/* blocks - file blocks in memory, under one limit.  Owner: struct fs; every function runs under its
 * lock, but content is copied and sent outside of it: a buffer that somebody else holds a reference
 * to is never changed (bcache_own_buffer).
 *
 *   state     memory holds                            list    ends by
 *   LOADING   nothing yet                             -       its loader: CLEAN; truncate: DROPPED
 *   CLEAN     the newest payload                      LRU *   change: DIRTY; eviction: DROPPED
 *   DIRTY     something newer                         dirty   writeback: WRITING; truncate: DROPPED
 *   WRITING   what is under way to zdb                -       answer: CLEAN, or DIRTY if it failed
 *   REWRITE   something newer than what is under way  -       answer: DIRTY
 *   DROPPED   not in the table any more; freed when the last pin and write are gone
 *   * only without an acknowledged payload: what zdb may still lose is not evicted
 *
 * What zdb has of a block are payloads; each takes the place of the one below it:
 *   stored    under the key in the inode's slot, on stable storage
 *   acked     acknowledged (key, epoch of the server, number); becomes stored by a SYNC of the same
 *             epoch (bcache_settle), and nothing when the server has become another one
 *   sent      under way
 * A payload's len says how many of its bytes are right; long: there are more behind that must not
 * be seen again, so that its key may not be used for a newer one and a size beyond it not be told.
 * A block is unsettled while it is not CLEAN or has an acknowledged payload. */
#ifndef ZDBFS_CACHE_BLOCKS_H
#define ZDBFS_CACHE_BLOCKS_H

#include "common/bytes.h"
#include <sys/queue.h>

struct bbuf { /* reference-counted bytes */
    unsigned refs;
    uint32_t cap;
    uint8_t *data;
    void *reply; /* data belongs to this reply of zdb; NULL: malloc */
};

struct block;
TAILQ_HEAD(block_list, block);

struct bfile { /* the blocks of one file; embedded in its inode */
    struct block_list blocks;
    unsigned n, ndirty, nunsettled; /* ndirty: DIRTY, WRITING or REWRITE */
};

enum block_state {
    BLOCK_LOADING,
    BLOCK_CLEAN,
    BLOCK_DIRTY,
    BLOCK_WRITING,
    BLOCK_REWRITE,
    BLOCK_DROPPED
};

struct payload {
    uint32_t len;
    bool longer;
};

struct block {
    struct bfile *file;
    uint64_t ino;
    uint32_t idx;
    uint32_t len;     /* bytes that count; zeros behind */
    struct bbuf *buf; /* NULL while loading and when len is 0 */
    enum block_state state;
    bool sending;   /* WRITING, REWRITE, or DROPPED meanwhile */
    bool modifying; /* a writer is copying into buf */
    bool queued;    /* in the ready list */
    struct payload stored, acked, sent;
    uint32_t acked_key;
    bool acked_new;       /* acked_key was made for it: no slot has it yet */
    uint64_t acked_epoch; /* 0: nothing acknowledged that is not settled */
    uint64_t acked_seq;   /* in order of acknowledgement */
    unsigned pins;
    uint64_t dirty_seq; /* when it became dirty (again) */
    uint64_t sent_seq;
    uint64_t dirty_ms; /* since when it waits to be stored (or to be tried again) */
    uint64_t tried;    /* pass of writeback that has tried it */
    struct block *hash_next;
    TAILQ_ENTRY(block) in_file, link, ready, unsettled; /* link: LRU or dirty list */
};

struct bcache {
    struct block **table;
    size_t cap, n;
    struct block_list lru, dirty, ready; /* ready: whole blocks that will hardly change again */
    struct block_list acked;             /* with an acknowledged payload, oldest first */
    uint64_t used_bytes, limit_bytes;
    uint64_t dirty_bytes, dirty_limit;
    uint64_t acked_bytes; /* of CLEAN blocks that cannot be evicted before a SYNC */
    uint64_t seq;         /* of the last change */
    uint64_t acked_seq;   /* of the last acknowledgement */
};

void bcache_init(struct bcache *bc, uint64_t limit_bytes);
void bcache_fini(struct bcache *bc);
void bcache_file_init(struct bfile *f);

struct block *bcache_find(const struct bcache *bc, uint64_t ino, uint32_t idx);
struct block *bcache_add(struct bcache *bc, struct bfile *f, uint64_t ino,
                         uint32_t idx); /* loading,
                                           not
                                           there
                                           before
                                         */
/* The content is there: buf taken (NULL: all zero); clean.  len: bytes that count; payload: bytes
 * that zdb has. */
void bcache_loaded(struct bcache *bc, struct block *b, struct bbuf *buf, uint32_t len,
                   uint32_t payload);
/* Out of the table and lists; the memory goes when nobody pins or writes it. */
void bcache_drop(struct bcache *bc, struct block *b);
void bcache_pin(struct bcache *bc, struct block *b);
void bcache_unpin(struct bcache *bc, struct block *b);
void bcache_touch(struct bcache *bc, struct block *b);

/* A buffer of b that nobody else reads, with room for `room` bytes; content up to len is kept. */
void bcache_own_buffer(struct bcache *bc, struct block *b, uint32_t room);
void bcache_mark_dirty(struct bcache *bc, struct block *b, bool whole);
/* Bytes from len on are gone for good, in memory and in whatever zdb has; dirty if that changes
 * anything. */
void bcache_cut(struct bcache *bc, struct block *b, uint32_t len);
/* Is the newest payload that zdb has one whose key may be used for the next? */
bool bcache_in_place(const struct block *b);

void bcache_begin_write(struct bcache *bc, struct block *b); /* DIRTY, not modifying */
/* zdb has not taken it: DIRTY again.  Frees b when it was dropped meanwhile and nobody pins it. */
void bcache_write_failed(struct bcache *bc, struct block *b);
/* zdb has acknowledged what was in it at begin, under that key. */
void bcache_write_acked(struct bcache *bc, struct block *b, uint32_t key, bool new_key,
                        uint64_t epoch);
/* The acknowledged payload is on stable storage and in the slot from now on. */
void bcache_settle(struct bcache *bc, struct block *b);
/* The acknowledged payload may be lost: dirty, as if it had never been sent. */
void bcache_unsend(struct bcache *bc, struct block *b);

/* Evict clean blocks until `more` bytes fit; false when what is left is in use. */
bool bcache_make_room(struct bcache *bc, uint64_t more);
void bcache_drop_clean(struct bcache *bc);

struct bbuf *bcache_buf_new(struct bcache *bc, uint32_t cap);
struct bbuf *bcache_buf_adopt(struct bcache *bc, void *reply, struct slice v); /* reply taken */
void bcache_buf_ref(struct bbuf *b);
void bcache_buf_unref(struct bcache *bc, struct bbuf *b);

static inline bool bcache_dirty(const struct block *b)
{
    return b->state == BLOCK_DIRTY || b->state == BLOCK_WRITING || b->state == BLOCK_REWRITE;
}

static inline bool bcache_unsettled(const struct block *b)
{
    return bcache_dirty(b) || b->acked_epoch;
}

void bcache_check(const struct bcache *bc); /* aborts when an invariant is broken */

#endif
