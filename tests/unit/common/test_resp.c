#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "common/resp.h"

static const struct resp_limits lim = {.max_args = 8, .max_bulk = 100, .max_header = 32};

struct outcome {
    int r; /* of the last call */
    enum resp_error error;
    size_t bytes; /* of the first request */
    unsigned argc;
    struct buf args; /* "len:bytes," of all its arguments */
};

static void take(struct outcome *o, const struct resp_req *q)
{
    o->bytes = q->bytes;
    o->argc = q->argc;
    for (unsigned i = 0; i < q->argc; i++) {
        buf_printf(&o->args, "%zu:", q->argv[i].len);
        buf_put_slice(&o->args, q->argv[i]);
        buf_put_u8(&o->args, ',');
    }
}

/* Feeds in steps; each time from memory that ends where the bytes end, so that a sanitizer sees an
 * over-read. */
static struct outcome feed(const struct resp_limits *l, struct slice in, size_t step)
{
    struct resp_parser p;
    struct outcome o = {.args = BUF_INIT};
    struct resp_req q;

    resp_init(&p, l);
    for (size_t n = 0;; n = MIN(n + step, in.len)) {
        uint8_t *copy = malloc(n ? n : 1);
        if (n)
            memcpy(copy, in.p, n);
        o.r = resp_next(&p, slice_of(copy, n), &q);
        if (o.r == 1)
            take(&o, &q);
        free(copy);
        if (o.r != 0 || n == in.len)
            break;
    }
    o.error = p.error;
    if (o.r < 0)
        ck_assert_int_eq(resp_next(&p, in, &q), o.r); /* sticky */
    resp_fini(&p);
    return o;
}

struct good {
    const char *in;
    size_t len; /* 0: strlen */
    unsigned argc;
    const char *args;
    size_t bytes; /* 0: all */
};

static const struct good good[] = {
    {"*1\r\n$4\r\nPING\r\n", 0, 1, "4:PING,", 0},
    {"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$0\r\n\r\n", 0, 3, "3:SET,1:k,0:,", 0},
    {"*1\n$4\nPING\r\n", 0, 1, "4:PING,", 0},                        /* \r of a line is optional */
    {"*2\r\n$2\na\n\r\n$3\r\n\r\n*\r\n", 0, 2, "2:a\n,3:\r\n*,", 0}, /* bulks may contain anything
                                                                      */
    {"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPONG\r\n", 0, 1, "4:PING,", 14},
    {"*1\r\n$4\r\nPING\r\ngarbage", 0, 1, "4:PING,", 14},
    {"*001\r\n$0000000000000000000004\r\nPING\r\n", 0, 1, "4:PING,", 0},
    {"*8\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$"
     "1\r\nh\r\n",
     0, 8, "1:a,1:b,1:c,1:d,1:e,1:f,1:g,1:h,", 0},
    {"*1\r\n$3\r\na\0b\r\n", 13, 1, NULL, 0},
};

START_TEST(requests_come_out_whole_at_any_fragmentation)
{
    const struct good *g = &good[_i];
    struct slice in = slice_of(g->in, g->len ? g->len : strlen(g->in));

    for (size_t step = 1; step <= in.len; step++) {
        struct outcome o = feed(&lim, in, step);
        ck_assert_int_eq(o.r, 1);
        ck_assert_int_eq(o.error, RESP_OK);
        ck_assert_uint_eq(o.argc, g->argc);
        ck_assert_uint_eq(o.bytes, g->bytes ? g->bytes : in.len);
        if (g->args)
            ck_assert(slice_eq_str(buf_slice(&o.args), g->args));
        else
            ck_assert(slice_eq(buf_slice(&o.args), slice_of("3:a\0b,", 6)));
        buf_fini(&o.args);
    }
}
END_TEST

START_TEST(a_prefix_of_a_request_is_no_request_and_no_error)
{
    const char *s = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nvalue\r\n";

    for (size_t n = 0; n < strlen(s); n++) {
        struct outcome o = feed(&lim, slice_of(s, n), n ? n : 1);
        ck_assert_int_eq(o.r, 0);
        ck_assert_int_eq(o.error, RESP_OK);
        buf_fini(&o.args);
    }
}
END_TEST

#define LINE31                                                                                     \
    "0000000000000000000000000000000" /* 31 bytes: with a type byte in front, 32 without a newline \
                                       */

struct bad {
    const char *in;
    enum resp_error error;
};

static const struct bad bad[] = {
    {"PING\r\n", RESP_NOT_ARRAY},
    {"\r\n", RESP_NOT_ARRAY},
    {"\n", RESP_NOT_ARRAY},
    {"$4\r\n", RESP_NOT_ARRAY},
    {"+OK\n", RESP_NOT_ARRAY},
    {"*0\r\n", RESP_NO_ARGS},
    {"*-0\r\n", RESP_NO_ARGS},
    {"*\r\n", RESP_NO_ARGS},
    {"*\n", RESP_NO_ARGS},
    {"*abc\r\n", RESP_NO_ARGS},
    {"*1a\r\n", RESP_NO_ARGS},
    {"* 1\r\n", RESP_NO_ARGS},
    {"*+1\r\n", RESP_NO_ARGS},
    {"*-\r\n", RESP_NO_ARGS},
    {"*--1\r\n", RESP_NO_ARGS},
    {"*1\r\r\n", RESP_NO_ARGS},
    {"*-1\r\n", RESP_NEGATIVE_ARGS},
    {"*-99999999999999999999999\r\n", RESP_NEGATIVE_ARGS},
    {"*9\r\n", RESP_TOO_MANY_ARGS},
    {"*4294967297\r\n", RESP_TOO_MANY_ARGS},           /* 1 in 32 bits */
    {"*18446744073709551617\r\n", RESP_TOO_MANY_ARGS}, /* 1 in 64 bits */
    {"*99999999999999999999999999\r\n", RESP_TOO_MANY_ARGS},
    {"*1\r\n*1\r\n", RESP_NOT_BULK},
    {"*1\r\nPING\r\n", RESP_NOT_BULK},
    {"*1\r\n\r\n", RESP_NOT_BULK},
    {"*2\r\n$1\r\na\r\n:5\r\n", RESP_NOT_BULK},
    {"*1\r\n$-1\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$-2\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$-0\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$abc\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$4x\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$-99999999999999999999999\r\n", RESP_NEGATIVE_BULK},
    {"*1\r\n$101\r\n", RESP_BULK_TOO_BIG},
    {"*1\r\n$4294967300\r\n", RESP_BULK_TOO_BIG},
    {"*1\r\n$18446744073709551615\r\n", RESP_BULK_TOO_BIG},
    {"*1\r\n$18446744073709551620\r\n", RESP_BULK_TOO_BIG},
    {"*1\r\n$99999999999999999999999999\r\n", RESP_BULK_TOO_BIG},
    {"*" LINE31, RESP_HEADER_TOO_LONG},
    {"P" LINE31, RESP_HEADER_TOO_LONG}, /* no newline, so the first byte is not judged */
    {"*" LINE31 "\n", RESP_HEADER_TOO_LONG},
    {"*1\r\n$" LINE31, RESP_HEADER_TOO_LONG},
    {"*1\r\n$4\r\nPINGxx", RESP_BAD_TERMINATOR},
    {"*1\r\n$4\r\nPING\n\n", RESP_BAD_TERMINATOR},
    {"*1\r\n$3\r\nPING\r\n", RESP_BAD_TERMINATOR},
    {"*1\r\n$0\r\nPI", RESP_BAD_TERMINATOR},
};

START_TEST(errors_have_names_at_any_fragmentation)
{
    const struct bad *b = &bad[_i];
    struct slice in = slice_str(b->in);

    for (size_t step = 1; step <= in.len; step++) {
        struct outcome o = feed(&lim, in, step);
        ck_assert_int_eq(o.r, -EPROTO);
        ck_assert_msg(o.error == b->error, "%s in steps of %zu: %d", b->in, step, (int)o.error);
        buf_fini(&o.args);
    }
}
END_TEST

START_TEST(first_byte_is_judged_only_with_its_line)
{
    struct outcome o = feed(&lim, slice_str("PING"), 1);

    ck_assert_int_eq(o.r, 0);
    ck_assert_int_eq(o.error, RESP_OK);
}
END_TEST

START_TEST(header_of_exactly_the_limit_is_fine)
{
    /* 32 bytes with the newline */
    struct slice in = slice_str("*00000000000000000000000000001\r\n$1\r\na\r\n");

    for (size_t step = 1; step <= in.len; step++) {
        struct outcome o = feed(&lim, in, step);
        ck_assert_int_eq(o.r, 1);
        buf_fini(&o.args);
    }
}
END_TEST

START_TEST(short_header_limit_holds_on_the_fast_path)
{
    struct resp_limits tiny = {.max_args = 8, .max_bulk = 100, .max_header = 3};
    struct outcome o = feed(&tiny, slice_str("*1\r\n$1\r\na\r\n"), 100);

    ck_assert_int_eq(o.r, -EPROTO);
    ck_assert_int_eq(o.error, RESP_HEADER_TOO_LONG);
}
END_TEST

START_TEST(bulk_of_exactly_the_limit_is_fine)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_printf(&b, "*1\r\n$100\r\n%0100d\r\n", 5);
    struct outcome o = feed(&lim, buf_slice(&b), 7);
    ck_assert_int_eq(o.r, 1);
    ck_assert_uint_eq(o.bytes, b.len);
    buf_fini(&o.args);
}
END_TEST

START_TEST(args_limit_never_passes_the_constant)
{
    struct resp_limits many = {.max_args = 100000, .max_bulk = 100, .max_header = 8192};
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "*1024\r\n");
    for (int i = 0; i < 1024; i++)
        buf_put_str(&b, "$1\r\nx\r\n");
    struct outcome o = feed(&many, buf_slice(&b), 1000);
    ck_assert_int_eq(o.r, 1);
    ck_assert_uint_eq(o.argc, 1024);
    buf_fini(&o.args);
    o = feed(&many, slice_str("*1025\r\n"), 100);
    ck_assert_int_eq(o.error, RESP_TOO_MANY_ARGS);
}
END_TEST

START_TEST(whole_request_can_be_limited)
{
    struct resp_parser p;
    struct resp_req q;
    const char *s = "*3\r\n$5\r\naaaaa\r\n$5\r\naaaaa\r\n$5\r\naaaaa\r\n";

    resp_init(&p, &lim);
    resp_limit_request(&p, strlen(s));
    ck_assert_int_eq(resp_next(&p, slice_str(s), &q), 1);
    resp_limit_request(&p, strlen(s) - 3);
    ck_assert_int_eq(resp_next(&p, slice_str(s), &q), -EPROTO);
    ck_assert_int_eq(p.error, RESP_REQUEST_TOO_BIG);
    resp_fini(&p);
}
END_TEST

START_TEST(pipeline_in_one_buffer_at_any_fragmentation)
{
    enum { N = 50 };
    CLEANUP(buf_fini) struct buf wire = BUF_INIT;

    for (int i = 0; i < N; i++) {
        char key[16], value[100];
        snprintf(key, sizeof key, "key-%d", i);
        snprintf(value, sizeof value, "%0*d", i % 60 + 1, i);
        const struct slice argv[] = {slice_str("SET"), slice_str(key), slice_str(value)};
        resp_put_request(&wire, ARRAY_LEN(argv), argv);
    }
    for (size_t step = 1; step < 300; step++) {
        struct resp_parser p;
        struct resp_req q;
        struct buf in = BUF_INIT;
        size_t fed = 0;
        int n = 0;
        resp_init(&p, &lim);
        while (n < N) {
            int r = resp_next(&p, buf_slice(&in), &q);
            ck_assert_int_ge(r, 0);
            if (r == 0) {
                ck_assert_uint_lt(fed, wire.len);
                size_t part = MIN(step, wire.len - fed);
                buf_put(&in, buf_data(&wire) + fed, part);
                fed += part;
                continue;
            }
            char key[16];
            snprintf(key, sizeof key, "key-%d", n);
            if (q.argc != 3 || !slice_eq_str(q.argv[1], key) ||
                q.argv[2].len != (size_t)(n % 60 + 1))
                ck_abort_msg("request %d in steps of %zu", n, step);
            buf_consume(&in, q.bytes);
            n++;
        }
        ck_assert_uint_eq(in.len, 0);
        ck_assert_uint_eq(fed, wire.len);
        buf_fini(&in);
        resp_fini(&p);
    }
}
END_TEST

START_TEST(requests_are_given_once_more_after_a_rewind)
{
    static const char text[] = "*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*2\r\n$3\r\nGE";
    struct slice in = slice_str(text), rest = slice_of(in.p + 14, in.len - 14);
    struct resp_parser p;
    struct resp_req q;

    resp_init(&p, &lim);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(resp_next(&p, in, &q), 1);
        ck_assert_int_eq(resp_next(&p, rest, &q), 1);
        ck_assert(q.argc == 2 && slice_eq_str(q.argv[1], "k"));
        ck_assert_int_eq(resp_next(&p, slice_of(rest.p + q.bytes, rest.len - q.bytes), &q),
                         0); /* has looked into it */
        resp_rewind(&p);
    }
    ck_assert_int_eq(resp_next(&p, slice_str("*0\r\n"), &q), -EPROTO);
    resp_rewind(&p);
    ck_assert_int_eq(resp_next(&p, in, &q), 1);
    resp_fini(&p);
}
END_TEST

START_TEST(want_tells_the_missing_bytes_of_a_bulk)
{
    struct resp_parser p;
    struct resp_req q;
    const char *s = "*2\r\n$3\r\nGET\r\n$50\r\nab";

    resp_init(&p, &lim);
    ck_assert_uint_eq(resp_want(&p, 0), 0);
    ck_assert_int_eq(resp_next(&p, slice_of(s, 6), &q), 0);
    ck_assert_uint_eq(resp_want(&p, 6), 0);
    ck_assert_int_eq(resp_next(&p, slice_str(s), &q), 0);
    ck_assert_uint_eq(resp_want(&p, strlen(s)), 50);
    ck_assert_uint_eq(resp_want(&p, 1000), 0);
    resp_fini(&p);
}
END_TEST

START_TEST(incomplete_bulk_costs_nothing_per_call)
{
    /* a bulk that grows byte by byte is not looked at again: pos stays at its start */
    struct resp_parser p;
    struct resp_req q;

    resp_init(&p, &lim);
    ck_assert_int_eq(resp_next(&p, slice_str("*1\r\n$50\r\nabc"), &q), 0);
    ck_assert_uint_eq(p.pos, 9);
    ck_assert_int_eq(resp_next(&p, slice_str("*1\r\n$50\r\nabcdef"), &q), 0);
    ck_assert_uint_eq(p.pos, 9);
    resp_fini(&p);
    /* nor are the bytes of an incomplete header */
    resp_init(&p, &lim);
    ck_assert_int_eq(resp_next(&p, slice_str("*0000"), &q), 0);
    ck_assert_uint_eq(p.pos, 5);
    resp_fini(&p);
}
END_TEST

START_TEST(parser_starts_without_memory_and_can_end_twice)
{
    struct resp_parser p;

    resp_init(&p, &lim);
    ck_assert_ptr_null(p.arg);
    resp_fini(&p);
    resp_fini(&p);
}
END_TEST

/* ---- writers -------------------------------------------------------------------------------- */

static void is(struct buf *b, const char *want)
{
    if (!slice_eq_str(buf_slice(b), want))
        ck_abort_msg("got %.*s, want %s", (int)b->len, (char *)buf_data(b), want);
    buf_clear(b);
}

START_TEST(replies_look_as_the_protocol_says)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    resp_put_simple(&b, "OK");
    is(&b, "+OK\r\n");
    resp_put_error(&b, "No such key");
    is(&b, "-No such key\r\n");
    resp_put_error(&b, "a\r\nb");
    is(&b, "-a  b\r\n");
    resp_put_bulk_str(&b, "");
    is(&b, "$0\r\n\r\n");
    resp_put_bulk(&b, slice_of(NULL, 0));
    is(&b, "$0\r\n\r\n");
    resp_put_bulk_str(&b, "hello");
    is(&b, "$5\r\nhello\r\n");
    resp_put_bulk_head(&b, 8388608);
    is(&b, "$8388608\r\n");
    resp_put_nil(&b);
    is(&b, "$-1\r\n");
    resp_put_array(&b, 0);
    is(&b, "*0\r\n");
    resp_put_array(&b, 17);
    is(&b, "*17\r\n");
}
END_TEST

START_TEST(integers_are_written_as_printf_would)
{
    static const int64_t edge[] = {0,   1,    9,    10,   11,    99,       100,       101,
                                   999, 1000, 1001, 9999, 10000, 12345678, INT32_MAX, INT64_MAX};
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    char want[32];

    for (size_t i = 0; i < ARRAY_LEN(edge); i++) {
        for (int sign = -1; sign <= 1; sign += 2) {
            snprintf(want, sizeof want, ":%lld\r\n", (long long)(sign * edge[i]));
            resp_put_int(&b, sign * edge[i]);
            is(&b, want);
        }
    }
    resp_put_int(&b, INT64_MIN);
    is(&b, ":-9223372036854775808\r\n");
    for (int64_t v = 1; v > 0 && v < INT64_MAX / 7; v = v * 7 + 3) {
        snprintf(want, sizeof want, ":%lld\r\n", (long long)v);
        resp_put_int(&b, v);
        is(&b, want);
    }
}
END_TEST

START_TEST(written_requests_are_parsed_back)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    const struct slice argv[] = {slice_str("SET"), slice_of("\r\n\0*$", 5), slice_of(NULL, 0)};

    resp_put_request(&b, ARRAY_LEN(argv), argv);
    struct outcome o = feed(&lim, buf_slice(&b), 1);
    ck_assert_int_eq(o.r, 1);
    ck_assert_uint_eq(o.bytes, b.len);
    ck_assert(slice_eq(buf_slice(&o.args), slice_of("3:SET,5:\r\n\0*$,0:,", 17)));
    buf_fini(&o.args);
}
END_TEST

static TCase *resp(void)
{
    TCase *t = tcase_create("resp");
    tcase_add_loop_test(t, requests_come_out_whole_at_any_fragmentation, 0, (int)ARRAY_LEN(good));
    tcase_add_test(t, a_prefix_of_a_request_is_no_request_and_no_error);
    tcase_add_loop_test(t, errors_have_names_at_any_fragmentation, 0, (int)ARRAY_LEN(bad));
    tcase_add_test(t, first_byte_is_judged_only_with_its_line);
    tcase_add_test(t, header_of_exactly_the_limit_is_fine);
    tcase_add_test(t, short_header_limit_holds_on_the_fast_path);
    tcase_add_test(t, bulk_of_exactly_the_limit_is_fine);
    tcase_add_test(t, args_limit_never_passes_the_constant);
    tcase_add_test(t, whole_request_can_be_limited);
    tcase_add_test(t, pipeline_in_one_buffer_at_any_fragmentation);
    tcase_add_test(t, requests_are_given_once_more_after_a_rewind);
    tcase_add_test(t, want_tells_the_missing_bytes_of_a_bulk);
    tcase_add_test(t, incomplete_bulk_costs_nothing_per_call);
    tcase_add_test(t, parser_starts_without_memory_and_can_end_twice);
    tcase_add_test(t, replies_look_as_the_protocol_says);
    tcase_add_test(t, integers_are_written_as_printf_would);
    tcase_add_test(t, written_requests_are_parsed_back);
    return t;
}

UNIT_MAIN("resp", resp)
