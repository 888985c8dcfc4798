/* flusher - nothing stays undone for long: what is older than the flush interval, in the kernel or
 * here, is handed over, stored and committed; and a moment (`idle`) after the last change
 * everything is committed, because the kernel tells nothing of sync(2) and syncfs(2): what they
 * push out is durable that moment later.  One thread. */
#ifndef ZDBFS_FUSE_FLUSHER_H
#define ZDBFS_FUSE_FLUSHER_H

#include "zdbfs/cache/fs.h"

struct flusher;
struct kernel_pages;

int flusher_start(struct flusher **out, struct fs *fs, struct kernel_pages *pages, struct err *e);
/* After the mount was taken away; before commit_stop. */
void flusher_stop(struct flusher *f);

#endif
