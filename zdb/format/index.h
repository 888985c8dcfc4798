/* index - bytes of an index file iN.  Spec zdb-files, section 4.  All integers
 * little-endian, packed.
 *
 * header, 29 bytes:  0 "IDX0" | 4 u32 version = 4 | 8 u64 created | 16 u64 opened | 24 u32 fileid =
 * N | 28 u8 mode record, 34 + n:    0 u8 n | 1 u32 data offset | 5 u32 length | 9 u32 previous | 13
 * u8 flags | 14 u32 dataid 18 u32 timestamp | 22 u32 crc | 26 u32 parent file | 30 u32 parent
 * offset | 34 key, n bytes */
#ifndef ZDB_FORMAT_INDEX_H
#define ZDB_FORMAT_INDEX_H

#include "common/bytes.h"

#define INDEX_VERSION     4
#define INDEX_HEADER_SIZE 29
#define INDEX_REC_SIZE    34 /* without the key */
#define INDEX_KEY_MAX     255
#define INDEX_REC_MAX     (INDEX_REC_SIZE + INDEX_KEY_MAX)
#define INDEX_SEQ_KEY     8
#define INDEX_SEQ_REC     (INDEX_REC_SIZE + INDEX_SEQ_KEY)
#define INDEX_FLAGS_AT    13 /* offset of the flags in a record */
#define INDEX_MODE_AT     28 /* offset of the mode in the header */
#define INDEX_DELETED     1u /* deleted or superseded */
#define INDEX_MODE_USER   0
#define INDEX_MODE_SEQ    1

struct index_header {
    uint64_t created, opened; /* 0 in files of version 4, other values are tolerated */
    uint32_t fileid;
    uint8_t mode;
};

struct index_rec {
    uint32_t off, length, previous, dataid, timestamp, crc, parent_file, parent_off;
    uint8_t flags;
    struct slice key; /* decode: borrowed from the bytes decoded */
};

void index_header_encode(uint8_t out[INDEX_HEADER_SIZE], uint32_t fileid, uint8_t mode);
/* 0, -ENODATA (short), -EBADMSG (magic, or a mode that is none), -EPROTONOSUPPORT (version). */
int index_header_decode(struct slice in, struct index_header *out);

static inline size_t index_rec_size(const struct index_rec *r)
{
    return INDEX_REC_SIZE + r->key.len;
}
/* key of 1..255 bytes.  Returns the size. */
size_t index_rec_encode(uint8_t out[INDEX_REC_MAX], const struct index_rec *r);
/* 1 and *out (the cursor is behind the record); 0: truncated; -EBADMSG: not a record (no key,
 * unknown flags). */
int index_rec_decode(struct rd *in, struct index_rec *out);

#endif
