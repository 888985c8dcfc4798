/* inode - the value of an inode key: upstream's record (spec zdbfs-format 4 to 7) and our
 * tail behind it.  No state.
 *
 * The tail is a checksummed list of typed fields that upstream does not look at and drops when it
 * rewrites the inode: 0 magic "QFST"   4 u8 version 1   5 u8 zero   6 u16 zero   8 u32 length of
 * the fields   12 u32 CRC-32C (usual one) of bytes 0..11 and the fields   16 fields: u16 type | u16
 * zero | u32 length | bytes type 1 owner  u32 uid | u32 gid 2 times  i64 seconds | u32 nanoseconds,
 * four times: access, modification, change, birth 3 device u32 major | u32 minor 4 number of
 * subdirectories u32 5 extended attributes, see format/xattr.h Types with bit 15 set must be
 * understood: unknown ones make the inode unreadable.  Other unknown ones are kept as they are. */
#ifndef ZDBFS_FORMAT_INODE_H
#define ZDBFS_FORMAT_INODE_H

#include "common/buf.h"
#include <time.h>

#define INODE_BLOCK     131072u /* bytes of a file block */
#define INODE_LISTS     128u    /* name lists of a directory */
#define INODE_NO_LIST   0x4242424242424242ull
#define INODE_MAX_VALUE (8u * 1024 * 1024) /* of zdb */
#define INODE_REST      (128u * 1024)      /* of it, for all that is not slots */
#define INODE_MAX_SLOTS ((INODE_MAX_VALUE - INODE_REST) / 4)
#define INODE_MAX_SIZE                                                        \
    ((uint64_t)INODE_MAX_SLOTS * INODE_BLOCK) /* that can be written: 252 GiB \
                                               */
#define INODE_MAX_LINK 4095u                  /* bytes of a symlink's target */

struct inode_attr {
    uint32_t mode, uid, gid;
    uint64_t size;  /* symlink: length of the target, without the NUL that the record counts */
    uint32_t nlink; /* as stored: 0 for directories */
    uint32_t rdev_major, rdev_minor;
    struct timespec atime, mtime, ctime, btime;
    uint32_t subdirs;   /* directories */
    bool subdirs_known; /* false: upstream wrote it last */
};

struct inode_rec {
    struct inode_attr a;
    struct slice slots;  /* files: 4 bytes of each block's data key; borrowed from the value */
    struct slice target; /* symlinks */
    struct slice lists;  /* directories: INODE_LISTS times 8 bytes */
    struct slice xattrs; /* encoded, valid */
    struct slice extra;  /* fields of the tail that are not ours, as stored */
    bool tail;           /* decoded: there was one, so upstream did not write it last */
};

/* 0, or -EUCLEAN: not a record that upstream or we can have written; *out is then garbage. */
int inode_format_decode(struct slice v, struct inode_rec *out);
/* Appended to b.  Slices must fit the type in a.mode. */
void inode_format_encode(struct buf *b, const struct inode_rec *rec);

#endif
