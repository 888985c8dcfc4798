/* Replies of a hostile server through the guarded reader: bounded memory (-malloc_limit_mb sees to
 * it), the same replies however the bytes are cut, and an error or a reply of at most the limit.
 * Input: byte 0 = size of the pieces, byte 1 = limit, then the stream. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "common/buf.h"
#include "common/zreply.h"

static void describe(struct buf *b, const redisReply *r, int depth)
{
    FUZZ_CHECK(depth < 10);
    buf_put_u8(b, (uint8_t)r->type);
    switch (r->type) {
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR:
        buf_put_le64(b, r->len);
        buf_put(b, r->str, r->len);
        break;
    case REDIS_REPLY_INTEGER:
        buf_put_le64(b, (uint64_t)r->integer);
        break;
    case REDIS_REPLY_ARRAY:
        buf_put_le64(b, r->elements);
        for (size_t i = 0; i < r->elements; i++)
            describe(b, r->element[i], depth + 1);
        break;
    default:
        FUZZ_CHECK(r->type == REDIS_REPLY_NIL);
    }
}

static int run(const uint8_t *p, size_t n, size_t step, size_t max, struct buf *text)
{
    struct zreply z;
    redisReply *r;
    int end;

    FUZZ_CHECK(zreply_init(&z, max, 4096) == 0);
    for (size_t given = 0;;) {
        while ((end = zreply_next(&z, &r)) == 1) {
            size_t before = text->len;
            describe(text, r, 0);
            /* at most 9 bytes here for each 3 on the wire */
            FUZZ_CHECK(text->len - before <= 9 * (max + ZREPLY_MAX_LINE));
            freeReplyObject(r);
        }
        if (end < 0 || given == n)
            break;
        FUZZ_CHECK(zreply_want(&z) <= max + 64);
        size_t part = MIN(step, n - given);
        uint8_t *room = zreply_reserve(&z, part);
        FUZZ_CHECK(room);
        memcpy(room, p + given, part);
        zreply_commit(&z, part);
        given += part;
    }
    zreply_fini(&z);
    return end;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole = BUF_INIT, cut = BUF_INIT;

    if (size < 2 || size > 65536)
        return 0;
    size_t max = 16u << (data[1] % 12);
    int a = run(data + 2, size - 2, size, max, &whole),
        b = run(data + 2, size - 2, data[0] % 64 + 1u, max, &cut);
    /* In pieces a hopeless reply may be refused before the bytes that make it a wrong one are
     * there. */
    FUZZ_CHECK((a == 0) == (b == 0));
    FUZZ_CHECK(slice_eq(buf_slice(&whole), buf_slice(&cut)));
    buf_fini(&whole);
    buf_fini(&cut);
    return 0;
}
