/* compare - a lost hook loses no data: at start and from time to time every sealed local segment
 * is compared with what is stored, and what is unknown remotely, or different, is queued.  Also
 * queues a rebuild of what is stored degraded. Thread: the loop's for every function; the work is
 * done in a thread of its own. */
#ifndef ZSTOR_CACHE_COMPARE_H
#define ZSTOR_CACHE_COMPARE_H

#include "zstor/object/engine.h"
#include "zstor/cache/hashes.h"

struct loop;
struct reconcile;

struct reconcile_conf {
    struct loop *loop;
    struct engine *engine; /* a reference is taken; without zdb_data_dir_path in its conf nothing is
                              done */
    struct hashes *hashes;
    uint64_t period_ms; /* between two passes */
    uint64_t retry_ms;  /* after one that could not ask the metadata backends */
    void (*store)(void *arg, const char *file, const char *object_path); /* loop */
    void (*rebuild)(void *arg, const char *object_path);                 /* loop */
    void *arg;
};

struct reconcile_stats {
    uint64_t passes, queued; /* since start */
};

int reconcile_new(struct reconcile **out, const struct reconcile_conf *c, struct err *e); /* begins
                                                                                             a pass
                                                                                             at once
                                                                                           */
void reconcile_free(struct reconcile *rc); /* the loop must not run afterwards */
void reconcile_swap(struct reconcile *rc, struct engine *g);
void reconcile_stats(const struct reconcile *rc, struct reconcile_stats *out);

#endif
