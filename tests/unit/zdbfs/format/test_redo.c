#include "tests/unit/unit.h"
#include "zdbfs/format/redo.h"

#include <errno.h>

START_TEST(operations_come_back_in_order)
{
    struct buf s = BUF_INIT;
    const uint64_t keys[3] = {7, 0xfffffffffull, 1}, ids[2] = {5, 0xffffffff};
    struct redo_item it;

    ck_assert_int_eq(redo_format_put_set(&s, 42, slice_str("value")), 0);
    ck_assert_int_eq(redo_format_put_keys(&s, REDO_DEL_META, keys, 3), 0);
    ck_assert_int_eq(redo_format_put_set(&s, 43, slice_of(NULL, 0)), 0);
    ck_assert_int_eq(redo_format_put_keys(&s, REDO_DEL_DATA, ids, 2), 0);
    ck_assert_int_eq(redo_format_put_keys(&s, REDO_ORPHANS, keys, 1), 0);
    ck_assert_int_eq(redo_format_put_was(&s, (const uint64_t[]){5, 0xdeadbeef, 6, 1}, 2), 0);
    struct rd r = rd_of(buf_slice(&s));
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_SET && it.key == 42 && slice_eq_str(it.value, "value"));
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_DEL_META && redo_format_count(&it) == 3 &&
              redo_format_key(&it, 1) == 0xfffffffffull);
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.key == 43 && it.value.len == 0);
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_DEL_DATA && redo_format_count(&it) == 2 &&
              redo_format_key(&it, 1) == 0xffffffff);
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_ORPHANS && redo_format_key(&it, 0) == 7);
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_WAS && redo_format_count(&it) == 2 && redo_format_key(&it, 1) == 6 &&
              redo_format_was(&it, 0) == 0xdeadbeef && redo_format_was(&it, 1) == 1);
    ck_assert_int_eq(redo_format_next(&r, &it), 0);
    buf_fini(&s);
}
END_TEST

START_TEST(changes_of_values_come_back)
{
    struct buf s = BUF_INIT;
    const uint32_t pairs[4] = {3, 700, 49, 701};
    struct redo_item it;

    ck_assert_int_eq(redo_format_put_inode(&s, 42, slice_str("inode"), 50, pairs, 2), 0);
    ck_assert_int_eq(redo_format_put_inode(&s, 43, slice_of(NULL, 0), 0, NULL, 0), 0);
    ck_assert_int_eq(redo_format_put_entry(&s, 44, slice_str("name"), 1ull << 40), 0);
    size_t first = 21 + 5 + 16, second = first + 21, third = second + 19 + 4;
    for (size_t cut = 1; cut < s.len; cut++) {
        struct rd r = rd_of(slice_of(buf_data(&s), cut));
        int n;
        while ((n = redo_format_next(&r, &it)) == 1)
            ;
        ck_assert_int_eq(n, cut == first || cut == second || cut == third ? 0 : -EUCLEAN);
    }
    struct rd r = rd_of(buf_slice(&s));
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_INODE && it.key == 42 && slice_eq_str(it.value, "inode"));
    ck_assert(it.nslots == 50 && it.pairs.len == 16 && le32_get(it.pairs.p + 12) == 701);
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_INODE && it.key == 43 && it.nslots == 0 && it.pairs.len == 0);
    ck_assert_int_eq(redo_format_next(&r, &it), 1);
    ck_assert(it.op == REDO_ENTRY && it.key == 44 && it.ino == 1ull << 40);
    ck_assert(slice_eq_str(it.value, "name"));
    ck_assert_int_eq(redo_format_next(&r, &it), 0);
    buf_fini(&s);
}
END_TEST

START_TEST(changes_that_cannot_be_are_refused)
{
    struct buf s = BUF_INIT;
    struct redo_item it;

    redo_format_put_inode(&s, 1, slice_str("inode"), 50, (const uint32_t[]){50, 7}, 1);
    struct rd r = rd_of(buf_slice(&s));
    ck_assert_int_eq(redo_format_next(&r, &it), -EUCLEAN); /* a block behind the last */
    buf_clear(&s);
    redo_format_put_inode(&s, 1, slice_str("inode"), UINT32_MAX, NULL, 0);
    r = rd_of(buf_slice(&s));
    ck_assert_int_eq(redo_format_next(&r, &it), -EUCLEAN); /* more than any value holds */
    buf_clear(&s);
    redo_format_put_entry(&s, 1, slice_of(NULL, 0), 5);
    r = rd_of(buf_slice(&s));
    ck_assert_int_eq(redo_format_next(&r, &it), -EUCLEAN); /* no name */
    buf_fini(&s);
}
END_TEST

START_TEST(torn_streams_are_refused)
{
    struct buf s = BUF_INIT;
    struct redo_item it;

    redo_format_put_set(&s, 42, slice_str("value"));
    for (size_t cut = 1; cut < s.len; cut++) {
        struct rd r = rd_of(slice_of(buf_data(&s), cut));
        ck_assert_int_eq(redo_format_next(&r, &it), -EUCLEAN);
    }
    uint8_t bad[] = {9, 0, 0, 0, 0}, many[] = {REDO_DEL_META, 0xff, 0xff, 0xff, 0xff, 1};
    struct rd r = rd_of(slice_of(bad, sizeof bad));
    ck_assert_int_eq(redo_format_next(&r, &it), -EUCLEAN);
    r = rd_of(slice_of(many, sizeof many));
    ck_assert_int_eq(redo_format_next(&r, &it), -EUCLEAN);
    buf_fini(&s);
}
END_TEST

START_TEST(long_streams_are_cut_and_joined)
{
    size_t len = 9 * 1024 * 1024 + 7;
    uint8_t *data = malloc(len);
    struct buf chunk = BUF_INIT, joined = BUF_INIT;

    for (size_t i = 0; i < len; i++)
        data[i] = (uint8_t)(i * 31 >> 3);
    uint32_t n = redo_format_chunks(len);
    ck_assert_uint_eq(n, 3);
    for (uint32_t i = 0; i < n; i++) {
        struct redo_chunk c;
        ck_assert_int_eq(
            redo_format_encode_chunk(&chunk, REDO_COMMIT, 77, 5, slice_of(data, len), i), 0);
        ck_assert_uint_le(chunk.len, REDO_MAX_CHUNK);
        ck_assert_int_eq(redo_format_decode_chunk(buf_slice(&chunk), &c), 0);
        ck_assert(c.kind == REDO_COMMIT && c.generation == 77 && c.seq == 5 && c.index == i &&
                  c.last == (i == n - 1));
        buf_put_slice(&joined, c.payload);
    }
    ck_assert(slice_eq(buf_slice(&joined), slice_of(data, len)));
    free(data);
    buf_fini(&chunk);
    buf_fini(&joined);
}
END_TEST

START_TEST(an_exact_multiple_has_no_empty_chunk)
{
    size_t max = REDO_MAX_CHUNK - REDO_HEAD;

    ck_assert_uint_eq(redo_format_chunks(0), 1);
    ck_assert_uint_eq(redo_format_chunks(1), 1);
    ck_assert_uint_eq(redo_format_chunks(max), 1);
    ck_assert_uint_eq(redo_format_chunks(max + 1), 2);
    ck_assert_uint_eq(redo_format_chunks(2 * max), 2);
}
END_TEST

START_TEST(every_changed_byte_of_a_chunk_is_noticed)
{
    struct buf chunk = BUF_INIT;
    struct redo_chunk c;

    redo_format_encode_chunk(&chunk, REDO_COMMIT, 1, 2, slice_str("the payload"), 0);
    for (size_t i = 0; i < chunk.len; i++) {
        buf_data(&chunk)[i] ^= 4;
        ck_assert_int_lt(redo_format_decode_chunk(buf_slice(&chunk), &c), 0);
        buf_data(&chunk)[i] ^= 4;
    }
    for (size_t cut = 0; cut < chunk.len; cut++)
        ck_assert_int_lt(redo_format_decode_chunk(slice_of(buf_data(&chunk), cut), &c), 0);
    ck_assert_int_eq(redo_format_decode_chunk(buf_slice(&chunk), &c), 0);
    ck_assert_int_eq(redo_format_decode_chunk(slice_str("block of the original, not ours"), &c),
                     -ENOMSG);
    buf_fini(&chunk);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("redo_format");
    tcase_add_test(t, operations_come_back_in_order);
    tcase_add_test(t, changes_of_values_come_back);
    tcase_add_test(t, changes_that_cannot_be_are_refused);
    tcase_add_test(t, torn_streams_are_refused);
    tcase_add_test(t, long_streams_are_cut_and_joined);
    tcase_add_test(t, an_exact_multiple_has_no_empty_chunk);
    tcase_add_test(t, every_changed_byte_of_a_chunk_is_noticed);
    return t;
}

UNIT_MAIN("redo_format", all)
