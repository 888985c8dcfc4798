/* fold - the operations of a run of records, in order, come to one value or deletion for each meta
 * key.  Values that they only change are fetched.  One thread. */
#ifndef ZDBFS_TXN_FOLD_H
#define ZDBFS_TXN_FOLD_H

#include "zdbfs/format/redo.h"
#include "zdbfs/store/kv.h"

struct fold;

struct fold *fold_new(struct kv *kv);
void fold_free(struct fold *f);
/* One record more.  0, or -errno: a value could not be fetched, no memory. */
int fold_add(struct fold *f, struct slice stream);
/* Appends SETs, then the deletions of meta and data keys, as a stream of operations.  What was
 * changed, but is not there, is left out and told in the log. */
int fold_put(struct fold *f, struct buf *out);

#endif
