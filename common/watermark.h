/* watermark - how far the index of a namespace of zdb is right (zdb writes it, zstor asks before it
 * removes a segment): bytes of the file `zdb-watermark` in its index directory (ours; the original
 * does not look at it).  Two slots, at 0 and WATERMARK_APART, written in turn: the one with the
 * higher sequence counts.  Described in docs/FORMATS.md.
 *
 * slot: 0 "ZWM1" | 4 u32 version = 1 | 8 u32 flags | 12 u32 mode | 16 u64 sequence | 24 u32 segment
 *       28 u32 last data record | 32 u64 size of the data | 40 u64 size of the index
 *       48 u32 last index record | 52 u32 sum of the former | 56 u32 sum of the latter
 *       60 u32 safe segment | 64 u64 safe size | 72 u32 data chain | 76 u32 CRC of the 76 bytes */
#ifndef COMMON_WATERMARK_H
#define COMMON_WATERMARK_H

#include "common/bytes.h"

#define WATERMARK_FILE     "zdb-watermark"
#define WATERMARK_SIZE     80
#define WATERMARK_APART    4096 /* no write of one slot can tear the other */
#define WATERMARK_CLEAN    1u   /* closed in order: the files are as long as it says */
#define WATERMARK_FLUSHING 2u   /* everything is being removed */

struct watermark {
    uint32_t flags, mode;
    uint64_t sequence; /* 0: none */
    uint32_t segment;  /* all before it, and of this one ... */
    uint64_t data_size, index_size;
    uint32_t last_data, last_index; /* offsets of the records that end there, 0 = none */
    uint32_t data_sum, index_sum;   /* what these records are known by: file/watermark.h */
    uint32_t data_chain;            /* `previous` of the next data record */
    uint32_t safe_segment; /* the data up to here was whole once: what is not is damaged, and */
    uint64_t safe_size;    /* not the end of history.  As a rule the same place as above */
};

void watermark_encode(uint8_t out[WATERMARK_SIZE], const struct watermark *w);
bool watermark_decode(struct slice in, struct watermark *out); /* false: not a slot of ours */

#endif
