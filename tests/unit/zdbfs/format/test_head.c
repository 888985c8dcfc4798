#include "tests/unit/unit.h"
#include "zdbfs/format/head.h"

#include <errno.h>

/* the header of the spec's hexdump */
static const uint8_t golden[24] = {0x5a, 0x44, 0x42, 0x46, 0x53, 0x4d, 1, 0,    0, 0, 0, 0,
                                   0,    0,    0,    0,    0,    0,    0, 0x80, 2, 0, 0, 0};

START_TEST(encodes_the_golden_bytes)
{
    struct buf b = BUF_INIT;
    struct head h = {.size_bytes = 0x280000000};

    head_format_encode(&b, ROLE_META, &h);
    ck_assert_uint_eq(b.len, 24);
    ck_assert_mem_eq(buf_data(&b), golden, 24);
    buf_fini(&b);
}
END_TEST

START_TEST(decodes_what_it_encodes)
{
    struct head h = {.in_use = true, .generation = HEAD_MAX_GENERATION - 5, .size_bytes = 12345},
                out;

    for (int role = 0; role < ROLE_COUNT; role++) {
        struct buf b = BUF_INIT;
        head_format_encode(&b, (enum role)role, &h);
        ck_assert_int_eq(head_format_decode(buf_slice(&b), (enum role)role, &out, NULL), 0);
        ck_assert(out.in_use && out.generation == h.generation && out.size_bytes == 12345);
        ck_assert_int_eq(head_format_decode(buf_slice(&b), (enum role)((role + 1) % ROLE_COUNT),
                                            &out, NULL),
                         -EUCLEAN);
        buf_fini(&b);
    }
}
END_TEST

START_TEST(eight_bytes_are_enough_and_seven_are_not)
{
    struct head out;

    ck_assert_int_eq(head_format_decode(slice_of(golden, 8), ROLE_META, &out, NULL), 0);
    ck_assert_uint_eq(out.size_bytes, 0);
    for (size_t n = 0; n < 8; n++)
        ck_assert_int_eq(head_format_decode(slice_of(golden, n), ROLE_META, &out, NULL), -EUCLEAN);
}
END_TEST

START_TEST(refuses_other_versions_and_unknown_flags)
{
    struct head out;
    struct err e = {0};
    uint8_t bad[24];

    memcpy(bad, golden, 24);
    bad[6] = 2;
    ck_assert_int_eq(head_format_decode(slice_of(bad, 24), ROLE_META, &out, &e), -EUCLEAN);
    ck_assert_ptr_nonnull(strstr(e.text, "version 2"));
    bad[6] = 1;
    bad[8] = 2;
    ck_assert_int_eq(head_format_decode(slice_of(bad, 24), ROLE_META, &out, &e), -EUCLEAN);
    ck_assert_ptr_nonnull(strstr(e.text, "flags"));
}
END_TEST

static struct head with_owner(void)
{
    struct head h = {.in_use = true,
                     .generation = 7,
                     .size_bytes = 12345,
                     .tail = true,
                     .epoch = 9,
                     .owned = true,
                     .owner = {.renewals = 3,
                               .wall_ms = 1700000000123,
                               .ttl_ms = 60000,
                               .pid = 77,
                               .pid_start = 123456789,
                               .pid_ns = 4026531836,
                               .host = "a-host",
                               .where = "/mnt/volume"}};

    memset(h.owner.instance, 0x11, 16);
    memset(h.owner.boot, 0x22, 16);
    memset(h.owner.machine, 0x33, 16);
    return h;
}

START_TEST(the_tail_says_who_owns_the_volume)
{
    struct head h = with_owner(), out;
    struct buf b = BUF_INIT;

    head_format_encode(&b, ROLE_META, &h);
    ck_assert_int_eq(head_format_decode(buf_slice(&b), ROLE_META, &out, NULL), 0);
    ck_assert(out.tail && out.owned && out.epoch == 9 && out.features == 0);
    ck_assert_mem_eq(&out.owner, &h.owner, sizeof h.owner);
    ck_assert(out.points_key == 0 && out.at_point == 0);
    h.owned = false;
    h.points_key = 300;
    h.at_point = 4;
    buf_clear(&b);
    head_format_encode(&b, ROLE_META, &h);
    ck_assert_int_eq(head_format_decode(buf_slice(&b), ROLE_META, &out, NULL), 0);
    ck_assert(out.tail && !out.owned && out.epoch == 9);
    ck_assert(out.points_key == 300 && out.at_point == 4);
    buf_fini(&b);
}
END_TEST

START_TEST(a_tail_that_is_not_whole_is_refused)
{
    struct head h = with_owner(), out;
    struct buf b = BUF_INIT;

    head_format_encode(&b, ROLE_META, &h);
    for (size_t n = HEAD_BYTES; n < HEAD_BYTES + 16; n++) /* less than its head: no tail */
        ck_assert(head_format_decode(slice_of(buf_data(&b), n), ROLE_META, &out, NULL) == 0 &&
                  !out.tail);
    for (size_t n = HEAD_BYTES + 16; n < b.len; n++)
        ck_assert_int_eq(head_format_decode(slice_of(buf_data(&b), n), ROLE_META, &out, NULL),
                         -EUCLEAN);
    for (size_t i = HEAD_BYTES + 4; i < b.len; i++) {
        buf_data(&b)[i] ^= 0x40;
        ck_assert_int_eq(head_format_decode(buf_slice(&b), ROLE_META, &out, NULL), -EUCLEAN);
        buf_data(&b)[i] ^= 0x40;
    }
    buf_fini(&b);
}
END_TEST

START_TEST(features_that_are_not_known_are_refused)
{
    struct head h = with_owner(), out;
    struct buf b = BUF_INIT;
    struct err e = {0};

    h.features = 1ull << 62;
    head_format_encode(&b, ROLE_META, &h);
    ck_assert_int_eq(head_format_decode(buf_slice(&b), ROLE_META, &out, &e), -EUCLEAN);
    ck_assert_ptr_nonnull(strstr(e.text, "0x4000000000000000"));
    buf_fini(&b);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("head_format");
    tcase_add_test(t, encodes_the_golden_bytes);
    tcase_add_test(t, decodes_what_it_encodes);
    tcase_add_test(t, eight_bytes_are_enough_and_seven_are_not);
    tcase_add_test(t, refuses_other_versions_and_unknown_flags);
    tcase_add_test(t, the_tail_says_who_owns_the_volume);
    tcase_add_test(t, a_tail_that_is_not_whole_is_refused);
    tcase_add_test(t, features_that_are_not_known_are_refused);
    return t;
}

UNIT_MAIN("head_format", all)
