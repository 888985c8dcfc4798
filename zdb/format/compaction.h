/* compaction - bytes of the journal of a compaction, `.compact-journal` in the index directory
 * of a namespace: the files that take the place of others.  It is there only between the moment
 * when all of them are on stable storage under their other names and the moment when all have their
 * own.  Little-endian, packed.
 *
 * 0 "ZDBCMPCT" | 8 u16 version = 1 | 10 u16 0 | 12 u32 n | 16 n x (u8 'i' or 'd' | u32 number | u64
 * size) | u32 CRC-32C (the usual one) of all before */
#ifndef ZDB_FORMAT_COMPACTION_H
#define ZDB_FORMAT_COMPACTION_H

#include "common/buf.h"

#define COMPACT_FORMAT_FILE    ".compact-journal"
#define COMPACT_FORMAT_VERSION 1
#define COMPACT_FORMAT_MAX     ((size_t)1 << 20) /* entries */
#define COMPACT_FORMAT_BYTES   (16 + 13 * COMPACT_FORMAT_MAX + 4)

struct compact_entry {
    char kind; /* 'i' index file, 'd' data file */
    uint32_t id;
    uint64_t size; /* of the new file */
};

struct compact_list {
    struct compact_entry *entries;
    size_t n, cap;
};

void compact_list_fini(struct compact_list *l);
void compact_list_add(struct compact_list *l, char kind, uint32_t id, uint64_t size);

void compact_format_encode(struct buf *out, const struct compact_list *l); /* at most
                                                                              COMPACT_FORMAT_MAX
                                                                              entries */
/* 0 and *out (given: compact_list_fini); -ENODATA (short), -EBADMSG (magic, checksum, an entry that
 * is none), -EPROTONOSUPPORT (version). */
int compact_format_decode(struct slice in, struct compact_list *out);

#endif
