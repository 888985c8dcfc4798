#include "tests/unit/unit.h"
#include "zdbfs/format/acl.h"

#include "common/buf.h"

struct entry {
    unsigned tag, perm, id;
};

enum { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 0x10, OTHER = 0x20 };

static struct buf acl;

static void begin(void)
{
    acl = (struct buf)BUF_INIT;
}

static void end(void)
{
    buf_fini(&acl);
}

static void put(const struct entry *e, size_t n)
{
    buf_clear(&acl);
    buf_put_le32(&acl, 2);
    for (size_t i = 0; i < n; i++) {
        buf_put_le16(&acl, (uint16_t)e[i].tag);
        buf_put_le16(&acl, (uint16_t)e[i].perm);
        buf_put_le32(&acl, e[i].id);
    }
}

#define PUT(...) put((struct entry[]){__VA_ARGS__}, ARRAY_LEN(((struct entry[]){__VA_ARGS__})))

static unsigned perm(size_t i)
{
    return le16_get(buf_data(&acl) + 4 + 8 * i + 2);
}

static bool valid(void)
{
    return acl_format_valid(buf_slice(&acl));
}

START_TEST(only_whole_ones_in_order_are_valid)
{
    PUT({USER_OBJ, 7, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 0, 0});
    ck_assert(valid());
    ck_assert(!acl_format_valid(slice_of(buf_data(&acl), acl.len - 1)));
    ck_assert(!acl_format_valid(slice_of(buf_data(&acl), 3)));
    buf_data(&acl)[0] = 1;
    ck_assert(!valid()); /* version */
    PUT({USER_OBJ, 7, 0}, {USER, 1, 10}, {USER, 2, 11}, {GROUP_OBJ, 5, 0}, {GROUP, 1, 3},
        {MASK, 7, 0}, {OTHER, 0, 0});
    ck_assert(valid());
    PUT({USER_OBJ, 7, 0}, {USER, 1, 10}, {GROUP_OBJ, 5, 0}, {OTHER, 0, 0});
    ck_assert(!valid()); /* named, and no mask */
    PUT({USER_OBJ, 7, 0}, {OTHER, 0, 0}, {GROUP_OBJ, 5, 0});
    ck_assert(!valid());
    PUT({USER_OBJ, 7, 0}, {USER_OBJ, 7, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 0, 0});
    ck_assert(!valid());
    PUT({USER_OBJ, 8, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 0, 0});
    ck_assert(!valid());
    PUT({USER_OBJ, 7, 0}, {GROUP_OBJ, 5, 0});
    ck_assert(!valid());
    PUT({3, 7, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 0, 0});
    ck_assert(!valid());
    PUT({USER_OBJ, 7, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 5, 0}, {0x40, 5, 0});
    ck_assert(!valid());
}
END_TEST

START_TEST(the_mode_is_owner_mask_or_group_and_others)
{
    uint32_t mode = 0104000;

    PUT({USER_OBJ, 6, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 1, 0});
    ck_assert(acl_format_mode(buf_data(&acl), acl.len, &mode));
    ck_assert_uint_eq(mode, 0104651);
    PUT({USER_OBJ, 6, 0}, {GROUP_OBJ, 5, 0}, {MASK, 2, 0}, {OTHER, 1, 0});
    ck_assert(!acl_format_mode(buf_data(&acl), acl.len, &mode));
    ck_assert_uint_eq(mode, 0104621);
}
END_TEST

START_TEST(chmod_sets_the_mask_and_not_the_group)
{
    PUT({USER_OBJ, 6, 0}, {USER, 7, 9}, {GROUP_OBJ, 5, 0}, {MASK, 2, 0}, {OTHER, 1, 0});
    acl_format_chmod(buf_data(&acl), acl.len, 0740);
    ck_assert_uint_eq(perm(0), 7);
    ck_assert_uint_eq(perm(1), 7);
    ck_assert_uint_eq(perm(2), 5);
    ck_assert_uint_eq(perm(3), 4);
    ck_assert_uint_eq(perm(4), 0);
    PUT({USER_OBJ, 6, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 1, 0});
    acl_format_chmod(buf_data(&acl), acl.len, 0740);
    ck_assert_uint_eq(perm(1), 4);
}
END_TEST

START_TEST(a_new_file_gets_what_both_allow)
{
    uint32_t mode = 0100664;

    PUT({USER_OBJ, 7, 0}, {USER, 7, 9}, {GROUP_OBJ, 7, 0}, {MASK, 5, 0}, {OTHER, 0, 0});
    ck_assert(!acl_format_inherit(buf_data(&acl), acl.len, &mode));
    ck_assert_uint_eq(mode, 0100640);
    ck_assert_uint_eq(perm(0), 6);
    ck_assert_uint_eq(perm(1), 7);
    ck_assert_uint_eq(perm(2), 7);
    ck_assert_uint_eq(perm(3), 4);
    ck_assert_uint_eq(perm(4), 0);
    mode = 040777;
    PUT({USER_OBJ, 7, 0}, {GROUP_OBJ, 5, 0}, {OTHER, 1, 0});
    ck_assert(acl_format_inherit(buf_data(&acl), acl.len, &mode));
    ck_assert_uint_eq(mode, 040751);
}
END_TEST

static TCase *acls(void)
{
    TCase *t = tcase_create("acl");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, only_whole_ones_in_order_are_valid);
    tcase_add_test(t, the_mode_is_owner_mask_or_group_and_others);
    tcase_add_test(t, chmod_sets_the_mask_and_not_the_group);
    tcase_add_test(t, a_new_file_gets_what_both_allow);
    return t;
}

UNIT_MAIN("acl", acls)
