/* lookups - how often the kernel has been told of each inode and not yet forgotten it.  16 bytes
 * for each inode the kernel knows, nothing else.  Thread: under the owner's lock. */
#ifndef ZDBFS_CACHE_LOOKUPS_H
#define ZDBFS_CACHE_LOOKUPS_H

#include "common/base.h"

struct refs;

struct refs *refs_new(void);
void refs_free(struct refs *r);
void refs_add(struct refs *r, uint64_t ino, uint64_t n);
uint64_t refs_sub(struct refs *r, uint64_t ino, uint64_t n); /* what is left; taking more than there
                                                                is leaves 0 */
uint64_t refs_count(const struct refs *r, uint64_t ino);
uint64_t refs_inodes(const struct refs *r);

#endif
