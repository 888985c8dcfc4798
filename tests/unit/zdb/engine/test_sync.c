/* Group commit: what a helper thread has to say about files that are gone is not heard, and what
 * could not be made durable stays on the list. */
#include "tests/unit/unit.h"
#include "common/loop.h"
#include "common/path.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/renew.h"
#include "zdb/store.h"
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

static char top[64], data_dir[96], index_dir[96];
static struct loop *loop;
static struct store *list;
static struct ns_wait wait_for_it;

static void setup(void)
{
    snprintf(top, sizeof top, "%s/qsfs-sync.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(data_dir, sizeof data_dir, "%s/data", top);
    snprintf(index_dir, sizeof index_dir, "%s/index", top);
    struct store_conf conf = {.data_dir = data_dir,
                              .index_dir = index_dir,
                              .mode = NS_MIXED,
                              .datasize = 256 * MIB,
                              .max_files = 4};
    ck_assert_int_eq(loop_new(&loop, NULL), 0);
    ck_assert_int_eq(store_new(&list, &conf, loop, NULL), 0);
    ck_assert_int_eq(store_load(list, NULL), 0);
}

static void teardown(void)
{
    store_free(list);
    loop_free(loop);
    path_remove_tree(top);
}

static void set(struct ns *ns, const char *key, size_t n)
{
    CLEANUP(base_free) uint8_t *value = xcalloc(1, n);
    struct ns_set_out out;

    memset(value, 'v', n);
    ck_assert_int_eq(ns_set(ns, slice_str(key), slice_of(value, n), 1, &out, NULL), 1);
    ck_assert_int_eq(store_commit(list), 0);
}

static void woken(void *arg)
{
    *(bool *)arg = true;
}

START_TEST(a_job_for_files_that_were_flushed_says_nothing_about_the_new_ones)
{
    struct ns *ns = store_default(list);
    bool done = false;

    set(ns, "a", 300000);
    ns_wait_init(&wait_for_it, woken, &done);
    ck_assert_int_eq(ns_sync(ns, &wait_for_it), -EINPROGRESS);
    for (int i = 0; i < 1000 && !ns->sync.running; i++)
        loop_once(loop, 1);
    ck_assert_ptr_nonnull(ns->sync.running);
    ck_assert_int_eq(renew_flush(ns, NULL), 0);
    set(ns, "b", 10);
    for (int i = 0; i < 10000 && (ns->sync.running || !done); i++)
        loop_once(loop, 1);
    ck_assert(done);
    ck_assert_uint_le(ns_active(ns)->synced, ns_active(ns)->data.size);
    ns_wait_end(&wait_for_it);
}
END_TEST

START_TEST(a_file_that_could_not_be_opened_is_synced_by_the_next_one)
{
    struct ns *ns = store_default(list);
    struct rlimit was, few;

    set(ns, "a", 1000);
    files_drop(ns_active(ns)->data.fs, &ns_active(ns)->data.file);
    files_drop(ns_active(ns)->index.fs, &ns_active(ns)->index.file);
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
    few = was;
    few.rlim_cur = 3;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
    ck_assert_int_lt(ns_sync(ns, NULL), 0);
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
    ck_assert(ns_active(ns)->data.unsynced);
    ck_assert_uint_gt(ns->sync.n, 0);
}
END_TEST

/* The key of the deletion has only zeros in the sector where its record ends, so the index has to
 * say it, too: a helper that writes the index file again is waited for. */
START_TEST(a_deletion_is_not_refused_for_a_sync_that_failed)
{
    struct ns *ns = store_default(list);
    size_t first = DATA_HEADER_SIZE + DATA_REC_SIZE + NS_SEQ_KEY_SIZE;
    uint8_t zeros[NS_SEQ_KEY_SIZE] = {0}, value[512] = {1};
    bool synced = false, idle = false;
    struct ns_wait for_job;
    struct ns_set_out out;
    struct ns_entry e;

    ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    ck_assert_int_eq(ns_set(ns, slice_of(NULL, 0), slice_of(value, 511 - DATA_REC_SIZE - first), 1,
                            &out, NULL),
                     1);
    ns_wait_init(&wait_for_it, woken, &synced);
    ns_wait_init(&for_job, woken, &idle);
    ck_assert_int_eq(ns_sync(ns, &wait_for_it), -EINPROGRESS);
    for (int i = 0; i < 1000 && !ns->sync.running; i++)
        loop_once(loop, 1);
    ck_assert_ptr_nonnull(ns->sync.running);
    ns->sync.failed = true;
    ck_assert_int_eq(ns_del(ns, slice_of(zeros, sizeof zeros), 1, &for_job), -EINPROGRESS);
    ck_assert_uint_eq(ns->entries, 1);
    for (int i = 0; i < 10000 && !idle; i++)
        loop_once(loop, 1);
    ns->sync.failed = true;
    ck_assert_int_eq(ns_del(ns, slice_of(zeros, sizeof zeros), 1, &for_job), 0);
    ck_assert_int_eq(ns_find(ns, slice_of(zeros, sizeof zeros), &e, NULL), 0);
    ns_wait_end(&for_job);
    ns_wait_end(&wait_for_it);
}
END_TEST

static int update(struct ns *ns, uint8_t id, const char *value, struct ns_wait *w)
{
    uint8_t key[NS_SEQ_KEY_SIZE] = {id};
    struct ns_set_out out;

    return ns_set(ns, slice_of(key, sizeof key), slice_str(value), 1, &out, w);
}

START_TEST(rewrites_that_wait_are_bounded)
{
    struct ns *ns = store_default(list);
    struct ns_set_out out;
    char value[24];

    ck_assert_int_eq(ns_set_mode(ns, NS_SEQ), 0);
    ck_assert_int_eq(ns_set(ns, slice_of(NULL, 0), slice_str("first"), 1, &out, NULL), 1);
    ns->sync.failed = true;
    ns->sync.error = -EIO;
    ns->sync.retry_ms = 1;
    ns->sync.retry_at_ms = UINT64_MAX;
    for (int i = 0; i < 20000; i++) { /* one place: what follows takes the place of what waits */
        snprintf(value, sizeof value, "value %d", i);
        ck_assert_int_eq(update(ns, 0, value, NULL), 1);
    }
    ck_assert_uint_eq(ns->patches.n, 1);
    ck_assert_uint_lt(ns->patches.queued, 5000);
    ns->patches.queued += REWRITES_MAX; /* as if so many places had one */
    ck_assert_int_eq(update(ns, 0, "one more", NULL), -NS_EINDEX);
    ck_assert_int_eq(ns_set(ns, slice_of(NULL, 0), slice_str("inserted"), 1, &out, NULL), 1);
    ns->patches.queued -= REWRITES_MAX;
    ck_assert_int_eq(update(ns, 0, "one more", NULL), 1);
    ns->sync.retry_ms = 0;
}
END_TEST

static TCase *sync_case(void)
{
    TCase *tc = tcase_create("sync");

    tcase_add_checked_fixture(tc, setup, teardown);
    tcase_add_test(tc, a_job_for_files_that_were_flushed_says_nothing_about_the_new_ones);
    tcase_add_test(tc, a_file_that_could_not_be_opened_is_synced_by_the_next_one);
    tcase_add_test(tc, a_deletion_is_not_refused_for_a_sync_that_failed);
    tcase_add_test(tc, rewrites_that_wait_are_bounded);
    return tc;
}

UNIT_MAIN("sync", sync_case)
