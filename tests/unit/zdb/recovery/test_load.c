/* The rule of recovery, on the files of small namespaces: what is behind the watermark is replayed,
 * the first record that is not whole ends history, damage before it does not, a broken index is
 * built anew, foreign files are taken as they are. */
#include "tests/unit/unit.h"
#include "common/loop.h"
#include "common/path.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/file/watermark.h"
#include "zdb/store.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char top[64], data_dir[96], index_dir[96];
static struct loop *loop;
static struct store *list;

static struct ns *start(void)
{
    struct store_conf conf = {
        .data_dir = data_dir, .index_dir = index_dir, .mode = NS_MIXED, .datasize = 256 * MIB};

    ck_assert_int_eq(loop_new(&loop, NULL), 0);
    ck_assert_int_eq(store_new(&list, &conf, loop, NULL), 0);
    ck_assert_int_eq(store_load(list, NULL), 0);
    return store_default(list);
}

/* As a kill does: what is in the files stays. */
static void stop(bool in_order)
{
    if (in_order)
        ck_assert_int_eq(store_close(list), 0);
    store_free(list);
    loop_free(loop);
    list = NULL;
}

static void setup(void)
{
    snprintf(top, sizeof top, "%s/qsfs-load.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(data_dir, sizeof data_dir, "%s/data", top);
    snprintf(index_dir, sizeof index_dir, "%s/index", top);
}

static void teardown(void)
{
    if (list)
        stop(false);
    path_remove_tree(top);
}

static void set(struct ns *ns, const char *key, const char *value)
{
    struct ns_set_out out;

    ck_assert_int_eq(ns_set(ns, slice_str(key), slice_str(value), 1, &out, NULL), 1);
    ck_assert_int_eq(store_commit(list), 0);
}

static void is(struct ns *ns, const char *key, const char *value)
{
    struct buf out = BUF_INIT;
    struct ns_entry e;
    int r = ns_find(ns, slice_str(key), &e, NULL);

    ck_assert_int_eq(r, value != NULL);
    if (value) {
        ck_assert_int_eq(ns_read(ns, slice_str(key), &e, &out, NULL), 0);
        ck_assert(slice_eq_str(buf_slice(&out), value));
    }
    buf_fini(&out);
}

static void path_of(char out[160], char kind, unsigned n)
{
    snprintf(out, 160, "%s/default/%c%u", kind == 'i' ? index_dir : data_dir, kind, n);
}

static off_t size_of(char kind, unsigned n)
{
    char path[160];
    struct stat st;

    path_of(path, kind, n);
    return stat(path, &st) == 0 ? st.st_size : -1;
}

static void change(char kind, unsigned n, off_t at)
{
    char path[160];
    uint8_t b;

    path_of(path, kind, n);
    CLEANUP(base_close) int fd = open(path, O_RDWR);
    ck_assert_int_eq(pread(fd, &b, 1, at), 1);
    b ^= 0x55;
    ck_assert_int_eq(pwrite(fd, &b, 1, at), 1);
}

static void cut(char kind, unsigned n, off_t size)
{
    char path[160];

    path_of(path, kind, n);
    ck_assert_int_eq(truncate(path, size), 0);
}

START_TEST(what_is_behind_the_watermark_is_replayed)
{
    struct ns *ns = start();

    set(ns, "a", "one");
    set(ns, "b", "one");
    set(ns, "a", "two");
    ck_assert_int_eq(ns_del(ns, slice_str("b"), 1, NULL), 0);
    ck_assert_int_eq(store_commit(list), 0);
    stop(false);
    cut('i', 0, INDEX_HEADER_SIZE); /* nothing of the index reached the disk */
    ns = start();
    is(ns, "a", "two");
    is(ns, "b", NULL);
}
END_TEST

START_TEST(the_first_record_that_is_not_whole_ends_history)
{
    struct ns *ns = start();
    off_t at;

    set(ns, "a", "one");
    at = size_of('d', 0);
    set(ns, "a", "two");
    set(ns, "b", "three");
    stop(false);
    change('d', 0, at + DATA_REC_SIZE + 1);
    for (int i = 0; i < 2; i++) {
        ns = start();
        is(ns, "a", "one");
        is(ns, "b", NULL);
        ck_assert_int_eq(size_of('d', 0), at);
        stop(false);
    }
}
END_TEST

START_TEST(where_history_ends_is_decided_once)
{
    struct ns *ns = start();
    CLEANUP(base_free) char *dir = path_join(index_dir, "default");
    struct watermark w;

    set(ns, "a", "one");
    set(ns, "b", "two");
    stop(false);
    cut('d', 0, size_of('d', 0) - 1);
    ns = start();
    is(ns, "b", NULL);
    ck_assert_int_eq(watermark_read(dir, &w), 1);
    ck_assert_uint_eq(w.data_size, (uint64_t)size_of('d', 0));
    ck_assert_uint_eq(w.index_size, (uint64_t)size_of('i', 0));
}
END_TEST

START_TEST(a_policy_that_cannot_be_read_keeps_everything_and_stops_nothing)
{
    struct ns *ns = start();
    char path[160];

    set(ns, "a", "one");
    ck_assert_int_eq(ns_set_policy(ns, 50), 0);
    stop(true);
    ns = start();
    ck_assert(ns->policy.reclaim);
    stop(true);
    snprintf(path, sizeof path, "%s/default/%s", index_dir, POLICY_FILE);
    ck_assert_int_eq(truncate(path, (off_t)(64 * KIB)), 0);
    ns = start();
    ck_assert(!ns->policy.reclaim);
    is(ns, "a", "one");
    stop(true);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ns = start();
    ck_assert(!ns->policy.reclaim);
    is(ns, "a", "one");
}
END_TEST

START_TEST(damage_before_the_watermark_ends_nothing)
{
    struct ns *ns = start();
    off_t at, size;

    set(ns, "a", "one");
    at = size_of('d', 0);
    set(ns, "b", "two");
    set(ns, "c", "three");
    stop(true);
    size = size_of('d', 0);
    change('d', 0, at + DATA_REC_SIZE + 1);
    ns = start();
    is(ns, "a", "one");
    is(ns, "c", "three");
    ck_assert_int_eq(size_of('d', 0), size);
}
END_TEST

START_TEST(a_broken_index_of_an_older_segment_is_built_from_its_data)
{
    char path[160];
    struct ns *ns = start();

    set(ns, "a", "one");
    set(ns, "b", "one");
    ck_assert_int_eq(ns_jump(ns), 0);
    set(ns, "a", "two");
    ck_assert_int_eq(ns_del(ns, slice_str("b"), 1, NULL), 0);
    set(ns, "c", "three");
    stop(true);
    for (int i = 0; i < 2; i++) { /* a garbled length; no file */
        path_of(path, 'i', 0);
        if (i == 0)
            change('i', 0, INDEX_HEADER_SIZE);
        else
            ck_assert_int_eq(unlink(path), 0);
        ns = start();
        is(ns, "a", "two");
        is(ns, "b", NULL);
        is(ns, "c", "three");
        stop(true);
    }
    snprintf(path, sizeof path, "%s/default/i0.damaged", index_dir);
    ck_assert_int_eq(access(path, F_OK), 0);
}
END_TEST

START_TEST(of_foreign_files_only_a_torn_tail_is_cut)
{
    char path[160];
    struct ns *ns = start();
    off_t before, end;

    set(ns, "a", "one");
    before = size_of('d', 0);
    set(ns, "a", "two");
    set(ns, "b", "three");
    end = size_of('d', 0);
    stop(true);
    snprintf(path, sizeof path, "%s/default/" WATERMARK_FILE, index_dir);
    ck_assert_int_eq(unlink(path), 0);
    change('d', 0, before + DATA_REC_SIZE + 1); /* damage, not the end */
    ns = start();
    is(ns, "b", "three");
    ck_assert_int_eq(size_of('d', 0), end);
    stop(true);
    ck_assert_int_eq(unlink(path), 0);
    cut('d', 0, end - 1);
    ns = start();
    is(ns, "b", NULL);
    ck_assert_int_lt(size_of('d', 0), end - 1);
}
END_TEST

START_TEST(a_version_whose_data_is_lost_gives_way_to_the_one_before)
{
    char path[160];
    struct ns *ns = start();

    set(ns, "a", "one");
    set(ns, "a", "two");
    stop(true);
    snprintf(path, sizeof path, "%s/default/" WATERMARK_FILE, index_dir);
    ck_assert_int_eq(unlink(path), 0);
    cut('d', 0, size_of('d', 0) - 1);
    for (int i = 0; i < 2; i++) {
        ns = start();
        is(ns, "a", "one");
        stop(i == 0);
    }
}
END_TEST

START_TEST(a_flush_that_was_interrupted_is_finished)
{
    struct ns *ns = start();

    set(ns, "a", "one");
    ck_assert_int_eq(ns_jump(ns), 0);
    set(ns, "b", "two");
    ns_sync_wait(ns);
    ck_assert_int_eq(ns_sync_mark_flushing(ns, NULL), 0);
    stop(false);
    ns = start();
    is(ns, "a", NULL);
    is(ns, "b", NULL);
    set(ns, "c", "three");
    stop(false);
    ns = start();
    is(ns, "c", "three");
}
END_TEST

/* Zeros from there on, the size stays: pages that never reached the disk. */
static void blank(char kind, unsigned n, off_t at)
{
    off_t size = size_of(kind, n);

    cut(kind, n, at);
    cut(kind, n, size);
}

static void append_value(struct ns *ns, const char *value)
{
    struct ns_set_out out;

    ck_assert_int_eq(ns_set(ns, slice_str(""), slice_str(value), 1, &out, NULL), 1);
    ck_assert_int_eq(store_commit(list), 0);
}

/* The page that never reached the disk begins in the header of an update, so its key and its sum
 * read as zeros; the index has the copy that the update made, of another id. */
START_TEST(an_update_whose_key_is_lost_is_none_of_id_zero)
{
    struct ns *ns = start();
    uint8_t id[NS_SEQ_KEY_SIZE] = {1}, zero[NS_SEQ_KEY_SIZE] = {0};
    char filler[512 - 9 - (DATA_HEADER_SIZE + DATA_REC_SIZE + NS_SEQ_KEY_SIZE + 5) - DATA_REC_SIZE -
                NS_SEQ_KEY_SIZE + 1];
    struct buf value = BUF_INIT;
    struct ns_set_out out;
    struct ns_entry e;

    memset(filler, 'f', sizeof filler - 1);
    filler[sizeof filler - 1] = 0;
    ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    append_value(ns, "first");
    append_value(ns, filler);
    ck_assert_uint_eq(ns_active(ns)->data.size, 512 - 9);
    ck_assert_int_eq(
        ns_set(ns, slice_of(id, sizeof id), slice_str("a value of id one"), 1, &out, NULL), 1);
    append_value(ns, "more");
    stop(false);
    blank('d', 0, 512);
    ns = start();
    ck_assert_int_eq(ns_find(ns, slice_of(zero, sizeof zero), &e, NULL), 1);
    ck_assert_int_eq(ns_read(ns, slice_of(zero, sizeof zero), &e, &value, NULL), 0);
    ck_assert(slice_eq_str(buf_slice(&value), "first"));
    buf_fini(&value);
}
END_TEST

static size_t get(const char *path, uint8_t *bytes, size_t n, off_t at)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY);
    ssize_t got = pread(fd, bytes, n, at);

    ck_assert_int_gt(got, 0);
    return (size_t)got;
}

static void put(const char *path, const uint8_t *bytes, size_t n, off_t at)
{
    CLEANUP(base_close) int fd = open(path, O_WRONLY);

    ck_assert_int_eq(pwrite(fd, bytes, n, at), (ssize_t)n);
}

/* A checkpoint that a power cut interrupts may have rewritten the place of the value in a slot, and
 * not the place of the copy of the version before: slot 23 lies across a sector border, slot 5 was
 * written in part. */
START_TEST(a_slot_of_which_a_part_is_old_hides_no_record)
{
    const uint8_t number = _i ? 5 : 23;
    struct ns *ns = start();
    uint8_t id[NS_SEQ_KEY_SIZE] = {number}, mark[8192], tail[INDEX_SEQ_REC];
    const off_t slot = INDEX_HEADER_SIZE + number * INDEX_SEQ_REC, old = slot + (_i ? 30 : 29);
    char watermark[160], index[160];
    struct buf value = BUF_INIT;
    struct ns_set_out out;
    struct ns_entry e;
    size_t n;

    snprintf(watermark, sizeof watermark, "%s/default/zdb-watermark", index_dir);
    path_of(index, 'i', 0);
    ck_assert(_i || old == 1024);
    ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    for (int i = 0; i < 30; i++)
        append_value(ns, "a value");
    n = get(watermark, mark, sizeof mark, 0);
    get(index, tail, (size_t)(slot + INDEX_SEQ_REC - old), old);
    ck_assert_int_eq(ns_set(ns, slice_of(id, sizeof id), slice_str("updated"), 1, &out, NULL), 1);
    append_value(ns, "the last one");
    stop(true);
    put(watermark, mark, n, 0);
    put(index, tail, (size_t)(slot + INDEX_SEQ_REC - old), old);
    ns = start();
    ck_assert_uint_eq(ns->entries, 31);
    ck_assert_int_eq(ns_find(ns, slice_of(id, sizeof id), &e, NULL), 1);
    ck_assert_int_eq(ns_read(ns, slice_of(id, sizeof id), &e, &value, NULL), 0);
    ck_assert(slice_eq_str(buf_slice(&value), "updated"));
    buf_fini(&value);
}
END_TEST

/* Behind the end of history the index has what a power cut left: here a copy of a record from its
 * beginning, whose key was deleted since.  Nothing that was played is taken back for it: neither
 * when it breaks the chain nor when it fits. */
START_TEST(garbage_behind_the_end_takes_nothing_back)
{
    const uint32_t first = INDEX_HEADER_SIZE, second = first + INDEX_REC_SIZE + 1,
                   third = second + INDEX_REC_SIZE + 1;
    uint8_t record[INDEX_REC_SIZE + 1], previous[4];
    struct ns *ns = start();
    char path[160];
    off_t end;

    set(ns, "a", "one");
    set(ns, "a", "two");
    ck_assert_int_eq(ns_del(ns, slice_str("a"), 1, NULL), 0);
    ck_assert_int_eq(store_commit(list), 0);
    end = size_of('d', 0);
    set(ns, "c", "lost");
    stop(false);
    change('d', 0, end + DATA_REC_SIZE + 1);
    path_of(path, 'i', 0);
    get(path, record, sizeof record, second);
    if (_i) {
        le32_put(previous, second);
        memcpy(record + 9, previous, sizeof previous);
    }
    put(path, record, sizeof record, _i ? third : third + INDEX_REC_SIZE + 1);
    for (int i = 0; i < 2; i++) {
        ns = start();
        is(ns, "a", NULL);
        is(ns, "c", NULL);
        ck_assert_int_eq(size_of('i', 0), third);
        stop(true);
    }
}
END_TEST

/* An empty value has no sum that covers its key: of one that lies across a sector border the index
 * has to know, or what comes next in the sector behind it.  (A SYNC makes the index durable with
 * it.) */
START_TEST(a_key_of_which_a_sector_is_garbage_is_none)
{
    const off_t border = 512, begin = border - DATA_REC_SIZE - 4;
    char filler[512];
    struct ns *ns = start();
    off_t end;

    memset(filler, 'f', sizeof filler);
    filler[begin - DATA_HEADER_SIZE - DATA_REC_SIZE - 1] = 0;
    set(ns, "f", filler);
    ck_assert_int_eq(size_of('d', 0), begin);
    set(ns, "key-of-an-empty-value", "");
    end = size_of('d', 0);
    set(ns, "next", "value");
    stop(false);
    if (_i == 0)
        change('d', 0, border + 1); /* with the index: it does not say so */
    if (_i > 0)
        cut('i', 0, INDEX_HEADER_SIZE + INDEX_REC_SIZE + 1);
    if (_i == 1)
        change('d', 0, border + 1);
    if (_i < 2)
        change('d', 0, end + 1);
    ns = start();
    ck_assert_uint_eq(ns->entries, _i < 2 ? 1 : 3); /* 2: all of the sector is there */
    is(ns, "key-of-an-empty-value", _i < 2 ? NULL : "");
}
END_TEST

/* Ids that are not there were those of damaged records: not more than there was room for. */
START_TEST(a_garbled_id_is_no_hole_of_thousands)
{
    struct ns *ns = start();
    char path[160];

    ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    for (int i = 0; i < 4; i++)
        append_value(ns, "a value");
    stop(true);
    change('d', 0,
           DATA_HEADER_SIZE + 2 * (DATA_REC_SIZE + NS_SEQ_KEY_SIZE + 7) + DATA_REC_SIZE + 1);
    path_of(path, 'i', 0);
    ck_assert_int_eq(unlink(path), 0); /* built anew */
    ns = start();
    ck_assert_int_lt(size_of('i', 0), INDEX_HEADER_SIZE + 10 * INDEX_SEQ_REC);
    ck_assert_uint_ge(ns->entries, 2);
}
END_TEST

START_TEST(the_watermark_tells_the_mode_when_little_reached_the_disk)
{
    struct ns *ns = start();

    ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    stop(true);
    ns = start();
    for (int i = 0; i < 4; i++)
        append_value(ns, "lost");
    ck_assert_int_eq(ns_jump(ns), 0);
    append_value(ns, "of a segment behind the end");
    stop(false);
    blank('i', 0, INDEX_HEADER_SIZE);
    blank('d', 0, DATA_HEADER_SIZE);
    blank('i', 1, 0);
    for (int i = 0; i < 2; i++) {
        struct ns_info info;
        ns = start();
        ns_info(ns, &info);
        ck_assert_int_eq(info.mode, NS_SEQ);
        ck_assert_uint_eq(info.next_id, (uint64_t)i);
        append_value(ns, "new");
        stop(true);
    }
}
END_TEST

START_TEST(an_index_whose_header_never_reached_the_disk_is_begun_anew)
{
    struct ns *ns = start();
    char path[160];

    stop(false);
    for (int i = 0; i < 2; i++) { /* with a watermark, and without */
        blank('i', 0, 0);
        path_of(path, 'd', 0);
        ck_assert_int_eq(unlink(path), 0);
        snprintf(path, sizeof path, "%s/default/zdb-watermark", index_dir);
        ck_assert(i == 0 || unlink(path) == 0);
        ns = start();
        set(ns, "a", "one");
        is(ns, "a", "one");
        stop(true);
        if (i == 0)
            path_remove_tree(top);
        if (i == 0) {
            ck_assert_int_eq(mkdir(top, 0700), 0);
            start();
            stop(false);
        }
    }
}
END_TEST

START_TEST(a_look_ahead_does_not_change_the_record_at_hand)
{
    CLEANUP(base_free) char *big = xcalloc(1, 4 * MIB);
    struct ns *ns = start();
    struct ns_set_out out;
    char path[160];

    memset(big, 'x', 4 * MIB - 1);
    set(ns, "a", "one");
    ck_assert_int_eq(
        ns_set(ns, slice_str("empty"), slice_of((const uint8_t *)"", 0), 1, &out, NULL), 1);
    set(ns, "big", big);
    stop(false);
    cut('i', 0, INDEX_HEADER_SIZE + INDEX_REC_SIZE + 1); /* an empty value has no sum: what comes */
    snprintf(path, sizeof path, "%s/default/zdb-watermark", index_dir); /* behind it vouches */
    ck_assert_int_eq(unlink(path), 0);
    ns = start();
    is(ns, "a", "one");
    is(ns, "empty", "");
    is(ns, "big", big);
}
END_TEST

/* --- starts stay linear ---------------------------------------------------------------------- */

static void fill(enum ns_mode mode, unsigned n)
{
    struct ns *ns = start();

    if (mode == NS_SEQ)
        ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    for (unsigned i = 0; i < n; i++) {
        struct ns_set_out out;
        char key[16];

        snprintf(key, sizeof key, "k%07u", i);
        ck_assert_int_eq(
            ns_set(ns, slice_str(mode == NS_SEQ ? "" : key), slice_str(key), 1, &out, NULL), 1);
        if (i % 512 == 511)
            ck_assert_int_eq(store_commit(list), 0);
    }
    stop(true);
}

static uint64_t number_behind(const char *text, const char *name)
{
    const char *at = strstr(text, name);

    ck_assert_ptr_nonnull(at);
    return strtoull(at + strlen(name), NULL, 10);
}

struct reads {
    uint64_t calls, bytes;
};

/* What this process has read until now, by all its threads. */
static struct reads reads_so_far(void)
{
    CLEANUP(base_close) int fd = open("/proc/self/io", O_RDONLY);
    char text[512] = "";

    ck_assert_int_gt(read(fd, text, sizeof text - 1), 0);
    return (struct reads){number_behind(text, "syscr: "), number_behind(text, "rchar: ")};
}

static struct reads reads_of_start(unsigned entries)
{
    struct reads before = reads_so_far(), after;
    struct ns_info info;

    ns_info(start(), &info);
    after = reads_so_far();
    ck_assert_uint_eq(info.entries, entries);
    stop(false);
    return (struct reads){after.calls - before.calls, after.bytes - before.bytes};
}

enum { STARTS = 3 };

/* After an orderly end; as foreign files; with an index that has to be built. */
static void reads_of_starts(enum ns_mode mode, unsigned n, struct reads out[STARTS])
{
    char watermark[160], index[160];

    snprintf(watermark, sizeof watermark, "%s/default/zdb-watermark", index_dir);
    path_of(index, 'i', 0);
    fill(mode, n);
    for (int i = 0; i < STARTS; i++) {
        ck_assert(i != 1 || unlink(watermark) == 0);
        ck_assert(i != 2 || unlink(index) == 0);
        out[i] = reads_of_start(n);
    }
    path_remove_tree(top);
    ck_assert_int_eq(mkdir(top, 0700), 0);
}

START_TEST(ten_times_as_many_records_are_ten_times_as_many_reads)
{
    struct reads few[STARTS], many[STARTS];
    enum ns_mode mode = _i ? NS_SEQ : NS_USER;

    reads_of_starts(mode, 16000, few);
    reads_of_starts(mode, 160000, many);
    for (int i = 0; i < STARTS; i++) {
        ck_assert_uint_le(many[i].calls, few[i].calls * 11 + 100);
        ck_assert_uint_le(many[i].bytes, few[i].bytes * 11 + 4 * MIB);
    }
}
END_TEST

static TCase *load_case(void)
{
    TCase *tc = tcase_create("load");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, what_is_behind_the_watermark_is_replayed);
    tcase_add_test(tc, the_first_record_that_is_not_whole_ends_history);
    tcase_add_test(tc, where_history_ends_is_decided_once);
    tcase_add_test(tc, a_policy_that_cannot_be_read_keeps_everything_and_stops_nothing);
    tcase_add_test(tc, damage_before_the_watermark_ends_nothing);
    tcase_add_test(tc, a_broken_index_of_an_older_segment_is_built_from_its_data);
    tcase_add_test(tc, of_foreign_files_only_a_torn_tail_is_cut);
    tcase_add_test(tc, a_version_whose_data_is_lost_gives_way_to_the_one_before);
    tcase_add_test(tc, a_flush_that_was_interrupted_is_finished);
    tcase_add_test(tc, the_watermark_tells_the_mode_when_little_reached_the_disk);
    tcase_add_test(tc, an_index_whose_header_never_reached_the_disk_is_begun_anew);
    tcase_add_test(tc, an_update_whose_key_is_lost_is_none_of_id_zero);
    tcase_add_loop_test(tc, a_slot_of_which_a_part_is_old_hides_no_record, 0, 2);
    tcase_add_loop_test(tc, garbage_behind_the_end_takes_nothing_back, 0, 2);
    tcase_add_loop_test(tc, a_key_of_which_a_sector_is_garbage_is_none, 0, 3);
    tcase_add_test(tc, a_garbled_id_is_no_hole_of_thousands);
    tcase_add_test(tc, a_look_ahead_does_not_change_the_record_at_hand);
    tcase_add_loop_test(tc, ten_times_as_many_records_are_ten_times_as_many_reads, 0, 2);
    return tc;
}

UNIT_MAIN("load", load_case)
