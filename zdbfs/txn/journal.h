/* journal - redo records in the temp namespace.  One thread.
 *
 * What a record says is true from the moment on when it is on stable storage; the meta namespace
 * follows later (commit's checkpoint).  A mount after a crash makes the changes of all records
 * again, in order.  Which records those are: the newest whole one of the volume's generation and
 * the unbroken run of numbers before it.  The newest is never deleted before there is a newer one;
 * what older ones say is in the meta namespace, on stable storage, before they go.  So deletions
 * that a power cut undoes do no harm. */
#ifndef ZDBFS_TXN_JOURNAL_H
#define ZDBFS_TXN_JOURNAL_H

#include "zdbfs/store/kv.h"

struct journal;
struct lease;

/* Read what is there and make the changes again (read-only: in the overlay of kv), give back
 * reserved keys, delete inodes without a name, empty the namespace.  lease: says whether the
 * records count, and keeps the generation. */
int journal_open(struct journal **out, struct kv *kv, struct lease *lease, struct err *e);
void journal_free(struct journal *j);

/* Store a record (redo_format operations) and wait for stable storage.  May be repeated after a
 * failure. */
int journal_append(struct journal *j, struct slice stream, uint64_t deadline_ms);
/* What all appended records say is in the meta namespace: delete all but the newest. */
int journal_retire(struct journal *j, uint64_t deadline_ms);
/* Without room for another one: make the changes of all records, as a mount would, and retire them.
 */
int journal_catch_up(struct journal *j, uint64_t deadline_ms);
/* After journal_retire: new generation, FLUSH, header.  Nobody else may use the temp namespace.  1:
 * it was emptied, the newest record (and with it the list of orphans) is gone; 0: zdb does not do
 * it. */
int journal_empty(struct journal *j, uint64_t deadline_ms);
size_t journal_replayed(const struct journal *j);      /* records carried out when it was opened */
uint64_t journal_bytes(const struct journal *j);       /* stored since it was emptied */
uint64_t journal_ahead_bytes(const struct journal *j); /* of records that are not retired */
unsigned journal_records(const struct journal *j);     /* not retired */

#endif
