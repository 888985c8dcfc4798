/* index_walk - the records of an index file as they are, in order, read in large blocks: for
 * checks, dumps and compaction, which heal nothing (index_heal does, for the load).  Blocks. Owner:
 * the caller's stack.  Thread: any. */
#ifndef ZDB_FILE_INDEX_WALK_H
#define ZDB_FILE_INDEX_WALK_H

#include "common/buf.h"
#include "zdb/format/index.h"

struct index_walk {
    int fd;           /* borrowed */
    uint64_t size;    /* of the file */
    uint64_t off;     /* of the next record; may be set to go on elsewhere */
    struct buf block; /* bytes from block_at on */
    uint64_t block_at;
};

int index_walk_init(struct index_walk *w, int fd, uint64_t from); /* 0 or -errno */
void index_walk_fini(struct index_walk *w);
/* 1: *at and *rec (its key is borrowed until the next call), w->off is behind it; 0: exactly at the
 * end; -ENODATA: a record starts at w->off, but the file ends before it does; -EBADMSG: no record
 * at w->off; -ENOMEM, -errno.  w->off stays on failure. */
int index_walk_next(struct index_walk *w, uint64_t *at, struct index_rec *rec);

#endif
