/* scan - what lies in zdb's data directory: the segments of all managed namespaces.  No state;
 * blocks on the disk. */
#ifndef ZSTOR_CACHE_SCAN_H
#define ZSTOR_CACHE_SCAN_H

#include <stddef.h>

#include "zstor/queue/snapshots.h"

#define DATADIR_TEMP "zdbfs-temp" /* namespace that is never stored and never evicted */

struct datadir_file { /* one segment, "d<N>" */
    char *path;       /* real path */
    bool sealed;      /* not the highest number of its directory: zdb does not write it any more */
    struct local_id id;
    uint64_t disk_bytes; /* that removing it frees */
    int64_t atime_s;
};

struct datadir {
    struct datadir_file *files;
    size_t n;
    uint64_t disk_bytes; /* of all regular files, whatever their names */
};

/* base: the directory of one namespace (contains d0 ...), or of many (each subdirectory is one, but
 * DATADIR_TEMP). Files and directories that vanish meanwhile are left out.  0, or -errno of the
 * directory itself. */
int datadir_scan(const char *base, struct datadir *out, struct err *e);
void datadir_fini(struct datadir *d);

#endif
