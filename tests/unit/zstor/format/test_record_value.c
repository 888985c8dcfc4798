#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/golden_example.h"
#include "zstor/format/record_value.h"

START_TEST(golden_values)
{
    struct buf key = unhex(EX_KEY), nonce = unhex(EX_META_NONCE), plain = unhex(EX_RECORD),
               out[4] = {BUF_INIT};

    ck_assert_int_eq(meta_value_encode(buf_data(&key), buf_data(&nonce), buf_slice(&plain), out),
                     0);
    for (int i = 0; i < 4; i++) {
        ck_assert_bytes_hex(buf_data(&out[i]), out[i].len, EX_VALUE[i]);
        buf_fini(&out[i]);
    }
    buf_fini(&key);
    buf_fini(&nonce);
    buf_fini(&plain);
}
END_TEST

START_TEST(every_pair_of_golden_values_decodes_in_both_orders)
{
    struct buf key = unhex(EX_KEY), v[4];

    for (int i = 0; i < 4; i++)
        v[i] = unhex(EX_VALUE[i]);
    for (int a = 0; a < 4; a++)
        for (int b = 0; b < 4; b++) {
            unsigned idx[2];
            struct slice sh[2];
            struct buf out = BUF_INIT;
            ck_assert_int_eq(meta_value_parse(buf_slice(&v[a]), &idx[0], &sh[0]), 0);
            ck_assert_int_eq(meta_value_parse(buf_slice(&v[b]), &idx[1], &sh[1]), 0);
            ck_assert_uint_eq(idx[0], (unsigned)a);
            ck_assert_int_eq(meta_value_decode(buf_data(&key), idx, sh, &out),
                             a == b ? -EBADMSG : 0);
            if (a != b)
                ck_assert_bytes_hex(buf_data(&out), out.len, EX_RECORD);
            buf_fini(&out);
        }
    for (int i = 0; i < 4; i++)
        buf_fini(&v[i]);
    buf_fini(&key);
}
END_TEST

START_TEST(values_of_two_records_never_mix)
{
    static const uint8_t key[32] = {9}, n1[12] = {1}, n2[12] = {2}, other[32] = {8};
    struct buf a[4] = {BUF_INIT}, b[4] = {BUF_INIT}, out = BUF_INIT;

    ck_assert_int_eq(meta_value_encode(key, n1, slice_str("the very same text"), a), 0);
    ck_assert_int_eq(meta_value_encode(key, n2, slice_str("the very same text"), b), 0);
    for (int i = 0; i < 4; i++)
        for (int k = 0; k < 4; k++) {
            unsigned idx[2];
            struct slice sh[2];
            ck_assert_int_eq(meta_value_parse(buf_slice(&a[i]), &idx[0], &sh[0]), 0);
            ck_assert_int_eq(meta_value_parse(buf_slice(&b[k]), &idx[1], &sh[1]), 0);
            ck_assert_int_eq(meta_value_decode(key, idx, sh, &out), -EBADMSG);
            ck_assert_int_eq(meta_value_parse(buf_slice(&a[k]), &idx[1], &sh[1]), 0);
            ck_assert_int_eq(meta_value_decode(other, idx, sh, &out), -EBADMSG);
        }
    ck_assert_uint_eq(out.len, 0);
    buf_fini(&out);
    for (int i = 0; i < 4; i++) {
        buf_fini(&a[i]);
        buf_fini(&b[i]);
    }
}
END_TEST

START_TEST(damaged_values_are_refused)
{
    struct buf v = unhex(EX_VALUE[1]);
    unsigned idx;
    struct slice sh;

    for (size_t n = 0; n < v.len; n++)
        ck_assert_int_eq(meta_value_parse(slice_of(buf_data(&v), n), &idx, &sh), -EBADMSG);
    for (size_t i = 1; i < v.len; i++) {
        buf_data(&v)[i] ^= 1;
        ck_assert_int_eq(meta_value_parse(buf_slice(&v), &idx, &sh), -EBADMSG);
        buf_data(&v)[i] ^= 1;
    }
    buf_data(&v)[0] = 4;
    ck_assert_int_eq(meta_value_parse(buf_slice(&v), &idx, &sh), -EBADMSG);
    ck_assert_int_eq(meta_value_parse(slice_of(NULL, 0), &idx, &sh), -EBADMSG);
    buf_fini(&v);
}
END_TEST

START_TEST(empty_and_odd_records_survive)
{
    static const uint8_t key[32] = {9}, nonce[12] = {1};
    uint8_t text[64] = {5};

    for (size_t n = 0; n < sizeof text; n++) {
        struct buf v[4] = {BUF_INIT}, out = BUF_INIT;
        unsigned idx[2];
        struct slice sh[2];
        ck_assert_int_eq(meta_value_encode(key, nonce, slice_of(text, n), v), 0);
        ck_assert_int_eq(meta_value_parse(buf_slice(&v[3]), &idx[0], &sh[0]), 0);
        ck_assert_int_eq(meta_value_parse(buf_slice(&v[2]), &idx[1], &sh[1]), 0);
        ck_assert_int_eq(meta_value_decode(key, idx, sh, &out), 0);
        ck_assert(slice_eq(buf_slice(&out), slice_of(text, n)));
        for (int i = 0; i < 4; i++)
            buf_fini(&v[i]);
        buf_fini(&out);
    }
}
END_TEST

static TCase *tcase_meta_value(void)
{
    TCase *t = tcase_create("meta_value");

    tcase_add_test(t, golden_values);
    tcase_add_test(t, every_pair_of_golden_values_decodes_in_both_orders);
    tcase_add_test(t, values_of_two_records_never_mix);
    tcase_add_test(t, damaged_values_are_refused);
    tcase_add_test(t, empty_and_odd_records_survive);
    return t;
}

UNIT_MAIN("meta_value", tcase_meta_value)
