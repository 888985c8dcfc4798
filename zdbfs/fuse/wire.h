/* wire - what the kernel offers and the library does not know yet (libfuse 3.14 stops before
 * protocol 7.33): completed between the two, by the session's own read and write.  To be dropped
 * for a library that knows it.  Source: linux/fuse.h. */
#ifndef ZDBFS_FUSE_WIRE_H
#define ZDBFS_FUSE_WIRE_H

#include <fuse_lowlevel.h>

/* Of a session that is mounted, before its loop.  0, or -errno. */
int wire_complete(struct fuse_session *se);

#endif
