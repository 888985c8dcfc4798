/* What a load cuts is kept under a name that no file has, unless it is one torn record; and how the
 * next whole record of a data file is found behind one that cannot be read. */
#include "tests/unit/unit.h"
#include "common/crc.h"
#include "common/path.h"
#include "zdb/file/aside.h"
#include "zdb/file/data_walk.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char top[64], path[96];
static struct buf file;

static void setup(void)
{
    snprintf(top, sizeof top, "%s/qsfs-aside.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(path, sizeof path, "%s/d0", top);
    file = (struct buf)BUF_INIT;
}

static void teardown(void)
{
    buf_fini(&file);
    path_remove_tree(top);
}

static void write_file(void)
{
    ck_assert_int_eq(path_replace(path, buf_slice(&file), 0600, NULL), 0);
}

/* Its offset. */
static uint32_t add(const char *key, const char *val, uint32_t previous)
{
    uint32_t at = (uint32_t)file.len;
    struct data_rec rec = {.keylen = (uint8_t)strlen(key),
                           .length = (uint32_t)strlen(val),
                           .previous = previous,
                           .crc = crc_raw(0, val, strlen(val)),
                           .flags = *val ? 0 : DATA_DELETED};
    uint8_t head[DATA_REC_SIZE];

    data_rec_encode(head, &rec);
    buf_put(&file, head, sizeof head);
    buf_put(&file, key, strlen(key));
    buf_put(&file, val, strlen(val));
    return at;
}

static void add_header(void)
{
    uint8_t head[DATA_HEADER_SIZE];

    data_header_encode(head, 0);
    buf_put(&file, head, sizeof head);
}

static void is_named(const char *name, const char *content, char *got)
{
    CLEANUP(base_free) char *want = path_join(top, name);
    struct buf b = BUF_INIT;

    ck_assert_ptr_nonnull(got);
    ck_assert_str_eq(got, want);
    ck_assert_int_eq(path_read(want, 1000, &b, NULL), 0);
    ck_assert(slice_eq_str(buf_slice(&b), content));
    buf_fini(&b);
    free(got);
}

START_TEST(a_file_gets_a_name_that_none_has)
{
    char *as;

    ck_assert_int_eq(aside_file(path, ".lost", &as), -ENOENT);
    ck_assert_ptr_null(as);
    for (int i = 0; i < 3; i++) {
        static const char *const names[] = {"d0.lost", "d0.1.lost", "d0.2.lost"},
                                 *const contents[] = {"a", "b", "c"};
        buf_clear(&file);
        buf_put(&file, contents[i], 1);
        write_file();
        ck_assert_int_eq(aside_file(path, ".lost", &as), 0);
        ck_assert_int_lt(access(path, F_OK), 0);
        is_named(names[i], contents[i], as);
    }
}
END_TEST

START_TEST(the_end_of_a_file_is_copied_once)
{
    char *as;

    buf_put(&file, "0123456789", 10);
    write_file();
    for (int i = 0; i < 2; i++) { /* begun anew: nothing changes */
        ck_assert_int_eq(aside_tail(path, 4, 10, &as), 0);
        is_named("d0.at-4.lost", "456789", as);
    }
    ck_assert_int_eq(aside_tail(path, 4, 9, &as), 0);
    is_named("d0.at-4.1.lost", "45678", as);
    ck_assert_int_eq(aside_tail(path, 4, 11, &as), -ENODATA);
    ck_assert_ptr_null(as);
}
END_TEST

START_TEST(one_torn_record_and_zeros_are_not_worth_it)
{
    uint32_t at;

    add_header();
    at = add("key", "a value", 0);
    write_file();
    for (uint64_t end = file.len - 1; end > at; end--) {
        ck_assert_int_eq(truncate(path, (off_t)end), 0);
        ck_assert_int_eq(aside_data_is_worth(path, at, end), 0);
    }
    write_file();
    ck_assert_int_eq(aside_data_is_worth(path, at, file.len), 1); /* whole */
    memset(buf_data(&file) + at, 0, file.len - at);
    write_file();
    ck_assert_int_eq(aside_data_is_worth(path, at, file.len), 0);
    buf_data(&file)[file.len - 1] = 1;
    write_file();
    ck_assert_int_eq(aside_data_is_worth(path, at, file.len), 1); /* no record */
}
END_TEST

START_TEST(a_garbled_length_does_not_hide_what_follows)
{
    uint32_t at;

    add_header();
    at = add("key", "a value", 0);
    add("other", "another value", at);
    buf_data(&file)[at + 3] = 0x10; /* longer than the file */
    write_file();
    ck_assert_int_eq(aside_data_is_worth(path, at, file.len), 1);
}
END_TEST

START_TEST(an_index_record_that_is_torn_is_not_worth_it)
{
    struct buf b = BUF_INIT;

    buf_put_u8(&b, 9); /* key length */
    for (int i = 0; i < 30; i++)
        buf_put_u8(&b, 0);
    ck_assert_int_eq(path_replace(path, buf_slice(&b), 0600, NULL), 0);
    ck_assert_int_eq(aside_index_is_worth(path, 0, b.len), 0);
    for (int i = 0; i < 12; i++)
        buf_put_u8(&b, 0);
    ck_assert_int_eq(path_replace(path, buf_slice(&b), 0600, NULL), 0);
    ck_assert_int_eq(aside_index_is_worth(path, 0, 42), 0);
    ck_assert_int_eq(aside_index_is_worth(path, 0, 43), 1); /* whole */
    buf_fini(&b);
}
END_TEST

static int find(uint64_t from, uint32_t before, uint64_t *off)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct data_walk w;
    int r;

    ck_assert_int_eq(data_walk_init(&w, fd, from), 0);
    r = data_walk_find(&w, from, w.size, before, before, off);
    data_walk_fini(&w);
    return r;
}

START_TEST(the_next_record_is_the_one_that_names_this_one)
{
    uint32_t at, next, last;
    uint64_t off;

    add_header();
    at = add("key", "a value", 0);
    next = add("other", "another value", at);
    last = add("other", "", next);
    write_file();
    ck_assert_int_eq(find(at + 1, at, &off), 1);
    ck_assert_uint_eq(off, next);
    ck_assert_int_eq(find(next + 1, next, &off), 1); /* a deletion at the end of the file */
    ck_assert_uint_eq(off, last);
    ck_assert_int_eq(find(at + 1, at + 1, &off), 0);
    ck_assert_int_eq(find(last + 1, last, &off), 0);
    buf_data(&file)[next + DATA_REC_SIZE + 5] ^= 1; /* its value */
    write_file();
    ck_assert_int_eq(find(at + 1, at, &off), 0);
}
END_TEST

static TCase *aside_case(void)
{
    TCase *tc = tcase_create("aside");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_file_gets_a_name_that_none_has);
    tcase_add_test(tc, the_end_of_a_file_is_copied_once);
    tcase_add_test(tc, one_torn_record_and_zeros_are_not_worth_it);
    tcase_add_test(tc, a_garbled_length_does_not_hide_what_follows);
    tcase_add_test(tc, an_index_record_that_is_torn_is_not_worth_it);
    tcase_add_test(tc, the_next_record_is_the_one_that_names_this_one);
    return tc;
}

UNIT_MAIN("aside", aside_case)
