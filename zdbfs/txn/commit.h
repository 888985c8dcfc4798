/* commit - everything that changed since the last one becomes durable as a whole.  One thread
 * syncs the data namespace, puts the keys of blocks that are there for sure into their inodes,
 * encodes what has changed (under fs.lock), stores the redo record, and then makes the changes in
 * the meta namespace.  Who waits at the same moment shares one commit. */
#ifndef ZDBFS_TXN_COMMIT_H
#define ZDBFS_TXN_COMMIT_H

#include "zdbfs/cache/inodes.h"
#include "zdbfs/txn/journal.h"

struct commit;
struct points;

/* points: taken from time to time, as the options say. */
int commit_start(struct commit **out, struct fs *fs, struct journal *j, struct points *points,
                 struct err *e);
/* Everything changed before, except data that is still in memory (writeback_file first), is durable
 * when it returns 0. */
int commit_wait(struct fs *fs, uint64_t deadline_ms);
/* Everything changed before, except data that is still in memory (writeback_all first), is at or
 * before a point when it returns 0; *out is the newest. -EOPNOTSUPP: point_make. */
int commit_point(struct fs *fs, uint64_t deadline_ms, struct point *out);
/* The end: everything is stored, the journal emptied, the reserved keys given back.  Nothing else
 * may run.  -EIO, -ENOSPC: what could not be stored is lost.  *clean: nothing is left in the
 * journal. */
int commit_stop(struct commit *c, bool *clean);

/* With fs.lock: the size that may be committed now: not more than what the stored blocks can show,
 * but never less than an fsync has promised that the acknowledgements up to synced_seq carry. */
uint64_t commit_size(const struct inode *in, uint64_t synced_seq);

#endif
