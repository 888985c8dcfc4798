#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>

#include "common/buf.h"
#include "common/zreply.h"

enum { MAX_REPLY = 1000, KEEP = 4096 };

static void describe(struct buf *b, const redisReply *r)
{
    switch (r->type) {
    case REDIS_REPLY_STRING:
        buf_printf(b, "$%.*s ", (int)r->len, r->str);
        break;
    case REDIS_REPLY_STATUS:
        buf_printf(b, "+%.*s ", (int)r->len, r->str);
        break;
    case REDIS_REPLY_ERROR:
        buf_printf(b, "-%.*s ", (int)r->len, r->str);
        break;
    case REDIS_REPLY_INTEGER:
        buf_printf(b, ":%lld ", r->integer);
        break;
    case REDIS_REPLY_NIL:
        buf_put_str(b, "nil ");
        break;
    default:
        buf_put_str(b, "[");
        for (size_t i = 0; i < r->elements; i++)
            describe(b, r->element[i]);
        buf_put_str(b, "] ");
    }
}

/* Replies of the bytes, given in steps; how it ended (0: wants more) in *end. */
static char *replies_of(struct slice in, size_t step, size_t max, int *end)
{
    struct buf b = BUF_INIT;
    struct zreply z;
    size_t fed = 0;
    redisReply *r;

    ck_assert_int_eq(zreply_init(&z, max, KEEP), 0);
    for (;;) {
        int n = zreply_next(&z, &r);
        if (n == 1) {
            describe(&b, r);
            freeReplyObject(r);
            continue;
        }
        *end = n;
        if (n < 0 || fed == in.len)
            break;
        size_t part = MIN(step, in.len - fed);
        memcpy(zreply_reserve(&z, part), in.p + fed, part);
        zreply_commit(&z, part);
        fed += part;
    }
    zreply_fini(&z);
    return buf_take_str(&b);
}

struct sample {
    const char *in, *want;
    int end;
};

static const struct sample samples[] = {
    {"+OK\r\n", "+OK ", 0},
    {"-No such key\r\n:42\r\n:-7\r\n", "-No such key :42 :-7 ", 0},
    {"$5\r\nhello\r\n$0\r\n\r\n$-1\r\n", "$hello $ nil ", 0},
    {"*2\r\n$1\r\na\r\n*2\r\n:1\r\n$-1\r\n+x\r\n", "[$a [:1 nil ] ] +x ", 0},
    {"*0\r\n*-1\r\n", "[] nil ", 0},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "[[[[[[[:1 ] ] ] ] ] ] ] ", 0},
    {"$5\r\nhel", "", 0},
    {"$5", "", 0},
    {"+OK\r\nPONG\r\n", "+OK ", -EPROTO},
    {"$-2\r\n", "", -EPROTO},
    {"$x\r\n", "", -EPROTO},
    {"*x\r\n", "", -EPROTO},
    {"*-2\r\n", "", -EPROTO},
    {":x\r\n", "", -EPROTO},
    {":99999999999999999999\r\n", "", -EPROTO},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "", -EPROTO}, /* nested
                                                                                            too deep
                                                                                          */
    {"*99999999999999999999\r\n", "", -EPROTO},
    {"*2147483648\r\n", "", -EPROTO},
    /* more elements than bytes allow: refused before they are allocated */
    {"*2147483647\r\n", "", -EMSGSIZE},
    {"*334\r\n", "", -EMSGSIZE},
    {"*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*330\r\n", "", -EMSGSIZE},
    {"*4\r\n*90\r\n", "", 0},
    {"*330\r\n*10\r\n", "", -EMSGSIZE},
    {"$1001\r\n", "", -EMSGSIZE},
    {"$9223372036854775807\r\n", "", -EMSGSIZE},
    {"*2\r\n$5\r\nhello\r\n$990\r\n", "", -EMSGSIZE},
};

START_TEST(replies_and_refusals_at_any_fragmentation)
{
    const struct sample *s = &samples[_i];
    struct slice in = slice_str(s->in);

    for (size_t step = 1; step <= in.len; step++) {
        int end;
        CLEANUP(base_free) char *got = replies_of(in, step, MAX_REPLY, &end);
        if (strcmp(got, s->want) != 0 || end != s->end)
            ck_abort_msg("%s in steps of %zu: got %s %d, want %s %d", s->in, step, got, end,
                         s->want, s->end);
    }
}
END_TEST

START_TEST(the_limit_is_for_each_reply_not_for_all)
{
    CLEANUP(buf_fini) struct buf in = BUF_INIT;
    int end;

    for (int i = 0; i < 50; i++)
        buf_printf(&in, "$900\r\n%0900d\r\n", i);
    CLEANUP(base_free) char *got = replies_of(buf_slice(&in), 977, MAX_REPLY, &end);
    ck_assert_int_eq(end, 0);
    ck_assert_uint_eq(strlen(got), 50 * 902);
}
END_TEST

START_TEST(a_reply_of_the_limit_is_taken_and_longer_ones_are_not)
{
    for (int len = 900; len < 1100; len++) {
        CLEANUP(buf_fini) struct buf in = BUF_INIT;
        int end;
        buf_printf(&in, "$%d\r\n%0*d\r\n", len, len, 1);
        for (size_t step = 1; step < 3000; step = step * 7) {
            CLEANUP(base_free) char *got = replies_of(buf_slice(&in), step, MAX_REPLY, &end);
            if (in.len <= MAX_REPLY)
                ck_assert_int_eq(end, 0);
            if (len > MAX_REPLY)
                ck_assert_int_eq(end, -EMSGSIZE);
            ck_assert_int_eq(strlen(got) > 0, end == 0);
        }
    }
}
END_TEST

START_TEST(a_line_without_end_is_refused)
{
    CLEANUP(buf_fini) struct buf in = BUF_INIT;
    int end;

    buf_put_u8(&in, '+');
    buf_put_zero(&in, ZREPLY_MAX_LINE + 4096);
    memset(buf_data(&in) + 1, 'x', in.len - 1);
    CLEANUP(base_free) char *got = replies_of(buf_slice(&in), 4096, 64 << 20, &end);
    ck_assert_int_eq(end, -EMSGSIZE);
    ck_assert_str_eq(got, "");
}
END_TEST

START_TEST(many_small_elements_within_the_limit_are_fine)
{
    CLEANUP(buf_fini) struct buf in = BUF_INIT;
    int end;

    buf_put_str(&in, "*10000\r\n");
    for (int i = 0; i < 10000; i++)
        buf_put_str(&in, ":1\r\n");
    CLEANUP(base_free) char *got = replies_of(buf_slice(&in), 1000, in.len, &end);
    ck_assert_int_eq(end, 0);
    ck_assert_uint_eq(strlen(got), 3 + 30000);
    CLEANUP(base_free) char *none = replies_of(buf_slice(&in), 1000, 29999, &end);
    ck_assert_int_eq(end, -EMSGSIZE);
}
END_TEST

START_TEST(want_tells_the_missing_bytes_of_a_bulk)
{
    struct zreply z;
    redisReply *r;

    ck_assert_int_eq(zreply_init(&z, 1 << 20, KEEP), 0);
    ck_assert_uint_eq(zreply_want(&z), 0);
    memcpy(zreply_reserve(&z, 11), "$1000\r\nabcd", 11);
    zreply_commit(&z, 11);
    ck_assert_int_eq(zreply_next(&z, &r), 0);
    ck_assert_uint_eq(zreply_want(&z), 998);
    ck_assert_uint_gt(zreply_left(&z), 0);
    zreply_fini(&z);
    zreply_fini(&z);
}
END_TEST

START_TEST(a_large_buffer_is_given_back)
{
    enum { BIG = 1 << 20 };
    struct zreply z;
    redisReply *r;

    ck_assert_int_eq(zreply_init(&z, 2 * BIG, KEEP), 0);
    uint8_t *p = zreply_reserve(&z, BIG + 32);
    int head = snprintf((char *)p, 16, "$%d\r\n", BIG);
    memset(p + head, 'x', BIG);
    memcpy(p + head + BIG, "\r\n", 2);
    zreply_commit(&z, (size_t)head + BIG + 2);
    ck_assert_int_eq(zreply_next(&z, &r), 1);
    ck_assert_uint_eq(r->len, BIG);
    freeReplyObject(r);
    ck_assert_uint_eq(zreply_left(&z), 0);
    ck_assert_uint_eq(z.r->len, 0);
    p = zreply_reserve(&z, 5);
    memcpy(p, "+OK\r\n", 5);
    zreply_commit(&z, 5);
    ck_assert_int_eq(zreply_next(&z, &r), 1);
    freeReplyObject(r);
    zreply_fini(&z);
}
END_TEST

static TCase *zreply(void)
{
    TCase *t = tcase_create("zreply");
    tcase_add_loop_test(t, replies_and_refusals_at_any_fragmentation, 0, (int)ARRAY_LEN(samples));
    tcase_add_test(t, the_limit_is_for_each_reply_not_for_all);
    tcase_add_test(t, a_reply_of_the_limit_is_taken_and_longer_ones_are_not);
    tcase_add_test(t, a_line_without_end_is_refused);
    tcase_add_test(t, many_small_elements_within_the_limit_are_fine);
    tcase_add_test(t, want_tells_the_missing_bytes_of_a_bulk);
    tcase_add_test(t, a_large_buffer_is_given_back);
    return t;
}

UNIT_MAIN("zreply", zreply)
