/* watermark - see the header.  Pure functions. */
#include "common/watermark.h"
#include "common/crc.h"

#define VERSION 1
#define SUM_AT  (WATERMARK_SIZE - 4)

static const uint8_t magic[4] = {'Z', 'W', 'M', '1'};

void watermark_encode(uint8_t out[WATERMARK_SIZE], const struct watermark *w)
{
    memcpy(out, magic, sizeof magic);
    le32_put(out + 4, VERSION);
    le32_put(out + 8, w->flags);
    le32_put(out + 12, w->mode);
    le64_put(out + 16, w->sequence);
    le32_put(out + 24, w->segment);
    le32_put(out + 28, w->last_data);
    le64_put(out + 32, w->data_size);
    le64_put(out + 40, w->index_size);
    le32_put(out + 48, w->last_index);
    le32_put(out + 52, w->data_sum);
    le32_put(out + 56, w->index_sum);
    le32_put(out + 60, w->safe_segment);
    le64_put(out + 64, w->safe_size);
    le32_put(out + 72, w->data_chain);
    le32_put(out + SUM_AT, crc_raw(0, out, SUM_AT));
}

bool watermark_decode(struct slice in, struct watermark *out)
{
    const uint8_t *p = in.p;

    if (in.len < WATERMARK_SIZE || memcmp(p, magic, sizeof magic) != 0 ||
        le32_get(p + 4) != VERSION || le32_get(p + SUM_AT) != crc_raw(0, p, SUM_AT))
        return false;
    *out = (struct watermark){.flags = le32_get(p + 8),
                              .mode = le32_get(p + 12),
                              .sequence = le64_get(p + 16),
                              .segment = le32_get(p + 24),
                              .last_data = le32_get(p + 28),
                              .data_size = le64_get(p + 32),
                              .index_size = le64_get(p + 40),
                              .last_index = le32_get(p + 48),
                              .data_sum = le32_get(p + 52),
                              .index_sum = le32_get(p + 56),
                              .safe_segment = le32_get(p + 60),
                              .safe_size = le64_get(p + 64),
                              .data_chain = le32_get(p + 72)};
    return out->sequence > 0 && !(out->flags & ~(WATERMARK_CLEAN | WATERMARK_FLUSHING));
}
