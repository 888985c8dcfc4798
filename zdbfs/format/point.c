/* point - see format/point.h. */
#include "zdbfs/format/point.h"

#include <errno.h>

#include "common/crc.h"

enum { VERSION = 1, HEAD = 20, ENTRY = 40 };

static const char magic[4] = {'Q', 'F', 'S', 'P'};

void point_list_add(struct point_list *l, const struct point *p)
{
    l->n = MIN(l->n, (size_t)POINT_MAX - 1);
    memmove(l->p + 1, l->p, l->n * sizeof *l->p);
    l->p[0] = *p;
    l->n++;
}

void point_format_encode(struct buf *b, const struct point_list *l, const uint64_t *orphans,
                         size_t norphans)
{
    size_t start = b->len;

    buf_put(b, magic, sizeof magic);
    buf_put_u8(b, VERSION);
    buf_put_zero(b, 3);
    buf_put_le32(b, (uint32_t)l->n);
    norphans = MIN(norphans, (size_t)POINT_MAX_ORPHANS);
    buf_put_le32(b, (uint32_t)norphans);
    buf_put_le32(b, 0);
    for (size_t i = 0; i < l->n; i++) {
        buf_put_le64(b, l->p[i].number);
        buf_put_le64(b, l->p[i].wall_ns);
        buf_put_le32(b, l->p[i].meta);
        buf_put_le32(b, l->p[i].data);
        buf_put_le64(b, l->p[i].epoch);
        buf_put_le64(b, l->p[i].generation);
    }
    for (size_t i = 0; i < norphans; i++)
        buf_put_le64(b, orphans[i]);
    uint8_t *head = buf_data(b) + start;
    le32_put(head + 16, crc_std(crc_std(0, head, 16), head + HEAD, b->len - start - HEAD));
}

int point_format_decode(struct slice v, struct point_list *out, struct slice *orphans)
{
    struct rd r = rd_of(v);
    const uint8_t *head = rd_take(&r, HEAD);

    out->n = 0;
    *orphans = slice_of(NULL, 0);
    if (!head || memcmp(head, magic, sizeof magic) != 0 || head[4] != VERSION || head[5] ||
        le16_get(head + 6))
        return -EUCLEAN;
    uint32_t n = le32_get(head + 8), m = le32_get(head + 12);
    if (n > POINT_MAX || m > POINT_MAX_ORPHANS ||
        rd_left(&r) != (size_t)n * ENTRY + (size_t)m * 8 ||
        crc_std(crc_std(0, head, 16), r.p, rd_left(&r)) != le32_get(head + 16))
        return -EUCLEAN;
    for (; out->n < n; out->n++) {
        struct point *p = &out->p[out->n];
        p->number = rd_le64(&r);
        p->wall_ns = rd_le64(&r);
        p->meta = rd_le32(&r);
        p->data = rd_le32(&r);
        p->epoch = rd_le64(&r);
        p->generation = rd_le64(&r);
    }
    *orphans = rd_slice(&r, (size_t)m * 8);
    return 0;
}

void point_answer_encode(const struct point *p, uint8_t out[POINT_ANSWER_BYTES])
{
    memset(out, 0, POINT_ANSWER_BYTES);
    le64_put(out, p->number);
    le64_put(out + 8, p->wall_ns);
    le32_put(out + 16, p->meta);
    le32_put(out + 20, p->data);
}

void point_answer_decode(const uint8_t in[POINT_ANSWER_BYTES], struct point *out)
{
    *out = (struct point){.number = le64_get(in),
                          .wall_ns = le64_get(in + 8),
                          .meta = le32_get(in + 16),
                          .data = le32_get(in + 20)};
}
