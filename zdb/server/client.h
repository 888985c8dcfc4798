/* client - one connection: bytes in, requests to command_run, replies out, back-pressure both ways.
 * Thread: the loop's. Everything that a round of the loop produced for a connection leaves in one
 * send at the end of the round. */
#ifndef ZDB_SERVER_CLIENT_H
#define ZDB_SERVER_CLIENT_H

#include <sys/queue.h>

#include "common/buf.h"
#include "common/err.h"

struct client;
struct loop;
struct loop_defer;
struct loop_timer;
struct zdb;

TAILQ_HEAD(client_list, client);

struct client_set { /* all connections of a server */
    struct zdb *db;
    struct loop *loop;
    size_t max_output;  /* unsent bytes at which a client is no longer read */
    size_t max_buffers; /* bytes in the buffers of all; above it the one that is silent for longest
                           is closed */
    uint64_t idle_ms;   /* 0: no limit */
    void (*closed)(void *arg); /* a connection went away; called at the end of a round */
    void *arg;
    /* private */
    struct client_list all, touched, pushed, woken, again;
    uint64_t round_us; /* spent on requests of those who came in this round */
    struct loop_defer *flush;
    struct loop_timer *again_timer, *tick;
    size_t count, held;             /* held: bytes in the buffers, as of the last round */
    struct buf spare_in, spare_out; /* memory that is passed on: it is in the processor's cache */
    uint64_t committed;             /* store_appended at the last commit */
};

/* db, loop, max_output, max_buffers, idle_ms, closed, arg are set by the caller. */
void client_set_init(struct client_set *cs);
void client_set_fini(struct client_set *cs); /* closes all; unsent replies are tried once */

void client_new(struct client_set *cs, int fd); /* fd is taken */

#endif
