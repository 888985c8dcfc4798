/* The watermark: what is written is read, and anything else is not believed. */
#include "tests/unit/unit.h"
#include "common/path.h"
#include "zdb/file/watermark.h"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct watermark one = {.flags = WATERMARK_CLEAN,
                                     .mode = 1,
                                     .sequence = 7,
                                     .segment = 3,
                                     .last_data = 100,
                                     .data_size = 1000,
                                     .index_size = 500,
                                     .last_index = 458,
                                     .data_sum = 11,
                                     .index_sum = 12,
                                     .data_chain = 100,
                                     .safe_segment = 3,
                                     .safe_size = 1000};

START_TEST(what_is_written_is_read)
{
    uint8_t bytes[WATERMARK_SIZE], again[WATERMARK_SIZE];
    struct watermark w;

    watermark_encode(bytes, &one);
    ck_assert(watermark_decode(slice_of(bytes, sizeof bytes), &w));
    watermark_encode(again, &w);
    ck_assert_mem_eq(again, bytes, sizeof again);
    ck_assert_uint_eq(w.sequence, 7);
    ck_assert_uint_eq(w.safe_size, 1000);
}
END_TEST

START_TEST(no_changed_byte_and_no_cut_is_believed)
{
    uint8_t bytes[WATERMARK_SIZE];
    struct watermark w;

    watermark_encode(bytes, &one);
    for (size_t i = 0; i < sizeof bytes; i++) {
        for (unsigned bit = 0; bit < 8; bit++) {
            bytes[i] ^= (uint8_t)(1u << bit);
            ck_assert(!watermark_decode(slice_of(bytes, sizeof bytes), &w));
            bytes[i] ^= (uint8_t)(1u << bit);
        }
        ck_assert(!watermark_decode(slice_of(bytes, i), &w));
    }
    memset(bytes, 0, sizeof bytes);
    ck_assert(!watermark_decode(slice_of(bytes, sizeof bytes), &w));
}
END_TEST

START_TEST(of_two_slots_the_newer_one_that_is_whole_counts)
{
    char dir[64];
    struct watermark w = one, got;

    snprintf(dir, sizeof dir, "%s/qsfs-mark.XXXXXX",
             access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    ck_assert_int_eq(watermark_read(dir, &got), 0);
    ck_assert_int_eq(watermark_write(dir, &w), 0);
    w.sequence++;
    w.data_size = 2000;
    ck_assert_int_eq(watermark_write(dir, &w), 0);
    ck_assert_int_eq(watermark_read(dir, &got), 1);
    ck_assert_uint_eq(got.sequence, 8);
    {
        CLEANUP(base_free) char *path = path_join(dir, WATERMARK_FILE);
        FILE *f = fopen(path, "r+b"); /* the write of slot 8 was torn */
        ck_assert_ptr_nonnull(f);
        ck_assert_int_eq(fseek(f, 40, SEEK_SET), 0);
        ck_assert_int_eq(fputc('x', f), 'x');
        fclose(f);
    }
    ck_assert_int_eq(watermark_read(dir, &got), 1);
    ck_assert_uint_eq(got.sequence, 7);
    ck_assert_uint_eq(got.data_size, 1000);
    ck_assert_int_eq(watermark_remove(dir), 0);
    ck_assert_int_eq(watermark_read(dir, &got), 0);
    path_remove_tree(dir);
}
END_TEST

static TCase *watermark_case(void)
{
    TCase *tc = tcase_create("watermark");

    tcase_add_test(tc, what_is_written_is_read);
    tcase_add_test(tc, no_changed_byte_and_no_cut_is_believed);
    tcase_add_test(tc, of_two_slots_the_newer_one_that_is_whole_counts);
    return tc;
}

UNIT_MAIN("watermark", watermark_case)
