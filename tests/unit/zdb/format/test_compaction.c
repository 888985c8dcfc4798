/* The journal of a compaction: its bytes, and that nothing but such bytes is taken for one. */
#include "tests/unit/unit.h"
#include "common/crc.h"
#include "zdb/format/compaction.h"
#include <errno.h>

static const uint8_t golden[] = {
    'Z', 'D',  'B',  'C', 'M', 'P', 'C', 'T', 1,  0, 0, 0, 2,
    0,   0,    0,                                             /* magic, version, flags, n */
    'd', 7,    0,    0,   0,   0,   0,   0,   16, 0, 0, 0, 0, /* d7 of 256 MiB */
    'i', 0x10, 0x27, 0,   0,   29,  0,   0,   0,  0, 0, 0, 0, /* i10000 of 29 bytes */
    0,   0,    0,    0,                                       /* crc: below */
};

static void put_crc(uint8_t *p, size_t n)
{
    le32_put(p + n - 4, crc_std(0, p, n - 4));
}

static int decode(const uint8_t *p, size_t n)
{
    struct compact_list l = {0};
    int r = compact_format_decode(slice_of(p, n), &l);

    compact_list_fini(&l);
    return r;
}

START_TEST(encodes_to_the_documented_bytes)
{
    uint8_t want[sizeof golden];
    struct buf b = BUF_INIT;
    struct compact_list l = {0}, back = {0};

    memcpy(want, golden, sizeof want);
    put_crc(want, sizeof want);
    compact_list_add(&l, 'd', 7, 256 * MIB);
    compact_list_add(&l, 'i', 10000, 29);
    compact_format_encode(&b, &l);
    ck_assert(slice_eq(buf_slice(&b), slice_of(want, sizeof want)));
    ck_assert_int_eq(compact_format_decode(buf_slice(&b), &back), 0);
    ck_assert_uint_eq(back.n, 2);
    ck_assert_int_eq(back.entries[0].kind, 'd');
    ck_assert_uint_eq(back.entries[0].size, 256 * MIB);
    ck_assert_uint_eq(back.entries[1].id, 10000);
    compact_list_fini(&l);
    compact_list_fini(&back);
    buf_fini(&b);
}
END_TEST

START_TEST(refuses_everything_else)
{
    uint8_t p[sizeof golden + 1] = {0}, q[sizeof golden];

    memcpy(p, golden, sizeof golden);
    put_crc(p, sizeof golden);
    for (size_t n = 0; n < sizeof golden; n++)
        ck_assert_int_lt(decode(p, n), 0);
    ck_assert_int_lt(decode(p, sizeof golden + 1), 0);
    for (size_t i = 0; i < sizeof golden * 8; i++) {
        memcpy(q, p, sizeof q);
        q[i / 8] ^= (uint8_t)(1u << i % 8);
        ck_assert_int_lt(decode(q, sizeof q), 0);
    }
    memcpy(q, p, sizeof q);
    q[16] = 'x'; /* neither kind of file */
    put_crc(q, sizeof q);
    ck_assert_int_eq(decode(q, sizeof q), -EBADMSG);
    memcpy(q, p, sizeof q);
    q[8] = 2;
    put_crc(q, sizeof q);
    ck_assert_int_eq(decode(q, sizeof q), -EPROTONOSUPPORT);
    memcpy(q, p, sizeof q);
    le32_put(q + 12, UINT32_MAX);
    put_crc(q, sizeof q);
    ck_assert_int_lt(decode(q, sizeof q), 0);
}
END_TEST

START_TEST(grows)
{
    struct compact_list l = {0}, back = {0};
    struct buf b = BUF_INIT;

    for (uint32_t i = 0; i < 1000; i++)
        compact_list_add(&l, i % 2 ? 'i' : 'd', i, i * 3u);
    compact_format_encode(&b, &l);
    ck_assert_int_eq(compact_format_decode(buf_slice(&b), &back), 0);
    ck_assert_uint_eq(back.n, 1000);
    ck_assert_uint_eq(back.entries[999].size, 2997);
    compact_list_fini(&l);
    compact_list_fini(&back);
    buf_fini(&b);
}
END_TEST

static TCase *format_case(void)
{
    TCase *t = tcase_create("format");

    tcase_add_test(t, encodes_to_the_documented_bytes);
    tcase_add_test(t, refuses_everything_else);
    tcase_add_test(t, grows);
    return t;
}

UNIT_MAIN("compact_format", format_case)
