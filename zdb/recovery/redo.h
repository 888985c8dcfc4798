/* redo - the comparison of one data file with its index at load, and what follows in either
 * mode.  Shared by index_redo*.c only.  Every step is a no-op when it was done before: the walk may
 * start anywhere at or before the first record in doubt, and may itself be interrupted.
 *
 *   data record, unknown to the index      its version becomes the live one, unless a later one is
 *   deletion record                        deletes what was recovered from the data before it;
 * anything else was deleted in the index at the same time, or is not deleted known to the index,
 * but damaged        not durable: taken back, the version before comes back; else kept, never
 * served known to the index, behind the end     taken back Rules of the modes: spec zdb-files, 4.4
 * and 4.5. */
#ifndef ZDB_RECOVERY_REDO_H
#define ZDB_RECOVERY_REDO_H

#include "zdb/file/data_walk.h"
#include "zdb/recovery/load.h"

struct index_redo {
    struct index_load *l;
    struct ns *ns;
    struct index_found *f;
    struct seg *s;
    struct file *file; /* the data file, referenced: what others open meanwhile does not close it */
    struct data_walk walk;
    struct index_known fresh; /* what was recovered in this pass */
    bool again; /* second pass: what was taken back in the first may have hidden older versions */
    bool index_is_short; /* values at the end of the file are not in the index */
    unsigned recovered, healed, damaged, skipped, dropped;
    uint64_t last_off; /* of the last whole record, 0 = none */
};

/* Is a version at (seg, off) older than the record at than of the segment at hand? */
static inline bool index_redo_older(const struct index_redo *d, uint32_t seg, uint32_t off,
                                    uint64_t than)
{
    return seg < d->s->id || (seg == d->s->id && off < than);
}

int index_redo_user_set(struct index_redo *d, const struct data_walk_rec *rec); /* unknown to the
                                                                                   index */
bool index_redo_user_seen(struct index_redo *d, struct slice key); /* some index record is of this
                                                                      key */
int index_redo_user_after(struct index_redo *d, const struct data_walk_rec *rec); /* known, or a
                                                                                     deletion */
int index_redo_user_drop(struct index_redo *d, const struct index_known_rec *m,
                         const struct index_rec *r);

int index_redo_seq_set(struct index_redo *d, const struct data_walk_rec *rec);
int index_redo_seq_del(struct index_redo *d, const struct data_walk_rec *rec);
/* *restored: the slot has an older version again and is not to be blanked. */
int index_redo_seq_drop(struct index_redo *d, const struct index_known_rec *m,
                        const struct index_rec *r, bool *restored);

#endif
