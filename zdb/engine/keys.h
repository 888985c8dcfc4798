/* keys - key table of a user-mode namespace, in memory: key -> where its live record is.
 * Chained hash with a keyed hash (SipHash), entries packed in an arena: at most 60 bytes + key
 * length per key, 70 while the table grows.  Growing is spread over the following changes, so that
 * no call stalls.  Owner: struct ns.  Thread: the zdb loop.  */
#ifndef ZDB_ENGINE_KEYS_H
#define ZDB_ENGINE_KEYS_H

#include "common/bytes.h"

struct keys;

struct keys_entry {
    struct keys_entry *next; /* private */
    uint32_t hash;           /* private */
    uint32_t file, off;      /* index record; its payload is in the data file of the same number */
    uint32_t data_off, length, crc; /* data record */
    uint32_t timestamp;
    uint8_t keylen;
    uint8_t key[];
};

struct keys *keys_new(void);
void keys_free(struct keys *ix);
size_t keys_count(const struct keys *ix);
size_t keys_memory(const struct keys *ix); /* bytes allocated */

/* Addresses are valid until the key is removed. */
struct keys_entry *keys_find(struct keys *ix, struct slice key); /* NULL when absent */
/* Find or add (then all numbers are 0 and *added is true).  key: 1..255 bytes. */
struct keys_entry *keys_put(struct keys *ix, struct slice key, bool *added);
/* These keys are about to be asked for: only a hint, it gets their entries into the processor's
 * cache.  e: those that are found, as far as that can be told cheaply, else NULL. */
#define KEYS_HINTS 16
void keys_hint(const struct keys *ix, const struct slice *keys, size_t n,
               const struct keys_entry *e[KEYS_HINTS]);
void keys_remove(struct keys *ix, struct slice key); /* absent: nothing happens */
/* Hints for many puts in a row, in two steps: the key comes after a few others; its hash.  Then it
 * comes after fewer. */
uint32_t keys_soon(const struct keys *ix, struct slice key);
void keys_sooner(const struct keys *ix, uint32_t hash);
struct keys_entry *keys_put_hashed(struct keys *ix, struct slice key, uint32_t hash,
                                   bool *added); /* hash: of keys_soon */
void keys_expect(struct keys *ix, size_t keys);  /* room for so many keys at once; only while it is
                                                      empty */
/* Every entry, in no order; nothing may be changed meanwhile. */
void keys_each(struct keys *ix, void (*fn)(void *arg, struct keys_entry *e), void *arg);
void keys_check(struct keys *ix); /* walks the invariants; tests */

#endif
