/* The request parser: however the bytes are cut, the same requests and the same error come out, and
 * no byte outside of the given ones is read.  Requests that were accepted survive being written and
 * parsed again. Input: byte 0 = size of the pieces, byte 1 = limits, then the stream. */
#include "tests/fuzz/fuzz.h"

#include <errno.h>

#include "common/resp.h"

struct outcome {
    struct buf text; /* of all requests */
    enum resp_error error;
    size_t used;
};

static void note(struct outcome *o, const struct resp_req *q)
{
    resp_put_request(&o->text, q->argc, q->argv);
    o->used += q->bytes;
}

/* In pieces; each time the parser sees exact memory, so that a read outside is seen. */
static struct outcome run(const struct resp_limits *lim, const uint8_t *p, size_t n, size_t step)
{
    struct outcome o = {.text = BUF_INIT};
    struct resp_parser parser;
    struct resp_req q;
    size_t given = MIN(step, n);

    resp_init(&parser, lim);
    for (;;) {
        size_t have = given - o.used;
        uint8_t *copy = malloc(have ? have : 1);
        FUZZ_CHECK(copy);
        if (have)
            memcpy(copy, p + o.used, have);
        int r = resp_next(&parser, slice_of(copy, have), &q);
        if (r == 1) {
            FUZZ_CHECK(q.argc >= 1 && q.argc <= lim->max_args && q.bytes <= have);
            for (unsigned i = 0; i < q.argc; i++)
                FUZZ_CHECK(q.argv[i].len <= lim->max_bulk);
            note(&o, &q);
        } else if (r == 0) {
            FUZZ_CHECK(resp_want(&parser, have) <= lim->max_bulk + 2);
        }
        free(copy);
        if (r < 0 || (r == 0 && given == n))
            break;
        if (r == 0)
            given = MIN(n, given + step);
    }
    o.error = parser.error;
    resp_fini(&parser);
    return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2 || size > 65536)
        return 0;
    struct resp_limits lim = {.max_args = data[1] % 32 + 1u,
                              .max_bulk = 16u << (data[1] >> 5),
                              .max_header = 24};
    size_t step = data[0] % 64 + 1u, n = size - 2;
    struct outcome whole = run(&lim, data + 2, n, n ? n : 1), cut = run(&lim, data + 2, n, step);

    FUZZ_CHECK(whole.error == cut.error && whole.used == cut.used);
    FUZZ_CHECK(slice_eq(buf_slice(&whole.text), buf_slice(&cut.text)));
    struct outcome again = run(&lim, buf_data(&whole.text), whole.text.len, step);
    FUZZ_CHECK(again.error == RESP_OK && again.used == whole.text.len);
    FUZZ_CHECK(slice_eq(buf_slice(&again.text), buf_slice(&whole.text)));
    buf_fini(&whole.text);
    buf_fini(&cut.text);
    buf_fini(&again.text);
    return 0;
}
