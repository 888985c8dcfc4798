/* metrics - the daemon's Prometheus metrics: upstream's names unchanged (spec zstor-behaviour 12),
 * and ours.  Rendering only; thread: the loop's. */
#ifndef ZSTOR_DAEMON_METRICS_H
#define ZSTOR_DAEMON_METRICS_H

#include "common/buf.h"
#include "zstor/daemon/fsstats.h"
#include "zstor/cache/handover.h"
#include "zstor/daemon/status.h"

struct exporter_counts { /* [0] failed, [1] succeeded; since start */
    uint64_t store[2], retrieve[2], rebuild[2], check[2];
    uint64_t heals; /* rebuilds that were queued because damage was met */
};

struct exporter_view {
    const struct status *status;
    const struct exporter_counts *counts;
    struct object_stats *objects;
    const uint64_t *fs; /* FSSTATS_FIELDS values */
    struct handover_stats handover;
};

void exporter_render(struct buf *out, const struct exporter_view *v);

#endif
