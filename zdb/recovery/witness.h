/* witness - a replay, and what the index says to it: the data records behind a place are played
 * again, in their order: they say what the index has to be, byte for byte, and where it is that
 * nothing is written.
 *
 * What the index has there already is a witness: of versions that a rewrite in place has replaced,
 * of deletions that a full disk kept out of the data, of what a killed process (the original goes
 * on behind a torn record, and never indexes one that it found unindexed) did not finish.  It is
 * believed where it goes on from the last record played and what it names in the data is whole.
 *
 * Rewrites in place become patches (engine/rewrite.c), written with the next checkpoint, as in
 * service.  All of it can be interrupted and begun anew.  Shared by recovery/replay*.c only.  Rules
 * of the modes: spec zdb-files, 4.4 and 4.5. */
#ifndef ZDB_RECOVERY_WITNESS_H
#define ZDB_RECOVERY_WITNESS_H

#include "zdb/file/data_walk.h"
#include "zdb/recovery/state.h"

struct replay {
    struct load *l;
    struct ns *ns;
    struct seg *s;
    struct file *file; /* the data file, referenced: what others open meanwhile does not close it */
    struct data_walk walk;
    uint64_t begin;            /* where it began */
    uint64_t safe;             /* the data was whole once up to here */
    uint64_t index_size;       /* of the file */
    uint64_t records, missing; /* played, and of those the index did not have */
    /* The record's checksum says nothing (it has no payload, or one of zeros), and a page of it may
     * not have reached the disk: it counts only where the index says the same. */
    bool weak;
};

#define REPLAY_SKIP 2 /* it was never acknowledged: no part of history */

/* One whole data record.  1 done, 0 it does not follow from what was before, REPLAY_SKIP, -errno.
 */
int replay_user(struct replay *p, const struct data_walk_rec *rec);
int replay_seq(struct replay *p, const struct data_walk_rec *rec);
/* The index record on disk where the next one goes.  false: none. */
bool replay_there(struct replay *p, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX]);
/* It goes on from the last one played, and its data is whole and comes behind rec: rec itself was
 * never indexed. */
bool replay_passed(struct replay *p, const struct data_walk_rec *rec);
/* The data record at off; walk.off stays, but what was read before is not to be used any more.  1,
 * 0 none, -errno. */
int replay_peek(struct replay *p, uint64_t off, struct data_walk_rec *rec);
/* There is no record at walk.off.  1: the index goes on all the same, with the record at *to (or
 * with one behind deletions that begin there); 0; -errno. */
int replay_goes_on(struct replay *p, uint64_t *to);
/* The next index record is want.  Written unless `same`: it is there already.  0 or -errno. */
int replay_put(struct replay *p, const struct index_rec *want, bool same);

#endif
