/* commands - what the daemon does for each request of the control socket, up to its answer. Thread:
 * the loop's. */
#ifndef ZSTOR_DAEMON_COMMANDS_H
#define ZSTOR_DAEMON_COMMANDS_H

#include "zstor/cache/handover.h"
#include "zstor/daemon/control.h"
#include "zstor/queue/intake.h"
#include "zstor/queue/scheduler.h"
#include "zstor/daemon/status.h"

struct commands;
struct loop;

struct commands_conf {
    struct loop *loop;
    struct sched *sched;
    struct intake *intake;
    void *arg;
    /* Metadata key of an object path, for sched's locks; given.  NULL: the path has none (it will
     * fail). */
    char *(*lock)(void *arg, const char *object_path);
    /* What is known; false: nothing is known of the backends yet. */
    bool (*status)(void *arg, struct status *out);
    /* Ask the backends; commands_polled follows.  STATUS waits for it, a bounded time when
     * something is known. */
    void (*poll)(void *arg);
    uint64_t status_wait_ms;
    void (*handover)(void *arg, const struct handover_ask *ask, handover_fn *fn, void *fn_arg);
    /* SCRUB and BACKEND: answers call. */
    void (*care)(void *arg, struct control_call *call, const struct control_req *req);
};

struct commands *commands_new(const struct commands_conf *c);
/* After sched_free and intake_free and, so that nothing is sent any more, control_close. */
void commands_free(struct commands *c);
void commands_handle(void *commands, struct control_call *call,
                     const struct control_req *req); /* a control_fn */
void commands_polled(struct commands *c);

#endif
