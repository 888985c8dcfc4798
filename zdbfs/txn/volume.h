/* volume - what a mount does before it serves: namespaces (autons), headers, root directory,
 * read-only test (spec zdbfs-format 1 and 3). */
#ifndef ZDBFS_TXN_VOLUME_H
#define ZDBFS_TXN_VOLUME_H

#include "zdbfs/store/kv.h"
#include "zdbfs/options.h"

/* Make and prepare the three namespaces; before kv_open. */
int volume_autons(const struct options *o, struct err *e);
/* The header of the meta namespace and the root directory; made when that is empty and o is not
 * read-only. */
int volume_open(struct kv *kv, const struct options *o, struct head *head, struct err *e);
/* The other headers, where they are missing; by the owner of the volume (lease). */
int volume_fill(struct kv *kv, const struct head *head, struct err *e);
/* 1: a namespace has a password that was not given, so nothing can be written; 0: not so. */
int volume_must_be_read_only(struct kv *kv, const struct options *o, struct err *e);

#endif
