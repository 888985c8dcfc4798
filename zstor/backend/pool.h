/* pool - connections to all remote namespaces, and what is known about their health.  Keyed by
 * address and namespace. Thread-safe: any job thread.  A connection that was taken belongs to that
 * thread until it is given back.
 *
 * Health: a backend that fails to connect or breaks is "down" for a time that doubles from 1 s to
 * 60 s (with jitter); until then pool_get answers -EHOSTDOWN at once, so a dead backend costs its
 * time-out once and not per object.  One caller at a time may try again when the time has come. Any
 * success ends it. */
#ifndef ZSTOR_BACKEND_POOL_H
#define ZSTOR_BACKEND_POOL_H

#include <stdatomic.h>

#include "common/zclient.h"
#include "zstor/backend/nsinfo.h"
#include "zstor/format/address.h"

struct pool;
struct pool_conn; /* one connection, taken from the pool */

struct pool_conf {
    uint64_t connect_timeout_ms; /* 0: 5000 */
    uint64_t io_timeout_ms;      /* 0: 30000; a step without any progress */
    unsigned max_idle;           /* per backend, 0: 4 */
    uint64_t idle_ms;            /* an idle connection older than this is closed, 0: 60000 */
    uint64_t backoff_min_ms, backoff_max_ms; /* 0: 1000, 60000 */
};

struct pool_health { /* of one backend; a snapshot */
    bool known;      /* anything ever tried */
    bool down;
    uint64_t down_since_s; /* unix seconds, 0 when up */
    uint64_t retry_in_ms;
    uint64_t failures;    /* since start: connects that failed and connections that broke */
    uint32_t latency_us;  /* moving average of a round trip; 0: not known */
    char last_error[160]; /* empty: none */
};

int pool_new(struct pool **out, const struct pool_conf *c);
void pool_free(struct pool *p); /* all connections must have been given back */

/* Take a connection (idle or new).  -EHOSTDOWN: marked down, not tried; else as zclient_open.
 * Blocks at most connect_timeout_ms per step. */
int pool_get(struct pool *p, const struct backend_addr *a, struct pool_conn **out, struct err *e);
/* n at once, in parallel; out[i] NULL and rc[i] -errno where it failed.  a[i] NULL: skipped (rc[i]
 * = -ENOENT). wait_ms: do not wait longer (0: until all are decided); those that still connect are
 * -ETIMEDOUT, and their connection goes to the idle ones when it comes. */
void pool_get_many(struct pool *p, const struct backend_addr *const *a, size_t n, uint64_t wait_ms,
                   struct pool_conn **out, int *rc);
/* The same, also from those that are marked down: for what would fail without them. */
void pool_get_all(struct pool *p, const struct backend_addr *const *a, size_t n, uint64_t wait_ms,
                  struct pool_conn **out, int *rc);
/* Give back.  rc 0: usable again (must have nothing pending).  rc < 0: closed, the backend is
 * marked down. rc > 0: closed, no judgement (cancelled, or the fault was ours). */
void pool_put(struct pool_conn *c, int rc);
struct zclient *pool_zclient(struct pool_conn *c);
const char *pool_peer(const struct pool_conn *c); /* for messages */

/* Supervision of pipelined work on a connection: pool_watch starts it, pool_stalled tells whether
 * no byte has moved in either direction for io_timeout_ms (the kernel's count of acknowledged and
 * received bytes, so a slow line is not a dead one). */
void pool_watch(struct pool_conn *c);
bool pool_stalled(struct pool_conn *c);
uint64_t pool_silent_ms(struct pool_conn *c); /* since the last byte moved */

/* One command on each of n connections, all at the same time. */
struct pool_ask {
    struct pool_conn *conn; /* NULL: skipped, rc -EHOSTDOWN.  Stays taken, unless rc < 0: then it
                               must be put with rc */
    unsigned argc;
    struct slice argv[4]; /* borrowed until pool_ask returns */
    redisReply *reply; /* out: given (pool_ask_free), NULL when rc < 0.  Error replies of the server
                          are replies */
    int rc;            /* out: 0 or -errno; -ETIMEDOUT also for those that were not waited for */
};
/* Waits until all have answered, failed or stalled; or until `enough` (0: all) have answered and
 * grace_ms passed since; or until *stop (may be NULL).  Returns how many have answered. */
size_t pool_ask(struct pool_ask *a, size_t n, size_t enough, uint64_t grace_ms,
                const atomic_bool *stop);
void pool_ask_done(struct pool_ask *a, size_t n); /* frees replies, gives all connections back */

/* Connect if need be, NSINFO, parse.  Answers from the connection's own time-outs, marks health.
 * Does not wait for a backend that is marked down (-EHOSTDOWN) unless force. */
int pool_info(struct pool *p, const struct backend_addr *a, bool force, struct backend_info *out,
              struct err *e);
/* The same for n in parallel; rc[i] 0 or -errno. */
void pool_info_many(struct pool *p, const struct backend_addr *const *a, size_t n, bool force,
                    struct backend_info *out, int *rc);
void pool_health(struct pool *p, const struct backend_addr *a, struct pool_health *out);

#endif
