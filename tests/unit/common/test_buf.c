#include "tests/unit/unit.h"

#include "common/buf.h"

/* Out of memory is what the tests want to see, not the end of the process; only a sanitizer calls
 * this. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
    return "allocator_may_return_null=1";
}

static void is(const struct buf *b, const char *text)
{
    ck_assert_uint_eq(b->len, strlen(text));
    ck_assert(slice_eq_str(buf_slice(b), text));
}

START_TEST(empty_buffer_is_usable)
{
    struct buf b = BUF_INIT;

    ck_assert_ptr_null(buf_data(&b));
    ck_assert_uint_eq(buf_slice(&b).len, 0);
    buf_consume(&b, 0);
    buf_truncate(&b, 0);
    buf_put(&b, NULL, 0);
    is(&b, "");
    buf_fini(&b);
    buf_fini(&b);
}
END_TEST

START_TEST(appends_keep_order)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put(&b, "ab", 2);
    buf_put_str(&b, "cd");
    buf_put_slice(&b, slice_str("ef"));
    buf_put_u8(&b, 'g');
    buf_put_zero(&b, 1);
    buf_put_le16(&b, 0x4241);
    buf_put_le32(&b, 0x46454443);
    buf_put_le64(&b, 0x4e4d4c4b4a494847ull);
    buf_printf(&b, "%d|%s", -5, "end");
    const char want[] = "abcdefg\0ABCDEFGHIJKLMN-5|end";
    ck_assert_uint_eq(b.len, sizeof want - 1);
    ck_assert_int_eq(memcmp(buf_data(&b), want, b.len), 0);
}
END_TEST

START_TEST(printf_longer_than_the_room_is_whole)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "x");
    buf_printf(&b, "%0300d", 7);
    ck_assert_uint_eq(b.len, 301);
    ck_assert_uint_eq(buf_data(&b)[300], '7');
    ck_assert_uint_eq(buf_data(&b)[299], '0');
}
END_TEST

START_TEST(printf_that_fits_exactly_is_whole)
{
    for (int n = 1; n < 200; n++) { /* meets every amount of room */
        CLEANUP(buf_fini) struct buf b = BUF_INIT;
        buf_printf(&b, "%0*d", n, 1);
        buf_printf(&b, "%s", "tail");
        ck_assert_uint_eq(b.len, (size_t)n + 4);
        ck_assert_int_eq(memcmp(buf_data(&b) + n - 1, "1tail", 5), 0);
    }
}
END_TEST

START_TEST(consume_drops_the_front)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "hello world");
    buf_consume(&b, 6);
    is(&b, "world");
    buf_put_str(&b, "!");
    is(&b, "world!");
    buf_consume(&b, 6);
    is(&b, "");
    ck_assert_uint_eq(b.off, 0);
}
END_TEST

START_TEST(truncate_drops_the_back)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "hello world");
    buf_consume(&b, 1);
    buf_truncate(&b, 4);
    is(&b, "ello");
}
END_TEST

START_TEST(queue_use_does_not_grow_without_bound)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    uint8_t next_in = 0, next_out = 0;

    for (int i = 0; i < 100000; i++) {
        size_t n = (size_t)(i * 7 % 97);
        for (size_t k = 0; k < n; k++)
            buf_put_u8(&b, next_in++);
        size_t out = b.len > 300 ? b.len - (size_t)(i % 200) : b.len / 2;
        bool same = true;
        for (size_t k = 0; k < out; k++)
            same = same && buf_data(&b)[k] == (uint8_t)(next_out + k);
        ck_assert(same);
        next_out = (uint8_t)(next_out + out);
        buf_consume(&b, out);
    }
    ck_assert_uint_le(b.cap, 4096);
}
END_TEST

START_TEST(reserve_and_commit)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    uint8_t *p = buf_reserve(&b, 1000);
    ck_assert_ptr_nonnull(p);
    ck_assert_uint_ge(buf_room(&b), 1000);
    ck_assert_uint_eq(b.len, 0);
    memset(p, 'x', 1000);
    buf_commit(&b, 3);
    is(&b, "xxx");
}
END_TEST

START_TEST(reserve_moves_content_unharmed)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "0123456789abcdef0123456789abcdef0123456789abcdef");
    buf_consume(&b, 40);
    ck_assert_ptr_nonnull(buf_reserve(&b, 50));
    is(&b, "89abcdef");
    ck_assert_ptr_nonnull(buf_reserve(&b, 5000));
    is(&b, "89abcdef");
}
END_TEST

START_TEST(reserve_without_memory_leaves_the_buffer)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "text");
    ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX));
    ck_assert_ptr_null(buf_reserve(&b, SIZE_MAX - 4));
    is(&b, "text");
}
END_TEST

START_TEST(shrink_only_when_empty_and_large)
{
    struct buf b = BUF_INIT;

    buf_put_zero(&b, 10000);
    buf_shrink(&b, 100);
    ck_assert_uint_eq(b.len, 10000);
    buf_clear(&b);
    ck_assert_uint_ge(b.cap, 10000);
    buf_shrink(&b, 1 << 20);
    ck_assert_uint_ge(b.cap, 10000);
    buf_shrink(&b, 100);
    ck_assert_uint_eq(b.cap, 0);
    ck_assert_ptr_null(b.p);
}
END_TEST

START_TEST(take_str_gives_the_text)
{
    struct buf b = BUF_INIT;

    buf_put_str(&b, "xxtext");
    buf_consume(&b, 2);
    CLEANUP(base_free) char *s = buf_take_str(&b);
    ck_assert_str_eq(s, "text");
    ck_assert_uint_eq(b.cap, 0);
    CLEANUP(base_free) char *none = buf_take_str(&b);
    ck_assert_str_eq(none, "");
}
END_TEST

static TCase *buf(void)
{
    TCase *t = tcase_create("buf");
    tcase_add_test(t, empty_buffer_is_usable);
    tcase_add_test(t, appends_keep_order);
    tcase_add_test(t, printf_longer_than_the_room_is_whole);
    tcase_add_test(t, printf_that_fits_exactly_is_whole);
    tcase_add_test(t, consume_drops_the_front);
    tcase_add_test(t, truncate_drops_the_back);
    tcase_add_test(t, queue_use_does_not_grow_without_bound);
    tcase_add_test(t, reserve_and_commit);
    tcase_add_test(t, reserve_moves_content_unharmed);
    tcase_add_test(t, reserve_without_memory_leaves_the_buffer);
    tcase_add_test(t, shrink_only_when_empty_and_large);
    tcase_add_test(t, take_str_gives_the_text);
    return t;
}

UNIT_MAIN("buf", buf)
