/* Unwritten tails of files: written in one piece, read and changed before, kept when a write fails.
 */
#include "tests/unit/unit.h"
#include "zdb/file/tail.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

static struct tails all;
static struct tail data, index_;
static struct files files;
static struct file *slot[2];
static int read_only, good[2]; /* descriptors */
static uint64_t size;

static void setup(void)
{
    files_init(&files, 16);
    tails_init(&all);
    for (int i = 0; i < 2; i++) {
        char path[] = "/tmp/tail.XXXXXX";
        int fd = mkstemp(path);
        ck_assert_int_ge(fd, 0);
        close(fd);
        ck_assert_int_eq(files_get(&files, &slot[i], path, O_RDWR), 0);
        good[i] = slot[i]->fd;
        unlink(path);
    }
    read_only = open("/proc/self/exe", O_RDONLY);
    data = index_ = (struct tail){0};
    index_.after = &data;
    size = 0;
}

static void teardown(void)
{
    tail_fini(&data);
    tail_fini(&index_);
    ck_assert(TAILQ_EMPTY(&all.dirty));
    files_fini(&files);
    close(read_only);
}

static void break_file(int i, bool on)
{
    slot[i]->fd = on ? read_only : good[i]; /* EBADF at a write */
}

static int append(const char *text)
{
    struct iovec iov[2] = {{(void *)(uintptr_t)text, 1},
                           {(void *)(uintptr_t)(text + 1), strlen(text) - 1}};
    int r = tail_append(&data, &all, slot[0], size, iov, 2);
    if (r == 0)
        size += strlen(text);
    return r;
}

static const char *content(int i)
{
    static char text[256];
    ssize_t n = pread(good[i], text, sizeof text - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

START_TEST(nothing_is_in_the_file_before_the_end_of_the_round)
{
    struct iovec iov = {(void *)(uintptr_t) "B", 1};

    append("one,");
    append("two");
    ck_assert_int_eq(tail_append(&index_, &all, slot[1], 3, &iov, 1), 0);
    ck_assert_str_eq(content(0), "");
    ck_assert_uint_eq(all.appended, 3);
    ck_assert_int_eq(tails_write(&all), 0);
    ck_assert(TAILQ_EMPTY(&all.dirty));
    ck_assert_str_eq(content(0), "one,two");
    ck_assert_int_eq(lseek(good[1], 0, SEEK_END), 4);
    append(",three");
    ck_assert_int_eq(tail_write(&data), 0);
    ck_assert_str_eq(content(0), "one,two,three");
}
END_TEST

START_TEST(a_file_is_kept_open_while_it_has_a_tail)
{
    append("abc");
    for (int i = 0; i < 20; i++) { /* more than may be open */
        static struct file *other[20];
        ck_assert_int_eq(files_get(&files, &other[i], "/proc/self/exe", O_RDONLY), 0);
    }
    ck_assert_ptr_nonnull(slot[0]);
    ck_assert_ptr_null(slot[1]);
    files_drop(&files, &slot[0]);
    ck_assert_int_eq(tails_write(&all), 0);
}
END_TEST

START_TEST(unwritten_bytes_are_found_and_others_are_not)
{
    append("0123");
    tails_write(&all);
    append("4567");
    ck_assert_mem_eq(tail_at(&data, 5, 3), "567", 3);
    ck_assert_ptr_nonnull(tail_at(&data, 8, 0));
    ck_assert_ptr_null(tail_at(&data, 3, 0)); /* in the file */
    ck_assert_ptr_null(tail_at(&data, 3, 2));
    ck_assert_ptr_null(tail_at(&data, 6, 3)); /* ends behind */
    ck_assert_ptr_null(tail_at(&data, 6, SIZE_MAX));
    ck_assert_ptr_null(tail_at(&data, 9, 0));
    ck_assert(tail_overlaps(&data, 5) && !tail_overlaps(&data, 4));
    *tail_at(&data, 4, 1) = 'x';
    tails_write(&all);
    ck_assert_str_eq(content(0), "0123x567");
    ck_assert(!tail_overlaps(&data, 8));
}
END_TEST

START_TEST(a_failed_write_keeps_the_bytes_and_takes_no_more)
{
    break_file(0, true);
    append("abc");
    ck_assert_int_eq(tails_write(&all), -EBADF);
    ck_assert_int_eq(append("def"), -EBADF);
    ck_assert_uint_eq(data.bytes.len, 3);
    break_file(0, false);
    ck_assert_int_eq(append("def"), 0);
    ck_assert_str_eq(content(0), "abc");
    ck_assert_int_eq(tails_write(&all), 0);
    ck_assert_str_eq(content(0), "abcdef");
}
END_TEST

START_TEST(what_follows_from_unwritten_bytes_is_not_written)
{
    struct iovec iov = {(void *)(uintptr_t) "record", 6};
    uint64_t from;

    tail_append(&index_, &all, slot[1], 0, &iov, 1); /* first in the list */
    append("abc");
    break_file(0, true);
    ck_assert_int_eq(tails_write(&all), -EBADF);
    ck_assert_int_eq(tail_append_now(&index_, slot[1], 6, &iov, 1, &from), -EBADF);
    ck_assert_str_eq(content(1), "");
    break_file(0, false);
    ck_assert_int_eq(tail_write(&index_), 0);
    ck_assert_str_eq(content(0), "abc");
    ck_assert_str_eq(content(1), "record");
}
END_TEST

START_TEST(one_file_that_fails_does_not_hold_up_the_others)
{
    struct iovec iov = {(void *)(uintptr_t) "other", 5};
    struct tail other = {0};

    append("abc");
    tail_append(&other, &all, slot[1], 0, &iov, 1);
    break_file(0, true);
    ck_assert_int_eq(tails_write(&all), -EBADF);
    ck_assert_str_eq(content(1), "other");
    break_file(0, false);
    tail_fini(&other);
}
END_TEST

START_TEST(a_long_value_takes_the_tail_with_it)
{
    struct iovec iov[2] = {{(void *)(uintptr_t) "LONG", 4}, {(void *)(uintptr_t) "VALUE", 5}};
    uint64_t from;

    append("abc");
    break_file(0, true);
    ck_assert_int_eq(tail_append_now(&data, slot[0], 3, iov, 2, &from), -EBADF);
    ck_assert_uint_eq(from, 0);
    ck_assert(tail_any(&data));
    break_file(0, false);
    ck_assert_int_eq(tail_append_now(&data, slot[0], 3, iov, 2, &from), 0);
    ck_assert(!tail_any(&data));
    ck_assert_str_eq(content(0), "abcLONGVALUE");
    ck_assert_int_eq(tail_append_now(&data, slot[0], 12, iov, 1, &from), 0);
    ck_assert_uint_eq(from, 12);
}
END_TEST

START_TEST(cuts_take_back_appends)
{
    append("abc");
    append("def");
    ck_assert(tail_cut(&data, 6));
    ck_assert(tail_cut(&data, 4));
    size = 4;
    append("X");
    tails_write(&all);
    ck_assert_str_eq(content(0), "abcdX");
    ck_assert(!tail_cut(&data, 5));
    append("yz");
    ck_assert(!tail_cut(&data, 2)); /* below what is written: that is the file's business */
    ck_assert(tail_cut(&data, 5));
    ck_assert(!tail_any(&data));
}
END_TEST

START_TEST(a_long_tail_is_written_in_between)
{
    static char big[100001];

    memset(big, 'x', 100000);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(append(big), 0);
        ck_assert_uint_le(data.bytes.len, TAIL_MAX + 100000);
    }
    break_file(0, true);
    while (append(big) == 0)
        ck_assert_uint_le(data.bytes.len, TAIL_MAX + 100000);
    break_file(0, false);
    ck_assert_int_eq(tails_write(&all), 0);
    ck_assert_int_eq(lseek(good[0], 0, SEEK_END), (off_t)size);
}
END_TEST

static TCase *tail_cases(void)
{
    TCase *t = tcase_create("tail");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, nothing_is_in_the_file_before_the_end_of_the_round);
    tcase_add_test(t, a_file_is_kept_open_while_it_has_a_tail);
    tcase_add_test(t, unwritten_bytes_are_found_and_others_are_not);
    tcase_add_test(t, a_failed_write_keeps_the_bytes_and_takes_no_more);
    tcase_add_test(t, what_follows_from_unwritten_bytes_is_not_written);
    tcase_add_test(t, one_file_that_fails_does_not_hold_up_the_others);
    tcase_add_test(t, a_long_value_takes_the_tail_with_it);
    tcase_add_test(t, cuts_take_back_appends);
    tcase_add_test(t, a_long_tail_is_written_in_between);
    return t;
}

UNIT_MAIN("zdb tail", tail_cases)
