#include "tests/unit/unit.h"
#include "zdbfs/format/point.h"

#include <errno.h>

static struct point numbered(uint64_t n)
{
    return (struct point){n, n * 1000, (uint32_t)n + 1, (uint32_t)n + 2, n + 3, n + 4};
}

START_TEST(list_comes_back)
{
    struct point_list l = {0}, out;
    const uint64_t orphan[2] = {7, 1ull << 40};
    struct slice orphans;
    struct buf b = BUF_INIT;

    for (uint64_t n = 1; n <= 3; n++) {
        struct point p = numbered(n);
        point_list_add(&l, &p);
    }
    point_format_encode(&b, &l, orphan, 2);
    ck_assert_int_eq(point_format_decode(buf_slice(&b), &out, &orphans), 0);
    ck_assert_uint_eq(out.n, 3);
    struct point want = numbered(3);
    ck_assert_mem_eq(&out.p[0], &want, sizeof want);
    want = numbered(1);
    ck_assert_mem_eq(&out.p[2], &want, sizeof want);
    ck_assert_uint_eq(orphans.len, 16);
    ck_assert_uint_eq(le64_get(orphans.p + 8), 1ull << 40);
    buf_fini(&b);
}
END_TEST

START_TEST(golden_bytes)
{
    static const uint8_t golden[] = {
        'Q',  'F',  'S',  'P',  1,    0,    0, 0, 1, 0, 0, 0, 0, 0,
        0,    0,    0xc0, 0x73, 0x71, 0x22, 5, 0, 0, 0, 0, 0, 0, 0, /* number */
        0x88, 0x13, 0,    0,    0,    0,    0, 0,                   /* time */
        6,    0,    0,    0,    7,    0,    0, 0,                   /* meta, data */
        8,    0,    0,    0,    0,    0,    0, 0,                   /* epoch */
        9,    0,    0,    0,    0,    0,    0, 0,                   /* generation */
    };
    struct point_list l = {0};
    struct point p = numbered(5);
    struct buf b = BUF_INIT;

    point_list_add(&l, &p);
    point_format_encode(&b, &l, NULL, 0);
    ck_assert_uint_eq(b.len, sizeof golden);
    ck_assert_mem_eq(buf_data(&b), golden, sizeof golden);
    buf_fini(&b);
}
END_TEST

START_TEST(oldest_goes_when_there_are_too_many)
{
    struct point_list *l = xcalloc(1, sizeof *l);

    for (uint64_t n = 1; n <= POINT_MAX + 10; n++) {
        struct point p = numbered(n);
        point_list_add(l, &p);
    }
    ck_assert_uint_eq(l->n, POINT_MAX);
    ck_assert_uint_eq(l->p[0].number, POINT_MAX + 10);
    ck_assert_uint_eq(l->p[POINT_MAX - 1].number, 11);
    free(l);
}
END_TEST

START_TEST(any_damage_is_refused)
{
    struct point_list l = {0}, *out = xcalloc(1, sizeof *out);
    const uint64_t orphan[2] = {7, 8};
    struct slice orphans;
    struct buf b = BUF_INIT;

    struct point p = numbered(1);
    point_list_add(&l, &p);
    point_format_encode(&b, &l, orphan, 2);
    for (size_t i = 0; i < b.len; i++) {
        ck_assert_int_eq(point_format_decode(slice_of(buf_data(&b), i), out, &orphans), -EUCLEAN);
        buf_data(&b)[i] ^= 1;
        ck_assert_int_eq(point_format_decode(buf_slice(&b), out, &orphans), -EUCLEAN);
        ck_assert(out->n == 0 && orphans.len == 0);
        buf_data(&b)[i] ^= 1;
    }
    ck_assert_int_eq(point_format_decode(buf_slice(&b), out, &orphans), 0);
    free(out);
    buf_fini(&b);
}
END_TEST

START_TEST(answer_of_the_ioctl_comes_back)
{
    uint8_t bytes[POINT_ANSWER_BYTES];
    struct point p = numbered(5), out;

    point_answer_encode(&p, bytes);
    point_answer_decode(bytes, &out);
    ck_assert(out.number == 5 && out.wall_ns == 5000 && out.meta == 6 && out.data == 7);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("point");
    tcase_add_test(t, list_comes_back);
    tcase_add_test(t, golden_bytes);
    tcase_add_test(t, oldest_goes_when_there_are_too_many);
    tcase_add_test(t, any_damage_is_refused);
    tcase_add_test(t, answer_of_the_ioctl_comes_back);
    return t;
}

UNIT_MAIN("point", all)
