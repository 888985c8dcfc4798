#include "tests/unit/unit.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "zstor/format/object_name.h"

START_TEST(cleaning_is_lexical)
{
    static const char *const t[][2] = {
        {"", "."},
        {".", "."},
        {"/", "/"},
        {"//", "/"},
        {"//a//b/./c/..", "/a/b"},
        {"/..", "/"},
        {"/../a", "/a"},
        {"a/../..", ".."},
        {"./x", "x"},
        {"x/", "x"},
        {"../a", "../a"},
        {"../../a/..", "../.."},
        {"a/..", "."},
        {"/a/../b", "/b"},
        {"a/b/../../../c", "../c"},
        {"..a/.b", "..a/.b"},
        {"/a/b/..", "/a"},
        {"../x/../y", "../y"},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        char *got = keypath_clean(t[i][0]);
        ck_assert_msg(strcmp(got, t[i][1]) == 0, "%s -> %s, not %s", t[i][0], got, t[i][1]);
        free(got);
    }
}
END_TEST

START_TEST(root_is_removed_by_components)
{
    static const char *const t[][3] = {
        {"/srv/a", NULL, "/srv/a"},
        {"/srv/a", "", "/srv/a"},
        {"/a/b", "/", "a/b"},
        {"/virtualroot/d/f", "/virtualroot", "d/f"},
        {"/virtualroot/d/f", "/virtualroot/", "d/f"},
        {"/virtualroot/d/f", "//virtualroot/./", "d/f"},
        {"/virtualroot/d", "/virt", NULL},
        {"/a/b", "/a/../a", NULL},
        {"/a", "/a", ""},
        {"a/b", "/a", NULL},
        {"/a/b", "a", NULL},
        {"a/b", "a", "b"},
        {"/a", "/a/b", NULL},
        {"a/b", "./a", NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        char *got = keypath_strip(t[i][0], t[i][1]);
        if (t[i][2])
            ck_assert_msg(got && strcmp(got, t[i][2]) == 0, "%s in %s -> %s", t[i][0], t[i][1],
                          got);
        else
            ck_assert_ptr_null(got);
        free(got);
    }
}
END_TEST

START_TEST(keys_are_those_of_the_format)
{
    static const char *const t[][3] = {
        {"/srv/a", NULL, "/zstor-meta/meta/5e51fb8503f583a3ab15e54127281178"},
        {"/a/b", NULL, "/zstor-meta/meta/e930e11ace9e1766a7d78261161a8ebd"},
        {"/a/b", "/", "/zstor-meta/meta/575aa62220a2c597f5def8d269b6acac"},
        {"/virtualroot/d/f", "/virtualroot", "/zstor-meta/meta/4dec50dba0a4f9199d3d8fd473c2bfad"},
        {"/data//index/zdbfs-meta/./zdb-namespace", NULL,
         "/zstor-meta/meta/f46911200c6be4cc49cf7c1df2a37b6a"},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        char *key = NULL;
        ck_assert_int_eq(keypath_key("zstor-meta", t[i][0], t[i][1], &key, NULL), 0);
        ck_assert_str_eq(key, t[i][2]);
        free(key);
    }
}
END_TEST

START_TEST(names_that_are_not_utf8_have_keys_and_those_outside_the_root_none)
{
    static const char *const odd[] = {"/a\xff",     "/a\xfe",
                                      "/a\xc0\x80", "/\xed\xa0\x80",
                                      "/\x80",      "/\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"};
    char *keys[ARRAY_LEN(odd)] = {NULL}, *key = NULL;
    struct err e = {0};

    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        ck_assert_int_eq(keypath_key("p", odd[i], NULL, &keys[i], &e), 0);
        for (size_t k = 0; k < i; k++)
            ck_assert_str_ne(keys[i], keys[k]);
    }
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        free(keys[i]);
    ck_assert_int_eq(keypath_key("p", "/a", "/b", &key, &e), -EINVAL);
    ck_assert_ptr_nonnull(strstr(e.text, "/b"));
    ck_assert_ptr_null(key);
}
END_TEST

static void resolves(const char *path, const char *want)
{
    char *got = NULL;

    ck_assert_int_eq(keypath_resolve(path, &got), 0);
    ck_assert_msg(strcmp(got, want) == 0, "%s -> %s, not %s", path, got, want);
    free(got);
}

START_TEST(real_paths_of_what_exists_and_what_does_not)
{
    char made[] = "/tmp/keypath.XXXXXX", dir[PATH_MAX], a[PATH_MAX + 64], b[PATH_MAX + 64];

    ck_assert_ptr_nonnull(mkdtemp(made));
    ck_assert_ptr_nonnull(realpath(made, dir));
#define IN(buf_, text_) (snprintf(buf_, sizeof buf_, "%s%s", dir, text_), buf_)
    ck_assert_int_eq(mkdir(IN(a, "/real"), 0700), 0);
    ck_assert_int_eq(symlink("real", IN(a, "/link")), 0);
    ck_assert_int_eq(symlink("nowhere/x", IN(a, "/dangling")), 0);
    ck_assert_int_eq(symlink("loop", IN(a, "/loop")), 0);
    resolves(IN(a, "/link"), IN(b, "/real"));
    resolves(IN(a, "/link/missing"), IN(b, "/real/missing"));
    resolves(IN(a, "/link/no/such/dir"), IN(b, "/real/no/such/dir"));
    resolves(IN(a, "/link/no/../such/./f"), IN(b, "/real/such/f"));
    resolves(IN(a, "/link/../link/f//"), IN(b, "/real/f"));
    resolves(IN(a, "/dangling"), IN(b, "/nowhere/x"));
    ck_assert_int_eq(chdir(dir), 0);
    resolves("link/f", IN(b, "/real/f"));
    resolves("x", IN(b, "/x"));
    ck_assert_int_eq(access(IN(a, "/real/missing"), F_OK), -1); /* nothing was created */
    char *got = NULL;
    ck_assert_int_eq(keypath_resolve(IN(a, "/loop/x"), &got), -ELOOP);
    ck_assert_int_eq(keypath_resolve("", &got), -ENOENT);
    ck_assert_ptr_null(got);
    ck_assert_int_eq(chdir("/"), 0);
    path_remove_tree(dir);
}
END_TEST

static TCase *tcase_keypath(void)
{
    TCase *t = tcase_create("keypath");

    tcase_add_test(t, cleaning_is_lexical);
    tcase_add_test(t, root_is_removed_by_components);
    tcase_add_test(t, keys_are_those_of_the_format);
    tcase_add_test(t, names_that_are_not_utf8_have_keys_and_those_outside_the_root_none);
    tcase_add_test(t, real_paths_of_what_exists_and_what_does_not);
    return t;
}

UNIT_MAIN("keypath", tcase_keypath)
