/* writeback - dirty blocks go to the data namespace.  Threads of its own store whole blocks at once
 * and the oldest ones when too much is dirty; fsync and the commit call it for the rest. */
#ifndef ZDBFS_CORE_WRITEBACK_H
#define ZDBFS_CORE_WRITEBACK_H

#include "zdbfs/cache/inodes.h"

struct writeback;

int writeback_start(struct writeback **out, struct fs *fs, struct err *e);
void writeback_stop(struct writeback *w); /* ends the threads; nothing is flushed */

/* Everything of the file (of all files) that is dirty when called is stored when it returns 0.
 * -ENOSPC, -EIO: what could not be stored stays dirty and will be tried again. */
int writeback_file(struct fs *fs, struct inode *in, uint64_t deadline_ms);
int writeback_all(struct fs *fs, uint64_t deadline_ms);
/* With the lock: wait until there is room for more dirty data.  0, -ENOSPC, -EIO. */
int writeback_throttle(struct fs *fs, uint64_t deadline_ms);

#endif
