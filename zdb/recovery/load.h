/* load - the state of a load, shared by index_load*.c and index_redo*.c only.  Thread: the
 * zdb loop, before service (or in a RELOAD).
 *
 * A load reads all index files in order into memory, then makes index and data agree where they may
 * not: plan     which data files may hold something that was not durable (recovery/load.c,
 * recovery/replay.c) apply    index records into memory, garbled ones set right
 * (recovery/load_user.c, recovery/load_seq.c) replay   data records behind the mark of a file of
 * ours, and their index with them (index_replay*.c); files without marks, and all that is damaged,
 * go through the two following steps instead redo     data records that the index lacks are
 * replayed, records whose data is lost are taken back (index_redo*.c) finish   what was decided is
 * written, in an order that a power cut in between does no harm to (recovery/load.c) */
#ifndef ZDB_RECOVERY_LOAD_H
#define ZDB_RECOVERY_LOAD_H

#include "zdb/recovery/known.h"
#include "zdb/engine/namespace_impl.h"

struct index_found { /* a segment as the directories have it */
    uint32_t id;
    bool index, data;
    uint64_t data_size;    /* of the file, when looked at */
    uint64_t used;         /* end of the last data record that some index file knows */
    bool audit;            /* compare index and data, from known.from on */
    bool collect;          /* known has to be collected anew */
    char *final;           /* its index file is being built under another name, and gets this one */
    uint64_t durable;      /* the mark on the data file; 0 = none */
    struct data_mark mark; /* all of it */
    bool replay;           /* what is behind the mark is played again (recovery/replay.c) */
    bool unmarked;         /* it has no mark any more */
    struct index_known known; /* of its data; only when audited */
};

struct index_drop { /* an index record whose data is lost */
    uint32_t file, off;
    uint32_t parent_file, parent_off;
    bool blank; /* seq mode: a slot that has an older version again, or a copy, stays */
};

struct index_load {
    struct ns *ns;
    struct err *e;
    struct index_found *found; /* ascending */
    size_t n;
    bool replayed;              /* there was something behind the marks */
    bool ids_lost;              /* seq mode: records of earlier files may be missing */
    bool gap;                   /* a segment number before this one is missing */
    bool repaired;              /* records were recovered, taken back or set right */
    struct index_copies copies; /* seq mode: of the segments that are compared */
    struct index_ids touched;   /* seq mode: ids whose slots were recovered from the data */
    struct index_ids hollow;    /* seq mode: ids whose slots were unreadable and have no data yet */
    struct index_drop *drops;
    size_t ndrops, cap_drops;
    struct index_replaced { /* user mode: of two unflagged records, in ascending order of the newer
                               one */
        uint32_t file, off, old_file, old_off;
    } * replaced;
    size_t nreplaced, cap_replaced;
    uint32_t *headers; /* closed data files whose header is garbled */
    size_t nheaders, cap_headers;
    uint64_t cut; /* the data of the active segment ends here; 0: with its file */
};

struct index_found *index_load_found(struct index_load *l, uint32_t seg); /* NULL: no such segment
                                                                           */
void index_load_note(struct index_load *l, uint32_t seg, uint32_t file, uint32_t off,
                     const struct index_rec *rec);
/* The segment, and all behind it, have to be compared whole. */
void index_load_doubt(struct index_load *l, uint32_t seg);
/* The index of the segment is about to be changed by a repair: its mark, which says how long it is,
 * goes first. */
void index_load_unmark(struct index_load *l, uint32_t seg);
/* Is the data record that rec names of this key?  1 yes, 0 no, -1 cannot be told (not here). */
int index_load_has_key(struct index_load *l, uint32_t seg, const struct index_rec *rec);

/* recovery/load_mode.c: ns->mode, as far as the files say.  0, -EINVAL (not what the server was
 * told) with l->e set. */
int index_load_mode(struct index_load *l);

/* Records of one index file into memory.  *damaged: some were lost or doubtful.  0 or -errno with
 * l->e set. */
int index_load_user(struct index_load *l, struct seg *s, bool *damaged);
int index_load_seq(struct index_load *l, struct seg *s, bool *damaged);
int index_load_seq_finish(struct index_load *l); /* hollow slots that stayed so, ids between files,
                                                    the chain; -errno */
int index_load_seq_recount(struct ns *ns);       /* after repairs: count anew what is live */
/* Counters of a record that becomes live or stops to be. */
void index_load_count(struct ns *ns, uint64_t length, size_t keylen, bool live);

void index_load_replaced(struct index_load *l, uint32_t file, uint32_t off, uint32_t old_file,
                         uint32_t old_off);
const struct index_replaced *index_load_was(const struct index_load *l, uint32_t file,
                                            uint32_t off);

/* What finish has to do. */
void index_load_drop(struct index_load *l, const struct index_drop *d);
void index_load_header(struct index_load *l, uint32_t seg);
void index_load_cut(struct index_load *l, uint64_t size);
/* recovery/load_finish.c: write what was decided, in an order that a power cut in between does no
 * harm to.  0 or -errno. */
int index_load_finish(struct index_load *l);
void index_load_finish_free(struct index_load *l);

/* recovery/redo_seq.c: copies whose version is lost, when all is compared. */
void index_redo_seq_copies(struct index_load *l);
/* recovery/replay.c: decide which segments are played again: found[i].replay. */
void index_replay_plan(struct index_load *l);
/* The index is in memory up to found[i].mark.index_size.  1: history goes on with the next segment;
 * 0: it ends in this one, which is the last one now; -errno. */
int index_replay(struct index_load *l, size_t i, struct seg *s);
/* When all is loaded. */
int index_replay_finish(struct index_load *l);
/* recovery/redo.c: compare the data file of s, just loaded, with l->found[i].known.  0 or -errno.
 */
int index_redo(struct index_load *l, size_t i, struct seg *s);

#endif
