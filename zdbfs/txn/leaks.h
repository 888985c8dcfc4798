/* leaks - blocks that were stored, but that no commit came to refer to: a crash leaves them behind.
 * The mount after it finds and deletes them, before anything is served.
 *
 * The header has the floor: the first data key that the last mount could use.  Only keys from there
 * on can be such blocks; when there are any, every inode is looked at once. */
#ifndef ZDBFS_TXN_LEAKS_H
#define ZDBFS_TXN_LEAKS_H

#include "zdbfs/store/lease.h"

/* After the journal was carried out: delete what was left by a crash, and note the new floor.
 * recovered: the volume was brought back to a point, without its journal: what that would have told
 * of inodes without a name stands with the point, and reserved keys are found by their value. */
int leaks_free(struct kv *kv, struct lease *lease, bool recovered, struct err *e);

#endif
