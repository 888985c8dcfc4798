/* care - what the daemon does for the stored objects without being asked: watches the backends, has
 * repaired what lies on those that are lost, replaced, drained or emptied, and reads everything
 * once in the scrub period.  Keeps <state_dir>/care:
 *
 *     zstor-care 1
 *     whole <hex>                       fingerprint of the backends when nothing was left to repair
 *     drain <address> <namespace>       and suspect ..., one line for each
 *     scrub <pass> <previous> <cursor>  see queue/scrubber.h; "-" for no cursor
 *
 * A file that does not read is set aside as care.bad; then everything is looked at again.  Thread:
 * the loop's. */
#ifndef ZSTOR_DAEMON_CARE_H
#define ZSTOR_DAEMON_CARE_H

#include "common/buf.h"
#include "zstor/daemon/poller.h"
#include "zstor/queue/healer.h"
#include "zstor/queue/scrubber.h"

struct care;

struct care_conf {
    struct loop *loop;
    struct sched *sched;
    struct engine *engine; /* a reference is taken */
    struct marks *marks;   /* borrowed; the objects look at it */
};

/* Reads what was kept into marks, so before the first job runs. */
struct care *care_new(const struct care_conf *c);
void care_free(struct care *c); /* after sched_free */
void care_swap(struct care *c, struct engine *g);
void care_polled(struct care *c, const struct poller_backend *list, size_t n, bool recovered);

/* Everything off this data backend ("address" or "address namespace").  -ENOENT not configured,
 * -ENOSPC fewer would be left than an object needs. */
int care_drain(struct care *c, const char *backend, bool on, struct err *e);
/* What lies on `old`, which may be configured no longer, to the others, among which `new` has to
 * be. */
int care_replace(struct care *c, const char *old, const char *new, struct err *e);
struct scrubber *care_scrubber(struct care *c);

struct care_stats {
    struct healer_stats repair;
    struct scrubber_stats scrub;
    size_t drained; /* backends */
};
void care_stats(const struct care *c, struct care_stats *out);
/* Lines for people: what is under way, and how old the oldest unverified byte is. */
void care_text(struct buf *out, const struct care_stats *st);

#endif
