/* point - the list of points of a volume: everything up to a point is a whole volume by itself.  No
 * state, no I/O.
 *
 * One value of the meta namespace: 0 magic "QFSP"   4 u8 version 1   5 u8 zero   6 u16 zero   8 u32
 * n entries   12 u32 m orphans   16 u32 CRC-32C (usual one) of bytes 0..15 and what follows   20 n
 * entries, newest first: u64 number | u64 time, nanoseconds | u32 last segment of meta | u32 last
 * segment of data | u64 epoch of the owner | u64 generation of the journal, then m times u64: the
 * inodes that have no name at the newest point */
#ifndef ZDBFS_FORMAT_POINT_H
#define ZDBFS_FORMAT_POINT_H

#include "common/buf.h"

enum { POINT_MAX = 256, POINT_MAX_ORPHANS = 100000 }; /* that are remembered */

struct point {
    uint64_t number;     /* from 1 on, over all owners */
    uint64_t wall_ns;    /* since 1970 */
    uint32_t meta, data; /* newest segment of each namespace that belongs to it */
    uint64_t epoch, generation;
};

struct point_list { /* newest first */
    struct point p[POINT_MAX];
    size_t n;
};

/* Before all others; the oldest goes when there are too many. */
void point_list_add(struct point_list *l, const struct point *p);
void point_format_encode(struct buf *b, const struct point_list *l, const uint64_t *orphans,
                         size_t norphans);
/* orphans: borrowed, 8 bytes each.  0, or -EUCLEAN: damaged, or of an unknown version; both are
 * then empty. */
int point_format_decode(struct slice v, struct point_list *out, struct slice *orphans);

/* What the ioctl of a mount answers with: u64 number | u64 time, nanoseconds | u32 meta | u32 data
 * | 8 bytes zero. */
#define POINT_IOCTL        0x80204502u /* _IOR('E', 2, 32 bytes) */
#define POINT_ANSWER_BYTES 32u
void point_answer_encode(const struct point *p, uint8_t out[POINT_ANSWER_BYTES]);
void point_answer_decode(const uint8_t in[POINT_ANSWER_BYTES], struct point *out);

#endif
