/* head - key 0 of each of the three namespaces: 24 bytes, spec zdbfs-format 3.  No state, no
 * I/O. */
#ifndef ZDBFS_FORMAT_HEAD_H
#define ZDBFS_FORMAT_HEAD_H

#include "common/buf.h"
#include "common/err.h"

#define HEAD_BYTES          24
#define HEAD_MAX_GENERATION (((uint64_t)1 << 48) - 1)

enum role { ROLE_META, ROLE_DATA, ROLE_TEMP, ROLE_COUNT }; /* the three namespaces of a volume */

struct head {
    bool in_use;
    uint64_t generation; /* 48 bits of the journal (redo_format), in what upstream writes as zero
                            and keeps */
    uint64_t size_bytes; /* of the filesystem, as given when it was made */
};

void head_format_encode(struct buf *b, enum role role, const struct head *h);
/* 0; -EUCLEAN with what is wrong.  Trailing bytes are ignored; a short one (8 bytes at least) has
 * size 0. */
int head_format_decode(struct slice v, enum role role, struct head *out, struct err *e);

#endif
