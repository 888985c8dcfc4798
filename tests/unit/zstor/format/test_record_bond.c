#include "tests/unit/unit.h"

#include "zstor/format/object_name.h"
#include "zstor/format/record_bond.h"

struct bond_case {
    const char *key_path, *key_root; /* of the key */
    const char *name, *path;         /* in the record */
    const char *root;                /* configured now */
    enum record_bond want;
};

static const struct bond_case bonds[] = {
    {"/d/a", NULL, "/d/a", NULL, NULL, BOND_PROVED},
    {"/d/a", "/d", "a", NULL, "/d", BOND_PROVED},
    {"/d/a", "/d", "a", NULL, NULL, BOND_PROVED}, /* the root is cut off already */
    {"/d/a", NULL, "/d/b", NULL, NULL, BOND_FOREIGN},
    {"/d/a", NULL, "a", NULL, NULL, BOND_FOREIGN},
    {"/d/x/a", "/d", "a", NULL, "/d", BOND_FOREIGN},
    {"/d/a", NULL, "/d/b", "/d/a", NULL, BOND_FOREIGN}, /* the name alone counts */
    {"/d/a", "/d", NULL, "/d/a", "/d", BOND_PROVED},
    {"/d/a", NULL, NULL, "/d//./a", NULL, BOND_PROVED},
    {"/d/a", "/d", NULL, "/d/a", NULL, BOND_NONE}, /* stored under a root that is not known now */
    {"/d/a", "/d", NULL, "/d/b", NULL, BOND_FOREIGN},
    {"/d/a", NULL, NULL, NULL, NULL, BOND_NONE},
};

START_TEST(what_a_record_says_of_its_key)
{
    const struct bond_case *c = &bonds[_i];
    struct meta_record m = {.has_tail = true, .name = (char *)c->name, .path = (char *)c->path};
    char *key = NULL;

    ck_assert_int_eq(keypath_key("p/q", c->key_path, c->key_root, &key, NULL), 0);
    ck_assert_int_eq(record_bond(&m, key, c->root), c->want);
    m.has_tail = false;
    ck_assert_int_eq(record_bond(&m, key, c->root), BOND_NONE);
    key[strlen(key) - 1] = 'x'; /* no digest: no key */
    ck_assert_int_eq(record_bond(&m, key, c->root), BOND_FOREIGN);
    free(key);
}
END_TEST

static TCase *tcase_bond(void)
{
    TCase *tc = tcase_create("record_bond");

    tcase_add_loop_test(tc, what_a_record_says_of_its_key, 0, ARRAY_LEN(bonds));
    return tc;
}

UNIT_MAIN("record_bond", tcase_bond)
