/* cli_handover - `zstor handover`: asks the daemon what is only here, and waits until it is not. */
#ifndef ZSTOR_DAEMON_CLI_HANDOVER_H
#define ZSTOR_DAEMON_CLI_HANDOVER_H

#include "common/err.h"

struct cli_handover {
    bool store, closed, json;
    bool wait;
    uint64_t wait_s;  /* at most so long; 0: as long as it takes */
    uint64_t stall_s; /* give up when nothing was stored for so long and something fails; 0: never
                       */
};

/* The exit code: 0 nothing is only here (open files aside), 1 something is, and it was listed; or
 * -errno when the daemon could not be asked. */
int cli_handover(const char *socket, const struct cli_handover *o, struct err *e);

#endif
