/* connection - a pool of connections to one namespace.  Any thread.  A connection is used by one
 * request at a time, so a request that zdb parks (missing segment) holds up nobody else. Connecting
 * again after a loss happens here: requests wait for it for a while; when the server has been away
 * for long they fail after one more attempt.
 *
 * Epochs: each new connection asks for the server's instance_id (INFO).  Another one than before
 * means that the server was started again, and may have lost what it had only acknowledged: the
 * epoch of the pool grows by one.  A connection has the epoch it was made in. */
#ifndef ZDBFS_STORE_CONNECTION_H
#define ZDBFS_STORE_CONNECTION_H

#include "common/zclient.h"

struct conn_addr { /* strings are the owner's and stay */
    const char *host, *port;
    const char *unix_path; /* wins over host and port when set */
    const char *ns;
    const char *password; /* NULL: none */
};

struct conn_pool;

struct conn {
    struct zclient *c;
    uint64_t epoch; /* from 1 on */
};

/* No connection is made yet.  max: connections usually; a request that has waited a moment for one
 * gets one more, as those in use may wait for evicted data for long.  They are closed afterwards.
 */
struct conn_pool *conn_pool_new(const struct conn_addr *addr, unsigned max);
void conn_pool_free(struct conn_pool *p); /* nothing may be in use */

/* A connection, idle (nothing pending), selected into the namespace: given back by conn_put.
 * -ETIMEDOUT at deadline_ms, -EIO when the server has been away for long or refuses us; e says why.
 */
int conn_get(struct conn_pool *p, uint64_t deadline_ms, struct conn *out, struct err *e);
void conn_put(struct conn_pool *p, struct conn *c, bool broken);
uint64_t conn_epoch(struct conn_pool *p);  /* of the newest connection made; 0: none so far */
bool conn_up(struct conn_pool *p);         /* the last attempt to connect was good */
uint64_t conn_opened(struct conn_pool *p); /* connections made so far */

/* A connection of its own that selects nothing; closed with zclient_close. */
int conn_plain(const struct conn_addr *addr, uint64_t timeout_ms, struct zclient **out,
               struct err *e);
/* "host:port" or the path of the socket, for messages. */
void conn_where(const struct conn_addr *addr, char *out, size_t size);

#endif
