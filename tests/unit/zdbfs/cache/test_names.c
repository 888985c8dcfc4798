#include "tests/unit/unit.h"
#include "zdbfs/cache/names.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

/* list 46 of the root, and the list with two entries, of the spec; the garbage word as the original
 * left it */
static const uint8_t root_dot[] = {2,    0,    0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0x60, 0x60,
                                   0x5e, 0xad, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x2e, 0};
static const uint8_t two[] = {4,    0,    0,    0,    0,   0,   0,   0,    2,   0,   0,   0,
                              0x20, 0xd8, 0x62, 0x8c, 2,   0,   1,   0,    0,   0,   0,   0,
                              0,    0,    0x2e, 0x2e, 0,   8,   0,   0x12, 0,   0,   0,   0,
                              0,    0,    0,    'l',  'o', 's', 't', 'd',  'a', 't', 'a', 0};

START_TEST(names_fall_into_the_lists_of_the_original)
{
    ck_assert_uint_eq(list_format_bucket(slice_str(".")), 46);
    ck_assert_uint_eq(list_format_bucket(slice_str("..")), 92);
    ck_assert_uint_eq(list_format_bucket(slice_str("lostdata")), 92);
    ck_assert_uint_eq(list_format_bucket(slice_str("d1")), 21);
    ck_assert_uint_eq(list_format_bucket(slice_str("\xff\xff")), (255 + 255) % 128);
}
END_TEST

START_TEST(golden_lists_load_and_are_stored_with_a_zero_word)
{
    struct dlist l;
    struct buf b = BUF_INIT;
    uint8_t want[sizeof two];

    dlist_init(&l, 1);
    ck_assert_int_eq(dlist_load(&l, slice_of(two, sizeof two), 4), 0);
    ck_assert_uint_eq(l.n, 2);
    ck_assert_uint_eq(dlist_find(&l, slice_str("lostdata"))->ino, 0x12);
    ck_assert_uint_eq(dlist_find(&l, slice_str(".."))->ino, 1);
    ck_assert_ptr_null(dlist_find(&l, slice_str("lostdat")));
    ck_assert_int_eq(dlist_store(&l, 4, &b), 0);
    memcpy(want, two, sizeof two);
    memset(want + 12, 0, 4);
    ck_assert_uint_eq(b.len, sizeof two);
    ck_assert_mem_eq(buf_data(&b), want, sizeof two);
    ck_assert_uint_eq(dlist_stored_bytes(&l), sizeof two);
    dlist_fini(&l);
    ck_assert_int_eq(dlist_load(&l, slice_of(root_dot, sizeof root_dot), 2), 0);
    ck_assert_uint_eq(l.n, 1);
    dlist_fini(&l);
    buf_fini(&b);
}
END_TEST

START_TEST(damaged_lists_are_refused_and_leave_it_empty)
{
    struct dlist l;
    uint8_t v[sizeof two];

    dlist_init(&l, 1);
    for (size_t cut = 0; cut < sizeof two; cut++) {
        ck_assert_int_eq(dlist_load(&l, slice_of(two, cut), 4), -EUCLEAN);
        ck_assert_uint_eq(l.n, 0);
    }
    ck_assert_int_eq(dlist_load(&l, slice_of(two, sizeof two), 5), -EUCLEAN); /* another's */
    memcpy(v, two, sizeof two);
    v[8] = 3; /* more entries than there are */
    ck_assert_int_eq(dlist_load(&l, slice_of(v, sizeof v), 4), -EUCLEAN);
    v[8] = 2;
    v[16] = 0; /* a name without bytes */
    ck_assert_int_eq(dlist_load(&l, slice_of(v, sizeof v), 4), -EUCLEAN);
    memcpy(v, two, sizeof two);
    v[40] = '/';
    ck_assert_int_eq(dlist_load(&l, slice_of(v, sizeof v), 4), -EUCLEAN);
    v[40] = 0;
    ck_assert_int_eq(dlist_load(&l, slice_of(v, sizeof v), 4), -EUCLEAN);
    dlist_fini(&l);
}
END_TEST

START_TEST(unsorted_lists_are_sorted)
{
    struct dlist l;
    struct buf b = BUF_INIT;

    list_format_put_head(&b, 9, 3);
    list_format_put_entry(&b, slice_str("c"), 3);
    list_format_put_entry(&b, slice_str("a"), 1);
    list_format_put_entry(&b, slice_str("b"), 2);
    dlist_init(&l, 1);
    ck_assert_int_eq(dlist_load(&l, buf_slice(&b), 9), 0);
    for (size_t i = 0; i < 3; i++)
        ck_assert_uint_eq(dlist_find(&l, slice_of(&"abc"[i], 1))->ino, i + 1);
    dlist_fini(&l);
    buf_fini(&b);
}
END_TEST

static void check_orders(struct dlist *l)
{
    dlist_after(l, 0);
    for (size_t i = 1; i < l->n; i++) {
        const struct dent *a = l->by_name[i - 1], *b = l->by_name[i];
        ck_assert_int_le(memcmp(a->name, b->name, MIN(a->len, b->len)), 0);
        ck_assert_uint_lt(l->by_cookie[i - 1]->cookie, l->by_cookie[i]->cookie);
    }
}

START_TEST(random_changes_match_a_model)
{
    enum { NAMES = 300 };
    uint64_t model[NAMES] = {0};
    struct dlist l;

    srand(7);
    dlist_init(&l, 99);
    for (int step = 0; step < 20000; step++) {
        char name[24];
        int k = rand() % NAMES;
        int len = snprintf(name, sizeof name, "n%d", k);
        struct slice s = slice_of(name, (size_t)len);
        struct dent *d = dlist_find(&l, s);
        ck_assert_uint_eq(d ? d->ino : 0, model[k]);
        if (d) {
            dlist_remove(&l, d);
            model[k] = 0;
        } else {
            model[k] = (uint64_t)step + 1;
            dlist_add(&l, s, model[k], DT_REG);
        }
        if (step % 500 == 250)
            check_orders(&l);
    }
    check_orders(&l);
    dlist_fini(&l);
}
END_TEST

START_TEST(cookies_stay_while_others_come_and_go)
{
    struct dlist l;
    uint64_t cookie[100];
    char name[24];

    dlist_init(&l, 3);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "keep%d", i);
        dlist_add(&l, slice_str(name), 1, DT_REG);
    }
    dlist_after(&l, 0);
    for (int i = 0; i < 100; i++) {
        snprintf(name, sizeof name, "keep%d", i);
        cookie[i] = dlist_find(&l, slice_str(name))->cookie;
    }
    for (int i = 0; i < 500; i++) {
        snprintf(name, sizeof name, "other%d", i);
        dlist_add(&l, slice_str(name), 2, DT_REG);
    }
    for (int i = 0; i < 100; i += 2) {
        snprintf(name, sizeof name, "keep%d", i);
        dlist_remove(&l, dlist_find(&l, slice_str(name)));
    }
    for (int i = 1; i < 100; i += 2) {
        snprintf(name, sizeof name, "keep%d", i);
        ck_assert_uint_eq(dlist_find(&l, slice_str(name))->cookie, cookie[i]);
        ck_assert_uint_eq(l.by_cookie[dlist_after(&l, cookie[i] - 1)]->cookie, cookie[i]);
        size_t next = dlist_after(&l, cookie[i]);
        ck_assert(next == l.n || l.by_cookie[next]->cookie > cookie[i]);
    }
    check_orders(&l);
    dlist_fini(&l);
}
END_TEST

START_TEST(second_entry_of_a_name_goes_behind_the_first)
{
    struct dlist l;

    dlist_init(&l, 1);
    dlist_add(&l, slice_str("x"), 1, DT_REG);
    struct dent *second = dlist_add(&l, slice_str("x"), 2, DT_REG);
    ck_assert_uint_eq(dlist_find(&l, slice_str("x"))->ino, 1);
    check_orders(&l);
    dlist_remove(&l, second);
    ck_assert_uint_eq(l.n, 1);
    ck_assert_uint_eq(dlist_find(&l, slice_str("x"))->ino, 1);
    dlist_fini(&l);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("dlist");
    tcase_add_test(t, names_fall_into_the_lists_of_the_original);
    tcase_add_test(t, golden_lists_load_and_are_stored_with_a_zero_word);
    tcase_add_test(t, damaged_lists_are_refused_and_leave_it_empty);
    tcase_add_test(t, unsorted_lists_are_sorted);
    tcase_add_test(t, random_changes_match_a_model);
    tcase_add_test(t, cookies_stay_while_others_come_and_go);
    tcase_add_test(t, second_entry_of_a_name_goes_behind_the_first);
    return t;
}

UNIT_MAIN("dlist", all)
