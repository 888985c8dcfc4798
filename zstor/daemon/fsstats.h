/* fsstats - the counters of a mounted zdbfs, by its ioctl, once a second from a thread of its own:
 * a hung mount blocks that thread only, also at exit.  Thread-safe. */
#ifndef ZSTOR_DAEMON_FSSTATS_H
#define ZSTOR_DAEMON_FSSTATS_H

#include "common/err.h"

/* The ioctl's answer: 30 size_t in this order (spec zstor-behaviour 8). */
enum fsstats_field {
    FSSTATS_VERSION,
    FSSTATS_FUSE_REQS,
    FSSTATS_CACHE_HIT,
    FSSTATS_CACHE_MISS,
    FSSTATS_CACHE_FULL,
    FSSTATS_CACHE_LINEAR_FLUSH,
    FSSTATS_CACHE_RANDOM_FLUSH,
    FSSTATS_CACHE_BRANCHES,
    FSSTATS_CACHE_BRANCHES_ALLOCATED,
    FSSTATS_CACHE_ENTRIES,
    FSSTATS_CACHE_BLOCKS,
    FSSTATS_CACHE_BLOCKSIZE,
    FSSTATS_GETATTR,
    FSSTATS_SETATTR,
    FSSTATS_CREATE,
    FSSTATS_READDIR,
    FSSTATS_OPEN,
    FSSTATS_READ,
    FSSTATS_WRITE,
    FSSTATS_MKDIR,
    FSSTATS_UNLINK,
    FSSTATS_RMDIR,
    FSSTATS_RENAME,
    FSSTATS_LINK,
    FSSTATS_SYMLINK,
    FSSTATS_STATSFS,
    FSSTATS_IOCTL,
    FSSTATS_READ_BYTES,
    FSSTATS_WRITE_BYTES,
    FSSTATS_ERRORS,
    FSSTATS_FIELDS,
};

struct fsstats;

int fsstats_new(struct fsstats **out, const char *mountpoint, struct err *e);
void fsstats_free(struct fsstats *f); /* does not wait for the thread */
/* The last answer; zeros and false when the mount did not give one at the last try. */
bool fsstats_get(struct fsstats *f, uint64_t out[FSSTATS_FIELDS]);

#endif
