/* journal - the durable job queue: one small file for each job in <state_dir>/queue, copies of
 * changing files in <state_dir>/snap.  What journal_add acknowledged is there after kill -9 or a
 * power cut, until journal_remove.
 *
 * File <seq>.job (20 decimal digits): 8 hex digits CRC-32C of what follows, newline, one RESP array
 *     zstor-job 1 <operation> <object path> <source, empty: the snapshot> <delete 0|1> <bytes>
 * <unix seconds> A file that does not decode is renamed to <name>.bad and reported, never deleted.
 *
 * Thread: any, but not two at the same time for one job; journal_load alone.  A second process on
 * the same directory is refused. */
#ifndef ZSTOR_QUEUE_JOURNAL_H
#define ZSTOR_QUEUE_JOURNAL_H

#include "common/buf.h"
#include "common/err.h"

enum journal_op {
    JOURNAL_STORE,
    JOURNAL_REBUILD,
    JOURNAL_RECLAIM, /* dead shards: name is a metadata key, the snapshot a record that lists them
                      */
    JOURNAL_OPS
};

struct journal_rec {
    uint64_t seq; /* order of acknowledgement; from journal_next */
    enum journal_op op;
    char *name;     /* object path, absolute */
    char *source;   /* store: file to read; NULL: the snapshot of this job, if its kind has one */
    bool remove;    /* store: remove the source when it is stored */
    uint64_t bytes; /* store: size of the source when it was queued */
    uint64_t queued_s; /* unix seconds */
};

struct journal;

/* Makes the directories (0700) where missing.  -EBUSY: another process holds it. */
int journal_open(struct journal **out, const char *state_dir, struct err *e);
void journal_close(struct journal *j); /* keeps all files */

/* fn for every job in order of seq; rec is taken (journal_rec_free).  Then removes left-over
 * temporary files and snapshots that no job has.  Call once, before anything else. */
typedef void journal_load_fn(void *arg, struct journal_rec *rec);
int journal_load(struct journal *j, journal_load_fn *fn, void *arg, struct err *e);

uint64_t journal_next(struct journal *j);                           /* a fresh seq */
char *journal_snapshot_path(const struct journal *j, uint64_t seq); /* given */
bool journal_has_snapshot(const struct journal_rec *rec);
const char *journal_op_name(enum journal_op op);           /* "store" ... */
const char *journal_snapshot_dir(const struct journal *j); /* borrowed */
/* 0: the job is on stable storage.  On failure it is not there.  A snapshot has to be on stable
 * storage before. */
int journal_add(struct journal *j, const struct journal_rec *rec, struct err *e);
/* The job, then its snapshot.  Not synced: after a crash a finished job may run again. */
void journal_remove(struct journal *j, const struct journal_rec *rec);

void journal_rec_free(struct journal_rec *rec);

/* The bytes of a file; for tests and the two functions above. */
void journal_encode(const struct journal_rec *rec, struct buf *out);
/* All but seq.  -EINVAL: not a job, damaged, or of an unknown version; *out is then empty. */
int journal_decode(struct journal_rec *out, struct slice bytes, struct err *e);

#endif
