/* control - the daemon's unix socket: connections in, requests out to one handler, replies back in
 * any order of the requests but in order on each connection.  Thread: the loop's.  And the client
 * side, for the command line (blocking). */
#ifndef ZSTOR_DAEMON_CONTROL_H
#define ZSTOR_DAEMON_CONTROL_H

#include <hiredis/hiredis.h>

#include "common/buf.h"
#include "zstor/daemon/protocol.h"

struct loop;
struct control;
struct control_call; /* one request that has not been answered */

/* req is borrowed.  The handler answers with control_reply exactly once, inside the call or later.
 * Until then the connection's next request waits. */
typedef void control_fn(void *arg, struct control_call *call, const struct control_req *req);

/* Listens on path with mode 0600.  A stale socket is replaced; -EADDRINUSE: a daemon is listening.
 */
int control_open(struct control **out, struct loop *l, const char *path, control_fn *fn, void *arg,
                 struct err *e);
void control_stop(struct control *c); /* removes the socket, takes no further requests; open calls
                                         can still be answered */
bool control_quiet(const struct control *c); /* every answer has been sent */
void control_close(struct control *c); /* and drops what is open; open calls may still be answered
                                          (lost) */

/* bytes: a whole RESP reply, copied.  call is gone afterwards, also when the client is. */
void control_reply(struct control_call *call, struct slice bytes);
void control_reply_ok(struct control_call *call);
void control_reply_error(struct control_call *call, const char *text);
/* The descriptor that the client of this call sent last (SCM_RIGHTS), given; -1: none.  Inside the
 * handler only. */
int control_take_fd(struct control_call *call);

/* Client.  -errno with "Could not connect to daemon socket <path>" when nobody listens. */
struct control_client;
int control_client_open(struct control_client **out, const char *path, struct err *e);
void control_client_close(struct control_client *c);
int control_client_send(struct control_client *c, const struct control_req *req); /* strings
                                                                                     borrowed until
                                                                                     the reply */
/* 1: *out is the reply, given (freeReplyObject); an error reply is a reply.  0: not yet.  wait_ms
 * 0: as long as it takes. */
int control_client_reply(struct control_client *c, uint64_t wait_ms, redisReply **out,
                         struct err *e);
/* The three in one; fd >= 0 is sent along. */
int control_request(const char *path, const struct control_req *req, int fd, redisReply **out,
                    struct err *e);

#endif
