#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zstor/format/erasure.h"
#include "zstor/object/reconstruct.h"
#include "zstor/object/split.h"

static struct fetch f;
static uint8_t blob[4096];

/* `total` bytes (a multiple of k) as k data and m parity shards, kept in spools */
static void make(struct geometry g, size_t total)
{
    size_t len = total / g.data;
    const uint8_t *src[16];
    uint8_t *dst[16];
    struct erasure *e;

    f = (struct fetch){.n = geometry_total(g)};
    f.shard = xcalloc(f.n, sizeof *f.shard);
    for (unsigned i = 0; i < g.data; i++)
        src[i] = blob + i * len;
    for (unsigned i = 0; i < g.parity; i++)
        dst[i] = malloc(len);
    ck_assert_int_eq(erasure_new(&e, g, NULL, NULL, 0), 0);
    erasure_apply(e, len, src, dst);
    erasure_free(e);
    for (unsigned i = 0; i < f.n; i++) {
        f.shard[i] =
            (struct fetch_shard){.state = FETCH_GOOD, .len = len, .spool = spool_new("/tmp")};
        ck_assert_int_eq(spool_append(f.shard[i].spool, i < g.data ? src[i] : dst[i - g.data], len),
                         0);
    }
    for (unsigned i = 0; i < g.parity; i++)
        free(dst[i]);
}

static void lose(unsigned i)
{
    spool_free(f.shard[i].spool);
    f.shard[i] = (struct fetch_shard){.state = FETCH_MISSING};
}

START_TEST(any_selection_reads_as_the_same_blob)
{
    const struct geometry g = {3, 3};

    for (size_t i = 0; i < sizeof blob; i++)
        blob[i] = (uint8_t)(i * 131 >> 3);
    blob[3000 - 1] = blob[3000 - 2] = 2;
    for (unsigned mask = 0; mask < 64; mask++) {
        struct shardread *s;
        uint8_t got[3000];
        if (__builtin_popcount(mask) != 3)
            continue;
        make(g, 3000);
        for (unsigned i = 0; i < 6; i++)
            if (mask & 1u << i)
                lose(i);
        ck_assert_int_eq(shardread_new(&s, g, &f), 0);
        ck_assert_uint_eq(shardread_blob_len(s), 2998);
        ck_assert_uint_eq(shardread_shard_len(s), 1000);
        for (size_t off = 0, n; off < 2998; off += n) { /* pieces that cross the borders of shards
                                                         */
            n = MIN((size_t)(1 + off % 777), (size_t)2998 - off);
            ck_assert_int_eq(shardread_blob(s, off, got + off, n), 0);
        }
        ck_assert_mem_eq(got, blob, 2998);
        ck_assert_int_eq(shardread_blob(s, 2999, got, 2), -ENODATA);
        shardread_free(s);
        fetch_fini(&f);
    }
}
END_TEST

/* Split and joined again; more parts than bytes, too: then the last parts are padding alone. */
START_TEST(every_small_blob_in_every_number_of_parts)
{
    const struct geometry g = {(unsigned)_i, 1};
    uint8_t part[4097], got[4097];

    for (size_t i = 0; i < sizeof blob; i++)
        blob[i] = (uint8_t)(i * 131 >> 3);
    for (size_t len = 0; len <= sizeof blob; len++) {
        struct spool *whole = spool_new("/tmp");
        struct split split;
        struct shardread *s;
        ck_assert_int_eq(spool_append(whole, blob, len), 0);
        split_init(&split, whole, g);
        ck_assert_uint_le(split.pad, g.data);
        f = (struct fetch){.n = geometry_total(g)};
        f.shard = xcalloc(f.n, sizeof *f.shard);
        for (unsigned j = 0; j < g.data; j++) {
            size_t half = split.shard_len / 2;
            f.shard[j] = (struct fetch_shard){.state = FETCH_GOOD,
                                              .len = split.shard_len,
                                              .spool = spool_new("/tmp")};
            ck_assert_int_eq(split_read(&split, j, 0, part, half), 0);
            ck_assert_int_eq(split_read(&split, j, half, part + half, split.shard_len - half), 0);
            ck_assert_int_eq(spool_append(f.shard[j].spool, part, split.shard_len), 0);
        }
        ck_assert_int_eq(shardread_new(&s, g, &f), 0);
        ck_assert_uint_eq(shardread_blob_len(s), len);
        ck_assert_int_eq(shardread_blob(s, 0, got, len), 0);
        ck_assert_int_eq(memcmp(got, blob, len), 0);
        shardread_free(s);
        fetch_fini(&f);
        spool_free(whole);
    }
}
END_TEST

START_TEST(malformed_padding_is_refused)
{
    static const uint8_t bad[][4] = {
        {1, 2, 3, 0}, {9, 9, 9, 5}, {0, 3, 2, 3}, {7, 7, 1, 2}, {255, 255, 255, 255}};
    static const uint8_t good[][4] = {{9, 9, 9, 1}, {9, 9, 2, 2}, {9, 3, 3, 3}, {4, 4, 4, 4}};
    const struct geometry g = {4, 2};
    struct shardread *s = NULL;

    for (size_t k = 0; k < ARRAY_LEN(bad); k++) {
        memcpy(blob + 36, bad[k], 4);
        make(g, 40);
        ck_assert_int_eq(shardread_new(&s, g, &f), -EBADMSG);
        fetch_fini(&f);
    }
    for (size_t k = 0; k < ARRAY_LEN(good); k++) {
        memcpy(blob + 36, good[k], 4);
        make(g, 40);
        lose(3);
        ck_assert_int_eq(shardread_new(&s, g, &f), 0);
        ck_assert_uint_eq(shardread_blob_len(s), 40 - 1 - k);
        shardread_free(s);
        fetch_fini(&f);
    }
}
END_TEST

START_TEST(padding_may_span_several_short_shards)
{
    const struct geometry g = {12, 2};
    struct shardread *s;
    uint8_t got[14];

    memset(blob, 0xee, 14); /* 14 bytes in shards of 2: ten of padding, five shards long */
    memset(blob + 14, 10, 10);
    make(g, 24);
    lose(9);
    lose(11);
    ck_assert_int_eq(shardread_new(&s, g, &f), 0);
    ck_assert_uint_eq(shardread_blob_len(s), 14);
    ck_assert_int_eq(shardread_blob(s, 0, got, 14), 0);
    ck_assert_mem_eq(got, blob, 14);
    shardread_free(s);
    fetch_fini(&f);
}
END_TEST

START_TEST(too_few_or_unequal_shards_are_refused)
{
    const struct geometry g = {2, 2};
    struct shardread *s;

    blob[39] = 1;
    make(g, 40);
    ck_assert_int_eq(spool_append(f.shard[1].spool, "x", 1), 0);
    f.shard[1].len++;
    ck_assert_int_eq(shardread_new(&s, g, &f), -EBADMSG);
    lose(1);
    ck_assert_int_eq(shardread_new(&s, g, &f), 0);
    shardread_free(s);
    lose(0);
    lose(2);
    ck_assert_int_eq(shardread_new(&s, g, &f), -EIO);
    fetch_fini(&f);
}
END_TEST

static TCase *tcase_shardread(void)
{
    TCase *t = tcase_create("shardread");

    tcase_add_test(t, any_selection_reads_as_the_same_blob);
    tcase_add_loop_test(t, every_small_blob_in_every_number_of_parts, 1, 21);
    tcase_add_test(t, malformed_padding_is_refused);
    tcase_add_test(t, padding_may_span_several_short_shards);
    tcase_add_test(t, too_few_or_unequal_shards_are_refused);
    return t;
}

UNIT_MAIN("shardread", tcase_shardread)
