/* commit - everything that changed since the last one becomes durable as a whole.  One thread
 * syncs the data namespace, puts the keys of blocks that are there for sure into their inodes, and
 * stores a record of what has changed (txn/record) in the journal.  Who waits at the same moment
 * shares one commit.  From time to time a commit is a checkpoint as well: the meta namespace gets
 * the values as they are now, what is not needed any more is deleted, and the journal is retired.
 */
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

#endif
