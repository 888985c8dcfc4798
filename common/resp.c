/* resp - see resp.h.  The parser keeps offsets, not pointers, because the caller's buffer may move
 * between two calls; it is written for the common case: a header is a type byte, a few digits and
 * CR LF, and whole requests arrive at once. */
#include "common/resp.h"

#include <errno.h>
#include <stdlib.h>

/* ---- parser --------------------------------------------------------------------------------- */

enum line_kind { LINE_MORE, LINE_BAD, LINE_NUMBER, LINE_NEGATIVE, LINE_NAN };

static void next_request(struct resp_parser *p)
{
    p->pos = p->line = 0;
    p->argc = p->argi = 0;
    p->in_bulk = false;
    p->bulk_len = 0;
}

void resp_init(struct resp_parser *p, const struct resp_limits *lim)
{
    *p = (struct resp_parser){.lim = *lim, .max_request = SIZE_MAX};
    p->lim.max_args = MIN(p->lim.max_args, (unsigned)RESP_MAX_ARGS);
}

void resp_limit_request(struct resp_parser *p, size_t max_bytes)
{
    p->max_request = max_bytes;
}

void resp_fini(struct resp_parser *p)
{
    free(p->arg);
    free(p->argv);
    p->arg = NULL;
    p->argv = NULL;
    p->arg_cap = 0;
}

static int fail(struct resp_parser *p, enum resp_error error)
{
    p->error = error;
    return -EPROTO;
}

/* Number in the len bytes of a header line behind its type byte, line end removed; too large ones
 * become SIZE_MAX. */
static enum line_kind line_number(const uint8_t *s, size_t len, size_t *out)
{
    bool neg = len > 0 && s[0] == '-';
    size_t v = 0;

    if (neg) {
        s++;
        len--;
    }
    if (len == 0)
        return LINE_NAN;
    for (size_t i = 0; i < len; i++) {
        unsigned d = (unsigned)s[i] - '0';
        if (d > 9)
            return LINE_NAN;
        if (mul_ovf(v, (size_t)10, &v) || add_ovf(v, (size_t)d, &v))
            v = SIZE_MAX / 2; /* stays too large whatever follows, and never overflows to small */
    }
    *out = v;
    return neg ? LINE_NEGATIVE : LINE_NUMBER;
}

/* The header line that starts at p->line: its first byte must be type.  LINE_BAD: p->error is set.
 */
static enum line_kind header(struct resp_parser *p, struct slice in, uint8_t type,
                             enum resp_error bad_type, size_t *out)
{
    const uint8_t *s = in.p + p->line, *nl;
    size_t have = in.len - p->line, v = 0, i = 1;

    /* Common case: type, 1..7 digits, CR LF, all there. */
    if (have >= 4 && p->pos == p->line && s[0] == type) {
        size_t stop = MIN(have - 2, (size_t)8);
        unsigned d;
        while (i < stop && (d = (unsigned)s[i] - '0') <= 9) {
            v = v * 10 + d;
            i++;
        }
        if (i > 1 && s[i] == '\r' && s[i + 1] == '\n' && i + 2 <= p->lim.max_header) {
            *out = v;
            p->pos = p->line += i + 2;
            return LINE_NUMBER;
        }
    }
    size_t window = MIN(have, p->lim.max_header), seen = p->pos - p->line;
    nl = seen < window ? memchr(s + seen, '\n', window - seen) : NULL;
    if (!nl) {
        p->pos = p->line + MAX(window, seen);
        if (window < p->lim.max_header)
            return LINE_MORE;
        p->error = RESP_HEADER_TOO_LONG;
        return LINE_BAD;
    }
    if (s[0] != type) {
        p->error = bad_type;
        return LINE_BAD;
    }
    size_t len = (size_t)(nl - s) - 1;
    p->pos = p->line += len + 2;
    if (len > 0 && nl[-1] == '\r')
        len--;
    return line_number(s + 1, len, out);
}

static bool want_args(struct resp_parser *p, unsigned n)
{
    if (n <= p->arg_cap)
        return true;
    unsigned cap = MAX(n, 8u);
    void *arg = realloc(p->arg, cap * sizeof *p->arg);
    if (!arg)
        return false;
    p->arg = arg;
    void *argv = realloc(p->argv, cap * sizeof *p->argv);
    if (!argv)
        return false;
    p->argv = argv;
    p->arg_cap = cap;
    return true;
}

/* 1: argc is known; 0: more bytes; -EPROTO, -ENOMEM */
static int array_header(struct resp_parser *p, struct slice in)
{
    size_t n = 0;

    switch (header(p, in, '*', RESP_NOT_ARRAY, &n)) {
    case LINE_MORE:
        return 0;
    case LINE_BAD:
        return -EPROTO;
    case LINE_NAN:
        return fail(p, RESP_NO_ARGS);
    case LINE_NEGATIVE:
        return fail(p, n ? RESP_NEGATIVE_ARGS : RESP_NO_ARGS);
    case LINE_NUMBER:
        break;
    }
    if (n == 0)
        return fail(p, RESP_NO_ARGS);
    if (n > p->lim.max_args)
        return fail(p, RESP_TOO_MANY_ARGS);
    if (!want_args(p, (unsigned)n)) {
        p->pos = p->line = 0;
        return -ENOMEM;
    }
    p->argc = (unsigned)n;
    return 1;
}

static int bulk_header(struct resp_parser *p, struct slice in)
{
    size_t n = 0;

    switch (header(p, in, '$', RESP_NOT_BULK, &n)) {
    case LINE_MORE:
        return 0;
    case LINE_BAD:
        return -EPROTO;
    case LINE_NAN:
    case LINE_NEGATIVE:
        return fail(p, RESP_NEGATIVE_BULK);
    case LINE_NUMBER:
        break;
    }
    if (n > p->lim.max_bulk)
        return fail(p, RESP_BULK_TOO_BIG);
    if (p->pos > p->max_request || n > p->max_request - p->pos)
        return fail(p, RESP_REQUEST_TOO_BIG);
    p->bulk_len = n;
    p->in_bulk = true;
    return 1;
}

int resp_next(struct resp_parser *p, struct slice in, struct resp_req *out)
{
    int r;

    if (p->error != RESP_OK)
        return -EPROTO;
    if (in.len <= p->pos)
        return 0;
    if (p->argc == 0 && (r = array_header(p, in)) <= 0)
        return r;
    while (p->argi < p->argc) {
        if (!p->in_bulk) {
            if (in.len <= p->pos)
                return 0;
            r = bulk_header(p, in);
            if (r <= 0)
                return r;
        }
        size_t left = in.len - p->pos;
        if (left < 2 || left - 2 < p->bulk_len)
            return 0;
        const uint8_t *end = in.p + p->pos + p->bulk_len;
        if (end[0] != '\r' || end[1] != '\n')
            return fail(p, RESP_BAD_TERMINATOR);
        p->arg[p->argi].off = p->pos;
        p->arg[p->argi].len = p->bulk_len;
        p->argi++;
        p->pos = p->line = p->pos + p->bulk_len + 2;
        p->in_bulk = false;
    }
    for (unsigned i = 0; i < p->argc; i++)
        p->argv[i] = slice_of(in.p + p->arg[i].off, p->arg[i].len);
    *out = (struct resp_req){p->argc, p->argv, p->pos};
    next_request(p);
    return 1;
}

void resp_rewind(struct resp_parser *p)
{
    next_request(p);
    p->error = RESP_OK;
}

size_t resp_want(const struct resp_parser *p, size_t have)
{
    if (!p->in_bulk)
        return 0;
    size_t end = p->pos + p->bulk_len + 2;
    return end > have ? end - have : 0;
}

/* ---- writers -------------------------------------------------------------------------------- */

enum { NUM_MAX = 20 }; /* digits of 2^64, or a sign and 19 */

/* Decimal digits of v, written so that they end before end; their first byte. */
static uint8_t *digits_before(uint8_t *end, uint64_t v)
{
    static const char pairs[] =
        "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
        "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
        "8081828384858687888990919293949596979899";
    while (v >= 100) {
        end -= 2;
        memcpy(end, pairs + 2 * (v % 100), 2);
        v /= 100;
    }
    if (v >= 10) {
        end -= 2;
        memcpy(end, pairs + 2 * v, 2);
    } else {
        *--end = (uint8_t)('0' + v);
    }
    return end;
}

/* type, number, CR LF at to; the byte behind.  At most NUM_MAX + 4 bytes. */
static uint8_t *head_at(uint8_t *to, uint8_t type, uint64_t v, bool neg)
{
    uint8_t num[NUM_MAX], *first = digits_before(num + NUM_MAX, v);
    size_t n = (size_t)(num + NUM_MAX - first);

    *to++ = type;
    if (neg)
        *to++ = '-';
    memcpy(to, first, n);
    to += n;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

static uint8_t *room_for(struct buf *b, size_t n)
{
    uint8_t *to = buf_reserve(b, n);
    if (!to)
        base_panic("out of memory");
    return to;
}

static void put_head(struct buf *b, uint8_t type, uint64_t v, bool neg)
{
    uint8_t *to = room_for(b, NUM_MAX + 4);
    buf_commit(b, (size_t)(head_at(to, type, v, neg) - to));
}

static void put_line(struct buf *b, uint8_t type, const char *text)
{
    size_t n = strlen(text);
    uint8_t *to = room_for(b, n + 3);

    *to++ = type;
    for (size_t i = 0; i < n; i++)
        *to++ = (uint8_t)(text[i] == '\r' || text[i] == '\n' ? ' ' : text[i]);
    *to++ = '\r';
    *to = '\n';
    buf_commit(b, n + 3);
}

void resp_put_simple(struct buf *b, const char *text)
{
    put_line(b, '+', text);
}

void resp_put_error(struct buf *b, const char *text)
{
    put_line(b, '-', text);
}

void resp_put_int(struct buf *b, int64_t v)
{
    put_head(b, ':', v < 0 ? 0 - (uint64_t)v : (uint64_t)v, v < 0);
}

static uint8_t *bulk_at(uint8_t *to, struct slice s)
{
    to = head_at(to, '$', s.len, false);
    if (s.len)
        memcpy(to, s.p, s.len);
    to += s.len;
    *to++ = '\r';
    *to++ = '\n';
    return to;
}

void resp_put_bulk(struct buf *b, struct slice s)
{
    uint8_t *to = room_for(b, s.len + NUM_MAX + 6);
    buf_commit(b, (size_t)(bulk_at(to, s) - to));
}

void resp_put_bulk_str(struct buf *b, const char *s)
{
    resp_put_bulk(b, slice_str(s));
}

void resp_put_bulk_head(struct buf *b, size_t len)
{
    put_head(b, '$', len, false);
}

void resp_put_nil(struct buf *b)
{
    buf_put(b, "$-1\r\n", 5);
}

void resp_put_array(struct buf *b, size_t n)
{
    put_head(b, '*', n, false);
}

void resp_put_request(struct buf *b, unsigned argc, const struct slice *argv)
{
    resp_put_array(b, argc);
    for (unsigned i = 0; i < argc; i++)
        resp_put_bulk(b, argv[i]);
}
