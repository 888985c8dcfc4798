/* progress - how a running operation is watched and stopped; passed down from object/object.h to
 * everything that takes long. */
#ifndef ZSTOR_BACKEND_PROGRESS_H
#define ZSTOR_BACKEND_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* How the caller watches and stops one operation; NULL or zeros: not at all. */
struct object_ctl {
    const atomic_bool *stop; /* set by another thread: -ECANCELED within about one second */
    void (*progress)(void *arg, uint64_t done, uint64_t total); /* bytes of this operation; on the
                                                                   calling thread */
    void *arg;
};

static inline bool ctl_stopped(const struct object_ctl *c)
{
    return c && c->stop && atomic_load_explicit(c->stop, memory_order_relaxed);
}

static inline void ctl_progress(const struct object_ctl *c, uint64_t done, uint64_t total)
{
    if (c && c->progress)
        c->progress(c->arg, done, total);
}

#endif
