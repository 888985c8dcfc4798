/* Shards that nobody refers to any more: they go without being read, and never those of others. */
#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/cluster.h"
#include "zstor/format/record.h"

static struct cluster_test t;

static void start(void)
{
    static const unsigned four = 4;

    cluster_start(&t, 2, 4, &four, 1);
}

static char *store(const char *name, unsigned seed)
{
    struct object_result res;
    char *path = cluster_file(&t, name, 5000000, 'r', seed); /* two values for each shard */

    ck_assert_int_eq(object_store(t.o, path, path, 0, NULL, &res, NULL), 0);
    return path;
}

static void must_be_readable(const char *path)
{
    CLEANUP(base_free) char *copy = cluster_path(&t, "copy");
    struct object_target to = {.fd = open(copy, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600)};
    struct object_result res;

    ck_assert_int_eq(object_retrieve(t.o, path, NULL, &to, NULL, &res, NULL), 0);
    close(to.fd);
    ck_assert(cluster_same(path, copy));
}

static unsigned gets(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 4; i++)
        n += atomic_load(&t.data[i]->gets);
    return n;
}

START_TEST(what_is_replaced_is_not_read)
{
    unsigned before;

    start();
    free(store("file", 1));
    before = gets();
    free(store("file", 2));
    ck_assert_uint_eq(gets(), before);
    ck_assert_uint_eq(cluster_live(&t), 8);
    ck_assert_uint_eq(atomic_load(&t.stats.old_values_leaked), 0);
    cluster_stop(&t);
}
END_TEST

/* A backend was emptied and numbers its values from 0 again: the numbers of an old record are
 * another object's now. */
START_TEST(values_of_others_under_the_same_numbers_stay)
{
    char *a, *b;

    start();
    a = store("a", 1);
    pthread_mutex_lock(&t.fake->lock);
    for (unsigned i = 0; i < 2; i++) {
        for (size_t k = 0; k < t.data[i]->n; k++)
            buf_fini(&t.data[i]->entry[k].value);
        t.data[i]->n = 0;
    }
    pthread_mutex_unlock(&t.fake->lock);
    b = store("b", 2);
    free(a);
    a = store("a", 3);
    must_be_readable(b);
    for (unsigned i = 0; i < 4; i++) /* b's two and the new a's two, everywhere */
        ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 4);
    must_be_readable(a);
    free(a);
    free(b);
    cluster_stop(&t);
}
END_TEST

static struct meta_record dead[4];
static char dead_key[4][128];
static unsigned ndead;
static bool refuse;

static int bury(void *arg, const char *key, const struct meta_record *m, struct err *e)
{
    static const uint8_t none[ZSTOR_KEY_LEN];

    (void)arg;
    if (refuse)
        return err_set(e, ENOSPC, "no room");
    ck_assert_mem_eq(m->key, none, sizeof none);
    meta_record_copy(&dead[ndead], m);
    snprintf(dead_key[ndead++], sizeof dead_key[0], "%s", key);
    return 0;
}

static int reclaim(unsigned i)
{
    return object_reclaim_dead(t.o, dead_key[i], &dead[i], NULL, NULL);
}

static void stop(void)
{
    while (ndead > 0)
        meta_record_fini(&dead[--ndead]);
    refuse = false;
    cluster_stop(&t);
}

START_TEST(what_is_buried_goes_later_and_once)
{
    char *path;

    start();
    object_reclaim_later(t.o, bury, NULL);
    path = store("file", 1);
    ck_assert_uint_eq(ndead, 0);
    free(path);
    path = store("file", 2);
    ck_assert_uint_eq(ndead, 1);
    ck_assert_uint_eq(cluster_live(&t), 16);
    ck_assert_int_eq(reclaim(0), 0);
    ck_assert_uint_eq(cluster_live(&t), 8);
    must_be_readable(path);
    ck_assert_int_eq(reclaim(0), 0); /* as after a crash */
    ck_assert_uint_eq(cluster_live(&t), 8);
    ck_assert_int_eq(object_delete(t.o, path, NULL, NULL, NULL), 0);
    ck_assert_uint_eq(ndead, 2);
    ck_assert_int_eq(reclaim(1), 0);
    ck_assert_uint_eq(cluster_live(&t), 0);
    free(path);
    stop();
}
END_TEST

/* The list is there before the change: a crash in between must not cost the object its shards. */
START_TEST(what_was_not_replaced_after_all_stays)
{
    char *path;
    struct object_result res;

    start();
    object_reclaim_later(t.o, bury, NULL);
    path = store("file", 1);
    for (unsigned i = 0; i < 4; i++)
        atomic_store(&t.meta[i]->fail_set, 0);
    free(cluster_file(&t, "file", 70000, 'r', 2));
    ck_assert_int_lt(object_store(t.o, path, path, 0, NULL, &res, NULL), 0);
    ck_assert_uint_eq(ndead, 1);
    for (unsigned i = 0; i < 4; i++)
        atomic_store(&t.meta[i]->fail_set, -1);
    cluster_settle(&t);
    ck_assert_int_eq(reclaim(0), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 3); /* the old two, and the new one */
    free(path);
    path = store("file", 1);
    must_be_readable(path);
    free(path);
    stop();
}
END_TEST

START_TEST(a_record_below_the_quorum_costs_the_former_nothing)
{
    struct object_result res;
    char *path;

    start();
    object_reclaim_later(t.o, bury, NULL);
    path = store("file", 1);
    atomic_store(&t.meta[0]->fail_set, 0);
    atomic_store(&t.meta[1]->fail_set, 0);
    free(cluster_file(&t, "file", 70000, 'r', 2));
    ck_assert_int_lt(object_store(t.o, path, path, 0, NULL, &res, NULL), 0);
    ck_assert_uint_eq(ndead, 1);
    cluster_settle(&t);
    ck_assert_int_lt(reclaim(0), 0);
    for (unsigned i = 0; i < 4; i++)
        ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 3);
    free(path);
    stop();
}
END_TEST

START_TEST(a_backend_that_is_away_is_waited_for)
{
    char *path;

    start();
    object_reclaim_later(t.o, bury, NULL);
    free(store("file", 1));
    path = store("file", 2);
    atomic_store(&t.data[1]->refuse, true);
    ck_assert_int_eq(object_reclaim_dead(t.o, dead_key[0], &dead[0], NULL, NULL), -EHOSTUNREACH);
    ck_assert_uint_eq(cluster_live(&t), 10);
    atomic_store(&t.data[1]->refuse, false);
    cluster_settle(&t);
    ck_assert_int_eq(reclaim(0), 0);
    ck_assert_uint_eq(cluster_live(&t), 8);
    must_be_readable(path);
    free(path);
    stop();
}
END_TEST

START_TEST(when_no_job_can_be_had_it_goes_at_once)
{
    start();
    object_reclaim_later(t.o, bury, NULL);
    free(store("file", 1));
    refuse = true;
    free(store("file", 2));
    ck_assert_uint_eq(cluster_live(&t), 8);
    stop();
}
END_TEST

static TCase *all(void)
{
    TCase *c = tcase_create("reclaim");

    tcase_add_test(c, what_is_replaced_is_not_read);
    tcase_add_test(c, values_of_others_under_the_same_numbers_stay);
    tcase_add_test(c, what_is_buried_goes_later_and_once);
    tcase_add_test(c, what_was_not_replaced_after_all_stays);
    tcase_add_test(c, a_record_below_the_quorum_costs_the_former_nothing);
    tcase_add_test(c, a_backend_that_is_away_is_waited_for);
    tcase_add_test(c, when_no_job_can_be_had_it_goes_at_once);
    return c;
}

UNIT_MAIN("reclaim", all)
