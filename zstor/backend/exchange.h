/* exchange - operations on the connections of the pool: many connections in one thread, answers as
 * they come, and an end for each of them.
 *
 * Total deadline: an operation has io_timeout_ms and the time its bytes need at EXCHANGE_RATE, from
 * the moment it is the oldest of its connection; and in each io_timeout_ms at least
 * EXCHANGE_TRICKLE bytes a second have to move in some direction.  So silence and a byte now and
 * then end after io_timeout_ms, a slow line does not.  Who is late loses the connection: the
 * operations on it fail with -ETIMEDOUT, and the track of the oldest one (backend/health.h) is
 * down. */
#ifndef ZSTOR_BACKEND_EXCHANGE_H
#define ZSTOR_BACKEND_EXCHANGE_H

#include <stdatomic.h>

#include "zstor/backend/op.h"
#include "zstor/backend/pool.h"

#define EXCHANGE_RATE    (16 * 1024) /* bytes per second */
#define EXCHANGE_TRICKLE 512

/* 0, or -errno when the connection is broken; op->rc is then the same. */
int exchange_submit(struct pool_conn *c, struct backend_op *op);
/* Moves bytes on all connections (NULL entries are skipped) until nothing is pending on any; any:
 * until one operation has ended; or until until_ms (base_now_ms clock; 0: hands over what goes
 * without waiting). */
void exchange_drive(struct pool_conn *const *c, size_t n, bool any, uint64_t until_ms);
unsigned exchange_pending(const struct pool_conn *c);
int exchange_broken(const struct pool_conn *c); /* 0, or -errno: every further op fails with it */
/* How long nothing has moved, and how long the oldest operation takes; without the times when the
 * thread of the connection did not care for it. */
uint64_t exchange_quiet_ms(struct pool_conn *c);
uint64_t exchange_age_ms(struct pool_conn *c);
/* The caller ends it: what is pending fails with rc, the track of the oldest is down because of
 * `why`; why NULL: nobody is to blame. */
void exchange_fail(struct pool_conn *c, int rc, const char *why);

/* The caller has asked others because this one is slow, and does not wait for it any longer. */
void exchange_leave(struct pool_conn *c);

/* One operation on each of n connections, all at the same time. */
struct exchange {
    struct pool_conn *conn; /* NULL: skipped, op.rc -EHOSTDOWN */
    struct backend_op op;
};
/* Until all have ended; or until `enough` (0: all) were answered and grace_ms passed since; or
 * until *stop (may be NULL): what is not done then has -ETIMEDOUT, -ECANCELED.  How many were
 * answered. */
size_t exchange_run(struct exchange *x, size_t n, size_t enough, uint64_t grace_ms,
                    const atomic_bool *stop);
void exchange_fini(struct exchange *x, size_t n); /* frees outcomes, connections stay */
void exchange_done(struct exchange *x, size_t n); /* exchange_fini, and gives the connections back
                                                   */

/* State of n backends, in parallel; rc[i] 0 or -errno.  force: also those that are marked down. */
void exchange_info(struct pool *p, const struct backend_addr *const *a, size_t n, bool force,
                   const atomic_bool *stop, struct backend_info *out, int *rc);
/* The same for one. */
int exchange_info_one(struct pool *p, const struct backend_addr *a, bool force,
                      struct backend_info *out, struct err *e);

#endif
