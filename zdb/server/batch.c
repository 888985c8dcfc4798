/* batch - see server/batch.h. */
#include "zdb/server/batch.h"

#include <string.h>

#include "zdb/server/replies.h"

static bool is_blank(struct slice in)
{
    return in.p && in.len > 0 && (in.p[0] == '\r' || in.p[0] == '\n');
}

static void skip_blank_lines(struct buf *in)
{
    size_t n = 0;

    while (is_blank(slice_of(buf_data(in) + n, in->len - n)))
        n++;
    if (n > 0)
        buf_consume(in, n);
}

int batch_gather(struct batch *b, struct resp_parser *p, struct buf *buf, const struct ns *ns)
{
    struct slice in, keys[BATCH];
    struct resp_req req;
    size_t nkeys = 0;
    int r = 0;

    skip_blank_lines(buf);
    in = buf_slice(buf);
    b->n = 0;
    while (b->n < BATCH && !is_blank(in) && (r = resp_next(p, in, &req)) == 1) {
        if (req.argc > BATCH_ARGS) {
            if (b->n > 0)
                resp_rewind(p); /* next time */
            else
                b->req[b->n++] = req;
            break;
        }
        memcpy(b->argv[b->n], req.argv, req.argc * sizeof *req.argv);
        b->req[b->n] = req;
        b->req[b->n].argv = b->argv[b->n];
        if (req.argc > 1)
            keys[nkeys++] = req.argv[1];
        b->n++;
        in = slice_of(in.p + req.bytes, in.len - req.bytes);
        if (in.len == 0)
            break;
    }
    if (nkeys > 1 && ns)
        ns_hint(ns, keys, nkeys);
    return r;
}

const char *batch_error_text(enum resp_error e)
{
    static const char *const texts[] = {
        [RESP_NOT_ARRAY] = REPLY_NOT_ARRAY,     [RESP_NO_ARGS] = REPLY_MISSING_ARGS,
        [RESP_NEGATIVE_ARGS] = REPLY_BAD_SIZE,  [RESP_TOO_MANY_ARGS] = REPLY_TOO_MANY_ARGS,
        [RESP_NOT_BULK] = REPLY_MALFORMED,      [RESP_NEGATIVE_BULK] = REPLY_BAD_SIZE,
        [RESP_BULK_TOO_BIG] = REPLY_TOO_BIG,    [RESP_BAD_TERMINATOR] = REPLY_TERMINATOR,
        [RESP_REQUEST_TOO_BIG] = REPLY_TOO_BIG,
    };

    return (size_t)e < ARRAY_LEN(texts) ? texts[e] : NULL;
}
