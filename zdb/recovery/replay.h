/* replay - what was written behind the marks (data_mark) is played again at load: the data
 * records in their order say what the index has to be, byte for byte, and where it is that nothing
 * is written.  The first data record that is not whole, or does not follow from those before it,
 * ends history: nothing from there on was ever durable, as a sync covers all that was written
 * before it.  What comes later goes: data and index are cut, later segments put aside under other
 * names. The result is what the namespace was after some change that came after the last SYNC.
 * Rewrites in place become patches (engine/rewrite.c), written when what they follow from is
 * durable, as in service.  All of it can be interrupted and begun anew. Shared by recovery/load.c
 * and index_replay*.c only.  Rules of the modes: spec zdb-files, 4.4 and 4.5. */
#ifndef ZDB_RECOVERY_REPLAY_H
#define ZDB_RECOVERY_REPLAY_H

#include "zdb/file/data_walk.h"
#include "zdb/recovery/load.h"

struct index_replay {
    struct index_load *l;
    struct ns *ns;
    struct seg *s;
    struct file *file; /* the data file, referenced: what others open meanwhile does not close it */
    struct data_walk walk;
    uint64_t index_size;       /* of the file */
    uint64_t records, missing; /* played, and of those the index did not have */
    /* The record's checksum says nothing (it has no payload, or one of zeros), and a page of it may
     * not have reached the disk: it counts only where the index says the same. */
    bool weak;
};

/* One whole data record.  1 done, 0 it does not follow from what was before, -errno. */
int index_replay_user(struct index_replay *p, const struct data_walk_rec *rec);
int index_replay_seq(struct index_replay *p, const struct data_walk_rec *rec);
/* The index record on disk where the next one goes.  false: none. */
bool index_replay_there(struct index_replay *p, struct index_rec *rec,
                        uint8_t bytes[INDEX_REC_MAX]);
/* The next index record is want.  Written unless `same`: it is there already.  0 or -errno. */
int index_replay_put(struct index_replay *p, const struct index_rec *want, bool same);

#endif
