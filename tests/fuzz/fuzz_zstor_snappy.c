/* Snappy frames: any bytes, in pieces, give content or a refusal; pieces make no difference; what
 * we frame comes back. */
#include "tests/fuzz/fuzz.h"

#include "common/buf.h"
#include "zstor/format/snappy.h"

#define LIMIT (1024 * 1024)

static int collect(void *arg, const uint8_t *p, size_t n)
{
    struct buf *b = arg;

    FUZZ_CHECK(n > 0 && n <= SNAPPY_BLOCK);
    if (b->len + n > LIMIT)
        return -1;
    buf_put(b, p, n);
    return 0;
}

static int decode(struct slice in, size_t piece, struct buf *out)
{
    struct snappy_unframe *s = snappy_unframe_new(collect, out);
    int r = 0;

    for (size_t off = 0; off < in.len && r == 0; off += piece)
        r = snappy_unframe_feed(s, in.p + off, MIN(piece, in.len - off));
    if (r == 0)
        r = snappy_unframe_end(s);
    snappy_unframe_free(s);
    return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT, pieces = BUF_INIT, framed = BUF_INIT;
    struct slice in = slice_of(data, size);
    int a = decode(in, size ? size : 1, &whole), b = decode(in, 1 + size % 13, &pieces);

    FUZZ_CHECK(a == b && slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    buf_clear(&whole);
    buf_put(&framed, snappy_frame_id, SNAPPY_ID_LEN);
    for (size_t off = 0; off < size; off += SNAPPY_BLOCK) {
        uint8_t *room = buf_reserve(&framed, SNAPPY_FRAME_ROOM);
        buf_commit(&framed, snappy_frame(data + off, MIN(size - off, (size_t)SNAPPY_BLOCK), room));
    }
    FUZZ_CHECK(decode(buf_slice(&framed), framed.len, &whole) == 0 &&
               slice_eq(buf_slice(&whole), in));
    buf_fini(&whole);
    buf_fini(&pieces);
    buf_fini(&framed);
    return 0;
}
