/* reserved - meta keys reserved ahead for new inodes and name lists: `SET "" "X"` in batches, on
 * stable storage before the first of a batch is used.  The keys in stock are noted in the temp
 * namespace, so that a mount after a crash gives them back. Any thread; one thread refills
 * (ids_refill). */
#ifndef ZDBFS_STORE_RESERVED_H
#define ZDBFS_STORE_RESERVED_H

#include "zdbfs/store/kv.h"

struct ids;

struct ids *ids_new(struct kv *kv);
void ids_free(struct ids *s);
/* n keys; waits for a refill.  -EIO, -ENOSPC (refilling failed). */
int ids_take(struct ids *s, unsigned n, uint64_t *out, uint64_t deadline_ms);
void ids_give(struct ids *s, const uint64_t *ids, unsigned n); /* back, unused */
/* The refilling thread: waits until the stock is low (or stop), then fills it. */
void ids_refill_loop(struct ids *s);
void ids_stop(struct ids *s);
/* Clean unmount: delete what is in stock. */
int ids_release(struct ids *s, uint64_t deadline_ms);
/* Around emptying the temp namespace: nothing is stored there meanwhile; emptied: the stock is
 * noted again. */
void ids_hold(struct ids *s);
void ids_unhold(struct ids *s, bool emptied, uint64_t deadline_ms);

#endif
