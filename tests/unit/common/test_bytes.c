#include "tests/unit/unit.h"

#include "common/bytes.h"

START_TEST(little_endian_goes_round)
{
    uint8_t p[8];

    le16_put(p, 0x1234);
    ck_assert_uint_eq(p[0], 0x34);
    ck_assert_uint_eq(le16_get(p), 0x1234);
    le32_put(p, 0x89abcdef);
    ck_assert_uint_eq(p[0], 0xef);
    ck_assert_uint_eq(p[3], 0x89);
    ck_assert_uint_eq(le32_get(p), 0x89abcdef);
    le64_put(p, 0x0123456789abcdefull);
    ck_assert_uint_eq(p[0], 0xef);
    ck_assert_uint_eq(p[7], 0x01);
    ck_assert_uint_eq(le64_get(p), 0x0123456789abcdefull);
}
END_TEST

START_TEST(slices_compare_by_content)
{
    ck_assert(slice_eq(slice_of("abc", 3), slice_str("abc")));
    ck_assert(!slice_eq(slice_of("abc", 2), slice_str("abc")));
    ck_assert(!slice_eq_str(slice_of("abd", 3), "abc"));
    ck_assert(slice_eq(slice_of(NULL, 0), slice_of("x", 0)));
    ck_assert(slice_eq_str(slice_of(NULL, 0), ""));
}
END_TEST

START_TEST(cursor_reads_in_order)
{
    const uint8_t p[] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17};
    struct rd r = rd_of(slice_of(p, sizeof p));

    ck_assert_uint_eq(rd_u8(&r), 1);
    ck_assert_uint_eq(rd_le16(&r), 0x0302);
    ck_assert_uint_eq(rd_le32(&r), 0x07060504);
    ck_assert_uint_eq(rd_le64(&r), 0x0f0e0d0c0b0a0908ull);
    ck_assert_uint_eq(rd_left(&r), 2);
    struct slice s = rd_slice(&r, 2);
    ck_assert_uint_eq(s.len, 2);
    ck_assert_uint_eq(s.p[1], 17);
    ck_assert(!r.bad);
    ck_assert_uint_eq(rd_left(&r), 0);
}
END_TEST

START_TEST(cursor_failure_is_sticky)
{
    const uint8_t p[] = {1, 2, 3};
    struct rd r = rd_of(slice_of(p, sizeof p));

    ck_assert_uint_eq(rd_le32(&r), 0);
    ck_assert(r.bad);
    ck_assert_uint_eq(rd_u8(&r), 0); /* although a byte would be there */
    ck_assert_uint_eq(rd_left(&r), 0);
    ck_assert_ptr_null(rd_take(&r, 0));
    struct slice s = rd_slice(&r, 1);
    ck_assert_uint_eq(s.len, 0);
    ck_assert_ptr_null(s.p);
}
END_TEST

START_TEST(cursor_survives_huge_lengths)
{
    const uint8_t p[] = {1};
    struct rd r = rd_of(slice_of(p, sizeof p));

    ck_assert_ptr_null(rd_take(&r, SIZE_MAX));
    ck_assert(r.bad);
}
END_TEST

START_TEST(cursor_over_nothing)
{
    struct rd r = rd_of(slice_of(NULL, 0));

    ck_assert_ptr_nonnull(rd_take(&r, 0));
    ck_assert(!r.bad);
    ck_assert_uint_eq(rd_u8(&r), 0);
    ck_assert(r.bad);
}
END_TEST

static TCase *bytes(void)
{
    TCase *t = tcase_create("bytes");
    tcase_add_test(t, little_endian_goes_round);
    tcase_add_test(t, slices_compare_by_content);
    tcase_add_test(t, cursor_reads_in_order);
    tcase_add_test(t, cursor_failure_is_sticky);
    tcase_add_test(t, cursor_survives_huge_lengths);
    tcase_add_test(t, cursor_over_nothing);
    return t;
}

UNIT_MAIN("bytes", bytes)
