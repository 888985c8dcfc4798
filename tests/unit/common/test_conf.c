#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>

#include "common/conf.h"

static struct err e;

static struct conf_node *parsed(const char *text)
{
    struct conf_node *n = NULL;

    if (conf_parse_yaml(&n, "z.yaml", slice_str(text), &e) < 0)
        ck_abort_msg("%s", e.text);
    return n;
}

static void free_conf(struct conf_node **n)
{
    conf_free(*n);
}

#define PARSED(name, text) CLEANUP(free_conf) struct conf_node *name = parsed(text)

static void refused(const char *text, const char *want)
{
    struct conf_node *n = NULL;

    int r = conf_parse_yaml(&n, "z.yaml", slice_str(text), &e);
    if (r >= 0)
        conf_free(n);
    ck_assert_msg(r < 0, "accepted: %s", text);
    ck_assert_ptr_null(n);
    if (strncmp(e.text, want, strlen(want)) != 0)
        ck_abort_msg("got: %s, want: %s", e.text, want);
}

static const char sample[] = "data_shards: 3\n"
                             "name: \"a: b\"\n"
                             "on: true\n"
                             "groups:\n"
                             "  - backends:\n"
                             "      - {address: '[::1]:9900', namespace: one}\n"
                             "      - address: 127.0.0.1:9901\n"
                             "        namespace: two\n"
                             "  - backends: []\n"
                             "empty: ''\n";

START_TEST(a_file_becomes_a_tree_with_lines)
{
    PARSED(n, sample);
    const struct conf_node *groups, *backends;
    const char *s;
    uint64_t v;
    bool b;

    ck_assert_int_eq(conf_kind(n), CONF_MAP);
    ck_assert_int_eq(conf_u64(n, "data_shards", true, 1, 255, &v, &e), 1);
    ck_assert_uint_eq(v, 3);
    ck_assert_int_eq(conf_str(n, "name", true, &s, &e), 1);
    ck_assert_str_eq(s, "a: b");
    ck_assert_int_eq(conf_str(n, "empty", true, &s, &e), 1);
    ck_assert_str_eq(s, "");
    ck_assert_int_eq(conf_bool(n, "on", true, &b, &e), 1);
    ck_assert(b);
    ck_assert_int_eq(conf_seq(n, "groups", true, &groups, &e), 1);
    ck_assert_uint_eq(conf_len(groups), 2);
    ck_assert_int_eq(conf_seq(conf_at(groups, 0), "backends", true, &backends, &e), 1);
    ck_assert_uint_eq(conf_len(backends), 2);
    ck_assert_int_eq(conf_str(conf_at(backends, 0), "address", true, &s, &e), 1);
    ck_assert_str_eq(s, "[::1]:9900");
    ck_assert_int_eq(conf_str(conf_at(backends, 1), "namespace", true, &s, &e), 1);
    ck_assert_str_eq(s, "two");
    ck_assert_int_eq(conf_line(conf_at(backends, 1)), 7);
    ck_assert_int_eq(conf_line(conf_get(n, "name")), 2);
    ck_assert_str_eq(conf_text(conf_get(n, "data_shards")), "3");
    ck_assert_ptr_null(conf_text(groups));
    ck_assert_ptr_null(conf_at(groups, 2));
    ck_assert_ptr_null(conf_get(n, "none"));
    ck_assert_ptr_null(conf_get(groups, "none"));
}
END_TEST

START_TEST(an_empty_file_is_an_empty_map)
{
    static const char *const empty[] = {"",      "\n\n",       "# only a comment\n",
                                        "---\n", "---\n...\n", "~\n"};
    for (size_t i = 0; i < ARRAY_LEN(empty); i++) {
        PARSED(n, empty[i]);
        uint64_t v;
        ck_assert_int_eq(conf_kind(n), CONF_MAP);
        ck_assert_uint_eq(conf_len(n), 0);
        ck_assert_int_eq(conf_u64(n, "x", true, 0, 1, &v, &e), -EINVAL);
        ck_assert_str_eq(e.text, "z.yaml:1: missing key `x`");
    }
}
END_TEST

START_TEST(absent_keys_leave_the_default)
{
    PARSED(n, "a: 1\n");
    const struct conf_node *node = n;
    const char *s = "default";
    uint64_t v = 7;
    bool b = true;

    ck_assert_int_eq(conf_u64(n, "x", false, 0, 1, &v, &e), 0);
    ck_assert_int_eq(conf_str(n, "x", false, &s, &e), 0);
    ck_assert_int_eq(conf_bool(n, "x", false, &b, &e), 0);
    ck_assert_int_eq(conf_map(n, "x", false, &node, &e), 0);
    ck_assert_int_eq(conf_seq(n, "x", false, &node, &e), 0);
    ck_assert_uint_eq(v, 7);
    ck_assert_str_eq(s, "default");
    ck_assert(b);
    ck_assert_ptr_eq(node, n);
}
END_TEST

START_TEST(missing_required_keys_name_the_place)
{
    PARSED(n, "a: 1\nsub:\n  b: 2\n");
    const struct conf_node *sub;
    const char *s;

    ck_assert_int_eq(conf_map(n, "sub", true, &sub, &e), 1);
    ck_assert_int_eq(conf_str(sub, "address", true, &s, &e), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:3: missing key `address`");
}
END_TEST

struct number {
    const char *text, *want;
};

static const struct number numbers[] = {
    {"n: 0\n", "z.yaml:1: n: 0 is out of range, allowed is 1 to 255"},
    {"n: 256\n", "z.yaml:1: n: 256 is out of range, allowed is 1 to 255"},
    {"n: 99999999999999999999999\n",
     "z.yaml:1: n: 99999999999999999999999 is out of range, allowed is 1 to 255"},
    {"n: -1\n", "z.yaml:1: n: -1 is not a whole number, allowed is 1 to 255"},
    {"n: 1.5\n", "z.yaml:1: n: 1.5 is not a whole number, allowed is 1 to 255"},
    {"n: three\n", "z.yaml:1: n: three is not a whole number, allowed is 1 to 255"},
    {"n: 0x10\n", "z.yaml:1: n: 0x10 is not a whole number, allowed is 1 to 255"},
    {"\nn: [1]\n", "z.yaml:2: n: is a list, a single value is expected"},
    {"n: {a: 1}\n", "z.yaml:1: n: is a map, a single value is expected"},
    {"n:\n", "z.yaml:1: n: has no value, a single value is expected"},
    {"n: ~\n", "z.yaml:1: n: has no value, a single value is expected"},
    {"n: null\n", "z.yaml:1: n: has no value, a single value is expected"},
};

START_TEST(wrong_numbers_say_what_is_allowed)
{
    PARSED(n, numbers[_i].text);
    uint64_t v = 7;

    ck_assert_int_eq(conf_u64(n, "n", false, 1, 255, &v, &e), -EINVAL);
    ck_assert_str_eq(e.text, numbers[_i].want);
    ck_assert_uint_eq(v, 7);
}
END_TEST

START_TEST(truth_values)
{
    PARSED(n, "a: true\nb: false\nc: yes\nd: 1\ne: 'True'\nf: []\n");
    bool b = false;

    ck_assert_int_eq(conf_bool(n, "a", true, &b, &e), 1);
    ck_assert(b);
    ck_assert_int_eq(conf_bool(n, "b", true, &b, &e), 1);
    ck_assert(!b);
    ck_assert_int_eq(conf_bool(n, "e", true, &b, &e), 1);
    ck_assert(b);
    ck_assert_int_eq(conf_bool(n, "c", true, &b, &e), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:3: c: yes is no truth value, allowed is true or false");
    ck_assert_int_eq(conf_bool(n, "d", true, &b, &e), -EINVAL);
    ck_assert_int_eq(conf_bool(n, "f", true, &b, &e), -EINVAL);
}
END_TEST

START_TEST(kinds_are_checked)
{
    PARSED(n, "a: text\nb: [x]\nc: {x: 1}\n");
    const struct conf_node *node;
    const char *s;

    ck_assert_int_eq(conf_map(n, "a", true, &node, &e), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:1: a: is a single value, a map is expected");
    ck_assert_int_eq(conf_seq(n, "a", true, &node, &e), -EINVAL);
    ck_assert_int_eq(conf_seq(n, "c", true, &node, &e), -EINVAL);
    ck_assert_int_eq(conf_map(n, "b", true, &node, &e), -EINVAL);
    ck_assert_int_eq(conf_str(n, "b", true, &s, &e), -EINVAL);
    ck_assert_int_eq(conf_str(conf_get(n, "b"), "x", true, &s, &e), -EINVAL); /* a key of a list */
    ck_assert_str_eq(e.text, "z.yaml:2: a map with the key `x` is expected here, not a list");
}
END_TEST

START_TEST(unknown_keys_are_refused_with_the_allowed_ones)
{
    static const char *const allowed[] = {"a", "b", NULL};
    PARSED(n, "a: 1\nb: 2\n");
    PARSED(wrong, "a: 1\n\nbb: 2\n");
    PARSED(list, "- a\n");
    PARSED(sub, "a: [b]\n");

    ck_assert_int_eq(conf_check_keys(n, allowed, &e), 0);
    ck_assert_int_eq(conf_check_keys(wrong, allowed, &e), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:3: unknown key `bb`, allowed are: a, b");
    ck_assert_int_eq(conf_check_keys(list, allowed, &e), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:1: a map is expected here, not a list");
    ck_assert_int_eq(conf_check_keys(conf_get(sub, "a"), allowed, &e), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:1: a: a map is expected here, not a list");
}
END_TEST

START_TEST(own_errors_get_the_place)
{
    PARSED(n, "a: 1\nb:\n  - x\n");

    ck_assert_int_eq(conf_error(conf_at(conf_get(n, "b"), 0), &e, "%s is odd", "x"), -EINVAL);
    ck_assert_str_eq(e.text, "z.yaml:3: x is odd");
    ck_assert_int_eq(e.code, EINVAL);
}
END_TEST

static const struct number wrong_yaml[] = {
    {"a: 1\na: 2\n", "z.yaml:2: key `a` is there twice"},
    {"a: {b: 1, b: 2}\n", "z.yaml:1: key `b` is there twice"},
    {"a: &x 1\n", "z.yaml:1: anchors and tags"},
    {"&x a: 1\n", "z.yaml:1: anchors and tags"},
    {"a: &x [1]\n", "z.yaml:1: anchors and tags"},
    {"a: &x {b: 1}\nc: *x\n", "z.yaml:1: anchors and tags"},
    {"a: *x\n", "z.yaml:1: aliases"},
    {"a: !!str 1\n", "z.yaml:1: anchors and tags"},
    {"a: !x [1]\n", "z.yaml:1: anchors and tags"},
    {"!!str a: 1\n", "z.yaml:1: anchors and tags"},
    {"a: 1\n---\nb: 1\n", "z.yaml:2: a second document"},
    {"a: [1\n", "z.yaml:2: not valid YAML: did not find expected"},
    {"a: 1\n b: 2\n", "z.yaml:2: not valid YAML"},
    {"\ta: 1\n", "z.yaml:1: not valid YAML"},
    {"? [a]\n: 1\n", "z.yaml:1: a key must be plain text"},
    {"? {a: b}\n: 1\n", "z.yaml:1: a key must be plain text"},
    {"a: \"x\\0y\"\n", "z.yaml:1: a value contains a NUL byte"},
    {"\"x\\0y\": 1\n", "z.yaml:1: a key contains a NUL byte"},
    {"a: \xff\n", "z.yaml: byte 3: "},
    {"a: 'open\n", "z.yaml:"},
    {"[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]\n", "z.yaml:1: nested too deep"},
    {"{a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {a: {}}}}}}}}}}}}}}}}}\n",
     "z.yaml:1: nested too deep"},
};

START_TEST(what_is_not_plain_yaml_is_refused_with_its_line)
{
    refused(wrong_yaml[_i].text, wrong_yaml[_i].want);
}
END_TEST

START_TEST(sixteen_levels_are_allowed)
{
    PARSED(n, "[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]\n"); /* 15 lists and the 1 */
    ck_assert_int_eq(conf_kind(n), CONF_SEQ);
    refused("[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]\n", "z.yaml:1: nested too deep");
}
END_TEST

START_TEST(too_much_is_refused)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct conf_node *n = NULL;

    for (int i = 0; i < 4097; i++)
        buf_printf(&b, "- %d\n", i);
    ck_assert_int_eq(conf_parse_yaml(&n, "z.yaml", buf_slice(&b), &e), -EINVAL);
    ck_assert_ptr_nonnull(strstr(e.text, "too many entries"));
    buf_clear(&b);
    for (int i = 0; i < 4 * 1024 * 1024 / 16 + 1; i++)
        buf_put_str(&b, "# 3456789012345\n");
    ck_assert_int_eq(conf_parse_yaml(&n, "z.yaml", buf_slice(&b), &e), -EFBIG);
    ck_assert_ptr_null(n);
}
END_TEST

START_TEST(files_are_loaded_and_their_errors_have_their_name)
{
    struct conf_node *n = NULL;
    char want[256];

    ck_assert_int_eq(conf_load_yaml(&n, scratch("none"), &e), -ENOENT);
    ck_assert_ptr_nonnull(strstr(e.text, scratch("none")));
    ck_assert_int_eq(path_replace(scratch("f"), slice_str("a: 1\n"), 0600, NULL), 0);
    ck_assert_int_eq(conf_load_yaml(&n, scratch("f"), &e), 0);
    ck_assert_str_eq(conf_text(conf_get(n, "a")), "1");
    conf_free(n);
    ck_assert_int_eq(path_replace(scratch("f"), slice_str("a: 1\na: 1\n"), 0600, NULL), 0);
    ck_assert_int_eq(conf_load_yaml(&n, scratch("f"), &e), -EINVAL);
    snprintf(want, sizeof want, "%s:2: key `a` is there twice", scratch("f"));
    ck_assert_str_eq(e.text, want);
}
END_TEST

START_TEST(long_values_are_cut_in_errors)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    uint64_t v;

    buf_put_str(&b, "n: ");
    for (int i = 0; i < 3000; i++)
        buf_put_u8(&b, 'x');
    CLEANUP(free_conf) struct conf_node *n = NULL;
    ck_assert_int_eq(conf_parse_yaml(&n, "z.yaml", buf_slice(&b), &e), 0);
    ck_assert_int_eq(conf_u64(n, "n", true, 1, 2, &v, &e), -EINVAL);
    ck_assert_uint_lt(strlen(e.text), 200);
    ck_assert_ptr_nonnull(strstr(e.text, "allowed is 1 to 2"));
}
END_TEST

START_TEST(free_of_nothing)
{
    conf_free(NULL);
}
END_TEST

static TCase *conf(void)
{
    TCase *t = scratch_case("conf");
    tcase_add_test(t, a_file_becomes_a_tree_with_lines);
    tcase_add_test(t, an_empty_file_is_an_empty_map);
    tcase_add_test(t, absent_keys_leave_the_default);
    tcase_add_test(t, missing_required_keys_name_the_place);
    tcase_add_loop_test(t, wrong_numbers_say_what_is_allowed, 0, (int)ARRAY_LEN(numbers));
    tcase_add_test(t, truth_values);
    tcase_add_test(t, kinds_are_checked);
    tcase_add_test(t, unknown_keys_are_refused_with_the_allowed_ones);
    tcase_add_test(t, own_errors_get_the_place);
    tcase_add_loop_test(t, what_is_not_plain_yaml_is_refused_with_its_line, 0,
                        (int)ARRAY_LEN(wrong_yaml));
    tcase_add_test(t, sixteen_levels_are_allowed);
    tcase_add_test(t, too_much_is_refused);
    tcase_add_test(t, files_are_loaded_and_their_errors_have_their_name);
    tcase_add_test(t, long_values_are_cut_in_errors);
    tcase_add_test(t, free_of_nothing);
    return t;
}

UNIT_MAIN("conf", conf)
