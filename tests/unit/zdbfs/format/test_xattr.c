#include "tests/unit/unit.h"
#include "zdbfs/format/xattr.h"

#include "zdbfs/format/inode.h"

#include <errno.h>
#include <sys/stat.h>

static struct buf all;

static void begin(void)
{
    all = (struct buf)BUF_INIT;
}

static void end(void)
{
    buf_fini(&all);
}

static void change(const char *name, const char *value)
{
    struct buf now = BUF_INIT;
    struct slice v = value ? slice_str(value) : slice_of(NULL, 0);

    xattr_format_change(&now, buf_slice(&all), slice_str(name), value ? &v : NULL);
    buf_fini(&all);
    all = now;
    ck_assert(xattr_format_valid(buf_slice(&all)));
}

static bool has(const char *name, const char *value)
{
    struct slice v;

    return xattr_format_find(buf_slice(&all), slice_str(name), &v) && slice_eq_str(v, value);
}

START_TEST(what_is_set_is_found_sorted_by_name)
{
    static const char *const order[] = {"user.a", "user.aa", "user.b", "user.c"};
    struct slice rest, name, value;

    change("user.b", "2");
    change("user.a", "1");
    change("user.c", "");
    change("user.aa", "between");
    rest = buf_slice(&all);
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        ck_assert(xattr_format_next(&rest, &name, &value));
        ck_assert(slice_eq_str(name, order[i]));
    }
    ck_assert(!xattr_format_next(&rest, &name, &value));
    ck_assert(has("user.a", "1") && has("user.aa", "between") && has("user.b", "2") &&
              has("user.c", ""));
}
END_TEST

START_TEST(a_value_is_replaced_a_name_removed)
{
    struct slice v;

    change("user.a", "1");
    change("user.b", "2");
    change("user.b", "another");
    change("user.a", NULL);
    change("user.never", NULL);
    ck_assert(has("user.b", "another"));
    ck_assert(!xattr_format_find(buf_slice(&all), slice_str("user.a"), &v));
    change("user.b", NULL);
    ck_assert_uint_eq(all.len, 0);
}
END_TEST

START_TEST(what_is_not_as_it_has_to_be_is_refused)
{
    struct buf twice = BUF_INIT;

    change("user.b", "value");
    for (size_t n = 1; n < all.len; n++)
        ck_assert(!xattr_format_valid(slice_of(buf_data(&all), n)));
    buf_put_slice(&twice, buf_slice(&all));
    buf_put_slice(&twice, buf_slice(&all));
    ck_assert(!xattr_format_valid(buf_slice(&twice))); /* not in order */
    buf_data(&all)[2] = 1;
    ck_assert(!xattr_format_valid(buf_slice(&all))); /* the zero */
    buf_data(&all)[2] = 0;
    buf_data(&all)[9] = 0;
    ck_assert(!xattr_format_valid(buf_slice(&all))); /* NUL in the name */
    buf_data(&all)[0] = 0;
    ck_assert(!xattr_format_valid(buf_slice(&all))); /* no name */
    buf_clear(&twice);
    buf_put_zero(&twice, XATTR_ALL_BYTES + 1);
    ck_assert(!xattr_format_valid(buf_slice(&twice)));
    buf_fini(&twice);
}
END_TEST

START_TEST(they_stand_in_the_tail_of_an_inode)
{
    struct inode_rec in = {.a = {.mode = S_IFREG | 0644, .nlink = 1}}, out;
    struct buf b = BUF_INIT;

    change("user.a", "1");
    in.xattrs = buf_slice(&all);
    in.extra = slice_of("\x09\0\0\0\x02\0\0\0xy", 10);
    inode_format_encode(&b, &in);
    ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), 0);
    ck_assert(slice_eq(out.xattrs, in.xattrs));
    ck_assert(slice_eq(out.extra, in.extra));
    buf_clear(&b);
    buf_data(&all)[2] = 1; /* the sum of the tail is right, the attributes are not */
    inode_format_encode(&b, &in);
    ck_assert_int_eq(inode_format_decode(buf_slice(&b), &out), -EUCLEAN);
    buf_fini(&b);
}
END_TEST

static TCase *xattr(void)
{
    TCase *t = tcase_create("xattr");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, what_is_set_is_found_sorted_by_name);
    tcase_add_test(t, a_value_is_replaced_a_name_removed);
    tcase_add_test(t, what_is_not_as_it_has_to_be_is_refused);
    tcase_add_test(t, they_stand_in_the_tail_of_an_inode);
    return t;
}

UNIT_MAIN("xattr", xattr)
