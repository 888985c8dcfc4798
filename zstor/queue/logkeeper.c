/* logkeeper - see queue/logkeeper.h. */
#include "zstor/queue/logkeeper.h"

#include <stdlib.h>

#include "common/log.h"
#include "common/loop.h"
#include "zstor/object/changes.h"
#include "zstor/queue/scheduler.h"

#define LOOK_MS  1000  /* is there a change? */
#define LATER_MS 1000  /* then others that come soon go with it */
#define MAX_MS   60000 /* between two tries */

struct logkeeper {
    struct loop_timer *timer;
    struct sched *sched;
    struct changes *changes;
    bool seen; /* a change; the run comes at the next look */
    uint64_t pause_ms;
};

static void on_done(void *arg, const struct task *t)
{
    struct logkeeper *k = arg;

    if (t->rc < 0) {
        if (!k->pause_ms)
            log_warn("metadata log: cannot go on now, will be tried again: %s", t->err.text);
        k->pause_ms = k->pause_ms ? MIN(2 * k->pause_ms, (uint64_t)MAX_MS) : LATER_MS;
    } else {
        if (k->pause_ms)
            log_info("metadata log: everything is in it again");
        k->pause_ms = 0;
    }
    loop_timer_start(k->timer, LOOK_MS + k->pause_ms, false);
}

static void on_timer(void *arg)
{
    struct logkeeper *k = arg;
    struct task *t;

    if (!changes_any(k->changes)) {
        k->seen = false;
        loop_timer_start(k->timer, LOOK_MS, false);
        return;
    }
    if (!k->seen) {
        k->seen = true;
        loop_timer_start(k->timer, LATER_MS, false);
        return;
    }
    k->seen = false;
    t = task_new(TASK_META_LOG, NULL);
    t->priority = TASK_QUEUED;
    if (sched_submit(k->sched, SCHED_REPAIR, t, NULL, on_done, k) < 0) {
        task_free(t);
        loop_timer_start(k->timer, LOOK_MS, false);
    }
}

struct logkeeper *logkeeper_new(struct loop *loop, struct sched *sched, struct changes *changes)
{
    struct logkeeper *k = xcalloc(1, sizeof *k);

    k->sched = sched;
    k->changes = changes;
    k->timer = loop_timer_new(loop, on_timer, k);
    loop_timer_start(k->timer, LOOK_MS, false);
    return k;
}

void logkeeper_free(struct logkeeper *k)
{
    if (!k)
        return;
    loop_timer_free(k->timer);
    free(k);
}
