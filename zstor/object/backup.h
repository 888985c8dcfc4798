/* backup - all metadata records in one piece, and back.  Sealed with the key of the configuration;
 * the data stays where it is.  Format, behind "QZB\1" | u16 version 1 | u16 0:
 *   per object  u32 n | n bytes: nonce || AES-256-GCM(u16 length, metadata key, record) || tag
 *   at the end  the same with length 0 and u64 number of objects, so that a cut is seen */
#ifndef ZSTOR_OBJECT_BACKUP_H
#define ZSTOR_OBJECT_BACKUP_H

#include "common/buf.h"
#include "zstor/object/object.h"

struct backup_counts {
    uint64_t objects, failed;
    uint64_t kept; /* restore: there, or deleted since */
};

/* Appended to out.  Objects whose record cannot be read are logged and counted; -EIO then, with out
 * whole. */
int backup_make(struct objects *o, struct buf *out, struct backup_counts *n, struct err *e);
/* Writes what the backends do not have (or cannot read) any more, and touches nothing else.  The
 * whole of `in` is checked before anything is written: -EBADMSG, -EKEYREJECTED. */
int backup_restore(struct objects *o, struct slice in, struct backup_counts *n, struct err *e);

#endif
