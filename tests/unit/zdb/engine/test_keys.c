/* keys_hint changes nothing and names only entries of the keys it was asked for, also while the
 * table grows. */
#include "tests/unit/unit.h"
#include "zdb/engine/keys.h"

#include <stdio.h>

START_TEST(hints_are_right_or_nothing)
{
    struct keys *ix = keys_new();
    unsigned named = 0, asked = 0;

    for (unsigned n = 0; n < 3000; n++) {
        char text[KEYS_HINTS][24];
        struct slice keys[KEYS_HINTS];
        const struct keys_entry *e[KEYS_HINTS];
        bool added;

        snprintf(text[0], sizeof text[0], "key %u", n);
        keys_put(ix, slice_str(text[0]), &added)->off = n;
        for (unsigned i = 0; i < KEYS_HINTS; i++) {
            snprintf(text[i], sizeof text[i], "key %u", (n * 7 + i * 131) % (n + n / 4 + 1));
            keys[i] = i % 5 == 4 ? slice_of(NULL, 0) : slice_str(text[i]); /* sequential mode: no
                                                                              key */
        }
        keys_hint(ix, keys, n % KEYS_HINTS + 1, e);
        for (unsigned i = 0; i < n % KEYS_HINTS + 1; i++) {
            struct keys_entry *is = keys_find(ix, keys[i]);
            ck_assert(!e[i] || !is || e[i] == is);
            asked += is != NULL;
            named += e[i] && e[i] == is;
        }
    }
    ck_assert_uint_gt(named, asked * 2 / 3); /* the rest is in the old table */
    keys_check(ix);
    keys_free(ix);
}
END_TEST

static TCase *index_hint_cases(void)
{
    TCase *t = tcase_create("keys_hint");
    tcase_add_test(t, hints_are_right_or_nothing);
    return t;
}

UNIT_MAIN("zdb keys_hint", index_hint_cases)
