#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "common/buf.h"
#include "tests/unit/common/scratch.h"
#include "zstor/options.h"

#define KEY_A "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define KEY_B "0101010101010101010101010101010101010101010101010101010101010101"

static const char good[] =
    "minimal_shards: 2\n"        /* 1 */
    "expected_shards: 4\n"       /* 2 */
    "redundant_groups: 0\n"      /* 3 */
    "redundant_nodes: 0\n"       /* 4 */
    "socket: /run/z.sock\n"      /* 5 */
    "encryption:\n"              /* 6 */
    "  algorithm: AES\n"         /* 7 */
    "  key: \"" KEY_A "\"\n"     /* 8 */
    "compression:\n"             /* 9 */
    "  algorithm: snappy\n"      /* 10 */
    "meta:\n"                    /* 11 */
    "  type: zdb\n"              /* 12 */
    "  config:\n"                /* 13 */
    "    prefix: pre\n"          /* 14 */
    "    encryption:\n"          /* 15 */
    "      algorithm: AES\n"     /* 16 */
    "      key: \"" KEY_B "\"\n" /* 17 */
    "    backends:\n"            /* 18 */
    "      - address: \"127.0.0.1:9900\"\n        namespace: m1\n"
    "      - address: \"127.0.0.1:9900\"\n        namespace: m2\n        password: \"yes\"\n"
    "      - address: \"[::1]:9900\"\n        namespace: m3\n"
    "      - address: \"[::1]:9900\"\n" /* 26 */
    "groups:\n"                         /* 27 */
    "  - backends:\n"                   /* 28 */
    "      - address: \"127.0.0.1:9901\"\n        namespace: d1\n"
    "      - address: \"127.0.0.1:9902\"\n        namespace: d2\n        password: \"p\\u00e4ss\"\n"
    "  - backends:\n" /* 34 */
    "      - address: \"127.0.0.1:9903\"\n"
    "      - address: \"127.0.0.1:9904\"\n        namespace: d4\n";

static char warned[4096];

static void note(const char *line)
{
    size_t n = strlen(warned);

    snprintf(warned + n, sizeof warned - n, "%s\n", line);
}

/* The good text with the first `from` replaced; empty from: `to` is appended. */
static char *edited(const char *from, const char *to)
{
    struct buf b = BUF_INIT;
    const char *at = *from ? strstr(good, from) : good + strlen(good);

    ck_assert_msg(at != NULL, "test text %s not found", from);
    buf_put(&b, good, (size_t)(at - good));
    buf_put_str(&b, to);
    buf_put_str(&b, at + strlen(from));
    return buf_take_str(&b);
}

START_TEST(a_complete_file_is_read)
{
    struct zstor_conf *c = NULL;
    struct err e = {0};

    ck_assert_msg(options_parse(&c, "z.yaml", slice_str(good), note, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(c->minimal_shards, 2);
    ck_assert_uint_eq(c->expected_shards, 4);
    ck_assert_str_eq(c->socket, "/run/z.sock");
    ck_assert_ptr_nonnull(c->pid_file);
    ck_assert_ptr_nonnull(c->state_dir);
    ck_assert_str_eq(c->metrics_address, "127.0.0.1");
    ck_assert_uint_eq(c->prometheus_port, 0);
    ck_assert_ptr_null(c->zdb_data_dir_path);
    ck_assert_uint_eq(c->key[31], 0x1f);
    ck_assert_uint_eq(c->meta_key[0], 1);
    ck_assert_str_eq(c->prefix, "pre");
    ck_assert_str_eq(c->meta[1].password, "yes");
    ck_assert_str_eq(c->meta[2].address, "[::1]:9900");
    ck_assert_ptr_null(c->meta[3].ns);
    ck_assert_uint_eq(c->ngroups, 2);
    ck_assert_uint_eq(c->groups[0].n, 2);
    ck_assert_str_eq(c->groups[0].backends[1].password, "p\xc3\xa4ss");
    ck_assert_uint_eq(c->groups[1].backends[0].port, 9903);
    ck_assert_str_eq(warned, "");
    zstor_conf_free(c);
}
END_TEST

struct edit {
    const char *from, *to; /* of the good text */
    const char *say;       /* must be in the error; it starts with z.yaml:<line>: */
    int line;
};

static const struct edit bad[] = {
    {"", "foo: 1\n", "unknown key `foo`", 38},
    {"  algorithm: AES\n  key", "  algorithm: AES\n  mode: x\n  key", "unknown key `mode`", 8},
    {"  algorithm: snappy\n", "  algorithm: snappy\n  level: 3\n", "unknown key `level`", 11},
    {"  type: zdb\n", "  type: zdb\n  x: 1\n", "unknown key `x`", 13},
    {"    prefix: pre\n", "    prefix: pre\n    y: 1\n", "unknown key `y`", 15},
    {"        namespace: m1\n", "        namespace: m1\n        z: 1\n", "unknown key `z`", 21},
    {"  - backends:\n", "  - name: a\n    backends:\n", "unknown key `name`", 28},
    {"minimal_shards: 2\n", "", "missing key `minimal_shards`", 1},
    {"redundant_nodes: 0\n", "", "missing key `redundant_nodes`", 1},
    {"    prefix: pre\n", "", "missing key `prefix`", 14},
    {"minimal_shards: 2", "minimal_shards: 0", "minimal_shards: 0", 1},
    {"minimal_shards: 2", "minimal_shards: two", "minimal_shards: two", 1},
    {"minimal_shards: 2", "minimal_shards: -2", "minimal_shards: -2", 1},
    {"minimal_shards: 2", "minimal_shards: 4",
     "expected_shards: 4 is not more than minimal_shards (4)", 2},
    {"minimal_shards: 2", "minimal_shards: 9",
     "expected_shards: 4 is not more than minimal_shards (9)", 2},
    {"expected_shards: 4", "expected_shards: 257", "expected_shards: 257", 2},
    {"expected_shards: 4", "expected_shards: 5",
     "require at least 5 (expected_shards), only found 4", 28},
    {"expected_shards: 4", "expected_shards: 99999999999999999999",
     "expected_shards: 99999999999999999999", 2},
    {"redundant_groups: 0", "redundant_groups: 2", "groups: ", 28},
    {"redundant_nodes: 0", "redundant_nodes: 2", "groups: ", 28},
    {"  algorithm: AES", "  algorithm: aes",
     "algorithm: \"aes\" is not known, only \"AES\" is allowed", 7},
    {"snappy", "zstd", "only \"snappy\" is allowed", 10},
    {"type: zdb", "type: etcd", "only \"zdb\" is allowed", 12},
    {KEY_A, "00", "encryption.key: has 2 characters, exactly 64 hex digits", 8},
    {KEY_A, KEY_A "00", "encryption.key: has 66 characters", 8},
    {"00010203", "0001020g", "encryption.key: character 8 is not a hex digit", 8},
    {KEY_B, "xx", "encryption.key: has 2 characters", 17},
    {"    prefix: pre", "    prefix: [1]", "prefix: ", 14},
    {"127.0.0.1:9901", "localhost:9901", "groups[1].backends[1].address: ", 29},
    {"127.0.0.1:9901", "127.0.0.1:0", "groups[1].backends[1].address: ", 29},
    {"127.0.0.1:9901", "127.0.0.1:65536", "groups[1].backends[1].address: ", 29},
    {"127.0.0.1:9901", "127.0.0.1", "groups[1].backends[1].address: ", 29},
    {"127.0.0.1:9901", "::1:9901", "groups[1].backends[1].address: ", 29},
    {"namespace: d1", "namespace: \"\"", "groups[1].backends[1].namespace: has 0 bytes", 30},
    {"      - address: \"[::1]:9900\"\ngroups:", "groups:",
     "meta.config.backends: has 3 entries, exactly 4 are allowed", 19},
    {"groups:\n", "      - address: \"[::1]:9909\"\ngroups:\n",
     "meta.config.backends: has 5 entries", 19},
    {"namespace: m2", "namespace: m1", "is there twice", 21},
    {"127.0.0.1:9902\"\n        namespace: d2", "[::ffff:127.0.0.1]:9901\"\n        namespace: d1",
     "is there twice", 31},
    {"127.0.0.1:9903\"\n", "[::1]:9900\"\n        namespace: default\n", "is there twice", 35},
    {"socket: /run/z.sock", "socket: \"\"", "socket: is empty", 5},
    {"socket: /run/z.sock", "root: here", "root: \"here\" is relative", 5},
    {"socket: /run/z.sock", "prometheus_port: 70000", "prometheus_port: 70000", 5},
    {"socket: /run/z.sock", "prometheus_port: 0", "prometheus_port: 0", 5},
    {"socket: /run/z.sock", "metrics_address: everywhere", "metrics_address: \"everywhere\"", 5},
    {"socket: /run/z.sock", "max_zdb_data_dir_size: 1.5", "max_zdb_data_dir_size: 1.5", 5},
    {"socket: /run/z.sock", "max_zdb_data_dir_size: 99999999999999",
     "max_zdb_data_dir_size: 99999999999999", 5},
    {"socket: /run/z.sock", "minimal_shards: 3", "minimal_shards", 5},
};

START_TEST(every_fault_is_one_line_with_its_place)
{
    const struct edit *t = &bad[_i];
    char *text = edited(t->from, t->to), place[32];
    struct zstor_conf *c = NULL;
    struct err e = {0};

    snprintf(place, sizeof place, "z.yaml:%d: ", t->line);
    ck_assert_msg(options_parse(&c, "z.yaml", slice_str(text), note, &e) < 0, "accepted: %s",
                  t->to);
    ck_assert_ptr_null(c);
    ck_assert_msg(strncmp(e.text, place, strlen(place)) == 0, "not at line %d: %s", t->line,
                  e.text);
    ck_assert_msg(strstr(e.text, t->say) != NULL, "\"%s\" is not in: %s", t->say, e.text);
    ck_assert_ptr_null(strchr(e.text, '\n'));
    free(text);
}
END_TEST

START_TEST(secrets_are_in_no_error)
{
    static const char *const edits[][2] = {{"00010203", "0001020g"},
                                           {"127.0.0.1:9902", "nowhere"},
                                           {"redundant_nodes: 0", "redundant_nodes: 2"},
                                           {"m2", "m1"}};

    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        char *text = edited(edits[i][0], edits[i][1]);
        struct zstor_conf *c = NULL;
        struct err e = {0};

        ck_assert_int_lt(options_parse(&c, "z.yaml", slice_str(text), note, &e), 0);
        ck_assert_ptr_null(strstr(e.text, "0a0b0c"));
        ck_assert_ptr_null(strstr(e.text, "p\xc3\xa4ss"));
        free(text);
    }
}
END_TEST

START_TEST(options_without_effect_are_mentioned)
{
    char *text = edited("socket: /run/z.sock", "max_zdb_data_dir_size: 64");
    struct zstor_conf *c = NULL;
    struct err e = {0};

    ck_assert_int_eq(options_parse(&c, "z.yaml", slice_str(text), note, &e), 0);
    ck_assert_ptr_nonnull(strstr(warned, "no effect without zdb_data_dir_path"));
    zstor_conf_free(c);
    free(text);
}
END_TEST

static void write_file(const char *path, mode_t mode)
{
    struct err e = {0};

    ck_assert_int_eq(path_replace(path, slice_str(good), mode, &e), 0);
}

START_TEST(a_file_that_others_may_read_or_write_is_refused)
{
    struct zstor_conf *c = NULL;
    struct err e = {0};

    write_file(scratch("z.yaml"), 0602);
    ck_assert_int_eq(options_load(&c, scratch("z.yaml"), note, &e), -EPERM);
    ck_assert_ptr_nonnull(strstr(e.text, "chmod 600"));
    for (mode_t bit = 1; bit < 0100; bit <<= 1) {
        write_file(scratch("z.yaml"), 0600 | bit);
        ck_assert_int_eq(options_load(&c, scratch("z.yaml"), note, &e), -EPERM);
    }
    warned[0] = '\0';
    write_file(scratch("z.yaml"), 0600);
    ck_assert_int_eq(options_load(&c, scratch("z.yaml"), note, &e), 0);
    ck_assert_str_eq(warned, "");
    zstor_conf_free(c);
}
END_TEST

START_TEST(a_toml_file_names_the_converter)
{
    struct zstor_conf *c = NULL;
    struct err e = {0};

    static const char *const toml[] = {
        "minimal_shards = 2\n", "minimal_shards = 2\n[meta]\ntype = \"zdb\"\n",
        "[[groups]]\n[[groups.backends]]\naddress = \"1.2.3.4:1\"\n"};

    for (size_t i = 0; i < ARRAY_LEN(toml); i++) {
        ck_assert_int_eq(path_replace(scratch("z.toml"), slice_str(toml[i]), 0600, &e), 0);
        ck_assert_int_eq(options_load(&c, scratch("z.toml"), note, &e), -EINVAL);
        ck_assert_ptr_nonnull(strstr(e.text, "toml2yaml.py"));
    }
    write_file(scratch("z.toml"), 0600); /* YAML under the name that old hook scripts have */
    ck_assert_int_eq(options_load(&c, scratch("z.toml"), note, &e), 0);
    zstor_conf_free(c);
    c = NULL;
    ck_assert_int_eq(options_load(&c, scratch("none.yaml"), note, &e), -ENOENT);
    ck_assert_int_lt(options_load(&c, scratch_dir, note, &e), 0);
}
END_TEST

static TCase *text_case(void)
{
    TCase *t = tcase_create("text");

    tcase_add_test(t, a_complete_file_is_read);
    tcase_add_loop_test(t, every_fault_is_one_line_with_its_place, 0, (int)ARRAY_LEN(bad));
    tcase_add_test(t, secrets_are_in_no_error);
    tcase_add_test(t, options_without_effect_are_mentioned);
    return t;
}

static TCase *file_case(void)
{
    TCase *t = scratch_case("file");

    tcase_add_test(t, a_file_that_others_may_read_or_write_is_refused);
    tcase_add_test(t, a_toml_file_names_the_converter);
    return t;
}

UNIT_MAIN("options", text_case, file_case)
