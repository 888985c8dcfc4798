#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>

#include "tests/unit/zstor/golden_example.h"
#include "zstor/format/erasure.h"

struct table {
    unsigned data, parity;
    const char *rows; /* hex, parity * data bytes */
};

static const struct table tables[] = {
    {2, 2,
     "0302"
     "0203"},
    {3, 5,
     "010101"
     "0f0806"
     "0e0906"
     "0e0807"
     "0f0907"},
    {4, 2,
     "1b1c1214"
     "1c1b1412"},
    {16, 4,
     "21b5f685df02b7873edd4aa48dda6130"
     "b52185f602df87b7dd3ea44ada8d3061"
     "f68521b5b787df024aa43edd61308dda"
     "85f6b52187b702dfa44add3e3061da8d"},
};

START_TEST(parity_rows_are_those_of_the_format)
{
    const struct table *t = &tables[_i];
    struct buf want = unhex(t->rows);

    for (unsigned p = 0; p < t->parity; p++) {
        uint8_t row[255];
        ck_assert_int_eq(erasure_row((struct geometry){t->data, t->parity}, t->data + p, row), 0);
        ck_assert_mem_eq(row, buf_data(&want) + p * t->data, t->data);
    }
    buf_fini(&want);
}
END_TEST

START_TEST(upper_rows_are_the_identity)
{
    static const struct geometry geos[] = {{1, 1},   {5, 5},   {11, 7},   {100, 50},
                                           {255, 1}, {1, 255}, {128, 128}};

    for (size_t k = 0; k < ARRAY_LEN(geos); k++)
        for (unsigned r = 0; r < geos[k].data; r += 1 + geos[k].data / 8) {
            uint8_t row[255];
            ck_assert_int_eq(erasure_row(geos[k], r, row), 0);
            for (unsigned c = 0; c < geos[k].data; c++)
                ck_assert_uint_eq(row[c], r == c);
        }
}
END_TEST

START_TEST(published_vector_5_of_10)
{
    static const uint8_t data[5][2] = {{0, 1}, {4, 5}, {2, 3}, {6, 7}, {8, 9}};
    static const uint8_t want[5][2] = {{12, 13}, {10, 11}, {14, 15}, {90, 91}, {94, 95}};
    const uint8_t *src[5] = {data[0], data[1], data[2], data[3], data[4]};
    uint8_t out[5][2], *dst[5] = {out[0], out[1], out[2], out[3], out[4]};
    struct erasure *e;

    ck_assert_int_eq(erasure_new(&e, (struct geometry){5, 5}, NULL, NULL, 0), 0);
    erasure_apply(e, 2, src, dst);
    ck_assert_mem_eq(out, want, sizeof want);
    erasure_free(e);
}
END_TEST

/* the worked example: shards 2 and 3 from 0 and 1 */
START_TEST(golden_shards)
{
    struct buf s0 = unhex(EX_SHARD[0]), s1 = unhex(EX_SHARD[1]);
    const uint8_t *src[2] = {buf_data(&s0), buf_data(&s1)};
    uint8_t p0[31], p1[31], *dst[2] = {p0, p1};
    struct erasure *e;

    ck_assert_int_eq(erasure_new(&e, (struct geometry){2, 2}, NULL, NULL, 0), 0);
    erasure_apply(e, 31, src, dst);
    ck_assert_bytes_hex(p0, 31, EX_SHARD[2]);
    ck_assert_bytes_hex(p1, 31, EX_SHARD[3]);
    erasure_free(e);
    buf_fini(&s0);
    buf_fini(&s1);
}
END_TEST

static void shuffle(unsigned *a, unsigned n)
{
    for (unsigned i = n; i > 1; i--) {
        unsigned k = (unsigned)rand() % i, t = a[i - 1];
        a[i - 1] = a[k];
        a[k] = t;
    }
}

/* encode, lose `parity` random shards, recover exactly these from the rest in random order */
static void lose_and_recover(struct geometry g, size_t len)
{
    unsigned n = geometry_total(g), order[ZSTOR_MAX_SHARDS];
    uint8_t **shard = calloc(n, sizeof *shard), **back = calloc(n, sizeof *back);
    const uint8_t **src = calloc(n, sizeof *src);
    struct erasure *e;

    for (unsigned i = 0; i < n; i++) {
        shard[i] = malloc(len);
        back[i] = malloc(len);
        order[i] = i;
        for (size_t k = 0; i < g.data && k < len; k++)
            shard[i][k] = (uint8_t)rand();
    }
    ck_assert_int_eq(erasure_new(&e, g, NULL, NULL, 0), 0);
    erasure_apply(e, len, (const uint8_t *const *)shard, shard + g.data);
    erasure_free(e);
    shuffle(order, n);
    for (unsigned i = 0; i < g.data; i++)
        src[i] = shard[order[i]];
    ck_assert_int_eq(erasure_new(&e, g, order, order + g.data, g.parity), 0);
    erasure_apply(e, len, src, back);
    erasure_free(e);
    for (unsigned i = 0; i < g.parity; i++)
        ck_assert_mem_eq(back[i], shard[order[g.data + i]], len);
    for (unsigned i = 0; i < n; i++) {
        free(shard[i]);
        free(back[i]);
    }
    free(shard);
    free(back);
    free(src);
}

START_TEST(any_loss_of_parity_many_is_recovered)
{
    static const struct geometry geos[] = {{1, 1},    {2, 2},   {3, 5},   {4, 2},
                                           {5, 5},    {16, 4},  {20, 10}, {10, 5},
                                           {200, 56}, {255, 1}, {1, 255}, {128, 128}};
    static const size_t lens[] = {1, 2, 31, 64, 65, 1000, 4097};

    srand(4711);
    for (size_t k = 0; k < ARRAY_LEN(geos); k++)
        for (size_t l = 0; l < ARRAY_LEN(lens); l++)
            for (unsigned round = 0; round < (geometry_total(geos[k]) > 100 ? 1 : 10); round++)
                lose_and_recover(geos[k], lens[l]);
}
END_TEST

START_TEST(every_loss_of_two_in_2of4_is_recovered)
{
    const struct geometry g = {2, 2};
    uint8_t s[4][5] = {{1, 2, 3, 4, 5}, {250, 7, 0, 99, 255}}, *dst[2] = {s[2], s[3]}, out[2][5],
            *back[2] = {out[0], out[1]};
    const uint8_t *src[2] = {s[0], s[1]};
    struct erasure *e;

    ck_assert_int_eq(erasure_new(&e, g, NULL, NULL, 0), 0);
    erasure_apply(e, 5, src, dst);
    erasure_free(e);
    for (unsigned a = 0; a < 4; a++)
        for (unsigned b = 0; b < 4; b++) {
            unsigned have[2] = {a, b}, want[2] = {0, 1};
            if (a == b)
                continue;
            ck_assert_int_eq(erasure_new(&e, g, have, want, 2), 0);
            src[0] = s[a];
            src[1] = s[b];
            erasure_apply(e, 5, src, back);
            erasure_free(e);
            ck_assert_mem_eq(out, s, sizeof out);
        }
}
END_TEST

START_TEST(impossible_requests_are_refused)
{
    struct erasure *e = NULL;
    unsigned twice[2] = {1, 1}, far[2] = {0, 4}, want[1] = {4};
    uint8_t row[255];

    ck_assert_int_eq(erasure_new(&e, (struct geometry){0, 1}, NULL, NULL, 0), -EINVAL);
    ck_assert_int_eq(erasure_new(&e, (struct geometry){1, 0}, NULL, NULL, 0), -EINVAL);
    ck_assert_int_eq(erasure_new(&e, (struct geometry){200, 57}, NULL, NULL, 0), -EINVAL);
    ck_assert_int_eq(erasure_new(&e, (struct geometry){2, 2}, twice, NULL, 0), -EINVAL);
    ck_assert_int_eq(erasure_new(&e, (struct geometry){2, 2}, far, NULL, 0), -EINVAL);
    ck_assert_int_eq(erasure_new(&e, (struct geometry){2, 2}, NULL, want, 1), -EINVAL);
    ck_assert_int_eq(erasure_row((struct geometry){2, 2}, 4, row), -EINVAL);
    ck_assert_ptr_null(e);
}
END_TEST

static TCase *tcase_erasure(void)
{
    TCase *t = tcase_create("erasure");

    tcase_add_loop_test(t, parity_rows_are_those_of_the_format, 0, ARRAY_LEN(tables));
    tcase_add_test(t, upper_rows_are_the_identity);
    tcase_add_test(t, published_vector_5_of_10);
    tcase_add_test(t, golden_shards);
    tcase_add_test(t, any_loss_of_parity_many_is_recovered);
    tcase_add_test(t, every_loss_of_two_in_2of4_is_recovered);
    tcase_add_test(t, impossible_requests_are_refused);
    return t;
}

UNIT_MAIN("erasure", tcase_erasure)
