/* ask - command line words that mount nothing: --points and --point. */
#ifndef ZDBFS_ASK_H
#define ZDBFS_ASK_H

#include "zdbfs/store/kv.h"

/* The points of a volume, newest first, to stdout. */
int ask_points(struct kv *kv, uint64_t points_key, bool json, struct err *e);
/* Hand what the kernel has to the mount, then a point of it, to stdout. */
int ask_point(const char *mountpoint, struct err *e);

#endif
