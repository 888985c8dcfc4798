/* blocks - file blocks in memory, under one limit.  Owner: struct fs; every function runs under its
 * lock, but content is copied and sent outside of it: a buffer that somebody else holds a reference
 * to is never changed (bcache_own_buffer).
 *
 *   state of a block      in LRU?  dirty list?   who may take it out
 *   loading               no       no            the loader
 *   clean                 yes      no            eviction, truncate
 *   dirty                 no       yes           writeback (then clean), truncate
 *   writing (still dirty) no       no            writeback
 *   dropped               no table, no list; freed when the last pin and write are gone */
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
    unsigned n, ndirty; /* ndirty: dirty or writing */
};

struct block {
    struct bfile *file;
    uint64_t ino;
    uint32_t idx;
    uint32_t len;        /* bytes that count; zeros behind */
    uint32_t stored_len; /* of them, those that the stored payload has right under the present key
                          */
    struct bbuf *buf;    /* NULL while loading and when len is 0 */
    bool loading, dirty, writing, dropped;
    bool modifying;      /* a writer is copying into buf */
    bool stale;          /* the stored payload is longer than the file */
    bool cow, cow_again; /* must get a new key: the stored payload may not show up again */
    bool queued;         /* in the ready list */
    unsigned pins;
    uint64_t dirty_seq; /* when it became dirty (again) */
    uint64_t writing_seq;
    uint64_t dirty_ms; /* since when it waits to be stored (or to be tried again) */
    uint64_t tried;    /* pass of writeback that has tried it */
    struct block *hash_next;
    TAILQ_ENTRY(block) in_file, link, ready; /* link: LRU or dirty list */
};

struct bcache {
    struct block **table;
    size_t cap, n;
    struct block_list lru, dirty, ready; /* ready: whole blocks that will hardly change again */
    uint64_t used_bytes, limit_bytes;
    uint64_t dirty_bytes, dirty_limit;
    uint64_t seq; /* of the last change */
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
/* The content is there: buf taken (NULL: all zero).  Clean. */
void bcache_loaded(struct bcache *bc, struct block *b, struct bbuf *buf, uint32_t len);
/* Out of the table and lists; the memory goes when nobody pins or writes it. */
void bcache_drop(struct bcache *bc, struct block *b);
void bcache_pin(struct bcache *bc, struct block *b);
void bcache_unpin(struct bcache *bc, struct block *b);
void bcache_touch(struct bcache *bc, struct block *b);

/* A buffer of b that nobody else reads, with room for `room` bytes; content up to len is kept. */
void bcache_own_buffer(struct bcache *bc, struct block *b, uint32_t room);
void bcache_mark_dirty(struct bcache *bc, struct block *b, bool whole);
void bcache_begin_write(struct bcache *bc, struct block *b); /* dirty, not writing, not modifying */
/* stored: zdb has what was in it at begin.  Frees b when it was dropped meanwhile and nobody pins
 * it. */
void bcache_end_write(struct bcache *bc, struct block *b, bool stored);

/* Evict clean blocks until `more` bytes fit; false when what is left is in use. */
bool bcache_make_room(struct bcache *bc, uint64_t more);
void bcache_drop_clean(struct bcache *bc);

struct bbuf *bcache_buf_new(struct bcache *bc, uint32_t cap);
struct bbuf *bcache_buf_adopt(struct bcache *bc, void *reply, struct slice v); /* reply taken */
void bcache_buf_ref(struct bbuf *b);
void bcache_buf_unref(struct bcache *bc, struct bbuf *b);

void bcache_check(const struct bcache *bc); /* aborts when an invariant is broken */

#endif
