/* pool_impl - inside of the pool; private to pool.c and exchange.c. */
#ifndef ZSTOR_BACKEND_POOL_IMPL_H
#define ZSTOR_BACKEND_POOL_IMPL_H

#include <pthread.h>

#include "zstor/backend/pool.h"

struct remote { /* one namespace somewhere; lives as long as the pool */
    struct remote *next;
    struct pool *pool;
    struct backend_addr addr;
    char name[BACKEND_ADDRESS_MAX + 65];
    char identity[96];
    struct pool_conn *idle; /* newest first */
    unsigned nidle;
    struct health health;
    uint64_t puts, dels; /* of values, that ended well */
};

struct pool_conn {
    struct pool_conn *next; /* in idle */
    struct remote *remote;
    const struct backend_kind *kind;
    void *link;
    uint64_t idle_since_ms;
    /* backend/exchange.c; of the thread that holds it */
    STAILQ_HEAD(, backend_op) ops; /* submitted and not done */
    unsigned pending;
    int broken;                       /* -errno */
    uint64_t head_us;                 /* since when the oldest one is the oldest */
    uint64_t window_ms, window_moved; /* bytes that had moved then */
    uint64_t heard_ms, heard_moved;
    uint64_t looked_ms; /* when its thread cared for it last */
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

/* An operation of this track ended well (why NULL; latency 0: not measured), or the backend failed.
 */
void pool_judge(struct pool_conn *c, enum health_track track, const char *why, uint64_t latency_us);
/* A value was written, or (put false) deleted. */
void pool_count(struct pool_conn *c, bool put);
void pool_judge_slow(struct pool_conn *c, enum health_track track);

#endif
