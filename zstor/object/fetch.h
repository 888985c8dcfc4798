/* fetch - shards from backends, in parallel from the calling thread, checked against the digests of
 * the record: as they come, or, when the caller has a better check (the tag of the blob covers
 * every byte of it), only if that one fails. Data shards are preferred, backends that are down come
 * last; one that is silent for hedge_ms gets a competitor.  What a backend says (nothing, too much,
 * nonsense) is only ever a fault of that shard.  Spec zstor-format 7. */
#ifndef ZSTOR_OBJECT_FETCH_H
#define ZSTOR_OBJECT_FETCH_H

#include "common/err.h"
#include "zstor/backend/progress.h"
#include "zstor/format/record.h"
#include "zstor/backend/pool.h"
#include "zstor/object/spool.h"

#define FETCH_LANES \
    10 /* shards on their way at the same time; each may need two values of memory */

enum fetch_state {
    FETCH_UNTRIED,
    FETCH_RUNNING,
    FETCH_GOOD,        /* read completely, digest right (or not looked at yet: unverified) */
    FETCH_MISSING,     /* the backend answers, but not with all values; or the record lists none */
    FETCH_CORRUPT,     /* values are there, the digest is wrong */
    FETCH_UNREACHABLE, /* no connection, it broke, or nothing moved */
};

struct fetch_shard {
    enum fetch_state state;
    bool unverified;
    uint64_t len;        /* when good */
    struct spool *spool; /* its bytes, when they are kept; owned by the struct fetch */
};

struct fetch { /* results; zero-initialise, fetch_fini at the end */
    unsigned n;
    struct fetch_shard *shard; /* [n] */
    unsigned hedged;           /* competitors that were started */
};

struct fetch_conf {
    struct pool *pool;
    const struct zstor_conf *zconf; /* passwords of configured backends replace those in the record;
                                       may be NULL */
    const struct meta_record *record;
    const char *dir; /* for spools */
    uint64_t hedge_ms;
    bool lazy; /* fetch_enough does not hash; see fetch_check */
};

/* geo.data good shards with their bytes.  May be called again on the same struct (what is good and
 * kept stays).  0; -EIO: fewer can be had, see the states; -errno of the local disk; -ECANCELED. */
int fetch_enough(struct fetch *f, const struct fetch_conf *c, const struct object_ctl *ctl);
/* Look at every byte of every shard, keep none.  0, or -ECANCELED. */
int fetch_verify(struct fetch *f, const struct fetch_conf *c, const struct object_ctl *ctl);
/* Hash what is kept and unverified; what is wrong becomes FETCH_CORRUPT and is dropped.  How many
 * were wrong, or -errno of the local disk.  Then fetch_enough gets others. */
int fetch_check(struct fetch *f, const struct fetch_conf *c);
void fetch_fini(struct fetch *f);

/* Indexes of the good and kept shards, data shards first; at most max.  Returns how many. */
unsigned fetch_kept(const struct fetch *f, unsigned *index, unsigned max);

#endif
