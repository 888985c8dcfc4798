/* status - what `zstor status` shows: upstream's two tables (spec zstor-behaviour 1), then the
 * daemon's queue and cache.  Rendering only, no I/O. */
#ifndef ZSTOR_DAEMON_STATUS_H
#define ZSTOR_DAEMON_STATUS_H

#include "common/buf.h"
#include "zstor/cache/evict.h"
#include "zstor/daemon/care.h"
#include "zstor/daemon/poller.h"
#include "zstor/queue/scheduler.h"

struct status {
    const struct poller_backend *backends; /* metadata first */
    size_t n;
    bool daemon; /* the figures below are there */
    struct sched_stats queue;
    struct evict_stats cache;
    struct care_stats care;
    const char *note; /* one more line, NULL: none */
};

void status_table(struct buf *out, const struct status *s);
void status_json(struct buf *out, const struct status *s); /* one object and a newline */
/* A backend is not reachable or takes no writes, queued jobs fail, or objects could not be mended.
 */
bool status_at_risk(const struct status *s);
/* "2 jobs, 96.0 MiB" */
void status_amount(struct buf *out, uint64_t jobs, uint64_t bytes);

#endif
