#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static void put_file(const char *name, const char *text)
{
    int fd = open(scratch(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(scratch(name), &st) == 0;
}

static void join_is(const char *dir, const char *name, const char *want)
{
    CLEANUP(base_free) char *p = path_join(dir, name);
    ck_assert_str_eq(p, want);
}

START_TEST(join_has_one_slash)
{
    join_is("a", "b", "a/b");
    join_is("a/", "b", "a/b");
    join_is("a//", "/b", "a/b");
    join_is("/", "b", "/b");
    join_is("/a/b", "c/d", "/a/b/c/d");
    join_is("", "b", "b");
}
END_TEST

static void dir_is(const char *path, const char *want)
{
    CLEANUP(base_free) char *p = path_dir(path);
    ck_assert_str_eq(p, want);
}

START_TEST(dir_is_the_parent)
{
    dir_is("/a/b", "/a");
    dir_is("/a", "/");
    dir_is("a", ".");
    dir_is("a/b/c", "a/b");
    dir_is("a//b", "a");
    dir_is("a/b/", "a");
    dir_is("/", "/");
    dir_is("", ".");
    ck_assert_str_eq(path_base("/a/b"), "b");
    ck_assert_str_eq(path_base("b"), "b");
    ck_assert_str_eq(path_base("b/"), "");
}
END_TEST

START_TEST(mkdirs_makes_all_and_accepts_what_is_there)
{
    struct stat st;

    ck_assert_int_eq(path_mkdirs(scratch("a/b/c"), 0700), 0);
    ck_assert_int_eq(path_mkdirs(scratch("a/b/c"), 0700), 0);
    ck_assert_int_eq(path_mkdirs(scratch("a//d/"), 0700), 0);
    ck_assert_int_eq(stat(scratch("a/b/c"), &st), 0);
    ck_assert(S_ISDIR(st.st_mode));
    ck_assert_uint_eq(st.st_mode & 0777, 0700);
    ck_assert(is_there("a/d"));
    ck_assert_int_eq(path_mkdirs("/", 0700), 0);
}
END_TEST

START_TEST(mkdirs_over_a_file_is_an_error)
{
    put_file("f", "x");
    ck_assert_int_eq(path_mkdirs(scratch("f"), 0700), -ENOTDIR);
    ck_assert_int_eq(path_mkdirs(scratch("f/g"), 0700), -ENOTDIR);
    ck_assert_int_lt(path_mkdirs("", 0700), 0);
}
END_TEST

START_TEST(sync_dir)
{
    ck_assert_int_eq(path_sync_dir(scratch_dir), 0);
    ck_assert_int_eq(path_sync_dir(scratch("none")), -ENOENT);
    put_file("f", "x");
    ck_assert_int_eq(path_sync_dir(scratch("f")), -ENOTDIR);
}
END_TEST

START_TEST(replace_gives_content_and_mode)
{
    struct buf b = BUF_INIT;
    struct stat st;
    struct err e;

    umask(077);
    ck_assert_int_eq(path_replace(scratch("f"), slice_str("one"), 0644, &e), 0);
    ck_assert_int_eq(path_replace(scratch("f"), slice_str("second"), 0640, &e), 0);
    ck_assert_int_eq(path_read(scratch("f"), 100, &b, &e), 0);
    ck_assert(slice_eq_str(buf_slice(&b), "second"));
    ck_assert_int_eq(stat(scratch("f"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0640);
    buf_fini(&b);
}
END_TEST

START_TEST(replace_leaves_nothing_else)
{
    char **list;
    size_t n;

    ck_assert_int_eq(path_replace(scratch("f"), slice_of(NULL, 0), 0600, NULL), 0);
    ck_assert_int_eq(mkdir(scratch("d"), 0700), 0);
    struct err e;
    ck_assert_int_eq(path_replace(scratch("d"), slice_str("x"), 0600, &e), -EISDIR);
    ck_assert_ptr_nonnull(strstr(e.text, "d: "));
    ck_assert_int_eq(path_list(scratch_dir, &list, &n), 0);
    ck_assert_uint_eq(n, 2);
    path_list_free(list, n);
    ck_assert_int_eq(path_replace(scratch("none/f"), slice_str("x"), 0600, &e), -ENOENT);
}
END_TEST

START_TEST(replace_works_in_the_current_directory)
{
    ck_assert_int_eq(chdir(scratch_dir), 0);
    ck_assert_int_eq(path_replace("plain", slice_str("x"), 0600, NULL), 0);
    ck_assert(is_there("plain"));
    ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

START_TEST(read_appends_up_to_the_limit)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct err e;

    put_file("f", "12345");
    buf_put_str(&b, "0");
    ck_assert_int_eq(path_read(scratch("f"), 5, &b, &e), 0);
    ck_assert(slice_eq_str(buf_slice(&b), "012345"));
    ck_assert_int_eq(path_read(scratch("f"), 4, &b, &e), -EFBIG);
    ck_assert(slice_eq_str(buf_slice(&b), "012345"));
    ck_assert_ptr_nonnull(strstr(e.text, "larger than 4 bytes"));
    ck_assert_int_eq(path_read(scratch("none"), 4, &b, &e), -ENOENT);
    ck_assert_int_eq(path_read(scratch_dir, 4, &b, &e), -EISDIR);
    ck_assert(slice_eq_str(buf_slice(&b), "012345"));
}
END_TEST

START_TEST(read_takes_files_without_a_size)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    ck_assert_int_eq(path_read("/proc/version", 4096, &b, NULL), 0);
    ck_assert_uint_gt(b.len, 10);
}
END_TEST

START_TEST(list_is_sorted_without_dots)
{
    char **list;
    size_t n;

    put_file("b", "");
    put_file("a", "");
    put_file(".h", "");
    put_file("i10", "");
    put_file("i2", "");
    ck_assert_int_eq(path_list(scratch_dir, &list, &n), 0);
    ck_assert_uint_eq(n, 5);
    const char *want[] = {".h", "a", "b", "i10", "i2"};
    for (size_t i = 0; i < n; i++)
        ck_assert_str_eq(list[i], want[i]);
    path_list_free(list, n);
}
END_TEST

START_TEST(list_of_many_and_of_none)
{
    char **list;
    size_t n;

    ck_assert_int_eq(mkdir(scratch("empty"), 0700), 0);
    ck_assert_int_eq(path_list(scratch("empty"), &list, &n), 0);
    ck_assert_uint_eq(n, 0);
    path_list_free(list, n);
    for (int i = 0; i < 200; i++) {
        char name[32];
        snprintf(name, sizeof name, "empty/%d", i);
        put_file(name, "");
    }
    ck_assert_int_eq(path_list(scratch("empty"), &list, &n), 0);
    ck_assert_uint_eq(n, 200);
    path_list_free(list, n);
    ck_assert_int_eq(path_list(scratch("none"), &list, &n), -ENOENT);
}
END_TEST

START_TEST(remove_tree_removes_all_of_it)
{
    ck_assert_int_eq(path_mkdirs(scratch("t/a/b/c"), 0700), 0);
    put_file("t/f", "x");
    put_file("t/a/b/f", "x");
    ck_assert_int_eq(path_remove_tree(scratch("t")), 0);
    ck_assert(!is_there("t"));
    ck_assert_int_eq(path_remove_tree(scratch("t")), 0); /* absent is fine */
}
END_TEST

START_TEST(remove_tree_follows_no_symlink)
{
    ck_assert_int_eq(path_mkdirs(scratch("precious"), 0700), 0);
    put_file("precious/f", "x");
    ck_assert_int_eq(path_mkdirs(scratch("t"), 0700), 0);
    ck_assert_int_eq(symlink(scratch("precious"), scratch("t/link")), 0);
    ck_assert_int_eq(symlink(scratch("precious"), scratch("top")), 0);
    ck_assert_int_eq(path_remove_tree(scratch("t")), 0);
    ck_assert_int_eq(path_remove_tree(scratch("top")), 0);
    ck_assert(!is_there("t"));
    ck_assert(!is_there("top"));
    ck_assert(is_there("precious/f"));
}
END_TEST

START_TEST(remove_tree_of_a_file_removes_the_file)
{
    put_file("f", "x");
    ck_assert_int_eq(path_remove_tree(scratch("f")), 0);
    ck_assert(!is_there("f"));
    put_file("g", "x");
    ck_assert_int_eq(path_remove_tree(scratch("g/h")), -ENOTDIR);
}
END_TEST

static TCase *path(void)
{
    TCase *t = scratch_case("path");
    tcase_add_test(t, join_has_one_slash);
    tcase_add_test(t, dir_is_the_parent);
    tcase_add_test(t, mkdirs_makes_all_and_accepts_what_is_there);
    tcase_add_test(t, mkdirs_over_a_file_is_an_error);
    tcase_add_test(t, sync_dir);
    tcase_add_test(t, replace_gives_content_and_mode);
    tcase_add_test(t, replace_leaves_nothing_else);
    tcase_add_test(t, replace_works_in_the_current_directory);
    tcase_add_test(t, read_appends_up_to_the_limit);
    tcase_add_test(t, read_takes_files_without_a_size);
    tcase_add_test(t, list_is_sorted_without_dots);
    tcase_add_test(t, list_of_many_and_of_none);
    tcase_add_test(t, remove_tree_removes_all_of_it);
    tcase_add_test(t, remove_tree_follows_no_symlink);
    tcase_add_test(t, remove_tree_of_a_file_removes_the_file);
    return t;
}

UNIT_MAIN("path", path)
