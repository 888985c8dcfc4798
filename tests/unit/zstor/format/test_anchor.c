#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "zstor/format/anchor.h"

static const uint8_t key[ZSTOR_KEY_LEN] = {1}, other[ZSTOR_KEY_LEN] = {2};
static const uint8_t nonce[CRYPT_NONCE_LEN] = {3};

static struct anchor *sample(size_t parts)
{
    static struct anchor a; /* large */

    a = (struct anchor){.volume = {9}, .instance = {8}, .epoch = 3, .sequence = 70, .time_ns = 5};
    for (size_t i = 0; i < parts; i++) {
        struct anchor_part *p = &a.part[a.n++];

        *p = (struct anchor_part){.whole = i == 0, .sequence = 60 + i, .records = 7};
        p->key = xasprintf("/p/meta/%032zu", i);
        buf_put_str(&p->record, "record");
    }
    return &a;
}

START_TEST(what_was_sealed_opens_with_the_key_and_the_prefix)
{
    static struct anchor got;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct anchor *a = sample(_i ? ANCHOR_MAX_PARTS : 1);

    ck_assert_int_eq(anchor_seal(a, "p", key, nonce, &b), 0);
    ck_assert(anchor_is_one(buf_slice(&b)));
    ck_assert_int_eq(anchor_open(buf_slice(&b), "p", key, &got), 0);
    ck_assert_uint_eq(got.n, a->n);
    ck_assert_uint_eq(got.epoch, 3);
    ck_assert_uint_eq(got.sequence, 70);
    ck_assert_mem_eq(got.volume, a->volume, sizeof got.volume);
    ck_assert_mem_eq(got.instance, a->instance, sizeof got.instance);
    for (size_t i = 0; i < got.n; i++) {
        ck_assert(got.part[i].whole == (i == 0));
        ck_assert_uint_eq(got.part[i].sequence, 60 + i);
        ck_assert_uint_eq(got.part[i].records, 7);
        ck_assert_str_eq(got.part[i].key, a->part[i].key);
        ck_assert(slice_eq_str(buf_slice(&got.part[i].record), "record"));
    }
    anchor_fini(&got);
    ck_assert_int_eq(anchor_open(buf_slice(&b), "q", key, &got), -ESRCH);
    ck_assert_int_eq(anchor_open(buf_slice(&b), "p", other, &got), -EKEYREJECTED);
    anchor_fini(a);
}
END_TEST

START_TEST(what_was_cut_or_changed_is_none)
{
    static struct anchor got;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct anchor *a = sample(2);
    uint8_t *p;

    ck_assert_int_eq(anchor_seal(a, "p", key, nonce, &b), 0);
    anchor_fini(a);
    p = xcalloc(1, b.len);
    for (size_t i = 0; i < b.len; i++) {
        memcpy(p, buf_data(&b), b.len);
        p[i] ^= 0x10;
        ck_assert_int_eq(anchor_open(slice_of(p, b.len), "p", key, &got), -EBADMSG);
        ck_assert_int_eq(anchor_open(slice_of(buf_data(&b), i), "p", key, &got), -EBADMSG);
    }
    free(p);
}
END_TEST

START_TEST(one_without_a_whole_part_in_front_is_none)
{
    static struct anchor got;
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct anchor *a = sample(2);

    a->part[0].whole = false;
    ck_assert_int_eq(anchor_seal(a, "p", key, nonce, &b), 0);
    ck_assert_int_eq(anchor_open(buf_slice(&b), "p", key, &got), -EBADMSG);
    anchor_fini(a);
}
END_TEST

START_TEST(the_epoch_goes_before_the_sequence)
{
    struct anchor a = {.epoch = 2, .sequence = 1}, b = {.epoch = 1, .sequence = 9};

    ck_assert(anchor_newer(&a, &b) && !anchor_newer(&b, &a));
    b.epoch = 2;
    ck_assert(anchor_newer(&b, &a) && !anchor_newer(&a, &b) && !anchor_newer(&a, &a));
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("anchor");

    tcase_add_loop_test(t, what_was_sealed_opens_with_the_key_and_the_prefix, 0, 2);
    tcase_add_test(t, what_was_cut_or_changed_is_none);
    tcase_add_test(t, one_without_a_whole_part_in_front_is_none);
    tcase_add_test(t, the_epoch_goes_before_the_sequence);
    return t;
}

UNIT_MAIN("anchor", all)
