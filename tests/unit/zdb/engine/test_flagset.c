/* The flagset agrees with a plain table, whatever the offsets, and gives back its memory. */
#include "tests/unit/unit.h"
#include "zdb/engine/flagset.h"
#include <stdlib.h>
#include <string.h>

#define RECORDS 30000
#define SPAN    16383
#define GAP     1024
#define MOST    469

static uint32_t at[RECORDS]; /* where records begin: at least 35 bytes apart, as in an index file */
static uint8_t has[RECORDS]; /* generation + 1, 0: not in the set */

static void lay_out(unsigned seed)
{
    uint64_t off = 29;

    srandom(seed);
    memset(has, 0, sizeof has);
    for (size_t i = 0; i < RECORDS; i++) {
        at[i] = (uint32_t)off;
        off += 35 + (unsigned)(random() % (i % 7 == 0 ? 255 : 20));
    }
}

/* All of generation g, in the pieces that flagset_next gives. */
static size_t walk(const struct flagset *f, unsigned g)
{
    uint32_t off[MOST];
    uint64_t from = 0;
    size_t n, seen = 0, i = 0;

    while ((n = flagset_next(f, g, from, off, MOST, SPAN, GAP)) > 0) {
        for (size_t k = 0; k < n; k++, seen++) {
            while (i < RECORDS && has[i] != g + 1)
                i++;
            ck_assert_uint_lt(i, RECORDS);
            ck_assert_uint_eq(off[k], at[i++]);
            ck_assert(k == 0 || (off[k] - off[0] <= SPAN && off[k] - off[k - 1] <= GAP));
        }
        from = (uint64_t)off[n - 1] + 1;
    }
    return seen;
}

START_TEST(agrees_with_a_table)
{
    struct flagset f = {0};
    size_t n[FLAGSET_GENERATIONS] = {0};

    lay_out((unsigned)_i + 1);
    for (int step = 0; step < 60000; step++) {
        size_t i = (size_t)random() % RECORDS;
        unsigned g = (unsigned)random() % FLAGSET_GENERATIONS;
        if (random() % 3) {
            ck_assert_int_eq(flagset_add(&f, at[i], g), has[i] == 0);
            if (!has[i]) {
                has[i] = (uint8_t)(g + 1);
                n[g]++;
            }
        } else {
            flagset_remove(&f, at[i]);
            if (has[i])
                n[has[i] - 1]--;
            has[i] = 0;
        }
        ck_assert_int_eq(flagset_has(&f, at[i]), has[i] != 0);
        ck_assert(!flagset_has(&f, at[i] + 1 + (unsigned)random() % 33));
    }
    ck_assert_uint_eq(f.n, n[0] + n[1] + n[2] + n[3]);
    for (unsigned g = 0; g < FLAGSET_GENERATIONS; g++)
        ck_assert_uint_eq(walk(&f, g), n[g]);
    flagset_fini(&f);
}
END_TEST

START_TEST(memory_goes_with_the_last_flag)
{
    struct flagset f = {0};
    uint32_t off[4];

    ck_assert(flagset_add(&f, UINT32_MAX - 40, 3));
    ck_assert(!flagset_add(&f, UINT32_MAX - 40, 2));
    ck_assert_uint_eq(flagset_next(&f, 2, 0, off, 4, SPAN, GAP), 0);
    ck_assert_uint_eq(flagset_next(&f, 3, 0, off, 4, SPAN, GAP), 1);
    ck_assert_uint_eq(off[0], UINT32_MAX - 40);
    flagset_remove(&f, UINT32_MAX - 40);
    for (size_t i = 0; i < f.nchunks; i++)
        ck_assert_ptr_null(f.chunk[i]);
    ck_assert_uint_eq(f.n, 0);
    flagset_fini(&f);
}
END_TEST

static TCase *flagset_cases(void)
{
    TCase *t = tcase_create("flagset");
    tcase_add_loop_test(t, agrees_with_a_table, 0, 10);
    tcase_add_test(t, memory_goes_with_the_last_flag);
    return t;
}

UNIT_MAIN("zdb flagset", flagset_cases)
