#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/path.h"
#include "zstor/object/spool.h"

static uint8_t byte_at(uint64_t off)
{
    return (uint8_t)(off * 31 + (off >> 8) * 7 + (off >> 16));
}

static void fill(struct spool *s, uint64_t size)
{
    uint8_t p[10007];

    while (spool_len(s) < size) {
        uint64_t off = spool_len(s);
        size_t n = (size_t)MIN(size - off, (uint64_t)sizeof p);
        for (size_t i = 0; i < n; i++)
            p[i] = byte_at(off + i);
        ck_assert_int_eq(spool_append(s, p, n), 0);
    }
}

static void verify(struct spool *s)
{
    uint8_t p[777];

    for (uint64_t off = 0; off < spool_len(s);) {
        size_t n = (size_t)MIN(spool_len(s) - off, (uint64_t)sizeof p);
        ck_assert_int_eq(spool_read(s, off, p, n), 0);
        for (size_t i = 0; i < n; i++)
            ck_assert_uint_eq(p[i], byte_at(off + i));
        off += n * 13 + 1;
    }
}

START_TEST(what_goes_in_comes_out_at_every_size)
{
    static const uint64_t sizes[] = {
        0, 1, SPOOL_HEAP_MAX - 1, SPOOL_HEAP_MAX, SPOOL_HEAP_MAX + 1, 5 * SPOOL_HEAP_MAX};

    for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
        struct spool *s = spool_new("/tmp");
        uint8_t p[2];
        fill(s, sizes[k]);
        ck_assert_uint_eq(spool_len(s), sizes[k]);
        verify(s);
        ck_assert_int_eq(spool_read(s, sizes[k], p, 0), 0);
        ck_assert_int_eq(spool_read(s, sizes[k], p, 1), -ENODATA);
        ck_assert_int_eq(spool_read(s, UINT64_MAX, p, 2), -ENODATA);
        spool_free(s);
    }
}
END_TEST

START_TEST(nothing_is_left_in_the_directory)
{
    char dir[] = "/tmp/spool.XXXXXX", **list;
    size_t n;

    ck_assert_ptr_nonnull(mkdtemp(dir));
    struct spool *s = spool_new(dir);
    fill(s, 3 * SPOOL_HEAP_MAX);
    ck_assert_int_eq(path_list(dir, &list, &n), 0);
    ck_assert_uint_eq(n, 0);
    path_list_free(list, n);
    spool_free(s);
    path_remove_tree(dir);
}
END_TEST

START_TEST(memory_takes_over_where_nothing_can_be_written)
{
    static const char *const dirs[] = {"/nonexistent/dir", "/proc", "/dev/null"};

    for (size_t k = 0; k < ARRAY_LEN(dirs); k++) {
        struct spool *s = spool_new(dirs[k]);
        fill(s, 4 * SPOOL_HEAP_MAX);
        verify(s);
        spool_free(s);
    }
}
END_TEST

static TCase *tcase_spool(void)
{
    TCase *t = tcase_create("spool");

    tcase_add_test(t, what_goes_in_comes_out_at_every_size);
    tcase_add_test(t, nothing_is_left_in_the_directory);
    tcase_add_test(t, memory_takes_over_where_nothing_can_be_written);
    return t;
}

UNIT_MAIN("spool", tcase_spool)
