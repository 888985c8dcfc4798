/* xattr - the extended attributes of an inode, as they stand in a field of its tail
 * (docs/FORMATS.md, Inode): entries sorted by the bytes of their names, u16 length of the name |
 * u16 zero | u32 length of the value | name without NUL | value.  No state.  What is not as here is
 * refused as a whole. */
#ifndef ZDBFS_FORMAT_XATTR_H
#define ZDBFS_FORMAT_XATTR_H

#include "common/buf.h"

#define XATTR_NAME_BYTES  255u
#define XATTR_VALUE_BYTES 65536u
#define XATTR_ALL_BYTES   (96u * 1024) /* encoded, of one inode */

bool xattr_format_valid(struct slice all);
/* The rest are of an encoding that is valid.  Slices point into it. */
bool xattr_format_next(struct slice *rest, struct slice *name, struct slice *value);
bool xattr_format_find(struct slice all, struct slice name, struct slice *value);
/* Appended to b: all of them, but this one with the new value, or without it (value NULL). */
void xattr_format_change(struct buf *b, struct slice all, struct slice name,
                         const struct slice *value);

#endif
