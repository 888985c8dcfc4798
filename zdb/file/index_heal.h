/* index_heal - the records of a user-mode index file in order, healing what is garbled on the way.
 * For load and repair; blocks.  Owner: the caller's stack. Records have no checksum and no marker,
 * but each names the start of the one before it (`previous`).  A record counts as whole when its
 * successor names it, or when it ends with the file.  Where that does not hold:
 *   - its own length byte is wrong: a successor further on or before names it; the length is set
 * right
 *   - the successor's `previous` is wrong, but the chain goes on behind it: it is set right
 *   - bytes that are no record (a hole): filled with deleted records of no data up to the next
 * place where the chain holds
 *   - nothing of that till the end: the file is cut there
 * Each healing is logged and counted.  Fixed-size records (seq mode) need nothing of this. */
#ifndef ZDB_FILE_INDEX_HEAL_H
#define ZDB_FILE_INDEX_HEAL_H

#include "common/buf.h"
#include "zdb/file/index.h"

/* Does the data file have this record?  1 yes, 0 no, -1 cannot be told. */
typedef int index_heal_verify(void *arg, const struct index_rec *rec);

struct index_heal {
    struct index *f;
    struct file *file; /* its, referenced: what others open meanwhile does not close it */
    uint64_t size;     /* of the file */
    uint64_t pos;      /* of the next record */
    uint32_t last;     /* start of the record before, 0 = none */
    uint32_t before;   /* what the first record has to name: the last one of the file before (with
                          has_before) */
    bool has_before;
    struct buf block;
    uint64_t block_at;
    uint64_t full; /* of the file, also when size was lowered */
    index_heal_verify *verify;
    void *arg;
    bool strict;         /* nothing is healed: -EUCLEAN instead */
    bool newest;         /* strict: a torn record at the end is no damage, the walk ends there */
    bool ends;           /* the caller ended it */
    bool read_only;      /* a check: report only; a hole then ends the walk */
    unsigned healed;     /* single fields set right */
    uint64_t lost_bytes; /* in holes and behind the cut */
};

int index_heal_init(struct index_heal *w, struct index *f, index_heal_verify *verify,
                    void *arg); /* 0, -errno */
void index_heal_fini(struct index_heal *w);
/* 1: *off and *rec (its key is borrowed until the next call); 0: the end, w->pos is the length of
 * the healed file; -errno. */
int index_heal_next(struct index_heal *w, uint32_t *off, struct index_rec *rec);

#endif
