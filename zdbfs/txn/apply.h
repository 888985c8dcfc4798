/* apply - a stream of SETs and deletions (format/redo) takes effect, and is on stable storage.  Any
 * thread that may write. */
#ifndef ZDBFS_TXN_APPLY_H
#define ZDBFS_TXN_APPLY_H

#include "zdbfs/store/kv.h"

/* The meta namespace first, then what is not referred to any more in data.  May be repeated after a
 * failure; is repeated here when the server has become another one meanwhile. */
int apply_stream(struct kv *kv, struct slice stream, uint64_t deadline_ms);

#endif
