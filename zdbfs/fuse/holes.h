/* holes - SEEK_DATA and SEEK_HOLE in files that are open for writing: the kernel may have data that
 * we know nothing of, and has to hand it over first.  That is waited for by a thread of its own, as
 * it needs free workers. */
#ifndef ZDBFS_FUSE_HOLES_H
#define ZDBFS_FUSE_HOLES_H

#include "zdbfs/fuse/request.h"

struct holes;
struct kernel_pages;

int holes_start(struct holes **out, struct kernel_pages *pages, struct err *e);
void holes_stop(struct holes *h); /* after the mount was taken away */
/* The inode is pinned, and taken; the request is answered later. */
void holes_ask(struct holes *h, const struct ops_req *q, struct inode *in, uint64_t off,
               int whence);

#endif
