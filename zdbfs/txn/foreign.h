/* foreign - did another program change what the journal would change again?  The original zdbfs
 * knows nothing of our journal: what it wrote after a crash of ours must not be replayed over. */
#ifndef ZDBFS_TXN_FOREIGN_H
#define ZDBFS_TXN_FOREIGN_H

#include "zdbfs/txn/replay.h"

/* Every key that the records set or delete must hold a value that they give it, that they say it
 * had, or one that only we write (inodes with our tail, name lists without garbage, reserved keys).
 * 0: so it is; 1: not, *key is one; -errno. */
int foreign_find(struct kv *kv, const struct replay *rp, uint64_t *key);

#endif
