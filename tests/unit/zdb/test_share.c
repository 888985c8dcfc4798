/* The shares of descriptors: whatever the limit, their sum stays below it, and each kind has some.
 */
#include "tests/unit/unit.h"
#include "zdb/file/descriptors.h"
#include "zdb/share.h"

#define ANYHOW 24 /* what the process needs besides */

START_TEST(the_sum_is_never_above_the_limit)
{
    for (uint64_t all = 40; all < 5000; all++) {
        struct share s = share_of(all, 10000);
        ck_assert_uint_ge(s.files, FILES_MIN);
        ck_assert_uint_ge(s.clients, 2);
        ck_assert_uint_ge(s.hooks, 1);
        ck_assert_uint_le(ANYHOW + s.files + s.files / 4 + 4 * s.hooks + s.clients, all);
    }
}
END_TEST

START_TEST(with_a_thousand_most_go_to_clients)
{
    struct share s = share_of(1024, 10000);

    ck_assert_uint_ge(s.clients, 500);
    ck_assert_uint_ge(s.files, 200);
}
END_TEST

START_TEST(without_a_limit_all_have_what_they_want)
{
    struct share s = share_of(UINT64_MAX, 10000);

    ck_assert_uint_eq(s.clients, 10000);
    ck_assert_uint_eq(s.files, 512);
    ck_assert_uint_eq(s.hooks, 32);
}
END_TEST

static TCase *share_cases(void)
{
    TCase *t = tcase_create("share");
    tcase_add_test(t, the_sum_is_never_above_the_limit);
    tcase_add_test(t, with_a_thousand_most_go_to_clients);
    tcase_add_test(t, without_a_limit_all_have_what_they_want);
    return t;
}

UNIT_MAIN("zdb share", share_cases)
