/* poller - asks every configured backend for its NSINFO every few seconds, in a thread of its own,
 * and keeps the last answers.  Thread: the loop's for every function. */
#ifndef ZSTOR_DAEMON_POLLER_H
#define ZSTOR_DAEMON_POLLER_H

#include "zstor/object/engine.h"

struct loop;
struct poller;

struct poller_backend {
    const struct backend_addr *addr; /* of the configuration that was polled */
    bool meta;
    bool known;               /* asked at least once */
    bool up;                  /* answered, and is of the right mode */
    struct backend_info info; /* of the last good answer */
    uint64_t puts; /* values that it had taken before it was asked; health.dels: deleted when it had
                      answered */
    char error[200]; /* why it is not up; "" */
    struct pool_health health;
};

struct poller_conf {
    struct loop *loop;
    struct engine *engine; /* a reference is taken */
    uint64_t period_ms;
    /* loop: after each round; recovered: one that was down is up again; changed: any went, came, or
     * has fewer values than before */
    void (*polled)(void *arg, bool recovered, bool changed);
    void *arg;
};

int poller_new(struct poller **out, const struct poller_conf *c, struct err *e); /* the first round
                                                                                    begins at once
                                                                                  */
void poller_free(struct poller *p); /* the loop must not run afterwards */
void poller_now(struct poller *p);  /* a round at once, unless one runs */
void poller_swap(struct poller *p, struct engine *g);
/* Metadata backends first, then the data backends in order of the configuration; borrowed until the
 * next round ends. */
const struct poller_backend *poller_view(const struct poller *p, size_t *n);

/* One round, now, by the calling thread: for the command line.  Given (free), one for each backend,
 * in the same order. */
struct poller_backend *poller_ask(const struct zstor_conf *c, struct objects *o, size_t *n);

#endif
