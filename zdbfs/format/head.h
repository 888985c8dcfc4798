/* head - key 0 of each of the three namespaces: 24 bytes (spec zdbfs-format 3), and in the meta
 * namespace our tail behind them, which says who writes the volume.  No state, no I/O.
 *
 * The tail, which the original does not look at and may drop: 24 magic "QFSH"   28 u8 version 1
 * 29 u8 zero   30 u16 zero   32 u32 length of the fields   36 u32 CRC-32C (usual one) of bytes
 * 24..35 and the fields   40 fields: u16 type | u16 zero | u32 length | bytes
 *   type 4  u64 first data key that the present or last owner could use (txn/leaks)
 *        5  u64 meta key of the list of points (format/point)
 *        6  u64 number of the point that the volume stands at; only until something is written
 *        1  u64 features that a program has to know to use the volume, one bit each
 *        2  u64 epoch: counts the owners
 *        3  owner, only while somebody has it mounted: 16 bytes instance | u64 renewals | u64 wall
 *           clock of the last one, milliseconds | u32 milliseconds until the next one is overdue |
 *           u32 process | u64 its start, ticks | u64 its process namespace | 16 bytes boot | 16
 *           bytes machine | u8 length, name of the host | u8 length, mount point
 * Types with bit 15 must be understood; other unknown ones are dropped with the next owner. */
#ifndef ZDBFS_FORMAT_HEAD_H
#define ZDBFS_FORMAT_HEAD_H

#include "common/buf.h"
#include "common/err.h"

#define HEAD_BYTES          24
#define HEAD_MAX_GENERATION (((uint64_t)1 << 48) - 1)
#define HEAD_DELTAS                                                              \
    1ull /* the journal has operations 6 and 7: while mounted, and after a crash \
          */
#define HEAD_FEATURES HEAD_DELTAS /* those that this program knows */

enum role { ROLE_META, ROLE_DATA, ROLE_TEMP, ROLE_COUNT }; /* the three namespaces of a volume */

struct head_owner {
    uint8_t instance[16]; /* random, of one mount */
    uint64_t renewals;
    uint64_t wall_ms; /* when it was renewed, by the owner's clock */
    uint32_t ttl_ms;  /* what is not renewed for so long is over */
    uint32_t pid;
    uint64_t pid_start; /* field 22 of /proc/PID/stat */
    uint64_t pid_ns;    /* inode of /proc/PID/ns/pid */
    uint8_t boot[16], machine[16];
    char host[65], where[256]; /* where: mount point, its end when it is longer */
};

struct head {
    bool in_use;
    uint64_t generation; /* 48 bits of the journal (redo_format), in what upstream writes as zero
                            and keeps */
    uint64_t size_bytes; /* of the filesystem, as given when it was made */
    bool tail;           /* there is one; all that follows is in it */
    uint64_t features;
    uint64_t epoch;
    uint64_t floor;      /* 0: not known */
    uint64_t points_key; /* 0: none yet */
    uint64_t at_point;   /* 0: not at one */
    bool owned;
    struct head_owner owner;
};

void head_format_encode(struct buf *b, enum role role, const struct head *h);
/* 0; -EUCLEAN with what is wrong.  Trailing bytes that are no tail are ignored; a short one (8
 * bytes at least) has size 0. */
int head_format_decode(struct slice v, enum role role, struct head *out, struct err *e);

#endif
