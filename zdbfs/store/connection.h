/* connection - a pool of connections to one namespace.  Any thread.  A connection is used by one
 * request at a time, so a request that zdb parks (missing segment) holds up nobody else. Connecting
 * again after a loss happens here: requests wait for it for a while; when the server has been away
 * for long they fail after one more attempt. */
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

/* No connection is made yet.  max: connections at most. */
struct conn_pool *conn_pool_new(const struct conn_addr *addr, unsigned max);
void conn_pool_free(struct conn_pool *p); /* nothing may be in use */

/* A connection, idle (nothing pending), selected into the namespace: given back by conn_put.
 * -ETIMEDOUT at deadline_ms, -EIO when the server has been away for long or refuses us; e says why.
 */
int conn_get(struct conn_pool *p, uint64_t deadline_ms, struct zclient **out, struct err *e);
void conn_put(struct conn_pool *p, struct zclient *c, bool broken);
bool conn_up(struct conn_pool *p);         /* the last attempt to connect was good */
uint64_t conn_opened(struct conn_pool *p); /* connections made so far */

/* A connection of its own that selects nothing; closed with zclient_close. */
int conn_plain(const struct conn_addr *addr, uint64_t timeout_ms, struct zclient **out,
               struct err *e);
/* "host:port" or the path of the socket, for messages. */
void conn_where(const struct conn_addr *addr, char *out, size_t size);

#endif
