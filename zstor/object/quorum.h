/* quorum - one round of questions to the four metadata backends, all at the same time.  Blocks its
 * thread; one struct quorum belongs to one thread. */
#ifndef ZSTOR_OBJECT_QUORUM_H
#define ZSTOR_OBJECT_QUORUM_H

#include "zstor/backend/pool.h"
#include "zstor/conf.h"

struct volume;

struct metastore { /* what a question needs; embedded, all borrowed */
    struct pool *pool;
    const struct zstor_conf *conf;
    uint64_t grace_ms; /* how long the others are waited for when two have answered */
    int (*random)(void *p, size_t n);
    struct volume *volume; /* who we are; NULL: nobody, everything may be written */
};

struct quorum {
    const struct metastore *ms;
    struct pool_ask ask[ZSTOR_META_COPIES];
};

/* force: also those that are marked down.  quorum_close gives connections and replies back. */
void quorum_open(struct quorum *c, const struct metastore *ms, bool force);
void quorum_close(struct quorum *c);
/* Sets the command of one question; arguments borrowed, without bytes: none. */
void quorum_command(struct pool_ask *a, const char *word, struct slice arg1, struct slice arg2);

/* SET of value[i] at backend i, then SYNC: how many have it on stable storage.  Failures are
 * logged. */
unsigned quorum_write(struct quorum *c, const char *key,
                      const struct slice value[ZSTOR_META_COPIES]);
bool quorum_set_accepted(const struct pool_ask *a);
/* One log line: backend i, what, and its answer. */
void quorum_complain(const struct quorum *c, const struct pool_ask *a, unsigned i,
                     const char *what);

#endif
