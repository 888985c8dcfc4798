/* data_walk - the records of a data file in order, read in large blocks.  For load, repair and
 * checks; blocks. Owner: the caller's stack.  Thread: any. */
#ifndef ZDB_FILE_DATA_WALK_H
#define ZDB_FILE_DATA_WALK_H

#include "common/buf.h"
#include "zdb/format/data.h"

struct data_walk {
    int fd;           /* borrowed */
    uint64_t size;    /* of the file */
    uint64_t off;     /* of the next record; may be set to go on elsewhere */
    struct buf block; /* bytes from block_at on */
    uint64_t block_at;
};

struct data_walk_rec {
    uint64_t off, end;
    struct data_rec head;
    struct slice key, payload; /* borrowed until the next call */
    bool crc_ok;
};

int data_walk_init(struct data_walk *w, int fd, uint64_t from); /* 0 or -errno */
void data_walk_fini(struct data_walk *w);
/* 1: *out, w->off is behind it; 0: exactly at the end; -ENODATA: a record starts at w->off, but the
 * file ends before it does; -EBADMSG: no record at w->off; -ENOMEM, -errno.  w->off stays on
 * failure. */
int data_walk_next(struct data_walk *w, struct data_walk_rec *out);
/* The first place in [from, end) where a whole record begins that names before or before2 as the
 * one before it: the payload's sum is right, or when that says nothing the next record names it. 1:
 * *off; 0: none; -errno.  w->off is anywhere then. */
int data_walk_find(struct data_walk *w, uint64_t from, uint64_t end, uint32_t before,
                   uint32_t before2, uint64_t *off);

#endif
