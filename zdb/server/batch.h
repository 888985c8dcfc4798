/* batch - whole requests that stand in a connection's buffer, looked at together: the memory they
 * need is fetched meanwhile.  No sockets.  Thread: the loop's. */
#ifndef ZDB_SERVER_BATCH_H
#define ZDB_SERVER_BATCH_H

#include "common/resp.h"
#include "zdb/engine/namespace.h"

#define BATCH      NS_HINTS
#define BATCH_ARGS 4 /* words of a request that can be one of several */

struct batch {
    unsigned n;
    struct resp_req req[BATCH];
    struct slice argv[BATCH][BATCH_ARGS];
};

/* Empty lines at the front of in are consumed: redis takes them between requests, and redis-cli
 * --pipe sends one.  Requests are not.  One with many words comes alone, with argv in the parser.
 * 1: the last one was whole, 0: the rest is not whole, or negative: a protocol error behind them.
 * ns: whose keys they will ask for, may be NULL. */
int batch_gather(struct batch *b, struct resp_parser *p, struct buf *in, const struct ns *ns);

/* What a client hears of a protocol error; NULL: nothing. */
const char *batch_error_text(enum resp_error e);

#endif
