/* object - the use cases, start to end: store, retrieve, check, rebuild, delete, list.  Spec
 * zstor-format, zstor-behaviour 7. Thread-safe: many job threads share one struct objects; every
 * call blocks its own thread.  Two calls that WRITE the same object at the same time must be kept
 * apart by the caller (one job per path).
 *
 * Memory is bounded whatever the size of the object: one operation needs about 40 MiB at most.
 *
 * Errors, the same for all:
 *   -EBUSY         the volume, or this object, is another zstor's
 *   -EKEYREJECTED  the key of the configuration does not open the volume
 *   -ENOENT        there is no such object (store: no such source file)
 *   -EHOSTUNREACH  could not ask: too few metadata backends answered to tell; try again
 *   -EBADMSG       metadata damaged beyond reading (all backends answered), or content fails
 * authentication or checksum -EIO           too few good shards to read (retrieve, rebuild)
 *   -ENOLINK       too few usable backends to store even the minimum; try again
 *   -ENOSPC        backends or the local disk are full;  -EINVAL path outside root, bad options
 * -EAGAIN        the source changed while it was read; try again -ECANCELED     stopped by the
 * caller others: local files (open, read, write, rename).  `e` gets one line without keys or
 * passwords. */
#ifndef ZSTOR_OBJECT_OBJECT_H
#define ZSTOR_OBJECT_OBJECT_H

#include <stdatomic.h>

#include "common/buf.h"
#include "common/err.h"
#include "zstor/conf.h"
#include "zstor/backend/progress.h" /* struct object_ctl */
#include "zstor/backend/marks.h"
#include "zstor/backend/pool.h"

struct changes;
struct meta_record;
struct objects;
struct volume;

/* Counters; zero-initialised by the owner, may outlive any number of struct objects (reload).  Read
 * with atomic_load. */
struct object_stats {
    atomic_ullong stored, stored_bytes, skipped, degraded; /* degraded: stored with fewer shards
                                                              than wanted */
    atomic_ullong retrieved, retrieved_bytes;
    atomic_ullong rebuilt, shards_rebuilt, verified; /* verified: looked at completely and found
                                                        whole */
    atomic_ullong shards_corrupt, shards_missing, shards_unreachable; /* met on read and rebuild */
    atomic_ullong hedged; /* extra shards asked for because one was slow */
    atomic_ullong old_values_deleted, old_values_leaked; /* of replaced or deleted objects */
    atomic_ullong meta_partial;                          /* metadata written to 3 of 4 */
};

struct object_conf {
    const struct zstor_conf *conf; /* borrowed, const, must outlive the struct objects */
    struct object_stats *stats;    /* borrowed, NULL: none */
    struct marks *marks;           /* borrowed, NULL: none */
    struct pool_conf pool;         /* zeros: defaults */
    uint64_t hedge_ms;             /* 0: 2000; a shard that is silent so long gets a competitor */
    struct changes *changes; /* borrowed; what the metadata log has to be told, NULL: there is none
                              */
    struct volume *volume; /* borrowed; who we are, NULL: nobody, and nothing is claimed or guarded
                            */
    int (*random)(void *p, size_t n); /* NULL: digest_random.  Keys, nonces, placement; tests make
                                         it repeatable */
};

int object_open(struct objects **out, const struct object_conf *c, struct err *e);
void object_close(struct objects *o); /* no call may be running */
struct pool *object_pool(struct objects *o);
/* Does the configured key open the volume (0 also when there is none yet)?  -EKEYREJECTED,
 * -EHOSTUNREACH. */
int object_check_key(struct objects *o, struct err *e);
/* The claim of the volume, object/claim; every writing call renews it when it has to. */
int object_claim(struct objects *o, bool takeover, const atomic_bool *stop, struct err *e);
void object_renew(struct objects *o); /* now and then, when nobody writes; says when it is lost */
void object_give_back(struct objects *o);
/* Ask every configured backend now, also those that are marked down: somebody has just repaired
 * something and asks for a rebuild.  Blocks for the connect time-out of a silent one. */
void object_probe(struct objects *o);

struct object_result {                  /* zeros when the operation failed before it knew */
    uint8_t checksum[ZSTOR_DIGEST_LEN]; /* BLAKE2b-128 of the file */
    uint64_t size; /* of the file; 0 when the record does not tell (check, rebuild of upstream's
                      objects) */
    uint64_t generation;    /* 0: record without tail (upstream's) */
    bool skipped;           /* store: the same content is already there, on configured backends;
                               retrieve: the file has the content already */
    unsigned shards;        /* n of the record */
    unsigned shards_needed; /* k of the record */
    unsigned shards_lost;   /* store: not stored (degraded); retrieve, rebuild: lost, corrupt or out
                               of reach and NOT restored.  > 0: queue a rebuild */
    unsigned shards_restored; /* rebuild */
    unsigned meta_lost; /* metadata values missing, old or out of reach and not restored; > 0: queue
                           a rebuild */
    unsigned meta_good; /* metadata backends that have its record; and of the lost, */
    unsigned meta_unreachable; /* those that did not answer: check only */
    char name[256]; /* of the object as its record tells it, for messages: cut, without control
                       characters; "": not told */
    bool unproved_newest; /* too few metadata backends answered to prove that there is no later one
                           */
    unsigned backends_unconfigured; /* good shards on backends that the config no longer has; > 0:
                                       queue a rebuild, which moves them */
};

#define OBJECT_DELETE                                                                              \
    1u /* store: remove the source afterwards, if it is still the file that was read (best effort) \
        */
#define OBJECT_FORCE 2u /* store: upload also when the same content is there */

/* The name an object is stored under: real path of (key_dir, or the directory of `path`) + file
 * name of `path`.  Nothing is created; a target that does not exist is resolved as far as it
 * exists.  `path` may be relative to the working directory. A target that is a symlink is followed.
 * *out given (free). */
int object_store_path(const char *path, const char *key_dir, char **out, struct err *e);
/* Metadata key of a path: cleaned, root removed.  *out given.  -EINVAL outside root. */
int object_key(const struct zstor_conf *c, const char *path, char **out, struct err *e);

/* Store the regular file `source` under the name `object_path` (from object_store_path; they differ
 * for snapshots). Reads the source once.  0 means: at least minimal_shards shards and
 * ZSTOR_META_WRITE_QUORUM metadata values are on stable storage at their backends;
 * result->shards_lost tells how many shards are still to be completed by a rebuild. */
int object_store(struct objects *o, const char *source, const char *object_path, unsigned flags,
                 const struct object_ctl *ctl, struct object_result *res, struct err *e);

struct object_target { /* where a retrieve puts the content */
    const char *path;  /* NULL: the object's own */
    int fd; /* >= 0: into this regular file instead, borrowed; on disk when it is done, and of no
               use after a failure */
    bool replace; /* a file that is there is replaced, see object/place.h */
};
#define OBJECT_OWN_PATH \
    {                   \
        .fd = -1        \
    }

/* Bring the object back (to NULL: to its own path).  Parent directories are made.  The file appears
 * under its name only when all of it is verified and on disk; an existing file is untouched on
 * every failure, and without `replace` always: -EEXIST when it has other content, 0 (skipped) when
 * it has this.  -EBUSY: the active segment of zdb, which is not even replaced with `replace`.
 * Absolute paths only; tried as given, then with its directory resolved.  meta_key instead of path
 * when path is NULL (then `to` has to say where). */
int object_retrieve(struct objects *o, const char *path, const char *meta_key,
                    const struct object_target *to, const struct object_ctl *ctl,
                    struct object_result *res, struct err *e);

/* 1: known, *res has checksum, size, shards_lost (entries without values) and meta_lost; 0: not
 * there; -EHOSTUNREACH, -EBADMSG.  Looks at metadata only. */
int object_check(struct objects *o, const char *path, const char *meta_key,
                 struct object_result *res, struct err *e);

/* Verify every byte of every shard; restore what is lost on other backends (or in place), move what
 * lies on backends that are not configured any more, and renew missing or old metadata values.
 * Exactly one of path and meta_key.  0 also when something could not be restored now: see
 * res->shards_lost, meta_lost.  Data shards are not decrypted. */
int object_rebuild(struct objects *o, const char *path, const char *meta_key,
                   const struct object_ctl *ctl, struct object_result *res, struct err *e);

/* The same, but what lies on backends that are in order is believed: only what is lost by the
 * record or by the state of its backend (object/assess.h), is to be moved, or is suspect is
 * restored, and only as many shards are read as that needs.  When there is no place for it nothing
 * is read. */
int object_repair(struct objects *o, const char *meta_key, const struct object_ctl *ctl,
                  struct object_result *res, struct err *e);
/* Every object that needs a repair, with the number of its shards that are in order without one.
 * Reads all records.  fn returns 0 to go on.  *seen: how many objects there are.  -EHOSTUNREACH:
 * some could not be looked at; what was found was told all the same. */
typedef int object_survey_fn(void *arg, const char *meta_key, unsigned good);
int object_survey(struct objects *o, const struct object_ctl *ctl, object_survey_fn *fn, void *arg,
                  uint64_t *seen, struct err *e);

/* Remove metadata, then the shards' values.  0 also when it was not there.  -EHOSTUNREACH while one
 * metadata backend does not answer (idempotent: try again). */
int object_delete(struct objects *o, const char *path, const char *meta_key,
                  const struct object_ctl *ctl, struct err *e);

/* Shards that a replaced or deleted object leaves.  With a bury function they are not deleted at
 * once: it is called before the change, on the job's thread, with a record that lists only them and
 * has no data key; 0: they are kept (on stable storage) for an object_reclaim_dead later.  NULL:
 * deleted after the change.  Before the first operation. */
typedef int object_bury_fn(void *arg, const char *meta_key, const struct meta_record *dead,
                           struct err *e);
void object_reclaim_later(struct objects *o, object_bury_fn *fn, void *arg);
/* Deletes them, no body is read.  0: done, or they are not dead (the change did not come about), or
 * nothing proves what they are: then they only take space.  -EAGAIN, -EHOSTUNREACH, ...: again
 * later. */
int object_reclaim_dead(struct objects *o, const char *meta_key, const struct meta_record *dead,
                        const struct object_ctl *ctl, struct err *e);

/* All metadata keys, the union of what the metadata backends list; each key once, order
 * unspecified.  fn returns 0 to go on, else the walk ends with that value.  -EHOSTUNREACH when
 * fewer than two metadata backends could be listed. */
typedef int object_key_fn(void *arg, const char *meta_key);
int object_each(struct objects *o, object_key_fn *fn, void *arg, struct err *e);

/* object_rebuild for every key; fn (may be NULL) after each one with its outcome; it returns 0 to
 * go on.  The first failure does not end it; -EIO at the end when any object failed. */
typedef int object_rebuilt_fn(void *arg, const char *meta_key, int rc,
                              const struct object_result *res, const struct err *e);
int object_rebuild_all(struct objects *o, const struct object_ctl *ctl, object_rebuilt_fn *fn,
                       void *arg, struct err *e);

/* Every metadata record under the key of the configuration; the former one is
 * meta.config.encryption.  Nobody else may write meanwhile.  0: the former key is not needed any
 * more.  -errno: some are left, call again. */
struct object_rekeyed {
    uint64_t objects, changed, failed;
};
int object_rekey(struct objects *o, const struct object_ctl *ctl, struct object_rekeyed *done,
                 struct err *e);

/* The record in upstream's JSON form (spec zstor-format 13), appended to out; contains the data
 * key: for the decoder command only, never for logs.  1 found, 0 not there, or -errno. */
int object_describe(struct objects *o, const char *path, const char *meta_key, struct buf *out,
                    struct err *e);

#endif
