#include "tests/unit/unit.h"
#include "zdbfs/cache/blocks.h"
#include "zdbfs/format/inode.h"

#define LIMIT (1024 * 1024)

static struct bcache bc;
static struct bfile file;

static void begin(void)
{
    bcache_init(&bc, LIMIT);
    bcache_file_init(&file);
}

static void end(void)
{
    bcache_check(&bc);
    bcache_fini(&bc);
}

static struct block *loaded(uint32_t idx, uint32_t len)
{
    struct block *b = bcache_add(&bc, &file, 1, idx);
    struct bbuf *buf = len ? bcache_buf_new(&bc, len) : NULL;

    if (buf)
        memset(buf->data, (int)idx, len);
    bcache_loaded(&bc, b, buf, len);
    return b;
}

static void write_all(struct block *b, bool whole)
{
    bcache_own_buffer(&bc, b, INODE_BLOCK);
    b->len = INODE_BLOCK;
    bcache_mark_dirty(&bc, b, whole);
}

START_TEST(blocks_are_found_until_dropped)
{
    struct block *b = loaded(3, 100);

    ck_assert_ptr_eq(bcache_find(&bc, 1, 3), b);
    ck_assert_ptr_null(bcache_find(&bc, 2, 3));
    ck_assert_ptr_null(bcache_find(&bc, 1, 4));
    bcache_drop(&bc, b);
    ck_assert_ptr_null(bcache_find(&bc, 1, 3));
    ck_assert_uint_eq(bc.used_bytes, 0);
    ck_assert_uint_eq(file.n, 0);
}
END_TEST

START_TEST(the_limit_evicts_clean_blocks_oldest_first)
{
    for (uint32_t i = 0; i < 100; i++) {
        bcache_make_room(&bc, INODE_BLOCK);
        loaded(i, INODE_BLOCK);
        if (bcache_find(&bc, 1, 0))
            bcache_touch(&bc, bcache_find(&bc, 1, 0));
        ck_assert_uint_le(bc.used_bytes, LIMIT + 256);
    }
    ck_assert_ptr_nonnull(bcache_find(&bc, 1, 0)); /* used all the time */
    ck_assert_ptr_null(bcache_find(&bc, 1, 1));
    ck_assert_ptr_nonnull(bcache_find(&bc, 1, 99));
    bcache_check(&bc);
}
END_TEST

START_TEST(dirty_and_pinned_blocks_are_not_evicted)
{
    struct block *dirty = loaded(0, 10), *pinned = loaded(1, 10);

    write_all(dirty, false);
    bcache_pin(&bc, pinned);
    ck_assert(!bcache_make_room(&bc, LIMIT));
    ck_assert_ptr_eq(bcache_find(&bc, 1, 0), dirty);
    ck_assert_ptr_eq(bcache_find(&bc, 1, 1), pinned);
    bcache_unpin(&bc, pinned);
    bcache_drop_clean(&bc);
    ck_assert_ptr_null(bcache_find(&bc, 1, 1));
    ck_assert_ptr_eq(bcache_find(&bc, 1, 0), dirty);
}
END_TEST

START_TEST(a_written_block_becomes_clean)
{
    struct block *b = loaded(0, 10);

    write_all(b, true);
    ck_assert_uint_eq(bc.dirty_bytes, INODE_BLOCK);
    ck_assert_uint_eq(file.ndirty, 1);
    ck_assert_ptr_eq(TAILQ_FIRST(&bc.ready), b);
    bcache_begin_write(&bc, b);
    ck_assert_ptr_null(TAILQ_FIRST(&bc.ready));
    bcache_check(&bc);
    bcache_end_write(&bc, b, true);
    ck_assert(!b->dirty && bc.dirty_bytes == 0 && file.ndirty == 0);
}
END_TEST

START_TEST(a_block_changed_while_it_is_written_stays_dirty)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    bcache_begin_write(&bc, b);
    bcache_mark_dirty(&bc, b, false);
    bcache_end_write(&bc, b, true);
    ck_assert(b->dirty && !b->writing && file.ndirty == 1);
    bcache_check(&bc);
}
END_TEST

START_TEST(a_block_that_could_not_be_written_stays_dirty)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    b->cow = true;
    bcache_begin_write(&bc, b);
    bcache_end_write(&bc, b, false);
    ck_assert(b->dirty && b->cow);
    bcache_begin_write(&bc, b);
    bcache_end_write(&bc, b, true);
    ck_assert(!b->dirty && !b->cow);
}
END_TEST

START_TEST(readers_keep_the_content_they_saw)
{
    struct block *b = loaded(7, 1000);
    struct bbuf *seen = b->buf;

    bcache_buf_ref(seen);
    bcache_own_buffer(&bc, b, 1000);
    ck_assert_ptr_ne(b->buf, seen);
    memset(b->buf->data, 0xee, 1000);
    ck_assert_uint_eq(seen->data[500], 7);
    bcache_drop(&bc, b);
    ck_assert_uint_eq(seen->data[500], 7);
    bcache_buf_unref(&bc, seen);
    ck_assert_uint_eq(bc.used_bytes, 0);
}
END_TEST

START_TEST(own_buffer_keeps_content_and_grows)
{
    struct block *b = loaded(7, 1000);

    struct bbuf *before = b->buf;
    bcache_own_buffer(&bc, b, 500); /* nobody else has it, it is large enough */
    ck_assert_ptr_eq(b->buf, before);
    bcache_own_buffer(&bc, b, 100000);
    ck_assert_uint_ge(b->buf->cap, 100000);
    ck_assert_uint_eq(b->buf->data[999], 7);
}
END_TEST

START_TEST(dropping_while_written_frees_it_afterwards)
{
    struct block *b = loaded(0, 10);

    write_all(b, true);
    bcache_begin_write(&bc, b);
    bcache_drop(&bc, b);
    ck_assert_uint_eq(bc.dirty_bytes, 0);
    ck_assert_uint_eq(file.ndirty, 0);
    struct block *again = loaded(0, 20); /* the same place, another block */
    bcache_end_write(&bc, b, true);
    ck_assert_ptr_eq(bcache_find(&bc, 1, 0), again);
    bcache_check(&bc);
}
END_TEST

START_TEST(dropping_while_loading_and_pinned_frees_it_afterwards)
{
    struct block *b = bcache_add(&bc, &file, 1, 5);

    bcache_pin(&bc, b);
    bcache_drop(&bc, b);
    ck_assert_ptr_null(bcache_find(&bc, 1, 5));
    b->loading = false;
    bcache_unpin(&bc, b);
    ck_assert_uint_eq(bc.used_bytes, 0);
}
END_TEST

START_TEST(random_life_keeps_the_invariants)
{
    srand(11);
    for (int step = 0; step < 50000; step++) {
        uint32_t idx = (uint32_t)rand() % 40;
        struct block *b = bcache_find(&bc, 1, idx);
        if (!b) {
            bcache_make_room(&bc, INODE_BLOCK);
            loaded(idx, (uint32_t)rand() % INODE_BLOCK);
        } else if (rand() % 4 == 0 && !b->writing) {
            bcache_own_buffer(&bc, b, (uint32_t)rand() % INODE_BLOCK + 1);
            b->len = MAX(b->len, 1u);
            bcache_mark_dirty(&bc, b, rand() % 2);
        } else if (rand() % 3 == 0 && b->dirty && !b->writing) {
            bcache_begin_write(&bc, b);
        } else if (rand() % 2 == 0 && b->writing) {
            bcache_end_write(&bc, b, rand() % 5 != 0);
        } else if (rand() % 8 == 0 && !b->writing) {
            bcache_drop(&bc, b);
        } else {
            bcache_touch(&bc, b);
        }
        if (step % 100 == 0)
            bcache_check(&bc);
    }
    struct block *b, *next;
    for (b = TAILQ_FIRST(&file.blocks); b; b = next) {
        next = TAILQ_NEXT(b, in_file);
        if (b->writing)
            bcache_end_write(&bc, b, true);
    }
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("bcache");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, blocks_are_found_until_dropped);
    tcase_add_test(t, the_limit_evicts_clean_blocks_oldest_first);
    tcase_add_test(t, dirty_and_pinned_blocks_are_not_evicted);
    tcase_add_test(t, a_written_block_becomes_clean);
    tcase_add_test(t, a_block_changed_while_it_is_written_stays_dirty);
    tcase_add_test(t, a_block_that_could_not_be_written_stays_dirty);
    tcase_add_test(t, readers_keep_the_content_they_saw);
    tcase_add_test(t, own_buffer_keeps_content_and_grows);
    tcase_add_test(t, dropping_while_written_frees_it_afterwards);
    tcase_add_test(t, dropping_while_loading_and_pinned_frees_it_afterwards);
    tcase_add_test(t, random_life_keeps_the_invariants);
    return t;
}

UNIT_MAIN("bcache", all)
