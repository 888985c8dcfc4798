/* kernel_pages - the kernel hands over what only it has of our files: syncfs on our own mount, by a
 * small process of its own.  A thread of the daemon must not do it: the kernel would wait for our
 * answers with no way to interrupt it, and a daemon that is killed then could never end.  Any
 * thread, one call at a time.  The helper ends by itself when the daemon does. */
#ifndef ZDBFS_FUSE_KERNEL_PAGES_H
#define ZDBFS_FUSE_KERNEL_PAGES_H

#include "common/base.h"
#include "common/err.h"

struct kernel_pages;

/* Starts the helper; mountpoint is absolute and not looked at yet. */
int kernel_pages_start(struct kernel_pages **out, const char *mountpoint, struct err *e);
/* The kernel begins to hand over all it had when called; its writes are queued when this returns,
 * but may not have been answered.  The mount is not busy meanwhile where we may clone it
 * (CAP_SYS_ADMIN).  0, -errno of syncfs, or -EIO when the helper is gone. */
int kernel_pages_flush(struct kernel_pages *k);
/* What the kernel has of that file has been written, and the writes answered.  -EPERM: not without
 * CAP_DAC_READ_SEARCH; -EOPNOTSUPP: not with this kernel; -ESTALE: the kernel does not know the
 * file (so it has nothing). */
int kernel_pages_flush_file(struct kernel_pages *k, uint64_t ino);
/* After the mount was taken away, so that nothing is under way any more. */
void kernel_pages_stop(struct kernel_pages *k);

#endif
