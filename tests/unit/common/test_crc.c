#include "tests/unit/unit.h"

#include "common/crc.h"

/* Bit by bit, as the polynomial is defined (reflected 0x82f63b78). */
static uint32_t slow_raw(uint32_t crc, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
    }
    return crc;
}

START_TEST(known_values)
{
    static const uint8_t zeros[32];

    ck_assert_uint_eq(crc_raw(0, "123456789", 9), 0x58e3fa20);
    ck_assert_uint_eq(crc_std(0, "123456789", 9), 0xe3069283);
    ck_assert_uint_eq(crc_std(0, zeros, sizeof zeros), 0x8a9136aa); /* RFC 3720, B.4 */
    ck_assert_uint_eq(crc_raw(0, zeros, sizeof zeros), 0);
}
END_TEST

START_TEST(nothing_changes_nothing)
{
    ck_assert_uint_eq(crc_raw(0x1234, NULL, 0), 0x1234);
    ck_assert_uint_eq(crc_std(0x1234, NULL, 0), 0x1234);
}
END_TEST

START_TEST(agrees_with_the_definition_at_every_length_and_alignment)
{
    uint8_t p[700];

    for (size_t i = 0; i < sizeof p; i++)
        p[i] = (uint8_t)(i * 31 + (i >> 3));
    for (size_t off = 0; off < 9; off++)
        for (size_t n = 0; n + off < sizeof p; n += 1 + n / 40)
            ck_assert_uint_eq(crc_raw(0xdeadbeef, p + off, n), slow_raw(0xdeadbeef, p + off, n));
}
END_TEST

START_TEST(chains)
{
    const char *s = "the quick brown fox jumps over the lazy dog";
    size_t n = strlen(s);

    for (size_t cut = 0; cut <= n; cut++) {
        ck_assert_uint_eq(crc_raw(crc_raw(0, s, cut), s + cut, n - cut), crc_raw(0, s, n));
        ck_assert_uint_eq(crc_std(crc_std(0, s, cut), s + cut, n - cut), crc_std(0, s, n));
    }
}
END_TEST

static TCase *crc(void)
{
    TCase *t = tcase_create("crc");
    tcase_add_test(t, known_values);
    tcase_add_test(t, nothing_changes_nothing);
    tcase_add_test(t, agrees_with_the_definition_at_every_length_and_alignment);
    tcase_add_test(t, chains);
    return t;
}

UNIT_MAIN("crc", crc)
