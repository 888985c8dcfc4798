/* wire - what the kernel offers and the library does not know yet (libfuse 3.14 stops before
 * protocol 7.33): completed between the two, by the session's own read and write.  To be dropped
 * for a library that knows it.  Source: linux/fuse.h. */
#ifndef ZDBFS_FUSE_WIRE_H
#define ZDBFS_FUSE_WIRE_H

#include <fuse_lowlevel.h>
#include <stdbool.h>

/* Of a session that is mounted, before its loop.  0, or -errno. */
int wire_complete(struct fuse_session *se);

/* Of the request that the calling thread has read last, and serves. */
bool wire_is_tmpfile(void); /* a create: without a name */
bool wire_is_statx(void);   /* a getattr: answered by wire_reply_statx */
/* 0, or -errno: the kernel did not take it. */
int wire_reply_statx(fuse_req_t req, const struct stat *st, struct timespec btime, double valid_s);

#endif
