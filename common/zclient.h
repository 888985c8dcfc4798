/* zclient - client side of one connection to a zdb (or any redis-protocol) server: requests are
 * written without copying values, replies are parsed by hiredis' reader under a size limit.
 * Non-blocking inside; every wait has a deadline. Knows the session commands (SELECT, plain or
 * SECURE), nothing of what is stored.  One connection belongs to one thread at a time.  After any
 * -errno the connection is broken: close it. */
#ifndef COMMON_ZCLIENT_H
#define COMMON_ZCLIENT_H

#include "common/bytes.h"
#include "common/err.h"
#include <hiredis/hiredis.h>

struct zclient;

struct zclient_conf {        /* strings are borrowed during zclient_open only */
    const char *host, *port; /* tcp, used when unix_path is NULL */
    const char *unix_path;
    const char *ns;       /* NULL: stay in the default namespace */
    const char *password; /* NULL: none.  Sent as SELECT ns SECURE sha1(challenge:password); plain
                             when plain_auth */
    bool plain_auth;      /* for servers without AUTH SECURE CHALLENGE */
    uint64_t connect_timeout_ms, io_timeout_ms;
    uint64_t open_timeout_ms; /* connecting and selecting together; 0: each step has its own only */
    size_t max_reply;         /* bytes of one reply; more is -EMSGSIZE */
};

/* Connect, and select when ns is given.  -EACCES wrong password, -ENOENT no such namespace,
 * -ETIMEDOUT, ... */
int zclient_open(struct zclient **out, const struct zclient_conf *c, struct err *e);
void zclient_close(struct zclient *c);
const char *zclient_peer(const struct zclient *c); /* "host:port ns" for messages; never the
                                                      password */
int zclient_fd(const struct zclient *c);

/* One command, one reply, given (freeReplyObject).  Error replies of the server are replies, not
 * failures. */
int zclient_call(struct zclient *c, redisReply **out, struct err *e, unsigned argc,
                 const struct slice *argv);

/* Pipelining.  zclient_push queues a request: argv bytes are borrowed until the matching reply was
 * pulled or the connection closed (arguments up to 512 bytes are copied).  zclient_pull waits for
 * the next reply. */
int zclient_push(struct zclient *c, unsigned argc, const struct slice *argv);
int zclient_pull(struct zclient *c, redisReply **out, struct err *e);
unsigned zclient_pending(const struct zclient *c); /* pushed, not yet pulled */

/* Many connections in one thread: moves bytes on all of them (NULL entries are skipped) until each
 * has no unsent bytes and at least one whole reply ready or nothing pending, or has failed, or
 * deadline_ms (base_now_ms clock) is past. any: return as soon as one connection has a reply ready
 * or has failed.  Per connection result by zclient_status. */
void zclient_drive(struct zclient *const *c, size_t n, bool any, uint64_t deadline_ms);
/* 1: a reply is ready (zclient_pull will not wait); 0: waiting; -errno: failed (-ETIMEDOUT only by
 * zclient_pull/call). */
int zclient_status(const struct zclient *c);

/* The same for who polls by himself: what this connection waits for (POLLIN, POLLOUT; 0: nothing),
 * and moving its bytes when poll() has said so. */
short zclient_events(const struct zclient *c);
void zclient_move(struct zclient *c, short revents);
void zclient_flush(struct zclient *c); /* hands the kernel what it takes, does not wait */
/* Bytes that the peer has acknowledged or sent since the connection was made, by the kernel's
 * count; 0 where it does not tell. */
uint64_t zclient_moved(const struct zclient *c);

/* Helpers on replies: NULL-safe */
bool zclient_is_nil(const redisReply *r);
bool zclient_is_error(const redisReply *r);
bool zclient_is_ok(const redisReply *r);        /* simple string OK */
struct slice zclient_bulk(const redisReply *r); /* bytes of a bulk or simple string; empty otherwise
                                                 */

#endif
