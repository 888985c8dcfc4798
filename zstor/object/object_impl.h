/* object_impl - what the use cases share; private to object*.c. */
#ifndef ZSTOR_OBJECT_OBJECT_IMPL_H
#define ZSTOR_OBJECT_OBJECT_IMPL_H

#include "zstor/object/assess.h"
#include "zstor/object/fetch.h"
#include "zstor/object/metadata.h"
#include "zstor/object/object.h"
#include "zstor/backend/placement.h"

struct objects { /* const after object_open, but for what has its own lock */
    const struct zstor_conf *conf;
    struct object_stats *stats;
    struct object_stats own_stats; /* when the caller has none */
    struct pool *pool;
    struct marks *marks; /* NULL: none */
    struct metastore meta;
    uint64_t hedge_ms;
    int (*random)(void *p, size_t n);
    object_bury_fn *bury; /* NULL: what is dead is reclaimed at once */
    void *bury_arg;
    char host[256];
};

static inline struct assess_conf object_assess_conf(const struct objects *o)
{
    return (struct assess_conf){.pool = o->pool, .marks = o->marks, .conf = o->conf};
}

#define OBJECT_COUNT(o, field, n) atomic_fetch_add(&(o)->stats->field, (unsigned long long)(n))

/* The record of path (as given, then resolved) or of meta_key.  1: *out, *st, and *key given
 * (free); 0; -errno. */
int object_load(struct objects *o, const char *path, const char *meta_key, char **key,
                struct meta_record *out, struct metastore_state *st, struct err *e);
void object_fill_result(const struct objects *o, const struct meta_record *m,
                        const struct metastore_state *st, struct object_result *res);
/* A generation above `old`, above the newest that this machine knows of, and above everything that
 * an unreadable record could have. */
uint64_t object_next_generation(const struct objects *o, const char *key, uint64_t old);
struct fetch_conf object_fetch_conf(struct objects *o, const struct meta_record *m);

/* All configured data backends with their state: usable when NSINFO says that `need` bytes fit.
 * *sites given (free). why: the last reason against one, for messages. */
void object_sites(struct objects *o, uint64_t need, struct placement_site **sites, size_t *n,
                  struct err *why);

/* Deletes the values of these shards, but those that `keep` (may be NULL) refers to as well.  Best
 * effort: what cannot be deleted is counted as leaked.  Only for values that this operation has
 * stored itself: a backend that was wiped numbers its values from 0 again, so that keys of an older
 * record may by now belong to somebody else. */
void object_reclaim(struct objects *o, const struct meta_shard *shards, unsigned n,
                    const struct meta_record *keep);
/* The same for a record that was replaced or deleted: a shard is deleted only when it is still the
 * record's, by the time of its last value or, where the record does not tell that, by its bytes,
 * all of them read; and nothing at all when the record is not proved to be this object's (st): it
 * may be another's that lives. */
void object_reclaim_record(struct objects *o, const struct meta_record *old,
                           const struct metastore_state *st, const struct meta_record *keep,
                           const struct object_ctl *ctl);
/* Before `old` is replaced by `keep` (NULL: deleted): what will be dead then is handed to whoever
 * looks after it (object_reclaim_later).  false: nobody does, object_reclaim_record has to follow
 * the change. */
bool object_bury(struct objects *o, const char *key, const struct meta_record *old,
                 const struct metastore_state *st, const struct meta_record *keep);

#endif
