/* listing - all objects that the metadata backends know, by their keys.  Blocks its thread. */
#ifndef ZSTOR_OBJECT_LISTING_H
#define ZSTOR_OBJECT_LISTING_H

#include "common/err.h"
#include "zstor/object/quorum.h"

/* Every object key "/prefix/meta/<32 hex digits>" that any of the backends lists, each once,
 * sorted.  fn: 0 to go on, else the walk ends with that value.  -EHOSTUNREACH when fewer than two
 * could be listed. */
typedef int listing_fn(void *arg, const char *key);
int listing_each(const struct metastore *ms, listing_fn *fn, void *arg, struct err *e);

#endif
