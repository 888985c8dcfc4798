/* dispatch - the table of commands, what is checked before each, and what follows after it (WAIT,
 * MIRROR).  No sockets. */
#ifndef ZDB_SERVER_DISPATCH_H
#define ZDB_SERVER_DISPATCH_H

#include "zdb/server/request.h"

/* Run one request of session s: appends to s->out.  REQ_PARK and REQ_LATER: call again with the
 * same request when s->resume was called, or when the output was sent.  After REQ_DONE the session
 * is ready for the next request. */
enum request_result command_run(struct session *s, unsigned argc, const struct slice *argv);

#endif
