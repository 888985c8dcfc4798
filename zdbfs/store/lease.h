/* lease - who may write the volume: key 0 of the meta namespace.  It is written here only.
 *
 * A mount writes itself into the header (instance, epoch), looks a moment later whether it is still
 * there, renews that while it is mounted and takes it out at the end.  Every write to zdb asks
 * before it is sent (fence, by kv): what was seen in the header within LEASE_FRESH_MS holds, else
 * it is looked at again.  When another mount stands there with a later epoch, this one never writes
 * again.  So who takes a volume over waits until the other can have no fresh look any more.  An
 * owner that is provably dead needs no waiting.
 *
 * Flag bit 0 of the header ("in use") is set while it is mounted.  The original clears it at its
 * clean unmount; what the journal holds from before that is then older than the volume.
 *
 * Any thread.  The lock is held while zdb is asked. */
#ifndef ZDBFS_STORE_LEASE_H
#define ZDBFS_STORE_LEASE_H

#include "zdbfs/store/kv.h"

enum { LEASE_TTL_MS = 60000, LEASE_RENEW_MS = 20000, LEASE_FRESH_MS = 2000 };

struct lease;

/* head: of the meta namespace, as read.  Nothing is asked or written. */
struct lease *lease_new(struct kv *kv, const struct head *head);
void lease_free(struct lease *l); /* ends the thread; nothing is given back */

/* Become the owner.  where: mount point.  takeover: from whoever has it.  -EBUSY: somebody else has
 * it, e names him; -EIO, -ENOSPC ... */
int lease_take(struct lease *l, const char *where, bool takeover, struct err *e);
/* The thread that renews; after the process has its final number. */
int lease_start(struct lease *l, struct err *e);
/* Not the owner any more.  clean: nothing is left in the journal.  0 also when it was lost. */
int lease_give_back(struct lease *l, bool clean, uint64_t deadline_ms);

/* Records of the journal in the temp namespace are this volume's newest changes: it was not
 * unmounted cleanly since (or was last written by a program that does not tell). */
bool lease_journal_counts(const struct lease *l);
uint64_t lease_generation(struct lease *l);
int lease_set_generation(struct lease *l, uint64_t generation, uint64_t deadline_ms);
bool lease_was_in_use(const struct lease *l); /* when it was taken: it ended in a crash */
uint64_t lease_floor(struct lease *l);
int lease_set_floor(struct lease *l, uint64_t floor, uint64_t deadline_ms);
/* Points (txn/point).  While the header says that the volume stands at one, nobody owns it who
 * does not renew it: so a volume that was brought back to a point can be mounted. */
uint64_t lease_epoch(struct lease *l);
uint64_t lease_points_key(struct lease *l); /* 0: none yet */
int lease_enter_point(struct lease *l, uint64_t number, uint64_t points_key, uint64_t deadline_ms);
int lease_leave_point(struct lease *l, uint64_t deadline_ms);
uint64_t lease_was_at_point(const struct lease *l); /* when it was taken; 0: not */
uint64_t lease_size_bytes(const struct lease *l);   /* as given when the volume was made */

#endif
