/* The value cache gives what was put under exactly that name, or nothing. */
#include "tests/unit/unit.h"
#include "zdb/file/values.h"

static struct slice value_of(uint32_t n, uint8_t *room)
{
    size_t len = n * 37 % 1000;

    for (size_t i = 0; i < len; i++)
        room[i] = (uint8_t)(n * 7 + i);
    return slice_of(room, len);
}

START_TEST(gives_the_same_bytes_while_they_are_there)
{
    static uint8_t room[VCACHE_MAX_VALUE];
    struct vcache *c = vcache_new(96 * KIB);
    struct slice got;
    size_t found_young = 0, found_old = 0;

    for (uint32_t n = 0; n < 5000; n++) {
        vcache_put(c, n % 3, n % 5, n, value_of(n, room));
        ck_assert(vcache_get(c, n % 3, n % 5, n, &got));
        ck_assert(slice_eq(got, value_of(n, room)));
        ck_assert(!vcache_get(c, n % 3 + 1, n % 5, n, &got) || n % 3 + 1 == n % 3);
        ck_assert(!vcache_get(c, n % 3, n % 5 + 1, n, &got));
        for (uint32_t back = 1; back < 400 && back <= n; back += 13) {
            uint32_t m = n - back;
            if (!vcache_get(c, m % 3, m % 5, m, &got))
                continue;
            ck_assert(slice_eq(got, value_of(m, room)));
            if (back < 100)
                found_young++;
            else if (back >= 250)
                found_old++;
        }
    }
    ck_assert_uint_gt(found_young, 30000);
    ck_assert_uint_eq(found_old, 0); /* 250 of them are more than the ring holds */
    vcache_free(c);
}
END_TEST

START_TEST(owners_are_never_given_twice)
{
    struct vcache *c = vcache_new(96 * KIB);
    uint32_t a = vcache_owner(c), b = vcache_owner(c);
    struct slice got;

    ck_assert_uint_ne(a, b);
    vcache_put(c, a, 0, 28, slice_str("x"));
    ck_assert(!vcache_get(c, b, 0, 28, &got));
    vcache_free(c);
}
END_TEST

START_TEST(keeps_empty_and_largest_values_and_no_larger_ones)
{
    static uint8_t big[VCACHE_MAX_VALUE + 1];
    struct vcache *c = vcache_new(96 * KIB);
    struct slice got;

    vcache_put(c, 1, 0, 1, slice_of(NULL, 0));
    vcache_put(c, 1, 0, 2, slice_of(big, VCACHE_MAX_VALUE));
    vcache_put(c, 1, 0, 3, slice_of(big, VCACHE_MAX_VALUE + 1));
    ck_assert(vcache_get(c, 1, 0, 1, &got));
    ck_assert_uint_eq(got.len, 0);
    ck_assert(vcache_get(c, 1, 0, 2, &got));
    ck_assert_uint_eq(got.len, VCACHE_MAX_VALUE);
    ck_assert(!vcache_get(c, 1, 0, 3, &got));
    vcache_free(c);
}
END_TEST

START_TEST(works_without_memory)
{
    struct vcache *c = vcache_new(0);
    struct slice got;

    vcache_put(c, 1, 0, 1, slice_str("x"));
    ck_assert(!vcache_get(c, 1, 0, 1, &got));
    vcache_free(c);
    vcache_free(NULL);
}
END_TEST

static TCase *vcache_cases(void)
{
    TCase *t = tcase_create("vcache");
    tcase_add_test(t, gives_the_same_bytes_while_they_are_there);
    tcase_add_test(t, owners_are_never_given_twice);
    tcase_add_test(t, keeps_empty_and_largest_values_and_no_larger_ones);
    tcase_add_test(t, works_without_memory);
    return t;
}

UNIT_MAIN("zdb vcache", vcache_cases)
