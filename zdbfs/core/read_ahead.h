/* read_ahead - blocks that a sequential reader will want next, fetched by threads of its own. */
#ifndef ZDBFS_CORE_READ_AHEAD_H
#define ZDBFS_CORE_READ_AHEAD_H

#include "zdbfs/cache/inodes.h"

struct readahead;

int readahead_start(struct readahead **out, struct fs *fs, struct err *e);
void readahead_stop(struct readahead *ra);
/* With fs.lock: [off, end) of the file is being read. */
void readahead_note(struct readahead *ra, struct inode *in, uint64_t off, uint64_t end);

#endif
