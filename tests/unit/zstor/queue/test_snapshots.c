#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "tests/unit/common/scratch.h"
#include "zstor/queue/snapshots.h"

static void put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io_write_full(fd, text, strlen(text)), 0);
    close(fd);
}

static char *content(const char *path)
{
    struct buf b = BUF_INIT;
    struct err e = {0};

    ck_assert_msg(path_read(path, 1 << 20, &b, &e) == 0, "%s", e.text);
    return buf_take_str(&b);
}

START_TEST(a_directory_means_its_regular_files)
{
    char **list = NULL;
    struct err e = {0};
    size_t n = 0;

    ck_assert_int_eq(path_mkdirs(scratch("d/sub"), 0755), 0);
    put(scratch("d/b"), "b");
    put(scratch("d/a"), "a");
    put(scratch("d/sub/c"), "c");
    ck_assert_int_eq(symlink("a", scratch("d/link")), 0);
    ck_assert_int_eq(mkfifo(scratch("d/fifo"), 0600), 0);
    ck_assert_int_eq(snapshot_files(scratch("d"), &list, &n, &e), 0);
    ck_assert_uint_eq(n, 2);
    ck_assert_str_eq(list[0], scratch("d/a"));
    ck_assert_str_eq(list[1], scratch("d/b"));
    path_list_free(list, n);
    ck_assert_int_eq(snapshot_files(scratch("d/b"), &list, &n, &e), 0);
    ck_assert_uint_eq(n, 1);
    path_list_free(list, n);
    ck_assert_int_eq(snapshot_files(scratch("d/none"), &list, &n, &e), -ENOENT);
    ck_assert_int_eq(snapshot_files(scratch("d/fifo"), &list, &n, &e), -EINVAL);
    ck_assert_ptr_nonnull(strstr(e.text, "Unsupported file type"));
}
END_TEST

START_TEST(only_segments_are_data)
{
    static const char *const yes[] = {"d0", "/x/d1", "d10", "/d/d4294967295"};
    static const char *const no[] = {"d",   "d01", "i0", "zdb-namespace", "d1x", ".d1", "/d1/x",
                                     "dd1", "D1",  ""};

    for (size_t i = 0; i < ARRAY_LEN(yes); i++)
        ck_assert_msg(local_is_data(yes[i]), "%s", yes[i]);
    for (size_t i = 0; i < ARRAY_LEN(no); i++)
        ck_assert_msg(!local_is_data(no[i]), "%s", no[i]);
}
END_TEST

START_TEST(a_copy_is_exact_private_and_new)
{
    struct local_id of;
    uint64_t bytes = 0;
    struct err e = {0};
    struct stat st;
    char *got;

    put(scratch("a"), "content");
    ck_assert_msg(snapshot_take(scratch("a"), scratch("copy"), &bytes, &of, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(bytes, 7);
    got = content(scratch("copy"));
    ck_assert_str_eq(got, "content");
    free(got);
    ck_assert_int_eq(stat(scratch("copy"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(snapshot_take(scratch("a"), scratch("copy"), &bytes, &of, &e), -EEXIST);
    ck_assert_int_eq(snapshot_take(scratch("none"), scratch("copy2"), &bytes, &of, &e), -ENOENT);
    ck_assert_int_eq(snapshot_take(scratch_dir, scratch("copy3"), &bytes, &of, &e), -EINVAL);
    ck_assert_int_lt(stat(scratch("copy2"), &st), 0);
    ck_assert_int_lt(stat(scratch("copy3"), &st), 0);
}
END_TEST

static void *write_later(void *path)
{
    struct timespec ts = {.tv_nsec = 150 * 1000000};

    nanosleep(&ts, NULL);
    put(path, "late");
    return NULL;
}

START_TEST(a_file_between_creation_and_first_write_is_waited_for)
{
    struct local_id of;
    uint64_t bytes = 0;
    struct err e = {0};
    char path[256], *got;
    pthread_t t;

    snprintf(path, sizeof path, "%s/young", scratch_dir);
    put(path, "");
    ck_assert_int_eq(pthread_create(&t, NULL, write_later, path), 0);
    ck_assert_int_eq(snapshot_take(path, scratch("copy"), &bytes, &of, &e), 0);
    pthread_join(t, NULL);
    got = content(scratch("copy"));
    ck_assert_str_eq(got, "late");
    free(got);
}
END_TEST

START_TEST(an_old_empty_file_is_copied_at_once)
{
    struct timespec old[2] = {{.tv_sec = 1000}, {.tv_sec = 1000}};
    struct local_id of;
    uint64_t bytes = 1, begun = base_now_ms();
    struct err e = {0};

    put(scratch("old"), "");
    ck_assert_int_eq(utimensat(AT_FDCWD, scratch("old"), old, 0), 0);
    ck_assert_int_eq(snapshot_take(scratch("old"), scratch("copy"), &bytes, &of, &e), 0);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_uint_lt(base_now_ms() - begun, 900);
}
END_TEST

static TCase *all(void)
{
    TCase *t = scratch_case("snapshot");

    tcase_add_test(t, a_directory_means_its_regular_files);
    tcase_add_test(t, only_segments_are_data);
    tcase_add_test(t, a_copy_is_exact_private_and_new);
    tcase_add_test(t, a_file_between_creation_and_first_write_is_waited_for);
    tcase_add_test(t, an_old_empty_file_is_copied_at_once);
    return t;
}

UNIT_MAIN("snapshot", all)
