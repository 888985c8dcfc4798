/* assess - what the record and the state of the backends tell of an object's shards, before
 * anything is read.  No I/O. */
#ifndef ZSTOR_OBJECT_ASSESS_H
#define ZSTOR_OBJECT_ASSESS_H

#include "zstor/backend/marks.h"
#include "zstor/backend/pool.h"
#include "zstor/conf.h"
#include "zstor/format/record.h"

struct assess_conf { /* borrowed */
    struct pool *pool;
    struct marks *marks; /* NULL: none */
    const struct zstor_conf *conf;
};

enum assess_state {
    ASSESS_GOOD, /* on a backend that is in order, or not out of order for long */
    ASSESS_LOST, /* never stored, or on a backend that has been down longer than repair_delay */
    ASSESS_READ, /* has to be read: it is to be moved, or its backend may have lost it */
};

/* state[i] for each shard; how many are good. */
unsigned assess(const struct assess_conf *c, const struct meta_record *m, enum assess_state *state);
/* Does this shard have to leave its backend, when it is good?  Not configured, or drained. */
bool assess_leaves(const struct assess_conf *c, const struct meta_shard *s);

#endif
