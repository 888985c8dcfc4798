/* helper - a link to a store that can only be asked by calls that wait (a directory): a thread of
 * its own asks, one operation after the other, and signals an eventfd.  The members of struct
 * backend_kind but open (backend/op.h).  The thread works on copies, so that who does not wait for
 * it any longer may go: a call that never comes back keeps its thread and its memory, and no more
 * than HELPER_STUCK_MAX of them are put up with. */
#ifndef ZSTOR_BACKEND_HELPER_H
#define ZSTOR_BACKEND_HELPER_H

#include <stdatomic.h>

#include "zstor/backend/op.h"

#define HELPER_STUCK_MAX 64

/* The store.  All on the helper's thread. */
struct helper_store {
    int (*open)(void **store, const struct backend_addr *a, char *identity, size_t size,
                struct err *e);
    void (*close)(void *store); /* NULL is fine */
    /* Fills the outcome of op (rc, said, out with its holder, rows, time_s, *info); moved grows as
     * bytes do.  0, or -errno: the store is not there any more. */
    int (*run)(void *store, struct backend_op *op, size_t max_answer, atomic_ullong *moved);
};

int helper_open(void **link, const struct helper_store *kind, const struct backend_addr *a,
                const struct backend_limits *limits, char *identity, size_t size, struct err *e);
void helper_close(void *link);
int helper_submit(void *link, struct backend_op *op);
int helper_take(void *link, struct backend_op *op);
void helper_want(const void *link, struct pollfd *out);
void helper_move(void *link, short revents);
void helper_flush(void *link);
uint64_t helper_moved(const void *link);
bool helper_idle(const void *link);

#endif
