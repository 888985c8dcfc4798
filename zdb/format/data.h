/* data - bytes of a data file dN.  Spec zdb-files, section 5.  All integers little-endian,
 * packed.
 *
 * header, 28 bytes:     0 "DAT0" | 4 u32 version = 3 | 8 u64 created | 16 u64 opened | 24 u32
 * fileid = N record, 18 + n + len: 0 u8 n | 1 u32 len | 5 u32 previous | 9 u32 crc | 13 u8 flags |
 * 14 u32 timestamp | 18 key | payload */
#ifndef ZDB_FORMAT_DATA_H
#define ZDB_FORMAT_DATA_H

#include "common/bytes.h"

#define DATA_VERSION     3
#define DATA_HEADER_SIZE 28
#define DATA_REC_SIZE    18 /* without key and payload */
#define DATA_KEY_MAX     255
#define DATA_FLAGS_AT    13 /* offset of the flags in a record */
#define DATA_VALUE_MAX   ((size_t)8 << 20)
#define DATA_DELETED     1u /* deletion record: no payload, crc 0 */
#define DATA_TRUNCATED   2u /* payload removed by a compaction */

struct data_header {
    uint64_t created, opened;
    uint32_t fileid;
};

struct data_rec { /* the record header, and its key where it was decoded */
    uint32_t length, previous, crc, timestamp;
    uint8_t keylen, flags;
};

void data_header_encode(uint8_t out[DATA_HEADER_SIZE], uint32_t fileid);
/* 0, -ENODATA (short), -EBADMSG (magic), -EPROTONOSUPPORT (version). */
int data_header_decode(struct slice in, struct data_header *out);

static inline uint64_t data_rec_size(const struct data_rec *r)
{
    return DATA_REC_SIZE + (uint64_t)r->keylen + r->length;
}
/* A compaction removed the payload: this version was superseded or deleted before. */
static inline bool data_rec_removed(uint8_t flags, uint32_t length)
{
    return length == 0 && (flags & DATA_TRUNCATED);
}
void data_rec_encode(uint8_t out[DATA_REC_SIZE], const struct data_rec *r);
/* 1; 0: truncated; -EBADMSG: not a record (no key, payload over 8 MiB, unknown flags, a deletion
 * with payload). */
int data_rec_decode(struct rd *in, struct data_rec *out);

#endif
