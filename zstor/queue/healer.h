/* healer - repairs what lies on backends that are lost, drained or suspect, without being asked for
 * each object: one survey of all records, then the objects in the order of how few good shards they
 * have, a few at a time, under the locks of the scheduler.  What could not be mended is tried again
 * after a time that doubles, with a new survey.  Nothing has to be kept over a restart: a survey
 * finds what is left.  Thread: the loop's. */
#ifndef ZSTOR_QUEUE_HEALER_H
#define ZSTOR_QUEUE_HEALER_H

#include "common/err.h"

struct healer;
struct loop;
struct sched;

struct healer_conf {
    struct loop *loop;
    struct sched *sched;
    unsigned width; /* repairs at a time */
    uint64_t retry_min_ms, retry_max_ms;
    void (*whole)(void *arg); /* a survey and its repairs left nothing to do */
    void *arg;
};

struct healer_stats {
    bool running;         /* a survey or repairs */
    uint64_t seen;        /* objects of the last survey */
    uint64_t found, left; /* that need a repair; that have not had their turn */
    uint64_t mended, failed;
    uint64_t mended_ever, runs; /* since start */
    uint64_t retry_in_ms;       /* 0: not waiting for a further try */
    char why[160];              /* reason of the last run; "": none yet */
    struct err trouble;         /* first failure of the last run; code 0: none */
};

void healer_new(struct healer **out, const struct healer_conf *c);
void healer_free(struct healer *h);                   /* after sched_free */
void healer_start(struct healer *h, const char *why); /* one that runs is followed by another one */
void healer_kick(struct healer *h); /* what waits for a further try need not wait (a backend is
                                       back) */
void healer_stats(const struct healer *h, struct healer_stats *out);

#endif
