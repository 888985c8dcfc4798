/* session - what a session agrees on with the kernel, and the table of its callbacks. */
#ifndef ZDBFS_FUSE_SESSION_H
#define ZDBFS_FUSE_SESSION_H

#include "zdbfs/fuse/request.h"

extern const struct fuse_lowlevel_ops ops_table;

#endif
