/* An interrupted compaction is finished when its journal is there, and forgotten when not; either
 * twice is the same. */
#include "tests/unit/unit.h"
#include "common/path.h"
#include "zdb/file/segment_list.h"
#include "zdb/file/compaction.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static char top[64], index_dir[96], data_dir[96];

static void setup(void)
{
    snprintf(top, sizeof top, "%s/qsfs-journal.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(index_dir, sizeof index_dir, "%s/index", top);
    snprintf(data_dir, sizeof data_dir, "%s/data", top);
    ck_assert_int_eq(path_mkdirs(index_dir, 0700), 0);
    ck_assert_int_eq(path_mkdirs(data_dir, 0700), 0);
}

static void teardown(void)
{
    path_remove_tree(top);
}

static void put(const char *dir, const char *name, const char *content)
{
    CLEANUP(base_free) char *path = path_join(dir, name);

    ck_assert_int_eq(path_replace(path, slice_str(content), 0600, NULL), 0);
}

static void is(const char *dir, const char *name, const char *content) /* NULL: absent */
{
    CLEANUP(base_free) char *path = path_join(dir, name);
    struct buf b = BUF_INIT;
    int r = path_read(path, 1000, &b, NULL);

    ck_assert_int_eq(r, content ? 0 : -ENOENT);
    if (content)
        ck_assert(slice_eq_str(buf_slice(&b), content));
    buf_fini(&b);
}

static void put_journal(void)
{
    CLEANUP(base_free) char *path = path_join(index_dir, COMPACT_FORMAT_FILE);
    struct compact_list l = {0};
    struct buf b = BUF_INIT;

    compact_list_add(&l, 'd', 3, 8);
    compact_list_add(&l, 'i', 3, 9);
    compact_format_encode(&b, &l);
    ck_assert_int_eq(path_replace(path, buf_slice(&b), 0600, NULL), 0);
    compact_list_fini(&l);
    buf_fini(&b);
}

static void put_files(void)
{
    put(index_dir, "i3", "old index");
    put(data_dir, "d3", "old data");
    put(index_dir, ".i3.compact", "new index");
    put(data_dir, ".d3.compact", "new data");
    put(data_dir, ".d3.new", "of a hook");
}

START_TEST(without_journal_nothing_happened)
{
    put_files();
    put(index_dir, "..compact-journal.0123456789abcdef", "torn");
    ck_assert(compact_has_leftovers(index_dir, data_dir));
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(compact_recover(index_dir, data_dir, NULL), 0);
        ck_assert(!compact_has_leftovers(index_dir, data_dir));
        is(index_dir, "i3", "old index");
        is(data_dir, "d3", "old data");
        is(index_dir, ".i3.compact", NULL);
        is(data_dir, ".d3.new", "of a hook");
        is(index_dir, "..compact-journal.0123456789abcdef", NULL);
    }
}
END_TEST

START_TEST(with_journal_it_is_finished)
{
    struct compact_list l;

    put_files();
    put_journal();
    ck_assert_int_eq(compact_journal_read(index_dir, &l, NULL), 1);
    ck_assert(compact_journal_has(&l, 'd', 3) && !compact_journal_has(&l, 'i', 4));
    compact_list_fini(&l);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(compact_recover(index_dir, data_dir, NULL), 0);
        is(index_dir, "i3", "new index");
        is(data_dir, "d3", "new data");
        is(index_dir, COMPACT_FORMAT_FILE, NULL);
        is(data_dir, ".d3.compact", NULL);
    }
}
END_TEST

START_TEST(files_that_have_their_names_stay)
{
    CLEANUP(base_free) char *from = compact_new_path(data_dir, 'd', 3);
    CLEANUP(base_free) char *to = segment_path(data_dir, 'd', 3);

    put_files();
    put_journal();
    ck_assert_int_eq(rename(from, to), 0);
    ck_assert_int_eq(compact_recover(index_dir, data_dir, NULL), 0);
    is(index_dir, "i3", "new index");
    is(data_dir, "d3", "new data");
}
END_TEST

START_TEST(a_file_of_another_size_is_not_taken)
{
    struct err e = {0};

    put_files();
    put_journal();
    put(data_dir, ".d3.compact", "short");
    ck_assert_int_eq(compact_recover(index_dir, data_dir, &e), -EBADMSG);
    ck_assert_ptr_nonnull(strstr(e.text, ".d3.compact"));
    is(index_dir, "i3", "old index");
    is(data_dir, "d3", "old data");
}
END_TEST

START_TEST(a_damaged_journal_stops_everything)
{
    struct err e = {0};

    put_files();
    put(index_dir, COMPACT_FORMAT_FILE, "ZDBCMPCT and something");
    ck_assert_int_lt(compact_recover(index_dir, data_dir, &e), 0);
    ck_assert_ptr_nonnull(strstr(e.text, COMPACT_FORMAT_FILE));
    is(index_dir, ".i3.compact", "new index");
    is(index_dir, "i3", "old index");
}
END_TEST

static TCase *journal_case(void)
{
    TCase *t = tcase_create("journal");

    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, without_journal_nothing_happened);
    tcase_add_test(t, with_journal_it_is_finished);
    tcase_add_test(t, files_that_have_their_names_stay);
    tcase_add_test(t, a_file_of_another_size_is_not_taken);
    tcase_add_test(t, a_damaged_journal_stops_everything);
    return t;
}

UNIT_MAIN("compact_journal", journal_case)
