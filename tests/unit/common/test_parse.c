#include "tests/unit/unit.h"

#include <errno.h>

#include "common/parse.h"

struct u64_case {
    const char *text;
    uint64_t min, max;
    int r;
    uint64_t v;
};

static const struct u64_case u64_cases[] = {
    {"0", 0, UINT64_MAX, 0, 0},
    {"42", 0, 100, 0, 42},
    {"007", 0, 100, 0, 7},
    {"00000000000000000000000000000000000001", 0, 100, 0, 1},
    {"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
    {"18446744073709551616", 0, UINT64_MAX, -ERANGE, 0},
    {"99999999999999999999999999", 0, UINT64_MAX, -ERANGE, 0},
    {"99999999999999999999999999x", 0, UINT64_MAX, -EINVAL, 0},
    {"100", 0, 100, 0, 100},
    {"101", 0, 100, -ERANGE, 0},
    {"9", 10, 100, -ERANGE, 0},
    {"10", 10, 100, 0, 10},
    {"", 0, 100, -EINVAL, 0},
    {"-1", 0, 100, -EINVAL, 0},
    {"+1", 0, 100, -EINVAL, 0},
    {" 1", 0, 100, -EINVAL, 0},
    {"1 ", 0, 100, -EINVAL, 0},
    {"1.0", 0, 100, -EINVAL, 0},
    {"0x10", 0, 100, -EINVAL, 0},
    {"1e3", 0, 100, -EINVAL, 0},
};

START_TEST(u64_takes_whole_numbers_in_range_only)
{
    const struct u64_case *c = &u64_cases[_i];
    uint64_t v = 777;

    ck_assert_int_eq(parse_u64(c->text, c->min, c->max, &v), c->r);
    ck_assert_uint_eq(v, c->r == 0 ? c->v : 777);
}
END_TEST

START_TEST(slice_is_bounded_by_its_length)
{
    uint64_t v;

    ck_assert_int_eq(parse_u64_slice(slice_of("123456", 3), 0, 1000, &v), 0);
    ck_assert_uint_eq(v, 123);
    ck_assert_int_eq(parse_u64_slice(slice_of(NULL, 0), 0, 1000, &v), -EINVAL);
    ck_assert_int_eq(parse_u64_slice(slice_of("1\0", 2), 0, 1000, &v), -EINVAL);
}
END_TEST

struct i64_case {
    const char *text;
    int r;
    int64_t v;
};

static const struct i64_case i64_cases[] = {
    {"0", 0, 0},
    {"-0", 0, 0},
    {"-1", 0, -1},
    {"9223372036854775807", 0, INT64_MAX},
    {"9223372036854775808", -ERANGE, 0},
    {"-9223372036854775808", 0, INT64_MIN},
    {"-9223372036854775809", -ERANGE, 0},
    {"-", -EINVAL, 0},
    {"--1", -EINVAL, 0},
    {"", -EINVAL, 0},
    {"- 1", -EINVAL, 0},
};

START_TEST(i64_takes_a_sign)
{
    const struct i64_case *c = &i64_cases[_i];
    int64_t v = 777;

    ck_assert_int_eq(parse_i64_slice(slice_str(c->text), INT64_MIN, INT64_MAX, &v), c->r);
    ck_assert_int_eq(v, c->r == 0 ? c->v : 777);
}
END_TEST

START_TEST(i64_range)
{
    int64_t v;

    ck_assert_int_eq(parse_i64_slice(slice_of(NULL, 0), -5, 5, &v), -EINVAL);
    ck_assert_int_eq(parse_i64_slice(slice_str("-6"), -5, 5, &v), -ERANGE);
    ck_assert_int_eq(parse_i64_slice(slice_str("6"), -5, 5, &v), -ERANGE);
    ck_assert_int_eq(parse_i64_slice(slice_str("-5"), -5, 5, &v), 0);
    ck_assert_int_eq(v, -5);
}
END_TEST

static const struct u64_case size_cases[] = {
    {"4096", 0, UINT64_MAX, 0, 4096},
    {"0", 0, UINT64_MAX, 0, 0},
    {"64M", 0, UINT64_MAX, 0, 64 * 1048576},
    {"64MB", 0, UINT64_MAX, 0, 64 * 1048576},
    {"64MiB", 0, UINT64_MAX, 0, 64 * 1048576},
    {"1k", 0, UINT64_MAX, 0, 1024},
    {"1K", 0, UINT64_MAX, 0, 1024},
    {"1.5G", 0, UINT64_MAX, 0, 1610612736},
    {"0.5T", 0, UINT64_MAX, 0, 549755813888},
    {"0.1k", 0, UINT64_MAX, 0, 102},
    {"0.9999999999999999k", 0, UINT64_MAX, 0, 1023},
    {"2T", 0, UINT64_MAX, 0, 2199023255552},
    {"12B", 0, UINT64_MAX, 0, 12},
    {"16777215T", 0, UINT64_MAX, 0, 16777215ull << 40},
    {"16777216T", 0, UINT64_MAX, -ERANGE, 0},
    {"18446744073709551615", 0, UINT64_MAX, 0, UINT64_MAX},
    {"18446744073709551616", 0, UINT64_MAX, -ERANGE, 0},
    {"5M", 0, 1048576, -ERANGE, 0},
    {"1", 2, 5, -ERANGE, 0},
    {"", 0, UINT64_MAX, -EINVAL, 0},
    {"M", 0, UINT64_MAX, -EINVAL, 0},
    {".5M", 0, UINT64_MAX, -EINVAL, 0},
    {"5.M", 0, UINT64_MAX, -EINVAL, 0},
    {"5 M", 0, UINT64_MAX, -EINVAL, 0},
    {"5m", 0, UINT64_MAX, -EINVAL, 0},
    {"5MM", 0, UINT64_MAX, -EINVAL, 0},
    {"5iB", 0, UINT64_MAX, -EINVAL, 0},
    {"5Mi", 0, UINT64_MAX, -EINVAL, 0},
    {"5MBB", 0, UINT64_MAX, -EINVAL, 0},
    {"5MiBB", 0, UINT64_MAX, -EINVAL, 0},
    {"5P", 0, UINT64_MAX, -EINVAL, 0},
    {"-5M", 0, UINT64_MAX, -EINVAL, 0},
    {"1.2.3M", 0, UINT64_MAX, -EINVAL, 0},
};

START_TEST(size_takes_units_and_fractions)
{
    const struct u64_case *c = &size_cases[_i];
    uint64_t v = 777;

    ck_assert_msg(parse_size(c->text, c->min, c->max, &v) == c->r, "%s", c->text);
    ck_assert_uint_eq(v, c->r == 0 ? c->v : 777);
}
END_TEST

START_TEST(hex_takes_exactly_n_bytes)
{
    uint8_t out[2] = {9, 9};

    ck_assert_int_eq(parse_hex(slice_str("0aFf"), out, 2), 0);
    ck_assert_uint_eq(out[0], 0x0a);
    ck_assert_uint_eq(out[1], 0xff);
    ck_assert_int_eq(parse_hex(slice_str("0aF"), out, 2), -EINVAL);
    ck_assert_int_eq(parse_hex(slice_str("0aFf0"), out, 2), -EINVAL);
    ck_assert_int_eq(parse_hex(slice_str("0aFf00"), out, 2), -EINVAL);
    ck_assert_int_eq(parse_hex(slice_str("11zz"), out, 2), -EINVAL);
    ck_assert_uint_eq(out[0], 0x0a); /* untouched by what failed */
    ck_assert_int_eq(parse_hex(slice_str(""), out, 0), 0);
}
END_TEST

START_TEST(hex_goes_round)
{
    uint8_t all[256], back[256];
    char text[513];

    for (int i = 0; i < 256; i++)
        all[i] = (uint8_t)i;
    parse_to_hex(all, sizeof all, text);
    ck_assert_uint_eq(strlen(text), 512);
    ck_assert_int_eq(memcmp(text, "000102", 6), 0);
    ck_assert_int_eq(parse_hex(slice_str(text), back, sizeof back), 0);
    ck_assert_int_eq(memcmp(all, back, sizeof all), 0);
    parse_to_hex(NULL, 0, text);
    ck_assert_str_eq(text, "");
}
END_TEST

static TCase *parse(void)
{
    TCase *t = tcase_create("parse");
    tcase_add_loop_test(t, u64_takes_whole_numbers_in_range_only, 0, (int)ARRAY_LEN(u64_cases));
    tcase_add_test(t, slice_is_bounded_by_its_length);
    tcase_add_loop_test(t, i64_takes_a_sign, 0, (int)ARRAY_LEN(i64_cases));
    tcase_add_test(t, i64_range);
    tcase_add_loop_test(t, size_takes_units_and_fractions, 0, (int)ARRAY_LEN(size_cases));
    tcase_add_test(t, hex_takes_exactly_n_bytes);
    tcase_add_test(t, hex_goes_round);
    return t;
}

UNIT_MAIN("parse", parse)
