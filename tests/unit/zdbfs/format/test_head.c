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
    struct head h = {true, HEAD_MAX_GENERATION - 5, 12345}, out;

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

static TCase *all(void)
{
    TCase *t = tcase_create("head_format");
    tcase_add_test(t, encodes_the_golden_bytes);
    tcase_add_test(t, decodes_what_it_encodes);
    tcase_add_test(t, eight_bytes_are_enough_and_seven_are_not);
    tcase_add_test(t, refuses_other_versions_and_unknown_flags);
    return t;
}

UNIT_MAIN("head_format", all)
