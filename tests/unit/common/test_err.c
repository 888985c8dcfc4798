#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "common/err.h"

START_TEST(set_fills_and_returns_the_code)
{
    struct err e;

    ck_assert_int_eq(err_set(&e, ENOENT, "no %s", "file"), -ENOENT);
    ck_assert_int_eq(e.code, ENOENT);
    ck_assert_str_eq(e.text, "no file");
}
END_TEST

START_TEST(sys_adds_the_reason)
{
    struct err e;

    ck_assert_int_eq(err_sys(&e, ENOENT, "open %s", "x"), -ENOENT);
    ck_assert_str_eq(e.text, "open x: No such file or directory");
}
END_TEST

START_TEST(null_is_allowed_everywhere_and_stays_a_failure)
{
    ck_assert_int_eq(err_set(NULL, ENOENT, "x"), -ENOENT);
    ck_assert_int_eq(err_sys(NULL, ENOENT, "x"), -ENOENT);
    ck_assert_int_lt(err_prefix(NULL, "x"), 0);
    err_clear(NULL);
}
END_TEST

START_TEST(prefix_goes_in_front)
{
    struct err e;

    err_set(&e, EIO, "inner");
    ck_assert_int_eq(err_prefix(&e, "outer %d", 1), -EIO);
    ck_assert_str_eq(e.text, "outer 1: inner");
    ck_assert_int_eq(e.code, EIO);
}
END_TEST

START_TEST(arguments_may_point_into_the_error)
{
    struct err e;

    err_set(&e, EIO, "first");
    err_set(&e, EACCES, "again: %s", e.text);
    ck_assert_str_eq(e.text, "again: first");
    err_prefix(&e, "and %s", e.text);
    ck_assert_str_eq(e.text, "and again: first: again: first");
}
END_TEST

START_TEST(long_text_is_cut_and_terminated)
{
    struct err e;
    char big[3000];

    memset(big, 'x', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    err_sys(&e, EIO, "%s", big);
    ck_assert_uint_eq(strlen(e.text), sizeof e.text - 1);
    err_prefix(&e, "%s", big);
    ck_assert_uint_eq(strlen(e.text), sizeof e.text - 1);
}
END_TEST

START_TEST(text_is_one_line)
{
    struct err e;

    err_set(&e, EIO, "a\nb\r\nc");
    ck_assert_str_eq(e.text, "a b  c");
    err_set(&e, EIO, "x\x1b[31m\ty\x7fz\xc3\xa4");
    ck_assert_str_eq(e.text, "x [31m y z\xc3\xa4");
}
END_TEST

START_TEST(clear_empties)
{
    struct err e;

    err_set(&e, EIO, "x");
    err_clear(&e);
    ck_assert_int_eq(e.code, 0);
    ck_assert_str_eq(e.text, "");
}
END_TEST

static TCase *err(void)
{
    TCase *t = tcase_create("err");
    tcase_add_test(t, set_fills_and_returns_the_code);
    tcase_add_test(t, sys_adds_the_reason);
    tcase_add_test(t, null_is_allowed_everywhere_and_stays_a_failure);
    tcase_add_test(t, prefix_goes_in_front);
    tcase_add_test(t, arguments_may_point_into_the_error);
    tcase_add_test(t, long_text_is_cut_and_terminated);
    tcase_add_test(t, text_is_one_line);
    tcase_add_test(t, clear_empties);
    return t;
}

UNIT_MAIN("err", err)
