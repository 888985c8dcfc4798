#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/path.h"
#include "zstor/backend/exchange.h"
#include "zstor/backend/medium.h"

static char dir[64], *mnt;
static struct backend_addr values, names;
static struct pool *p;

static void start(void)
{
    struct pool_conf c = {.backoff_min_ms = 1, .backoff_max_ms = 2};
    char id[MEDIUM_ID_LEN + 1], *text;

    strcpy(dir, "/tmp/zstor-dir.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    mnt = path_join(dir, "mnt");
    ck_assert_int_eq(mkdir(mnt, 0700), 0);
    ck_assert_int_eq(medium_mark(mnt, id, NULL), 0);
    text = xasprintf("dir:%s", mnt);
    ck_assert_int_eq(backend_addr_parse(&values, text, NULL, NULL, NULL), 0);
    ck_assert_int_eq(backend_addr_parse(&names, text, NULL, NULL, NULL), 0);
    names.names = true;
    free(text);
    ck_assert_int_eq(pool_new(&p, &c), 0);
}

static void stop(void)
{
    pool_free(p);
    path_remove_tree(dir);
    free(mnt);
}

/* One operation; its outcome stays in x. */
static int ask(struct exchange *x, const struct backend_addr *a, enum backend_verb verb,
               struct slice key, struct slice value)
{
    struct err e = {0};

    *x = (struct exchange){.op = {.verb = verb, .key = key, .value = value}};
    if (pool_get(p, a, HEALTH_LINK, &x->conn, &e) < 0)
        return -EHOSTDOWN;
    exchange_run(x, 1, 0, 0, NULL);
    return x->op.rc;
}

static struct slice put(struct exchange *x, const char *value)
{
    ck_assert_int_eq(ask(x, &values, BACKEND_PUT, slice_of(NULL, 0), slice_str(value)), 0);
    ck_assert_uint_eq(x->op.out.len, 8);
    return x->op.out;
}

START_TEST(a_value_comes_back_whole_and_in_part_until_it_is_deleted)
{
    struct exchange a, b;
    struct slice key;

    start();
    key = put(&a, "hello world");
    ck_assert_int_eq(ask(&b, &values, BACKEND_GET, key, slice_of(NULL, 0)), 0);
    ck_assert(slice_eq_str(b.op.out, "hello world"));
    exchange_fini(&b, 1);
    b.op.verb = BACKEND_GET;
    b.op.off = 6;
    b.op.len = 3;
    exchange_run(&b, 1, 0, 0, NULL);
    ck_assert(slice_eq_str(b.op.out, "wor"));
    exchange_done(&b, 1);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(ask(&b, &values, BACKEND_DEL, key, slice_of(NULL, 0)), 0);
        exchange_done(&b, 1);
    }
    ck_assert_int_eq(ask(&b, &values, BACKEND_GET, key, slice_of(NULL, 0)), -ENOENT);
    exchange_done(&b, 1);
    ck_assert_int_eq(ask(&b, &values, BACKEND_GET, slice_str("../x"), slice_of(NULL, 0)), -ENOENT);
    exchange_done(&b, 1);
    exchange_done(&a, 1);
    stop();
}
END_TEST

static const char *const odd[] = {
    "/p/meta/0123", "../../../etc/passwd", "..", ".", "a\001b/\xff%2F", "/"};

START_TEST(names_of_any_bytes_stay_in_the_directory_and_are_listed)
{
    struct slice cursor = {0}, none = {0};
    size_t seen = 0, n = 0;
    struct exchange x;
    char **list;
    uint8_t raw[8];

    start();
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        ck_assert_int_eq(ask(&x, &names, BACKEND_NAMED_PUT, slice_str(odd[i]), slice_str("old")),
                         0);
        exchange_done(&x, 1);
        ck_assert_int_eq(ask(&x, &names, BACKEND_NAMED_PUT, slice_str(odd[i]), slice_str(odd[i])),
                         0);
        exchange_done(&x, 1);
        ck_assert_int_eq(ask(&x, &names, BACKEND_NAMED_GET, slice_str(odd[i]), none), 0);
        ck_assert(slice_eq_str(x.op.out, odd[i]));
        exchange_done(&x, 1);
        ck_assert_int_eq(ask(&x, &names, BACKEND_TIME, slice_str(odd[i]), none), 0);
        ck_assert_uint_gt(x.op.time_s, 1000000000);
        exchange_done(&x, 1);
    }
    do {
        ck_assert_int_eq(ask(&x, &names, BACKEND_LIST, cursor, none), 0);
        for (size_t r = 0; r < x.op.nrows; r++)
            for (size_t i = 0; i < ARRAY_LEN(odd); i++)
                seen += slice_eq_str(x.op.rows[r], odd[i]);
        ck_assert_uint_le(x.op.out.len, sizeof raw);
        if (x.op.out.len)
            memcpy(raw, x.op.out.p, x.op.out.len);
        cursor = slice_of(raw, x.op.out.len);
        exchange_done(&x, 1);
    } while (cursor.len);
    ck_assert_uint_eq(seen, ARRAY_LEN(odd));
    ck_assert_int_eq(path_list(dir, &list, &n), 0);
    ck_assert_uint_eq(n, 1);
    path_list_free(list, n);
    stop();
}
END_TEST

START_TEST(without_its_mark_it_is_down_and_nothing_is_made_there)
{
    char *away = NULL;
    struct exchange a, b;
    struct backend_info info;
    struct slice key;
    char **list;
    size_t n = 1;

    start();
    away = path_join(dir, "away");
    key = put(&a, "v");
    ck_assert_int_eq(rename(mnt, away), 0);
    ck_assert_int_eq(mkdir(mnt, 0700), 0);
    ck_assert_int_lt(exchange_info_one(p, &values, true, &info, NULL), 0);
    ck_assert_int_lt(exchange_info_one(p, &values, true, &info, NULL), 0);
    ck_assert_int_eq(path_list(mnt, &list, &n), 0);
    ck_assert_uint_eq(n, 0);
    path_list_free(list, n);
    ck_assert_int_eq(rmdir(mnt), 0);
    ck_assert_int_eq(rename(away, mnt), 0);
    ck_assert_int_eq(exchange_info_one(p, &values, true, &info, NULL), 0);
    ck_assert_uint_eq(info.entries, 1);
    ck_assert(!info.uncounted);
    ck_assert_int_eq(ask(&b, &values, BACKEND_GET, key, slice_of(NULL, 0)), 0);
    ck_assert(slice_eq_str(b.op.out, "v"));
    exchange_done(&a, 1);
    exchange_done(&b, 1);
    free(away);
    stop();
}
END_TEST

START_TEST(a_full_one_says_so)
{
    struct exchange a, b;

    start();
    values.capacity = 10;
    put(&a, "12345678");
    ck_assert_int_eq(ask(&b, &values, BACKEND_PUT, slice_of(NULL, 0), slice_str("123")), -ENOSPC);
    exchange_done(&b, 1);
    ck_assert_int_eq(ask(&b, &values, BACKEND_DEL, a.op.out, slice_of(NULL, 0)), 0);
    exchange_done(&b, 1);
    exchange_done(&a, 1);
    put(&a, "123");
    exchange_done(&a, 1);
    stop();
}
END_TEST

START_TEST(only_an_empty_directory_is_marked_and_only_once)
{
    char id[MEDIUM_ID_LEN + 1], *file = NULL;

    start();
    ck_assert_int_eq(medium_mark(mnt, id, NULL), -EEXIST);
    file = path_join(dir, "letter");
    ck_assert_int_eq(path_replace(file, slice_str("mine"), 0600, NULL), 0);
    ck_assert_int_eq(medium_mark(dir, id, NULL), -ENOTEMPTY);
    free(file);
    stop();
}
END_TEST

static TCase *tcase_dir(void)
{
    TCase *t = tcase_create("dir");

    tcase_add_test(t, a_value_comes_back_whole_and_in_part_until_it_is_deleted);
    tcase_add_test(t, names_of_any_bytes_stay_in_the_directory_and_are_listed);
    tcase_add_test(t, without_its_mark_it_is_down_and_nothing_is_made_there);
    tcase_add_test(t, a_full_one_says_so);
    tcase_add_test(t, only_an_empty_directory_is_marked_and_only_once);
    return t;
}

UNIT_MAIN("dir", tcase_dir)
