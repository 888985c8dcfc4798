#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/golden_example.h"
#include "zstor/format/crypt.h"

START_TEST(golden_blob)
{
    struct buf key = unhex(EX_KEY), nonce = unhex(EX_NONCE), plain = unhex(EX_SNAPPY),
               out = BUF_INIT, back = BUF_INIT;

    ck_assert_int_eq(crypt_seal(buf_data(&key), buf_data(&nonce), buf_slice(&plain), &out), 0);
    ck_assert_bytes_hex(buf_data(&out), out.len, EX_BLOB);
    ck_assert_int_eq(crypt_open(buf_data(&key), buf_slice(&out), &back), 0);
    ck_assert(slice_eq(buf_slice(&back), buf_slice(&plain)));
    buf_fini(&key);
    buf_fini(&nonce);
    buf_fini(&plain);
    buf_fini(&out);
    buf_fini(&back);
}
END_TEST

/* McGrew and Viega, test cases 13 and 14 */
START_TEST(published_vectors)
{
    static const uint8_t zero[32];
    struct buf out = BUF_INIT;

    ck_assert_int_eq(crypt_seal(zero, zero, slice_of(NULL, 0), &out), 0);
    ck_assert_bytes_hex(buf_data(&out) + 12, out.len - 12, "530f8afbc74536b9a963b4f1c4cb738b");
    buf_clear(&out);
    ck_assert_int_eq(crypt_seal(zero, zero, slice_of(zero, 16), &out), 0);
    ck_assert_bytes_hex(buf_data(&out) + 12, out.len - 12,
                        "cea7403d4d606b6e074ec5d3baf39d18d0d1c8a799996bf0265b98b5d48ab919");
    buf_fini(&out);
}
END_TEST

START_TEST(any_change_of_a_blob_is_refused_and_leaves_the_output_alone)
{
    static const uint8_t key[32] = {1}, nonce[12] = {2};
    struct buf blob = BUF_INIT, out = BUF_INIT;

    buf_put_str(&out, "before");
    ck_assert_int_eq(crypt_seal(key, nonce, slice_str("forty-two"), &blob), 0);
    for (size_t i = 0; i < blob.len; i++) {
        buf_data(&blob)[i] ^= 0x40;
        ck_assert_int_eq(crypt_open(key, buf_slice(&blob), &out), -EBADMSG);
        buf_data(&blob)[i] ^= 0x40;
    }
    for (size_t n = 0; n < blob.len; n++)
        ck_assert_int_eq(crypt_open(key, slice_of(buf_data(&blob), n), &out), -EBADMSG);
    ck_assert(slice_eq_str(buf_slice(&out), "before"));
    buf_fini(&blob);
    buf_fini(&out);
}
END_TEST

START_TEST(pieces_give_the_same_as_the_whole)
{
    static const uint8_t key[32] = {3}, nonce[12] = {4};
    uint8_t text[1000], tag[16];
    struct buf whole = BUF_INIT;
    struct crypt *c;

    for (size_t i = 0; i < sizeof text; i++)
        text[i] = (uint8_t)i;
    ck_assert_int_eq(crypt_seal(key, nonce, slice_of(text, sizeof text), &whole), 0);
    ck_assert_int_eq(crypt_new(&c, true, key, nonce), 0);
    for (size_t off = 0, n; off < sizeof text; off += n) {
        n = MIN((size_t)37, sizeof text - off);
        ck_assert_int_eq(crypt_update(c, text + off, n), 0);
    }
    ck_assert_int_eq(crypt_tag(c, tag), 0);
    crypt_free(c);
    ck_assert_mem_eq(text, buf_data(&whole) + 12, sizeof text);
    ck_assert_mem_eq(tag, buf_data(&whole) + 12 + sizeof text, 16);
    buf_fini(&whole);
}
END_TEST

static TCase *tcase_crypt(void)
{
    TCase *t = tcase_create("crypt");

    tcase_add_test(t, golden_blob);
    tcase_add_test(t, published_vectors);
    tcase_add_test(t, any_change_of_a_blob_is_refused_and_leaves_the_output_alone);
    tcase_add_test(t, pieces_give_the_same_as_the_whole);
    return t;
}

UNIT_MAIN("crypt", tcase_crypt)
