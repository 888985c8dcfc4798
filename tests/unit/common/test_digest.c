#include "tests/unit/unit.h"

#include "common/digest.h"
#include "common/parse.h"

static void is(const uint8_t d[DIGEST_LEN], const char *hex)
{
    char text[2 * DIGEST_LEN + 1];

    parse_to_hex(d, DIGEST_LEN, text);
    ck_assert_str_eq(text, hex);
}

START_TEST(known_values) /* b2sum -l 128 */
{
    uint8_t d[DIGEST_LEN];

    digest_of(slice_of(NULL, 0), d);
    is(d, "cae66941d9efbd404e4d88758ea67670");
    digest_of(slice_str("abc"), d);
    is(d, "cf4ab791c62b8d2b2109c90275287816");
}
END_TEST

START_TEST(pieces_equal_the_whole)
{
    uint8_t p[10240], d[DIGEST_LEN];
    struct digest st;

    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)i;
    for (size_t piece = 1; piece < sizeof p; piece = piece * 3 + 1) {
        digest_init(&st);
        for (size_t off = 0; off < sizeof p; off += piece)
            digest_update(&st, p + off, MIN(piece, sizeof p - off));
        digest_update(&st, NULL, 0);
        digest_final(&st, d);
        is(d, "c305368eac76ec04ed623f426c82e443");
    }
}
END_TEST

START_TEST(state_works_at_any_alignment_and_as_a_copy)
{
    for (size_t shift = 0; shift < 64; shift += 8) {
        CLEANUP(base_free) uint8_t *room = xcalloc(1, 2 * sizeof(struct digest) + 64);
        struct digest *a = (struct digest *)(void *)(room + shift), b;
        uint8_t d[DIGEST_LEN];

        digest_init(a);
        digest_update(a, "a", 1);
        b = *a;
        digest_update(a, "bc", 2);
        digest_update(&b, "bc", 2);
        digest_final(a, d);
        is(d, "cf4ab791c62b8d2b2109c90275287816");
        digest_final(&b, d);
        is(d, "cf4ab791c62b8d2b2109c90275287816");
    }
}
END_TEST

START_TEST(sha1_known_values)
{
    char hex[41];

    digest_sha1_hex(slice_of(NULL, 0), hex);
    ck_assert_str_eq(hex, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    digest_sha1_hex(slice_str("abc"), hex);
    ck_assert_str_eq(hex, "a9993e364706816aba3e25717850c26c9cd0d89d");
}
END_TEST

START_TEST(random_bytes_differ)
{
    uint8_t a[32] = {0}, b[32] = {0}, zero[32] = {0};

    ck_assert_int_eq(digest_random(a, sizeof a), 0);
    ck_assert_int_eq(digest_random(b, sizeof b), 0);
    ck_assert_int_ne(memcmp(a, b, sizeof a), 0);
    ck_assert_int_ne(memcmp(a, zero, sizeof a), 0);
    ck_assert_int_eq(digest_random(NULL, 0), 0);
}
END_TEST

static TCase *digest(void)
{
    TCase *t = tcase_create("digest");
    tcase_add_test(t, known_values);
    tcase_add_test(t, pieces_equal_the_whole);
    tcase_add_test(t, state_works_at_any_alignment_and_as_a_copy);
    tcase_add_test(t, sha1_known_values);
    tcase_add_test(t, random_bytes_differ);
    return t;
}

UNIT_MAIN("digest", digest)
