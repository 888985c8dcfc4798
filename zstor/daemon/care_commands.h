/* care_commands - SCRUB and BACKEND of the control socket.  Thread: the loop's. */
#ifndef ZSTOR_DAEMON_CARE_COMMANDS_H
#define ZSTOR_DAEMON_CARE_COMMANDS_H

#include "zstor/daemon/care.h"
#include "zstor/daemon/control.h"

struct care_commands;

struct care_commands *care_commands_new(struct care *c); /* c is borrowed */
void care_commands_free(struct care_commands *c);        /* as commands_free */
void care_commands_handle(struct care_commands *c, struct control_call *call,
                          const struct control_req *req);

#endif
