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
    bcache_loaded(&bc, b, buf, len, len);
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
    bcache_write_acked(&bc, b, 5, true, 1);
    ck_assert(b->state == BLOCK_CLEAN && bc.dirty_bytes == 0 && file.ndirty == 0);
}
END_TEST

START_TEST(a_block_changed_while_it_is_written_stays_dirty)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    bcache_begin_write(&bc, b);
    bcache_mark_dirty(&bc, b, false);
    ck_assert_int_eq(b->state, BLOCK_REWRITE);
    bcache_check(&bc);
    bcache_write_acked(&bc, b, 5, true, 1);
    ck_assert(b->state == BLOCK_DIRTY && !b->sending && file.ndirty == 1);
    bcache_check(&bc);
}
END_TEST

START_TEST(a_block_that_could_not_be_written_stays_dirty)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    bcache_cut(&bc, b, 5);
    ck_assert(!bcache_in_place(b));
    bcache_begin_write(&bc, b);
    bcache_write_failed(&bc, b);
    ck_assert(b->state == BLOCK_DIRTY && !bcache_in_place(b));
    bcache_begin_write(&bc, b);
    bcache_write_acked(&bc, b, 5, true, 1);
    ck_assert(b->state == BLOCK_CLEAN && bcache_in_place(b));
}
END_TEST

START_TEST(what_is_only_acknowledged_is_not_evicted)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    bcache_begin_write(&bc, b);
    bcache_write_acked(&bc, b, 5, true, 1);
    ck_assert_uint_eq(bc.acked_bytes, INODE_BLOCK);
    ck_assert_uint_eq(file.nunsettled, 1);
    bcache_drop_clean(&bc);
    ck_assert_ptr_eq(bcache_find(&bc, 1, 0), b);
    ck_assert_uint_eq(b->stored.len, 10); /* a slot still shows that */
    bcache_check(&bc);
    bcache_settle(&bc, b);
    ck_assert_uint_eq(b->stored.len, INODE_BLOCK);
    ck_assert(bc.acked_bytes == 0 && file.nunsettled == 0);
    bcache_check(&bc);
    bcache_drop_clean(&bc);
    ck_assert_ptr_null(bcache_find(&bc, 1, 0));
}
END_TEST

START_TEST(what_a_server_may_have_lost_is_dirty_again)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    bcache_begin_write(&bc, b);
    bcache_write_acked(&bc, b, 5, true, 1);
    bcache_unsend(&bc, b);
    ck_assert(b->state == BLOCK_DIRTY && !b->acked_epoch && b->stored.len == 10);
    ck_assert_ptr_eq(TAILQ_FIRST(&bc.ready), b);
    bcache_check(&bc);
}
END_TEST

/* A payload that may have replaced the one below it in its place carries its faults down. */
START_TEST(a_cut_reaches_every_payload_that_may_be_there)
{
    struct block *b = loaded(0, 10);

    write_all(b, false);
    bcache_begin_write(&bc, b);
    bcache_write_acked(&bc, b, 5, false, 1); /* in place */
    bcache_cut(&bc, b, 20);
    ck_assert(b->state == BLOCK_DIRTY && b->acked.longer && b->stored.longer);
    ck_assert(b->acked.len == 20 && b->stored.len == 10 && b->len == 20);
    bcache_begin_write(&bc, b);
    bcache_cut(&bc, b, 15);
    ck_assert(b->state == BLOCK_REWRITE && b->sent.longer && b->sent.len == 15);
    bcache_check(&bc);
    bcache_write_acked(&bc, b, 6, true, 1);
    ck_assert(b->state == BLOCK_DIRTY && !bcache_in_place(b) && b->acked_key == 6);
    bcache_settle(&bc, b);
    ck_assert(b->stored.longer && b->stored.len == 15);
    bcache_check(&bc);
}
END_TEST

/* Whatever is done, the lists and sums follow from the states. */
START_TEST(random_changes_keep_the_table)
{
    uint64_t x = 88172645463325252ull;

    for (int i = 0; i < 20000; i++) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        uint32_t idx = (uint32_t)(x >> 8) % 6;
        struct block *b = bcache_find(&bc, 1, idx);
        if (!b)
            b = loaded(idx, (uint32_t)(x >> 40) % 5000);
        switch (x >> 20 & 7) {
        case 0:
            write_all(b, x >> 30 & 1);
            break;
        case 1:
            bcache_cut(&bc, b, (uint32_t)(x >> 33) % 6000);
            break;
        case 2:
        case 3:
            if (b->state == BLOCK_DIRTY)
                bcache_begin_write(&bc, b);
            break;
        case 4:
            if (b->sending && x >> 31 & 1)
                bcache_write_failed(&bc, b);
            else if (b->sending)
                bcache_write_acked(&bc, b, 1 + (uint32_t)i, x >> 32 & 1, 1 + (uint64_t)i / 5000);
            break;
        case 5:
            if (b->acked_epoch)
                bcache_settle(&bc, b);
            break;
        case 6:
            if (b->acked_epoch && x >> 35 & 1)
                bcache_unsend(&bc, b);
            break;
        default:
            if (!b->sending && !(x >> 36 & 3))
                bcache_drop(&bc, b);
        }
        if (i % 16 == 0)
            bcache_check(&bc);
    }
    for (uint32_t idx = 0; idx < 6; idx++) {
        struct block *b = bcache_find(&bc, 1, idx);
        if (b && b->sending)
            bcache_write_failed(&bc, b);
    }
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
    bcache_write_acked(&bc, b, 5, true, 1);
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
    bcache_unpin(&bc, b);
    ck_assert_uint_eq(bc.used_bytes, 0);
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
    tcase_add_test(t, what_is_only_acknowledged_is_not_evicted);
    tcase_add_test(t, what_a_server_may_have_lost_is_dirty_again);
    tcase_add_test(t, a_cut_reaches_every_payload_that_may_be_there);
    tcase_add_test(t, random_changes_keep_the_table);
    return t;
}

UNIT_MAIN("bcache", all)
