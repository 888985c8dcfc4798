/* pool - connections to all remote namespaces, and what is known about their health.  Keyed by
 * address and namespace. Thread-safe: any job thread.  A connection that was taken belongs to that
 * thread until it is given back; what is done on it: backend/exchange.h.
 *
 * Health (backend/health.h): a backend that fails is left alone for a time that grows; until then
 * pool_get answers -EHOSTDOWN at once, so a dead backend costs its time-out once and not per
 * object. */
#ifndef ZSTOR_BACKEND_POOL_H
#define ZSTOR_BACKEND_POOL_H

#include <stdatomic.h>

#include "zstor/backend/health.h"
#include "zstor/backend/op.h"
#include "zstor/format/address.h"

struct pool;
struct pool_conn; /* one connection, taken from the pool */

struct pool_conf {
    uint64_t connect_timeout_ms; /* of an opening, with all that belongs to it; 0: 5000 */
    uint64_t io_timeout_ms;      /* 0: 30000; see backend/exchange.h */
    unsigned max_idle;           /* per backend, 0: 4 */
    uint64_t idle_ms;            /* an idle connection older than this is closed, 0: 60000 */
    uint64_t backoff_min_ms, backoff_max_ms; /* 0: 1000, 60000 */
    uint64_t lag_ms; /* 0: 1000; who writes may always be so much slower than the others */
};

struct pool_health {       /* of one backend; a snapshot */
    bool known;            /* anything ever tried */
    bool down;             /* cannot be reached, or not be read */
    bool down_write;       /* cannot be reached, or not be written */
    uint64_t down_since_s; /* unix seconds, of what has been down longest; 0 when up */
    uint64_t retry_in_ms;  /* until everything may be tried again */
    uint64_t failures;     /* since start, of all kinds */
    uint32_t latency_us;   /* moving average of what it was asked; 0: not known */
    struct health_state track[HEALTH_TRACKS];
    uint64_t puts, dels;  /* values that it has taken, and deleted, since start */
    char identity[96];    /* which store it is, whatever its address; "": it does not tell */
    char last_error[160]; /* empty: none */
};

uint64_t pool_lag_ms(const struct pool *p);
int pool_new(struct pool **out, const struct pool_conf *c);
void pool_free(struct pool *p); /* all connections must have been given back */

struct pool_want { /* how connections are taken; zeros: patiently, for asking about the state */
    enum health_track track; /* what for: who fails in that is not tried */
    bool force;              /* also those that are marked down: for what would fail without them */
    size_t enough;           /* 0: all; when so many are there, the others get grace_ms more */
    uint64_t grace_ms;
    uint64_t wait_ms;        /* in all; 0: until all are decided (connect_timeout_ms) */
    const atomic_bool *stop; /* -ECANCELED soon after it is set; NULL: none */
};

/* Take one connection for `track`, idle or new.  -EHOSTDOWN: marked down, not tried; else as the
 * kind says.  Blocks at most connect_timeout_ms. */
int pool_get(struct pool *p, const struct backend_addr *a, enum health_track track,
             struct pool_conn **out, struct err *e);
/* n at once, in parallel, each opened by a thread of its own; out[i] NULL and rc[i] -errno where it
 * failed.  a[i] NULL: skipped (rc[i] = -ENOENT).  Those that still connect when the time is over
 * are -ETIMEDOUT, and their connection goes to the idle ones when it comes. */
void pool_get_many(struct pool *p, const struct backend_addr *const *a, size_t n,
                   const struct pool_want *want, struct pool_conn **out, int *rc);
/* Give back.  Goes to the idle ones when it is whole, nothing is pending and rc is 0; else it is
 * closed, and what is pending fails with -ECANCELED.  rc < 0: the caller found it unusable, and the
 * backend is marked down. */
void pool_put(struct pool_conn *c, int rc);
const char *pool_peer(const struct pool_conn *c); /* for messages */
void pool_health(struct pool *p, const struct backend_addr *a, struct pool_health *out);

#endif
