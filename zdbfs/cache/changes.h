/* changes - what an inode or a name list in memory has that no commit has told of.  Every function
 * runs under fs.lock (L). */
#ifndef ZDBFS_CACHE_CHANGES_H
#define ZDBFS_CACHE_CHANGES_H

#include "zdbfs/cache/fs.h"

void inode_dirty(struct fs *fs, struct inode *in); /* L: attributes, slots or list keys have changed
                                                    */
/* L: all extended attributes, encoded (copied), in place of what was there. */
void inode_set_xattrs(struct fs *fs, struct inode *in, struct slice all);
void inode_set_slot(struct fs *fs, struct inode *in, uint32_t idx, uint32_t id); /* L */
enum { INODE_SMALL = 64 }; /* so many blocks are told as a whole */
/* L: the next commit tells what of its blocks has changed, not all of them. */
bool inode_by_changes(const struct inode *in);
/* L: the name is about to come, to go, or to be another inode's. */
void inode_list_changed(struct dirlist *dl, struct slice name);
/* What the next commit has to say of it, about. */
uint64_t inode_record_bytes(const struct inode *in);

#endif
