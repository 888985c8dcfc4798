/* snappy - see format/snappy.h.  Chunk: type(1) || length(3, LE) || body; body of data chunks:
 * masked crc(4, LE) || block. */
#include "zstor/format/snappy.h"

#include <errno.h>
#include <snappy-c.h>
#include <stdlib.h>

#include "common/crc.h"

enum { CHUNK_COMPRESSED = 0x00, CHUNK_STORED = 0x01, CHUNK_SKIPPABLE = 0x80, CHUNK_ID = 0xff };

const uint8_t snappy_frame_id[SNAPPY_ID_LEN] = {0xff, 6, 0, 0, 's', 'N', 'a', 'P', 'p', 'Y'};

static uint32_t masked_crc(const uint8_t *p, size_t n)
{
    uint32_t c = crc_std(0, p, n);

    return ((c >> 15) | (c << 17)) + 0xa282ead8u;
}

size_t snappy_frame(const uint8_t *in, size_t n, uint8_t *out)
{
    size_t body = SNAPPY_CHUNK_MAX;
    uint8_t type = CHUNK_COMPRESSED;

    if (snappy_compress((const char *)in, n, (char *)out + 8, &body) != SNAPPY_OK ||
        body >= n - n / 8) {
        memcpy(out + 8, in, n);
        body = n;
        type = CHUNK_STORED;
    }
    le32_put(out, (uint32_t)(body + 4) << 8 | type);
    le32_put(out + 4, masked_crc(in, n));
    return body + 8;
}

struct snappy_unframe {
    snappy_out_fn *fn;
    void *arg;
    int failed;
    bool started;      /* an identifier was seen */
    size_t have, want; /* bytes of the current chunk, header included; want: header until it is
                          known */
    uint8_t chunk[4 + SNAPPY_CHUNK_MAX];
    uint8_t block[SNAPPY_BLOCK];
};

struct snappy_unframe *snappy_unframe_new(snappy_out_fn *fn, void *arg)
{
    struct snappy_unframe *s = malloc(sizeof *s);

    if (!s)
        return NULL;
    s->fn = fn;
    s->arg = arg;
    s->failed = 0;
    s->started = false;
    s->have = 0;
    s->want = 4;
    return s;
}

void snappy_unframe_free(struct snappy_unframe *s)
{
    free(s);
}

/* The header is complete: how long is the chunk, and may it be? */
static int take_header(struct snappy_unframe *s, const uint8_t *h)
{
    uint8_t type = h[0];
    size_t len = le32_get(h) >> 8;

    if (len > SNAPPY_CHUNK_MAX || (!s->started && type != CHUNK_ID))
        return -EBADMSG;
    if (type == CHUNK_ID) {
        if (len != SNAPPY_ID_LEN - 4)
            return -EBADMSG;
    } else if (type <= CHUNK_STORED) {
        if (len < 4 || (type == CHUNK_STORED && len - 4 > SNAPPY_BLOCK))
            return -EBADMSG;
    } else if (type < CHUNK_SKIPPABLE) {
        return -EBADMSG;
    }
    s->want = 4 + len;
    return 0;
}

static int take_chunk(struct snappy_unframe *s, const uint8_t *c, size_t len)
{
    const uint8_t *p;
    size_t n;

    if (c[0] == CHUNK_ID) {
        if (memcmp(c, snappy_frame_id, SNAPPY_ID_LEN) != 0)
            return -EBADMSG;
        s->started = true;
        return 0;
    }
    if (c[0] >= CHUNK_SKIPPABLE)
        return 0;
    p = c + 8;
    n = len - 8;
    if (c[0] == CHUNK_COMPRESSED) {
        size_t plain = 0;
        if (snappy_uncompressed_length((const char *)p, n, &plain) != SNAPPY_OK ||
            plain > SNAPPY_BLOCK)
            return -EBADMSG;
        size_t room = SNAPPY_BLOCK;
        if (snappy_uncompress((const char *)p, n, (char *)s->block, &room) != SNAPPY_OK ||
            room != plain)
            return -EBADMSG;
        p = s->block;
        n = plain;
    }
    if (masked_crc(p, n) != le32_get(c + 4))
        return -EBADMSG;
    return n ? s->fn(s->arg, p, n) : 0;
}

/* One step: complete the header, or the chunk.  Whole chunks are taken from the input without a
 * copy. */
static int step(struct snappy_unframe *s, const uint8_t **p, size_t *n)
{
    size_t part;
    int r = 0;

    if (s->have == 0 && *n >= 4) {
        r = take_header(s, *p);
        if (r == 0 && *n >= s->want) {
            size_t len = s->want;
            s->want = 4;
            r = take_chunk(s, *p, len);
            *p += len;
            *n -= len;
            return r;
        }
        s->want = 4;
        if (r)
            return r;
    }
    part = MIN(*n, s->want - s->have);
    memcpy(s->chunk + s->have, *p, part);
    s->have += part;
    *p += part;
    *n -= part;
    if (s->have == 4 && s->want == 4)
        r = take_header(s, s->chunk);
    if (r == 0 && s->have >= 4 && s->have == s->want) {
        size_t len = s->want;
        s->have = 0;
        s->want = 4;
        r = take_chunk(s, s->chunk, len);
    }
    return r;
}

int snappy_unframe_feed(struct snappy_unframe *s, const uint8_t *p, size_t n)
{
    while (s->failed == 0 && n)
        s->failed = step(s, &p, &n);
    return s->failed;
}

int snappy_unframe_end(struct snappy_unframe *s)
{
    if (s->failed == 0 && s->have)
        s->failed = -EBADMSG;
    return s->failed;
}
