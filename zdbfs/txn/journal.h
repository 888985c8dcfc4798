/* journal - redo records in the temp namespace.  One thread.
 *
 * A record is on stable storage before the first of its changes is made, so a crash leaves nothing
 * half done: the next mount makes the changes of all records again, in order.  Which records those
 * are: the newest whole one of the volume's generation and the unbroken run of numbers before it.
 * The newest is never deleted before there is a newer one; what older ones did is on stable storage
 * before they go.  So deletions that a power cut undoes do no harm. */
#ifndef ZDBFS_TXN_JOURNAL_H
#define ZDBFS_TXN_JOURNAL_H

#include "zdbfs/store/kv.h"

struct journal;
struct key_set;
struct lease;

/* Read what is there and make the changes again (read-only: in the overlay of kv), give back
 * reserved keys, delete inodes without a name, empty the namespace.  lease: says whether the
 * records count, and keeps the generation. */
int journal_open(struct journal **out, struct kv *kv, struct lease *lease, struct err *e);
void journal_free(struct journal *j);

/* Store a record (redo_format operations) and wait for stable storage.  May be repeated after a
 * failure. */
int journal_append(struct journal *j, struct slice stream, uint64_t deadline_ms);
/* Make the changes of a record.  deleted: sorted keys that a later record deletes, so they need not
 * be set; or NULL. */
int journal_apply(struct kv *kv, struct slice stream, const struct key_set *deleted,
                  uint64_t deadline_ms);
/* The record appended last; remembered, so that it is made again if the server loses it. */
int journal_apply_newest(struct journal *j, struct slice stream, uint64_t deadline_ms);
/* All appended records have been applied: get that on stable storage and delete all but the newest.
 */
int journal_retire(struct journal *j, uint64_t deadline_ms);
/* After journal_retire: new generation, FLUSH, header.  Nobody else may use the temp namespace.  1:
 * it was emptied, the newest record (and with it the list of orphans) is gone; 0: zdb does not do
 * it. */
int journal_empty(struct journal *j, uint64_t deadline_ms);
size_t journal_replayed(const struct journal *j);  /* records carried out when it was opened */
uint64_t journal_bytes(const struct journal *j);   /* stored since it was emptied */
unsigned journal_records(const struct journal *j); /* not retired */

#endif
