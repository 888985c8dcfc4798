/* xattr - extended attributes of an inode in memory, and what ACLs among them do to the mode.  All
 * with fs.lock. */
#ifndef ZDBFS_CORE_XATTR_H
#define ZDBFS_CORE_XATTR_H

#include "zdbfs/cache/inodes.h"

#define XATTR_CAPABILITY "security.capability" /* goes when the content changes */

/* user., trusted., security. and, unless -o noacl, the two ACLs; -EOPNOTSUPP: no such kind here, or
 * not for this type of inode; -EINVAL: only a kind; -EACCES: a default ACL of something that is no
 * directory. */
int xattr_allowed(const struct fs *fs, const struct inode *in, const char *name);
bool xattr_find(const struct inode *in, const char *name, struct slice *value); /* valid until
                                                                                   unlock */
/* flags: XATTR_CREATE, XATTR_REPLACE of setxattr(2).  An access ACL sets the mode, and is not kept
 * when the mode says all of it.  -EEXIST, -ENODATA, -ERANGE (name), -E2BIG (value), -ENOSPC (all of
 * them), -EINVAL (not an ACL). */
int xattr_set(struct fs *fs, struct inode *in, const char *name, struct slice value, int flags);
int xattr_remove(struct fs *fs, struct inode *in, const char *name); /* -ENODATA */
/* Names with their NULs, one behind the other; without trusted ones unless asked for. */
void xattr_list(const struct inode *in, bool trusted, struct buf *out);

/* The mode is about to be set to this one: the access ACL follows. */
void xattr_chmod(struct fs *fs, struct inode *in, uint32_t mode);
/* What a new inode in dir that was asked for with *mode and this umask gets: *mode, and attributes
 * appended to out. */
void xattr_inherit(const struct fs *fs, const struct inode *dir, uint32_t umask, uint32_t *mode,
                   struct buf *out);

#endif
