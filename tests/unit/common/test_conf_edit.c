#include "tests/unit/unit.h"

#include <errno.h>

#include "common/conf_edit.h"

static struct err e;

static const char sample[] = "# head\n"
                             "minimal: 2 # two\n"
                             "root: '/\xc3\xa4/x'   # comment\n"
                             "empty:\n"
                             "meta:\n"
                             "  config:\n"
                             "    prefix: qsfs # mine\n"
                             "    keys: {a: 1}\n"
                             "groups:\n"
                             "  - backends:\n"
                             "      - { address: \"127.0.0.1:1\", namespace: a }\n"
                             "      - address: two\n";

/* The sample with `from` replaced by `to` is what the edit has to give. */
static void changes(const char *place, const char *value, const char *from, const char *to)
{
    CLEANUP(buf_fini) struct buf text = BUF_INIT, want = BUF_INIT;
    const char *at = strstr(sample, from);
    int r;

    ck_assert_ptr_nonnull(at);
    buf_put_str(&text, sample);
    buf_put(&want, sample, (size_t)(at - sample));
    buf_put_str(&want, to);
    buf_put_str(&want, at + strlen(from));
    r = conf_edit(&text, "z.yaml", place, value, &e);
    ck_assert_msg(r == 1, "%d %s", r, r < 0 ? e.text : "");
    ck_assert_msg(slice_eq(buf_slice(&text), buf_slice(&want)), "got: %.*s", (int)text.len,
                  (char *)buf_data(&text));
    ck_assert_int_eq(conf_edit(&text, "z.yaml", place, value, &e), 0);
}

START_TEST(a_value_is_replaced_and_everything_else_stays)
{
    changes("minimal", "3", "2 # two", "3 # two");
    changes("root", "/y \"q\" \\", "'/\xc3\xa4/x'", "\"/y \\\"q\\\" \\\\\"");
    changes("empty", "full", "empty:", "empty: \"full\"");
    changes("meta.config.prefix", "other", "qsfs #", "\"other\" #");
    changes("meta.config.keys.a", "5", "a: 1", "a: 5");
    changes("groups.0.backends.0.address", "h:9", "\"127.0.0.1:1\"", "\"h:9\"");
    changes("groups.0.backends.1.address", "true", "address: two\n", "address: true\n");
}
END_TEST

START_TEST(a_new_key_joins_its_map)
{
    changes("groups.0.backends.0.password", "p", "{ address", "{ password: \"p\", address");
    changes("groups.0.backends.1.password", "p", "address: two",
            "password: \"p\"\n        address: two");
    changes("meta.config.size", "12", "prefix:", "size: 12\n    prefix:");
    changes("socket", "/s", "address: two\n", "address: two\nsocket: \"/s\"\n");
}
END_TEST

START_TEST(what_cannot_be_is_refused_and_changes_nothing)
{
    static const char *const place[] = {
        "meta",       "groups",    "groups.0", "groups.x", "groups.7.backends",
        "none.there", "root.deep", "",         "."};

    for (size_t i = 0; i < ARRAY_LEN(place); i++) {
        CLEANUP(buf_fini) struct buf text = BUF_INIT;

        buf_put_str(&text, sample);
        ck_assert_msg(conf_edit(&text, "z.yaml", place[i], "v", &e) == -EINVAL, "%s", place[i]);
        ck_assert(slice_eq_str(buf_slice(&text), sample));
    }
}
END_TEST

START_TEST(a_value_is_found)
{
    const struct conf_node *n;
    struct conf_node *root;

    ck_assert_int_eq(conf_parse_yaml(&root, "z.yaml", slice_str(sample), &e), 0);
    ck_assert_int_eq(conf_find(root, "groups.0.backends.1.address", &n), 1);
    ck_assert_str_eq(conf_text(n), "two");
    ck_assert_int_eq(conf_find(root, "groups.0.backends", &n), 1);
    ck_assert_uint_eq(conf_len(n), 2);
    ck_assert_int_eq(conf_find(root, "groups.0.backends.2", &n), 0);
    ck_assert_int_eq(conf_find(root, "minimal.x", &n), 0);
    conf_free(root);
}
END_TEST

static TCase *conf_edit_case(void)
{
    TCase *t = tcase_create("conf_edit");

    tcase_add_test(t, a_value_is_replaced_and_everything_else_stays);
    tcase_add_test(t, a_new_key_joins_its_map);
    tcase_add_test(t, what_cannot_be_is_refused_and_changes_nothing);
    tcase_add_test(t, a_value_is_found);
    return t;
}

UNIT_MAIN("conf_edit", conf_edit_case)
