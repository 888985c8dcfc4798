#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/cluster.h"

static struct cluster_test t;

static const unsigned one_group[] = {4};

static int store(const char *path, struct object_result *res)
{
    struct err e = {0};

    return object_store(t.o, path, path, 0, NULL, res, &e);
}

static char *key_of(const char *path)
{
    char *key = NULL;

    ck_assert_int_eq(object_key(t.conf, path, &key, NULL), 0);
    return key;
}

/* Metadata namespace i answers the name `to` with what it holds for `from`. */
static void alias(unsigned i, const char *from, const char *to)
{
    CLEANUP(base_free) char *a = key_of(from), *b = key_of(to);
    struct fake_entry *have, *want;

    pthread_mutex_lock(&t.fake->lock);
    have = fake_find(t.meta[i], slice_str(a));
    ck_assert_ptr_nonnull(have);
    if (!fake_find(t.meta[i], slice_str(b)))
        fake_insert(t.meta[i], slice_str(b));
    have = fake_find(t.meta[i], slice_str(a)); /* the table may have moved */
    want = fake_find(t.meta[i], slice_str(b));
    buf_clear(&want->value);
    buf_put_slice(&want->value, buf_slice(&have->value));
    want->time = ++t.fake->clock;
    pthread_mutex_unlock(&t.fake->lock);
}

static void must_be(const char *path, const char *want)
{
    CLEANUP(base_free) char *out = cluster_path(&t, "back");
    struct object_result res;

    ck_assert_int_eq(object_retrieve(t.o, path, NULL, out, NULL, &res, NULL), 0);
    ck_assert(cluster_same(want, out));
    unlink(out);
}

/* --- a record is bound to its key ------------------------------------------------------------ */

START_TEST(two_stores_that_answer_with_another_record_change_nothing)
{
    struct object_result res;
    char *a, *b;

    cluster_start(&t, 2, 4, one_group, 1);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    b = cluster_file(&t, "b", 50000, 'r', 2);
    ck_assert_int_eq(store(a, &res), 0);
    ck_assert_int_eq(store(b, &res), 0); /* the later one, so that it would win */
    alias(_i & 3, b, a);
    alias(((_i & 3) + 1 + _i / 4) & 3, b, a);
    must_be(a, a);
    must_be(b, b);
    ck_assert_int_eq(object_rebuild(t.o, a, NULL, NULL, &res, NULL), 0);
    must_be(a, a);
    must_be(b, b);
    free(a);
    free(b);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_store_never_deletes_what_a_foreign_record_names)
{
    struct object_result res;
    char *a, *b;

    cluster_start(&t, 2, 4, one_group, 1);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    b = cluster_file(&t, "b", 50000, 'r', 2);
    ck_assert_int_eq(store(b, &res), 0);
    for (unsigned i = 0; i < 4; i++) /* a is new, all who are asked lie */
        alias(i, b, a);
    ck_assert_int_eq(object_check(t.o, a, NULL, &res, NULL), -EBADMSG);
    ck_assert_int_eq(store(a, &res), 0);
    must_be(a, a);
    must_be(b, b);
    for (unsigned i = 0; i < 2; i++)
        alias(i, b, a);
    free(a);
    a = cluster_file(&t, "a", 50000, 'r', 3);
    ck_assert_int_eq(store(a, &res), 0);
    must_be(a, a);
    must_be(b, b);
    for (unsigned i = 0; i < 2; i++)
        alias(i, b, a);
    ck_assert_int_eq(object_delete(t.o, a, NULL, NULL, NULL), 0);
    must_be(b, b);
    free(a);
    free(b);
    cluster_stop(&t);
}
END_TEST

static TCase *tcase_bound(void)
{
    TCase *tc = tcase_create("a record is bound to its key");

    tcase_set_timeout(tc, 60);
    tcase_add_loop_test(tc, two_stores_that_answer_with_another_record_change_nothing, 0, 12);
    tcase_add_test(tc, a_store_never_deletes_what_a_foreign_record_names);
    return tc;
}

UNIT_MAIN("identity", tcase_bound)
