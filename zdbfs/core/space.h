/* space - how much room there is, and who may still use it.  The least of three counts: what -o
 * size= allows, the quota of the namespace, the disk of zdb.  A part of the disk is kept back: the
 * first half of it for names and attributes when there is no room for data, the other half for
 * deletions, the journal and the header, which are never refused.  A thread asks zdb when somebody
 * wants to know and what is known is old; nobody waits long for it. */
#ifndef ZDBFS_CORE_SPACE_H
#define ZDBFS_CORE_SPACE_H

#include "zdbfs/cache/fs.h"

#include <sys/statvfs.h>

struct space;

int space_start(struct space **out, struct fs *fs, struct err *e);
void space_stop(struct space *s);
/* At once, or after 80 ms when what is known is old; 0, or -EIO when nothing was ever heard. */
int space_statfs(struct fs *fs, struct statvfs *out);

/* Before n bytes at off are taken from a program.  0, -ENOSPC, -EIO.  What was booked for the file
 * is used first.  No lock held; no inode lock either. */
int space_admit(struct fs *fs, struct inode *in, uint64_t off, uint64_t n, uint64_t deadline_ms);
void space_admitted(struct fs *fs, uint64_t n); /* after 0: it was taken, or not; it counts as dirty
                                                   from now on */
/* The holes in that range are promised to the file until it is written, cut or the volume is
 * unmounted. */
int space_book(struct fs *fs, struct inode *in, uint64_t off, uint64_t n, uint64_t deadline_ms);
/* A hole is made there: less is promised. */
void space_unbook(struct fs *fs, struct inode *in, uint64_t off, uint64_t n);
/* Before a name or an attribute is added. */
int space_admit_name(struct fs *fs, uint64_t deadline_ms);

#endif
