/* point - everything up to a point is a whole volume by itself: docs/zdbfs-redo.md, "Points".  One
 * thread, that which commits. */
#ifndef ZDBFS_TXN_POINT_H
#define ZDBFS_TXN_POINT_H

#include "zdbfs/format/point.h"
#include "zdbfs/store/lease.h"
#include "zdbfs/store/reserved.h"

struct points;

/* The points of a volume, from the meta namespace.  0; -EUCLEAN: the list is damaged. */
int point_read(struct kv *kv, uint64_t points_key, struct point_list *out, struct err *e);

int points_open(struct points **out, struct kv *kv, struct lease *lease, struct err *e);
void points_free(struct points *ps);
bool points_none(const struct points *ps); /* there is no point yet */
/* A key for the list, when there is none: point_make needs it. */
int points_reserve(struct points *ps, struct ids *ids, uint64_t deadline_ms);
/* The header does not say any more that the volume stands at a point; before anything is committed
 * after one. */
int points_leave(struct points *ps, uint64_t deadline_ms);
/* Nothing is dirty, and what was committed is on stable storage in both namespaces.  orphans:
 * inodes without a name.  0 and *out; -EOPNOTSUPP: zdb does not begin new segments for us. */
int point_make(struct points *ps, const uint64_t *orphans, size_t norphans, uint64_t deadline_ms,
               struct point *out);

#endif
