/* keys - see the header.  Two bucket arrays while growing: buckets of old below `moved` are empty
 * and their entries are in cur.  Entries come from chunks; a removed entry goes to the free list of
 * its size class (8-byte steps). */
#include "zdb/engine/keys.h"
#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/mman.h>

#define FIRST_BUCKETS 16
#define MOVE_STEP                                                                  \
    4 /* buckets moved per change: growing is over long before the next one is due \
       */
#define ENTRY_MAX   (sizeof(struct keys_entry) + 255 + 8)
#define CLASSES     (ENTRY_MAX / 8 + 1)
#define CHUNK_FIRST ((size_t)2048)
#define CHUNK_MAX   ((size_t)4 << 20)
#define HUGE                                                                                      \
    ((size_t)2 << 20) /* a large page: memory is read at random, and small pages cost a walk each \
                       */

struct table {
    struct keys_entry **bucket;
    size_t n; /* power of two */
};

struct chunk {
    struct chunk *next;
    size_t size;
};

struct keys {
    struct table cur, old; /* old.bucket: NULL when not growing */
    size_t moved, count, memory;
    struct keys_entry *spare[CLASSES];
    struct chunk *chunks;
    uint8_t *room;
    size_t room_len, chunk_size;
    uint8_t seed[crypto_shorthash_KEYBYTES];
};

/* Zeroed; from the size of a large page on, in large pages where the kernel has them. */
static void *memory_new(size_t bytes)
{
    size_t size = (bytes + HUGE - 1) & ~(HUGE - 1), skip;
    uint8_t *p;

    if (bytes < HUGE)
        return xcalloc(1, bytes);
    p = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED)
        base_panic("out of memory");
    skip = (HUGE - (uintptr_t)p % HUGE) % HUGE;
    if (skip)
        munmap(p, skip);
    munmap(p + skip + size, HUGE - skip);
    (void)madvise(p + skip, size, MADV_HUGEPAGE); /* works without */
    return p + skip;
}

static void memory_free(void *p, size_t bytes)
{
    if (p && bytes >= HUGE)
        munmap(p, (bytes + HUGE - 1) & ~(HUGE - 1));
    else
        free(p);
}

static struct keys_entry **buckets_new(struct keys *ix, size_t n)
{
    ix->memory += n * sizeof(struct keys_entry *);
    return memory_new(n * sizeof(struct keys_entry *));
}

static void buckets_free(struct keys *ix, struct table *t)
{
    ix->memory -= t->n * sizeof(struct keys_entry *);
    memory_free(t->bucket, t->n * sizeof(struct keys_entry *));
    *t = (struct table){0};
}

struct keys *keys_new(void)
{
    struct keys *ix = xcalloc(1, sizeof *ix);

    ix->cur.n = FIRST_BUCKETS;
    ix->cur.bucket = buckets_new(ix, ix->cur.n);
    ix->chunk_size = CHUNK_FIRST;
    randombytes_buf(ix->seed, sizeof ix->seed);
    return ix;
}

void keys_free(struct keys *ix)
{
    struct chunk *c, *next;

    if (!ix)
        return;
    for (c = ix->chunks; c; c = next) {
        next = c->next;
        memory_free(c, c->size);
    }
    buckets_free(ix, &ix->cur);
    buckets_free(ix, &ix->old);
    free(ix);
}

size_t keys_count(const struct keys *ix)
{
    return ix->count;
}

size_t keys_memory(const struct keys *ix)
{
    return ix->memory + sizeof *ix;
}

static uint32_t hash_of(const struct keys *ix, struct slice key)
{
    uint8_t h[crypto_shorthash_BYTES];

    crypto_shorthash(h, key.p, key.len, ix->seed);
    return le32_get(h);
}

static size_t entry_size(size_t keylen)
{
    return (offsetof(struct keys_entry, key) + keylen + 7) & ~(size_t)7;
}

static struct keys_entry *entry_new(struct keys *ix, size_t keylen)
{
    size_t size = entry_size(keylen);
    struct keys_entry *e = ix->spare[size / 8];

    if (e) {
        ix->spare[size / 8] = e->next;
        return e;
    }
    if (ix->room_len < size) {
        struct chunk *c = memory_new(ix->chunk_size);
        *c = (struct chunk){ix->chunks, ix->chunk_size};
        ix->chunks = c;
        ix->memory += ix->chunk_size;
        ix->room = (uint8_t *)(c + 1);
        ix->room_len = ix->chunk_size - sizeof *c;
        ix->chunk_size = MIN(ix->chunk_size * 2, CHUNK_MAX);
    }
    e = (struct keys_entry *)(void *)ix->room;
    ix->room += size;
    ix->room_len -= size;
    return e;
}

static void move_some(struct keys *ix, size_t buckets)
{
    while (ix->old.bucket && buckets-- > 0) {
        struct keys_entry *e = ix->old.bucket[ix->moved], *next;

        for (; e; e = next) {
            struct keys_entry **to = &ix->cur.bucket[e->hash & (ix->cur.n - 1)];
            next = e->next;
            e->next = *to;
            *to = e;
        }
        ix->old.bucket[ix->moved] = NULL;
        if (++ix->moved == ix->old.n)
            buckets_free(ix, &ix->old);
    }
}

static void grow(struct keys *ix)
{
    if (ix->old.bucket || ix->count < ix->cur.n || ix->cur.n > UINT32_MAX / 2)
        return;
    ix->old = ix->cur;
    ix->moved = 0;
    ix->cur.n = ix->old.n * 2;
    ix->cur.bucket = buckets_new(ix, ix->cur.n);
}

/* The link that points to the entry of key, or NULL. */
static struct keys_entry **find_in(const struct table *t, uint32_t hash, struct slice key)
{
    struct keys_entry **at;

    if (!t->bucket)
        return NULL;
    for (at = &t->bucket[hash & (t->n - 1)]; *at; at = &(*at)->next) {
        if ((*at)->hash == hash && (*at)->keylen == key.len &&
            memcmp((*at)->key, key.p, key.len) == 0)
            return at;
    }
    return NULL;
}

static struct keys_entry **find(const struct keys *ix, uint32_t hash, struct slice key)
{
    struct keys_entry **at = find_in(&ix->cur, hash, key);

    return at ? at : find_in(&ix->old, hash, key);
}

struct keys_entry *keys_find(struct keys *ix, struct slice key)
{
    struct keys_entry **at;

    if (key.len == 0 || key.len > 255)
        return NULL;
    at = find(ix, hash_of(ix, key), key);
    return at ? *at : NULL;
}

void keys_hint(const struct keys *ix, const struct slice *keys, size_t n,
               const struct keys_entry *e[KEYS_HINTS])
{
    uint32_t hash[KEYS_HINTS];

    assert(n <= KEYS_HINTS);
    for (size_t i = 0; i < n; i++) {
        hash[i] = keys[i].len - 1 < 255 ? hash_of(ix, keys[i]) : 0;
        __builtin_prefetch(&ix->cur.bucket[hash[i] & (ix->cur.n - 1)]);
    }
    for (size_t i = 0; i < n; i++) {
        e[i] = ix->cur.bucket[hash[i] & (ix->cur.n - 1)];
        if (e[i]) {
            __builtin_prefetch(e[i]);
            __builtin_prefetch((const uint8_t *)e[i] + 64);
        }
    }
    for (size_t i = 0; i < n; i++) {
        while (e[i] && (e[i]->hash != hash[i] || e[i]->keylen != keys[i].len))
            e[i] = e[i]->next;
    }
}

struct keys_entry *keys_put(struct keys *ix, struct slice key, bool *added)
{
    return keys_put_hashed(ix, key, hash_of(ix, key), added);
}

struct keys_entry *keys_put_hashed(struct keys *ix, struct slice key, uint32_t hash, bool *added)
{
    struct keys_entry **at = find(ix, hash, key), *e;

    assert(key.len >= 1 && key.len <= 255);
    *added = !at;
    if (at)
        return *at;
    move_some(ix, MOVE_STEP);
    grow(ix);
    e = entry_new(ix, key.len);
    memset(e, 0, sizeof *e);
    e->hash = hash;
    e->keylen = (uint8_t)key.len;
    memcpy(e->key, key.p, key.len);
    at = &ix->cur.bucket[hash & (ix->cur.n - 1)];
    e->next = *at;
    *at = e;
    ix->count++;
    return e;
}

void keys_remove(struct keys *ix, struct slice key)
{
    struct keys_entry **at, *e;
    size_t class;

    if (key.len == 0 || key.len > 255)
        return;
    at = find(ix, hash_of(ix, key), key);
    if (!at)
        return;
    e = *at;
    *at = e->next;
    class = entry_size(e->keylen) / 8;
    e->next = ix->spare[class];
    ix->spare[class] = e;
    ix->count--;
    move_some(ix, MOVE_STEP);
}

uint32_t keys_soon(const struct keys *ix, struct slice key)
{
    uint32_t hash = hash_of(ix, key);

    __builtin_prefetch(&ix->cur.bucket[hash & (ix->cur.n - 1)]);
    return hash;
}

void keys_sooner(const struct keys *ix, uint32_t hash)
{
    __builtin_prefetch(ix->cur.bucket[hash & (ix->cur.n - 1)]);
}

void keys_expect(struct keys *ix, size_t keys)
{
    size_t n = FIRST_BUCKETS;

    assert(ix->count == 0 && !ix->old.bucket);
    while (n < keys && n < (size_t)1 << 28)
        n *= 2;
    if (n <= ix->cur.n)
        return;
    buckets_free(ix, &ix->cur);
    ix->cur.n = n;
    ix->cur.bucket = buckets_new(ix, n);
}

static void each_in(const struct table *t, void (*fn)(void *arg, struct keys_entry *e), void *arg)
{
    for (size_t i = 0; t->bucket && i < t->n; i++) {
        for (struct keys_entry *e = t->bucket[i]; e; e = e->next)
            fn(arg, e);
    }
}

void keys_each(struct keys *ix, void (*fn)(void *arg, struct keys_entry *e), void *arg)
{
    each_in(&ix->cur, fn, arg);
    each_in(&ix->old, fn, arg);
}

struct checker {
    struct keys *ix;
    size_t seen;
};

static void check_entry(void *arg, struct keys_entry *e)
{
    struct checker *c = arg;
    struct keys_entry **at = find(c->ix, e->hash, slice_of(e->key, e->keylen));

    assert(at && *at == e);
    c->seen++;
}

void keys_check(struct keys *ix)
{
    struct checker c = {ix, 0};

    keys_each(ix, check_entry, &c);
    assert(c.seen == ix->count);
    assert(!ix->old.bucket || ix->moved < ix->old.n);
    for (size_t i = 0; ix->old.bucket && i < ix->moved; i++)
        assert(!ix->old.bucket[i]);
}
