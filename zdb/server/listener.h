/* listener - the listening sockets and what is accepted from them.  Thread: the loop's. */
#ifndef ZDB_SERVER_LISTENER_H
#define ZDB_SERVER_LISTENER_H

#include "common/err.h"

struct loop;
struct server;
struct zdb;

struct server_conf {
    const char *listen, *port; /* NULL: no tcp */
    const char *socket;        /* NULL: no unix socket */
    size_t max_clients, max_output, max_buffers;
    uint64_t idle_ms;
};

/* Binds and listens (unix first); connections wait until server_start. */
int server_new(struct server **out, struct zdb *db, struct loop *loop, const struct server_conf *c,
               struct err *e);
void server_start(struct server *s);
/* No new connections (the unix socket's file is removed), then all connections closed. */
void server_stop(struct server *s);
void server_free(struct server *s);

#endif
