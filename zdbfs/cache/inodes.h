/* inodes - inodes by number: fetched when needed, evicted when clean, deleted with all their keys.
 * Functions marked L are called with fs.lock held, the others without it. */
#ifndef ZDBFS_CACHE_INODES_H
#define ZDBFS_CACHE_INODES_H

#include "zdbfs/cache/changes.h"

/* Pinned: inode_put.  -ENOENT: not there or deleted; -EIO. */
int inode_get(struct fs *fs, uint64_t ino, uint64_t deadline_ms, struct inode **out);
/* NULL in out where there is none.  Fetches in one go what is not in memory.  -EIO. */
int inode_get_many(struct fs *fs, const uint64_t *inos, size_t n, uint64_t deadline_ms,
                   struct inode **out);
void inode_put(struct fs *fs, struct inode *in); /* NULL is fine */

struct inode *inode_peek(struct fs *fs, uint64_t ino); /* L: in the table in whatever state, or NULL
                                                        */
void inode_pin(struct inode *in);                      /* L */
void inode_unpin(struct fs *fs, struct inode *in);     /* L */
/* L: a new one under a reserved key; ready, dirty, pinned.  target: symlinks, else NULL. */
struct inode *inode_create(struct fs *fs, uint64_t ino, const struct inode_attr *a,
                           const char *target);
void inode_unbook(struct fs *fs, struct inode *in); /* L: what fallocate promised is free again */
static inline uint32_t inode_slot(const struct inode *in, uint32_t idx) /* L */
{
    return idx < in->nslots ? in->slot[idx] : 0;
}
/* L: the number of names has become 0: deleted at once, or when the kernel forgets it. */
void inode_unlinked(struct fs *fs, struct inode *in);
/* L: one without a name has got one. */
void inode_linked(struct fs *fs, struct inode *in);
void inode_forget(struct fs *fs, uint64_t ino, uint64_t n); /* L */
void inode_delete_orphans(struct fs *fs); /* at the end: the kernel knows nothing any more */
/* L: one of its blocks, out of the cache; what zdb has acknowledged of it is of no use any more. */
void inode_drop_block(struct fs *fs, struct block *b);
void inode_shrink(struct fs *fs);    /* L: evict down to the limit */
void inode_evict_all(struct fs *fs); /* everything that is clean */
void inode_free_all(struct fs *fs);  /* at the end, whatever it is */

/* L: memory of a name list has changed from `before` bytes. */
void inode_list_resized(struct fs *fs, const struct dirlist *dl, size_t before);
/* L: new, empty, not loaded, in the directory's table and the LRU list. */
struct dirlist *inode_list_new(struct fs *fs, struct inode *dir, unsigned bucket);

#endif
