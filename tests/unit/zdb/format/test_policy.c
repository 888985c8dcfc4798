/* The policy of a namespace: what is written is read, and nothing else is believed. */
#include "tests/unit/unit.h"
#include "zdb/format/policy.h"
#include <errno.h>

START_TEST(what_is_written_is_read)
{
    static const struct policy all[] = {{0}, {true, 1}, {true, 50}, {true, 99}};
    uint8_t bytes[POLICY_SIZE];
    struct policy p;

    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        policy_encode(bytes, &all[i]);
        ck_assert_int_eq(policy_decode(slice_of(bytes, sizeof bytes), &p), 0);
        ck_assert(p.reclaim == all[i].reclaim && p.percent == all[i].percent);
    }
}
END_TEST

START_TEST(no_changed_byte_and_no_cut_is_believed)
{
    static const struct policy one = {true, 50};
    uint8_t bytes[POLICY_SIZE];
    struct policy p;

    policy_encode(bytes, &one);
    for (size_t i = 0; i < sizeof bytes; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            ck_assert_int_lt(policy_decode(slice_of(bytes, sizeof bytes), &p), 0);
            bytes[i] ^= (uint8_t)(1u << bit);
        }
        ck_assert_int_eq(policy_decode(slice_of(bytes, i), &p), -ENODATA);
    }
}
END_TEST

START_TEST(what_makes_no_sense_is_refused)
{
    static const struct policy wrong[] = {{true, 0}, {true, 100}, {false, 50}};
    uint8_t bytes[POLICY_SIZE];
    struct policy p;

    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        policy_encode(bytes, &wrong[i]);
        ck_assert_int_eq(policy_decode(slice_of(bytes, sizeof bytes), &p), -EBADMSG);
    }
}
END_TEST

static TCase *policy_case(void)
{
    TCase *tc = tcase_create("policy");

    tcase_add_test(tc, what_is_written_is_read);
    tcase_add_test(tc, no_changed_byte_and_no_cut_is_believed);
    tcase_add_test(tc, what_makes_no_sense_is_refused);
    return tc;
}

UNIT_MAIN("policy", policy_case)
