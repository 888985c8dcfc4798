#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/cluster.h"
#include "zstor/format/record_value.h"
#include "zstor/object/metadata.h"

#define KEY "/unit/meta/00112233445566778899aabbccddeeff"

static struct cluster_test t;
static struct metastore ms;

static void start(void)
{
    static const unsigned one[] = {2};

    cluster_start(&t, 1, 2, one, 1);
    ms = (struct metastore){
        .pool = object_pool(t.o), .conf = t.conf, .grace_ms = 300, .random = digest_random};
}

/* A record that is told by `mark`. */
static struct meta_record record(uint8_t mark, uint64_t generation)
{
    struct meta_record m;

    meta_record_init(&m, (struct geometry){1, 1});
    memset(m.checksum, mark, sizeof m.checksum);
    for (unsigned i = 0; i < 2; i++) {
        m.shards[i].present = true;
        backend_addr_copy(&m.shards[i].addr, &t.conf->groups[0].backends[i]);
    }
    m.has_tail = generation > 0;
    m.generation = generation;
    return m;
}

/* Put value `index` of a record into backend `at`, as somebody else would. */
static void put(struct buf value[4], unsigned index, unsigned at)
{
    struct fake_ns *n = t.meta[at];

    pthread_mutex_lock(&t.fake->lock);
    struct fake_entry *e = fake_find(n, slice_str(KEY));
    if (!e)
        e = fake_insert(n, slice_str(KEY));
    buf_clear(&e->value);
    buf_put_slice(&e->value, buf_slice(&value[index]));
    e->time = ++t.fake->clock;
    pthread_mutex_unlock(&t.fake->lock);
}

static void values_of(uint8_t mark, uint64_t generation, const uint8_t *key, struct buf out[4])
{
    struct meta_record m = record(mark, generation);
    struct buf plain = BUF_INIT;
    uint8_t nonce[CRYPT_NONCE_LEN];

    memset(out, 0, 4 * sizeof *out);
    ck_assert_int_eq(digest_random(nonce, sizeof nonce), 0);
    meta_format_encode(&m, &plain);
    ck_assert_int_eq(meta_value_encode(key, nonce, buf_slice(&plain), out), 0);
    buf_fini(&plain);
    meta_record_fini(&m);
}

static void drop(struct buf v[4])
{
    for (int i = 0; i < 4; i++)
        buf_fini(&v[i]);
}

/* Result of a load; the mark of the record in *mark. */
static int load(uint8_t *mark, struct metastore_state *st)
{
    struct meta_record m;
    struct err e = {0};
    int r = metastore_load(&ms, KEY, &m, st, &e);

    if (r == 1) {
        *mark = m.checksum[0];
        meta_record_fini(&m);
    }
    if (r < 0)
        ck_assert_str_ne(e.text, "");
    return r;
}

START_TEST(saved_records_come_back_from_any_two)
{
    struct metastore_state st;
    unsigned acks;
    uint8_t mark;

    start();
    struct meta_record m = record(5, 1);
    ck_assert_int_eq(metastore_writable(&ms, 3, NULL), 0);
    ck_assert_int_eq(metastore_save(&ms, KEY, &m, &acks, NULL), 0);
    ck_assert_uint_eq(acks, 4);
    meta_record_fini(&m);
    for (int a = 0; a < 4; a++)
        for (int b = a + 1; b < 4; b++) {
            for (int i = 0; i < 4; i++)
                atomic_store(&t.meta[i]->garble, i == a || i == b ? 0 : 1 + (a * 4 + b) % 5);
            ck_assert_int_eq(load(&mark, &st), 1);
            ck_assert_uint_eq(mark, 5);
            ck_assert_uint_eq(st.good, 2);
            ck_assert_uint_eq(st.lost, 2);
        }
    cluster_stop(&t);
}
END_TEST

START_TEST(absence_needs_three_nils)
{
    struct metastore_state st;
    uint8_t mark;

    start();
    ck_assert_int_eq(load(&mark, &st), 0);
    atomic_store(&t.meta[0]->refuse, true);
    ck_assert_int_eq(load(&mark, &st), 0);
    atomic_store(&t.meta[1]->refuse, true);
    ck_assert_int_eq(load(&mark, &st), -EHOSTUNREACH);
    atomic_store(&t.meta[2]->refuse, true);
    atomic_store(&t.meta[3]->refuse, true);
    ck_assert_int_eq(load(&mark, &st), -EHOSTUNREACH);
    cluster_stop(&t);
}
END_TEST

START_TEST(one_value_is_damage_or_not_known)
{
    struct metastore_state st;
    struct buf v[4];
    uint8_t mark;

    start();
    values_of(1, 1, t.conf->key, v);
    put(v, 2, 3);
    ck_assert_int_eq(load(&mark, &st), -EBADMSG);
    atomic_store(&t.meta[0]->refuse, true);
    ck_assert_int_eq(load(&mark, &st), -EHOSTUNREACH);
    drop(v);
    cluster_stop(&t);
}
END_TEST

/* who[i]: 0 nothing, 1 old, 2 new, 3 a copy of the old value of backend 0; in backend i */
struct mix {
    uint8_t who[4];
    bool old_tail, new_tail;
    int want; /* mark, or -errno */
    unsigned good;
};

static const struct mix mixes[] = {
    {{2, 2, 2, 1}, true, true, 2, 3},        {{1, 2, 2, 2}, true, true, 2, 3},
    {{1, 1, 2, 2}, true, true, 2, 2},        {{2, 2, 1, 1}, true, true, 2, 2},
    {{2, 1, 2, 1}, true, true, 2, 2},        {{1, 1, 1, 2}, true, true, 1, 3},
    {{1, 1, 2, 2}, false, false, 2, 2},      {{2, 2, 1, 1}, false, false, 2, 2},
    {{1, 1, 2, 2}, true, false, 2, 2},       {{2, 2, 1, 1}, false, true, 2, 2},
    {{1, 2, 0, 0}, true, true, -EBADMSG, 0}, {{0, 2, 2, 0}, true, true, 2, 2},
    {{1, 3, 3, 3}, true, true, -EBADMSG, 0}, {{1, 1, 3, 3}, true, true, 1, 2},
    {{1, 1, 1, 1}, true, true, 1, 4},
};

START_TEST(the_newest_generation_that_decodes_wins)
{
    const struct mix *x = &mixes[_i];
    struct buf old[4], new[4];
    struct metastore_state st;
    uint8_t mark = 0;

    start();
    values_of(1, x->old_tail ? 10 : 0, t.conf->key, old);
    values_of(2, x->new_tail ? 11 : 0, t.conf->key, new);
    for (unsigned i = 0; i < 4; i++) /* the old ones first, so that their time is older */
        if (x->who[i] == 1 || x->who[i] == 3)
            put(old, x->who[i] == 1 ? i : 0, i);
    for (unsigned i = 0; i < 4; i++)
        if (x->who[i] == 2)
            put(new, i, i);
    int r = load(&mark, &st);
    if (x->want < 0) {
        ck_assert_int_eq(r, x->want);
    } else {
        ck_assert_int_eq(r, 1);
        ck_assert_int_eq(mark, x->want);
        ck_assert_uint_eq(st.good, x->good);
        ck_assert_uint_eq(st.lost, 4 - x->good);
    }
    drop(old);
    drop(new);
    cluster_stop(&t);
}
END_TEST

START_TEST(places_do_not_matter_and_the_metadata_key_is_a_fallback)
{
    struct metastore_state st;
    struct buf v[4];
    uint8_t mark;

    start();
    values_of(3, 4, t.conf->meta_key, v);
    put(v, 0, 3);
    put(v, 1, 0);
    put(v, 2, 1);
    put(v, 3, 2);
    ck_assert_int_eq(load(&mark, &st), 1);
    ck_assert_uint_eq(mark, 3);
    ck_assert_uint_eq(st.good, 4);
    t.conf->meta_key[0] ^= 1;
    ck_assert_int_eq(load(&mark, &st), -EBADMSG);
    drop(v);
    cluster_stop(&t);
}
END_TEST

START_TEST(writes_need_three)
{
    unsigned acks;
    struct err e = {0};

    start();
    struct meta_record m = record(5, 1);
    atomic_store(&t.meta[1]->refuse, true);
    ck_assert_int_eq(metastore_writable(&ms, 3, NULL), 0);
    ck_assert_int_eq(metastore_save(&ms, KEY, &m, &acks, NULL), 0);
    ck_assert_uint_eq(acks, 3);
    atomic_store(&t.meta[2]->full, true);
    ck_assert_int_eq(metastore_save(&ms, KEY, &m, &acks, &e), -EHOSTUNREACH);
    ck_assert_uint_eq(acks, 2);
    ck_assert_ptr_nonnull(strstr(e.text, "2 of 4"));
    atomic_store(&t.meta[2]->full, false);
    t.meta[2]->limit = 1;
    ck_assert_int_lt(metastore_writable(&ms, 3, &e), 0);
    ck_assert_int_eq(metastore_writable(&ms, 2, NULL), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "Metastore is not writable"));
    meta_record_fini(&m);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_silent_backend_does_not_hold_reads_up)
{
    struct metastore_state st;
    unsigned acks;
    uint8_t mark;

    start();
    struct meta_record m = record(5, 1);
    ck_assert_int_eq(metastore_save(&ms, KEY, &m, &acks, NULL), 0);
    meta_record_fini(&m);
    atomic_store(&t.meta[3]->hang, true);
    uint64_t begin = base_now_ms();
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(load(&mark, &st), 1);
    ck_assert_uint_lt(base_now_ms() - begin, 4500); /* below the time-out of one read */
    ck_assert_uint_eq(st.unreachable, 1);
    atomic_store(&t.meta[3]->hang, false);
    cluster_stop(&t);
}
END_TEST

START_TEST(removal_is_complete_or_an_error)
{
    struct metastore_state st;
    unsigned acks;
    uint8_t mark;

    start();
    struct meta_record m = record(5, 1);
    ck_assert_int_eq(metastore_save(&ms, KEY, &m, &acks, NULL), 0);
    atomic_store(&t.meta[0]->refuse, true);
    ck_assert_int_eq(metastore_remove(&ms, KEY, NULL), -EHOSTUNREACH);
    atomic_store(&t.meta[0]->refuse, false);
    cluster_settle(&t);
    ck_assert_int_eq(metastore_remove(&ms, KEY, NULL), 0);
    ck_assert_int_eq(metastore_remove(&ms, KEY, NULL), 0);
    ck_assert_int_eq(load(&mark, &st), 0);
    meta_record_fini(&m);
    cluster_stop(&t);
}
END_TEST

static TCase *tcase_metastore(void)
{
    TCase *tc = tcase_create("metastore");

    tcase_add_test(tc, saved_records_come_back_from_any_two);
    tcase_add_test(tc, absence_needs_three_nils);
    tcase_add_test(tc, one_value_is_damage_or_not_known);
    tcase_add_loop_test(tc, the_newest_generation_that_decodes_wins, 0, ARRAY_LEN(mixes));
    tcase_add_test(tc, places_do_not_matter_and_the_metadata_key_is_a_fallback);
    tcase_add_test(tc, writes_need_three);
    tcase_add_test(tc, a_silent_backend_does_not_hold_reads_up);
    tcase_add_test(tc, removal_is_complete_or_an_error);
    return tc;
}

UNIT_MAIN("metastore", tcase_metastore)
