/* Unwritten tails of files: written in one piece, read and changed before, kept when a write fails. */
#include "../unit.h"
#include "zdb/tail.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static struct tails all;
static struct tail a, b;
static int fds[2];
static bool refuse;
static uint64_t size_a;

static int open_fd(void *arg, int *fd)
{
    if (refuse)
        return -EIO;
    *fd = *(int *)arg;
    return 0;
}

static void setup(void)
{
    for (int i = 0; i < 2; i++) {
        char path[] = "/tmp/tail.XXXXXX";
        fds[i] = mkstemp(path);
        ck_assert_int_ge(fds[i], 0);
        unlink(path);
    }
    tails_init(&all);
    tail_init(&a, &all, open_fd, &fds[0]);
    tail_init(&b, &all, open_fd, &fds[1]);
    refuse = false;
    size_a = 0;
}

static void teardown(void)
{
    tail_fini(&a);
    tail_fini(&b);
    ck_assert(!tails_any(&all));
    close(fds[0]);
    close(fds[1]);
}

static int append(const char *text)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)text, 1}, {(void *)(uintptr_t)(text + 1), strlen(text) - 1}};
    int r = tail_append(&a, size_a, iov, 2);
    if (r == 0)
        size_a += strlen(text);
    return r;
}

static const char *content(int fd)
{
    static char text[256];
    ssize_t n = pread(fd, text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

START_TEST(nothing_is_in_the_file_before_the_end_of_the_round)
{
    struct iovec iov = {(void *)(uintptr_t)"B", 1};

    append("one,");
    append("two");
    ck_assert_int_eq(tail_append(&b, 3, &iov, 1), 0);
    ck_assert_str_eq(content(fds[0]), "");
    ck_assert(tails_any(&all));
    ck_assert_int_eq(tails_write(&all), 0);
    ck_assert(!tails_any(&all));
    ck_assert_str_eq(content(fds[0]), "one,two");
    ck_assert_int_eq(lseek(fds[1], 0, SEEK_END), 4);
    append(",three");
    ck_assert_int_eq(tail_write(&a), 0);
    ck_assert_str_eq(content(fds[0]), "one,two,three");
}
END_TEST

START_TEST(unwritten_bytes_are_read_and_changed_in_memory)
{
    char got[8] = "";

    append("0123");
    tails_write(&all);
    append("4567");
    ck_assert(tail_read(&a, 5, got, 3) && memcmp(got, "567", 3) == 0);
    ck_assert(tail_read(&a, 8, got, 0));
    ck_assert(!tail_read(&a, 3, got, 2)); /* begins in the file */
    ck_assert(!tail_read(&a, 6, got, 3)); /* ends behind */
    ck_assert(!tail_read(&a, 9, got, 0));
    ck_assert(tail_overlaps(&a, 3, 2) && tail_overlaps(&a, 7, 100) && !tail_overlaps(&a, 0, 4) && !tail_overlaps(&a, 8, 1));
    ck_assert(tail_patch(&a, 4, "x", 1));
    ck_assert(!tail_patch(&a, 3, "xx", 2));
    tails_write(&all);
    ck_assert_str_eq(content(fds[0]), "0123x567");
    ck_assert(!tail_read(&a, 4, got, 1));
}
END_TEST

START_TEST(a_failed_write_keeps_the_bytes_for_the_next_try)
{
    refuse = true;
    append("abc");
    ck_assert_int_eq(tails_write(&all), -EIO);
    ck_assert(tails_any(&all));
    append("def");
    refuse = false;
    ck_assert_int_eq(tails_write(&all), 0);
    ck_assert_str_eq(content(fds[0]), "abcdef");
}
END_TEST

START_TEST(cuts_take_back_appends)
{
    append("abc");
    append("def");
    tail_cut(&a, 6);
    tail_cut(&a, 4);
    size_a = 4;
    append("X");
    tails_write(&all);
    ck_assert_str_eq(content(fds[0]), "abcdX");
    append("yz");
    tail_cut(&a, 2); /* below what is written: that is the file's business */
    ck_assert(!tails_any(&all));
}
END_TEST

START_TEST(a_long_tail_is_written_in_between)
{
    static char big[100001];

    memset(big, 'x', 100000);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(append(big), 0);
        ck_assert_uint_le(a.bytes.len, TAIL_MAX + 100000);
    }
    refuse = true;
    while (append(big) == 0)
        ck_assert_uint_le(a.bytes.len, TAIL_MAX + 100000);
    refuse = false;
    ck_assert_int_eq(tails_write(&all), 0);
    ck_assert_int_eq(lseek(fds[0], 0, SEEK_END), (off_t)size_a);
}
END_TEST

static TCase *tail_cases(void)
{
    TCase *t = tcase_create("tail");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nothing_is_in_the_file_before_the_end_of_the_round);
    tcase_add_test(t, unwritten_bytes_are_read_and_changed_in_memory);
    tcase_add_test(t, a_failed_write_keeps_the_bytes_for_the_next_try);
    tcase_add_test(t, cuts_take_back_appends);
    tcase_add_test(t, a_long_tail_is_written_in_between);
    return t;
}

UNIT_MAIN("zdb tail", tail_cases)
