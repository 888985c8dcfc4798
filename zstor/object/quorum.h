/* quorum - one round of questions to the four metadata backends, all at the same time.  Blocks its
 * thread; one struct quorum belongs to one thread. */
#ifndef ZSTOR_OBJECT_QUORUM_H
#define ZSTOR_OBJECT_QUORUM_H

#include "zstor/backend/exchange.h"
#include "zstor/conf.h"

struct changes;
struct volume;

struct metastore { /* what a question needs; embedded, all borrowed */
    struct pool *pool;
    const struct zstor_conf *conf;
    uint64_t grace_ms; /* how long the others are waited for when two have answered */
    int (*random)(void *p, size_t n);
    struct changes *changes; /* what the metadata log has to be told; NULL: there is none */
    struct volume *volume;   /* who we are; NULL: nobody, everything may be written */
};

struct quorum {
    const struct metastore *ms;
    struct exchange ask[ZSTOR_META_COPIES];
};

/* For reading or for writing.  force: also those that are marked down.  quorum_close gives
 * connections and outcomes back. */
void quorum_open(struct quorum *c, const struct metastore *ms, enum health_track track, bool force);
void quorum_close(struct quorum *c);
/* Sets the operation of one question; arguments borrowed. */
void quorum_command(struct exchange *a, enum backend_verb verb, struct slice key,
                    struct slice value);
struct slice quorum_nothing(void); /* no argument */

/* value[i] to backend i, and on stable storage there: how many have it on stable storage.  Failures
 * are logged. */
unsigned quorum_write(struct quorum *c, const char *key,
                      const struct slice value[ZSTOR_META_COPIES]);
/* One log line: backend i, what, and its answer. */
void quorum_complain(const struct quorum *c, unsigned i, const char *what);

#endif
