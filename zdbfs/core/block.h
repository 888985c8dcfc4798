/* block - file blocks by number, fetched from the data namespace when needed.  Called with fs.lock
 * held, which is released while zdb is asked. */
#ifndef ZDBFS_CORE_BLOCK_H
#define ZDBFS_CORE_BLOCK_H

#include "zdbfs/cache/inodes.h"

#define BLOCK_FETCH_MAX 18u /* blocks that one block_fetch asks for */

uint32_t block_extent(const struct inode *in, uint32_t idx); /* how many bytes of the block the file
                                                                has */
/* The block, there and pinned (bcache_unpin); a hole becomes an empty one.  -EIO. */
int block_get(struct fs *fs, struct inode *in, uint32_t idx, uint64_t deadline_ms,
              struct block **out);
/* In one go those of the blocks from..to-1 that are stored and not in memory.  Errors are left to
 * block_get. */
void block_fetch(struct fs *fs, struct inode *in, uint32_t from, uint32_t to, uint64_t deadline_ms);

#endif
