/* keys - key table of a user-mode namespace, in memory: key -> where its live record is.
 * Chained hash with a keyed hash (SipHash), entries packed in an arena: at most 60 bytes + key
 * length per key, 70 while the table grows.  Growing is spread over the following changes, so that
 * no call stalls.  Owner: struct ns.  Thread: the zdb loop.  */
#ifndef ZDB_ENGINE_KEYS_H
#define ZDB_ENGINE_KEYS_H

#include "common/bytes.h"

struct index;

struct index_entry {
    struct index_entry *next; /* private */
    uint32_t hash;            /* private */
    uint32_t file, off;       /* index record; its payload is in the data file of the same number */
    uint32_t data_off, length, crc; /* data record */
    uint32_t timestamp;
    uint8_t keylen;
    uint8_t key[];
};

struct index *index_new(void);
void index_free(struct index *ix);
size_t index_count(const struct index *ix);
size_t index_memory(const struct index *ix); /* bytes allocated */

/* Addresses are valid until the key is removed. */
struct index_entry *index_find(struct index *ix, struct slice key); /* NULL when absent */
/* Find or add (then all numbers are 0 and *added is true).  key: 1..255 bytes. */
struct index_entry *index_put(struct index *ix, struct slice key, bool *added);
/* These keys are about to be asked for: only a hint, it gets their entries into the processor's
 * cache.  e: those that are found, as far as that can be told cheaply, else NULL. */
#define INDEX_HINTS 16
void index_hint(const struct index *ix, const struct slice *keys, size_t n,
                const struct index_entry *e[INDEX_HINTS]);
void index_remove(struct index *ix, struct slice key); /* absent: nothing happens */
/* Hints for many puts in a row, in two steps: the key comes after a few others; its hash.  Then it
 * comes after fewer. */
uint32_t index_soon(const struct index *ix, struct slice key);
void index_sooner(const struct index *ix, uint32_t hash);
struct index_entry *index_put_hashed(struct index *ix, struct slice key, uint32_t hash,
                                     bool *added); /* hash: of index_soon */
void index_expect(struct index *ix, size_t keys); /* room for so many keys at once; only while it is
                                                     empty */
/* Every entry, in no order; nothing may be changed meanwhile. */
void index_each(struct index *ix, void (*fn)(void *arg, struct index_entry *e), void *arg);
void index_check(struct index *ix); /* walks the invariants; tests */

#endif
