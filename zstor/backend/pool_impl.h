/* pool_impl - inside of the pool; private to pool*.c. */
#ifndef ZSTOR_BACKEND_POOL_IMPL_H
#define ZSTOR_BACKEND_POOL_IMPL_H

#include <pthread.h>

#include "zstor/backend/pool.h"

struct remote { /* one namespace somewhere; lives as long as the pool */
    struct remote *next;
    struct pool *pool;
    struct backend_addr addr;
    char name[192];
    struct pool_conn *idle; /* newest first */
    unsigned nidle;
    bool known, down, probing;
    uint64_t down_since_s, retry_at_ms, backoff_ms, failures;
    uint32_t latency_us;
    char last_error[160];
};

struct pool_conn {
    struct pool_conn *next; /* in idle */
    struct remote *remote;
    struct zclient *client;
    uint64_t idle_since_ms;
    uint64_t moved_bytes, moved_at_ms; /* pool_watch, pool_stalled: thread that holds it */
};

struct pool {
    struct pool_conf conf;
    pthread_mutex_t lock;
    pthread_cond_t opened;        /* some opening has ended */
    unsigned openers;             /* threads at work; pool_free waits for them */
    struct pool_thread *finished; /* threads to be joined, so that nothing of them is left when the
                                     process ends */
    struct remote *remotes;
};

static inline void pool_unlock(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

/* Holds the pool's lock to the end of the block. */
#define POOL_LOCKED(p)                                        \
    CLEANUP(pool_unlock) pthread_mutex_t *held_ = &(p)->lock; \
    pthread_mutex_lock(held_)

/* pool_get_many; force: also those that are marked down. */
void pool_get_forced(struct pool *p, const struct backend_addr *const *a, size_t n, bool force,
                     uint64_t wait_ms, struct pool_conn **out, int *rc);

#endif
