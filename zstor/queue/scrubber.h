/* scrubber - reads every byte of every shard and all metadata values once in a period, and mends
 * what it finds: pass after pass over all objects in the order of their keys, each by a rebuild
 * under the locks of the scheduler.  The pass is spread over the period; a run that somebody asks
 * for goes as fast as it can.  Where it stands is kept by the owner, so that it goes on there after
 * a restart. Thread: the loop's. */
#ifndef ZSTOR_QUEUE_SCRUBBER_H
#define ZSTOR_QUEUE_SCRUBBER_H

#include "common/err.h"

struct scrubber;
struct loop;
struct sched;

struct scrub_place {     /* where it stands */
    uint64_t pass_s;     /* when this pass began, unix seconds; 0: never */
    uint64_t previous_s; /* when the last one that was finished had begun; 0: none was */
    char cursor[33]; /* hex digits of the last object that was looked at; "": none in this pass */
};

struct scrubber_conf {
    struct loop *loop;
    struct sched *sched;
    void (*moved)(void *arg, const struct scrub_place *p); /* keep this; now and then */
    void *arg;
};

struct scrubber_stats {
    bool running;     /* somebody asked for it, and it is not done */
    uint64_t objects; /* of the pass */
    uint64_t position;
    uint64_t verified, verified_bytes, restored, failed; /* since start; restored: shards */
    uint64_t passes;
    uint64_t oldest_s;  /* age of the oldest byte that was not read since, at the most; UINT64_MAX:
                           it  was never looked at */
    struct err trouble; /* last object that could not be made whole; code 0: none */
};

typedef void scrubber_done_fn(void *arg, int rc, uint64_t objects, uint64_t restored,
                              uint64_t failed, const char *trouble);

/* p NULL: from the beginning.  period_s 0: only when asked. */
void scrubber_new(struct scrubber **out, const struct scrubber_conf *c,
                  const struct scrub_place *p);
void scrubber_free(struct scrubber *s); /* after sched_free; nobody is answered any more */
void scrubber_pace(struct scrubber *s, uint64_t period_s, uint64_t rate); /* bytes per second */
/* A part (0 < thousandths <= 1000) of all objects, from where it stands, now.  done once, never
 * inside the call.  -EBUSY: such a run is under way. */
int scrubber_now(struct scrubber *s, unsigned thousandths, scrubber_done_fn *done, void *arg);
void scrubber_stats(const struct scrubber *s, struct scrubber_stats *out);

#endif
