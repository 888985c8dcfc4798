#include "tests/unit/unit.h"
#include "zdbfs/cache/lookups.h"

START_TEST(counts_match_a_model)
{
    enum { INOS = 5000 };
    static uint64_t model[INOS];
    struct refs *r = refs_new();
    uint64_t live = 0;

    srand(3);
    for (int step = 0; step < 400000; step++) {
        /* phases of growth and of forgetting, so that the table grows and shrinks */
        bool add = rand() % 10 < (step / 50000 % 2 ? 3 : 7);
        int k = rand() % INOS;
        uint64_t n = (uint64_t)(rand() % 3) + 1, ino = (uint64_t)k * 4096 + 1;
        if (add) {
            live += model[k] == 0;
            model[k] += n;
            refs_add(r, ino, n);
        } else {
            live -= model[k] != 0 && model[k] <= n;
            model[k] -= model[k] < n ? model[k] : n;
            ck_assert_uint_eq(refs_sub(r, ino, n), model[k]);
        }
        ck_assert_uint_eq(refs_count(r, ino), model[k]);
        ck_assert_uint_eq(refs_inodes(r), live);
    }
    for (int k = 0; k < INOS; k++)
        ck_assert_uint_eq(refs_count(r, (uint64_t)k * 4096 + 1), model[k]);
    refs_free(r);
}
END_TEST

START_TEST(forgetting_the_unknown_is_harmless)
{
    struct refs *r = refs_new();

    ck_assert_uint_eq(refs_sub(r, 5, 1), 0);
    refs_add(r, 5, 0);
    ck_assert_uint_eq(refs_inodes(r), 0);
    refs_free(r);
    refs_free(NULL);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("refs");
    tcase_add_test(t, counts_match_a_model);
    tcase_add_test(t, forgetting_the_unknown_is_harmless);
    return t;
}

UNIT_MAIN("refs", all)
