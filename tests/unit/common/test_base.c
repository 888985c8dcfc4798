#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/base.h"

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

START_TEST(cleanup_frees_and_keeps_errno)
{
    errno = ENOTTY;
    {
        CLEANUP(base_free)
        char *s = xstrdup("text"); /* the leak check sees it when it is not freed */
        ck_assert_str_eq(s, "text");
        CLEANUP(base_free) char *none = NULL;
        errno = ENOTTY;
    }
    ck_assert_int_eq(errno, ENOTTY);
}
END_TEST

START_TEST(cleanup_closes_and_keeps_errno)
{
    int copy;

    {
        CLEANUP(base_close) int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        CLEANUP(base_close) int none = -1;
        ck_assert_int_ge(fd, 0);
        copy = fd;
        (void)none;
        errno = ENOTTY;
    }
    ck_assert_int_eq(errno, ENOTTY);
    ck_assert_int_eq(fcntl(copy, F_GETFD), -1);
}
END_TEST

START_TEST(xcalloc_is_zeroed_and_never_null)
{
    static const char zero[64];
    CLEANUP(base_free) char *p = xcalloc(8, 8);
    CLEANUP(base_free) char *none = xcalloc(0, 0);

    ck_assert_int_eq(memcmp(p, zero, sizeof zero), 0);
    ck_assert_ptr_nonnull(none);
}
END_TEST

START_TEST(xcalloc_aborts_when_memory_is_out)
{
    volatile size_t huge = SIZE_MAX / 2;
    base_panic_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    free(xcalloc(huge, 4));
}
END_TEST

START_TEST(xasprintf_formats)
{
    CLEANUP(base_free) char *s = xasprintf("%d-%s", 7, "x");
    ck_assert_str_eq(s, "7-x");
}
END_TEST

START_TEST(panic_says_what_and_aborts)
{
    base_panic_fd(open("/dev/null", O_WRONLY | O_CLOEXEC));
    base_panic("test");
}
END_TEST

START_TEST(clocks_advance_and_agree)
{
    uint64_t ms = base_now_ms(), us = base_now_us(), s = base_wall_s(), ns = base_wall_ns();

    ck_assert_uint_ge(us / 1000, ms);
    ck_assert_uint_lt(us / 1000 - ms, 5000);
    ck_assert_uint_ge(ns / 1000000000, s);
    ck_assert_uint_gt(s, 1700000000);
    while (base_now_us() == us) /* a monotonic clock moves on by itself */
        ;
    ck_assert_uint_gt(base_now_us(), us);
}
END_TEST

START_TEST(container_of_finds_the_outer_struct)
{
    struct outer {
        int a;
        char b;
        long c;
    } o = {0};
    ck_assert_ptr_eq(container_of(&o.c, struct outer, c), &o);
}
END_TEST

START_TEST(overflow_helpers_tell)
{
    uint64_t r;
    ck_assert(add_ovf(UINT64_MAX, (uint64_t)1, &r));
    ck_assert(!add_ovf(UINT64_MAX - 1, (uint64_t)1, &r));
    ck_assert_uint_eq(r, UINT64_MAX);
    ck_assert(mul_ovf(UINT64_MAX, (uint64_t)2, &r));
}
END_TEST

START_TEST(a_list_that_grows_keeps_what_it_has)
{
    size_t cap = 0;
    uint32_t *p = NULL;

    for (uint32_t i = 0; i < 1000; i++) {
        p = xgrow(p, i, &cap, sizeof *p);
        ck_assert_uint_gt(cap, i);
        p[i] = i;
    }
    for (uint32_t i = 0; i < 1000; i++)
        ck_assert_uint_eq(p[i], i);
    free(p);
}
END_TEST

static TCase *base(void)
{
    TCase *t = tcase_create("base");
    tcase_add_test(t, a_list_that_grows_keeps_what_it_has);
    tcase_add_test(t, cleanup_frees_and_keeps_errno);
    tcase_add_test(t, cleanup_closes_and_keeps_errno);
    tcase_add_test(t, xcalloc_is_zeroed_and_never_null);
    tcase_add_test_raise_signal(t, xcalloc_aborts_when_memory_is_out, 6);
    tcase_add_test(t, xasprintf_formats);
    tcase_add_test_raise_signal(t, panic_says_what_and_aborts, 6);
    tcase_add_test(t, clocks_advance_and_agree);
    tcase_add_test(t, container_of_finds_the_outer_struct);
    tcase_add_test(t, overflow_helpers_tell);
    return t;
}

UNIT_MAIN("base", base)
