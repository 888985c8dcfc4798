/* walk - zdbfs --check: reads a whole volume that nobody has mounted, tells what is wrong, changes
 * nothing. */
#ifndef ZDBFS_FSCK_WALK_H
#define ZDBFS_FSCK_WALK_H

#include "zdbfs/store/kv.h"

struct check_result {
    uint64_t findings; /* each printed on stdout: a line, or a JSON string */
    uint64_t dirs, files, others, blocks, bytes;
    uint64_t unused_meta, unused_data; /* keys that nothing refers to: space lost in crashes, no
                                          fault */
};

/* points_key: of the list of points, or 0.  0 and *out, or -errno when it could not be read to the
 * end. */
int check_run(struct kv *kv, uint64_t points_key, bool json, struct check_result *out,
              struct err *e);

#endif
