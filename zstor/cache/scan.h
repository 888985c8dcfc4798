/* scan - what lies in zdb's directories: the files of all managed namespaces.  No state; blocks on
 * the disk. */
#ifndef ZSTOR_CACHE_SCAN_H
#define ZSTOR_CACHE_SCAN_H

#include <stddef.h>

#include "common/err.h"
#include "zstor/object/local.h"

#define DATADIR_TEMP "zdbfs-temp" /* namespace that is never stored and never evicted */

enum datadir_kind {
    DATADIR_SEGMENT,    /* "d<N>" */
    DATADIR_INDEX,      /* "i<N>" */
    DATADIR_DESCRIPTOR, /* "zdb-namespace" */
};

struct datadir_file {
    char *path; /* real path */
    enum datadir_kind kind;
    bool sealed; /* not the highest number of its directory: zdb does not write behind it any more
                  */
    bool empty;  /* nothing but its header; a descriptor: of the default namespace, never used */
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
 * directory itself; *out is to be freed in any case. */
int datadir_scan(const char *base, struct datadir *out, struct err *e);       /* segments */
int datadir_scan_index(const char *base, struct datadir *out, struct err *e); /* the two others */
void datadir_fini(struct datadir *d);

#endif
