/* health - is a backend worth trying?  Latency and failures decide, per kind of operation, because
 * there are backends that answer questions and hang on writes.  Pure computation; no clock of its
 * own, no lock.
 *
 * A track that fails is down for a time that doubles from backoff_min to backoff_max; then one try
 * is allowed each such time.  A success ends it at once, but the time is forgotten only after
 * HEALTH_SETTLE successes in a row: what flaps is left alone for longer and longer. */
#ifndef ZSTOR_BACKEND_HEALTH_H
#define ZSTOR_BACKEND_HEALTH_H

#include "common/base.h"

enum health_track {
    HEALTH_LINK,  /* connecting and asking for its state */
    HEALTH_READ,  /* get, list */
    HEALTH_WRITE, /* put, delete, sync */
    HEALTH_TRACKS
};

#define HEALTH_SETTLE 16
#define HEALTH_SLOW   2

struct health_state { /* of one track */
    bool known, down;
    uint64_t down_since_s; /* unix seconds, 0 when up */
    uint64_t retry_at_ms;  /* when down: the next try */
    uint64_t backoff_ms;
    uint64_t failures;   /* since start */
    uint32_t latency_us; /* moving average; 0: not known */
    unsigned good;       /* successes in a row, up to HEALTH_SETTLE */
    unsigned slow;       /* since the last success: others were asked because it was slow */
};

struct health {
    struct health_state track[HEALTH_TRACKS];
    char last_error[160]; /* of what is down; "" */
};

const char *health_name(enum health_track t); /* "link" ... for messages and metrics */
/* true: the track was down and is up again */
bool health_good(struct health *h, enum health_track t, uint64_t latency_us);
/* true: it was up and is down now.  jitter: any random number */
bool health_bad(struct health *h, enum health_track t, const char *text, uint64_t backoff_min_ms,
                uint64_t backoff_max_ms, uint64_t jitter);
/* It did not fail, but others had to be asked instead.  Once may be a pause of the machine; true:
 * it is often enough to count as a failure. */
bool health_slow(struct health *h, enum health_track t);
/* May an operation of this track be tried?  A connection that fails fails all.  When it is down and
 * its time has come, only the one who asks may. */
bool health_allows(struct health *h, enum health_track t);
bool health_down(const struct health *h, enum health_track t); /* it, or the link */
uint64_t health_retry_ms(const struct health *h); /* until no track has to be waited for */

#endif
