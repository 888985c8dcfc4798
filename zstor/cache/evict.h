/* evict - keep zdb's data directory under its limit: remove the segments that were used longest
 * ago, if and only if
 *   - they are sealed (not the highest number of their directory), and zdb does not need them to
 * replay what a crash has left (cache/replay),
 *   - the record of the object in the metadata has the checksum of the local bytes, names a backend
 * for every shard, and is held by at least ZSTOR_META_WRITE_QUORUM metadata backends,
 *   - one good shard more than a read needs is there now: every byte was read and checked within
 * evict_proof_age, and no backend went, came or lost anything since (era),
 *   - nothing is queued or running that writes the object or reads the file (asked on the loop, in
 * the same step as the unlink),
 *   - the file is still in the state that was compared.
 * A segment that was brought back from remote and has not changed may go again while backends are
 * missing: then as many good shards as a read needs, and a record that can be read, are enough.
 * Else reading in an outage would fill the disk.
 * Begins above the limit and ends at 7/8 of it; or below min_free_disk_space of the disk, and ends
 * at 9/8 of that.  Thread: the loop's for every function; the work is done in a thread of its own,
 * the unlink on the loop. */
#ifndef ZSTOR_CACHE_EVICT_H
#define ZSTOR_CACHE_EVICT_H

#include "zstor/object/engine.h"
#include "zstor/cache/hashes.h"

struct loop;
struct evict;

struct evict_conf {
    struct loop *loop;
    struct engine *engine; /* a reference is taken; without zdb_data_dir_path and a size in its conf
                              nothing is done */
    struct hashes *hashes;
    uint64_t debounce_ms, period_ms; /* after evict_kick; without it */
    /* loop: a job is there that writes the object (with_rebuild: or repairs it), or reads file */
    bool (*busy)(void *arg, const char *object_path, const char *file, bool with_rebuild);
    uint64_t (*era)(void *arg);                          /* loop: see hashes_prove */
    void (*damaged)(void *arg, const char *object_path); /* loop: shards of it are lost */
    void *arg;
};

struct evict_stats {
    uint64_t limit_bytes; /* 0: no eviction */
    uint64_t used_bytes;  /* at the last scan, less what was removed since */
    uint64_t evicted_files, evicted_bytes;
    uint64_t runs;       /* that ended, since start */
    uint64_t held_files; /* that the last run could not remove, though over the limit and sealed */
};

int evict_new(struct evict **out, const struct evict_conf *c, struct err *e);
void evict_free(struct evict *ev); /* the loop must not run afterwards */
void evict_swap(struct evict *ev, struct engine *g);
void evict_kick(struct evict *ev); /* something was stored or came back */
void evict_stats(const struct evict *ev, struct evict_stats *out);

#endif
