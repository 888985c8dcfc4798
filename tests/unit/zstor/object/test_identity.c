#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/cluster.h"
#include "zstor/object/volume.h"

static struct cluster_test t;

static const unsigned one_group[] = {4};

static int store(const char *path, struct object_result *res)
{
    struct err e = {0};

    return object_store(t.o, path, path, 0, NULL, res, &e);
}

static char *key_of(const char *path)
{
    char *key = NULL;

    ck_assert_int_eq(object_key(t.conf, path, &key, NULL), 0);
    return key;
}

/* Metadata namespace i answers the name `to` with what it holds for `from`. */
static void alias(unsigned i, const char *from, const char *to)
{
    CLEANUP(base_free) char *a = key_of(from), *b = key_of(to);
    struct fake_entry *have, *want;

    pthread_mutex_lock(&t.fake->lock);
    have = fake_find(t.meta[i], slice_str(a));
    ck_assert_ptr_nonnull(have);
    if (!fake_find(t.meta[i], slice_str(b)))
        fake_insert(t.meta[i], slice_str(b));
    have = fake_find(t.meta[i], slice_str(a)); /* the table may have moved */
    want = fake_find(t.meta[i], slice_str(b));
    buf_clear(&want->value);
    buf_put_slice(&want->value, buf_slice(&have->value));
    want->time = ++t.fake->clock;
    pthread_mutex_unlock(&t.fake->lock);
}

static void must_be(const char *path, const char *want)
{
    CLEANUP(base_free) char *out = cluster_path(&t, "back");
    struct object_target to = {.path = out, .fd = -1};
    struct object_result res;

    ck_assert_int_eq(object_retrieve(t.o, path, NULL, &to, NULL, &res, NULL), 0);
    ck_assert(cluster_same(want, out));
    unlink(out);
}

/* --- a record is bound to its key ------------------------------------------------------------ */

START_TEST(two_stores_that_answer_with_another_record_change_nothing)
{
    struct object_result res;
    char *a, *b;

    cluster_start(&t, 2, 4, one_group, 1);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    b = cluster_file(&t, "b", 50000, 'r', 2);
    ck_assert_int_eq(store(a, &res), 0);
    ck_assert_int_eq(store(b, &res), 0); /* the later one, so that it would win */
    alias(_i & 3, b, a);
    alias(((_i & 3) + 1 + _i / 4) & 3, b, a);
    must_be(a, a);
    must_be(b, b);
    ck_assert_int_eq(object_rebuild(t.o, a, NULL, NULL, &res, NULL), 0);
    must_be(a, a);
    must_be(b, b);
    free(a);
    free(b);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_store_never_deletes_what_a_foreign_record_names)
{
    struct object_result res;
    char *a, *b;

    cluster_start(&t, 2, 4, one_group, 1);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    b = cluster_file(&t, "b", 50000, 'r', 2);
    ck_assert_int_eq(store(b, &res), 0);
    for (unsigned i = 0; i < 4; i++) /* a is new, all who are asked lie */
        alias(i, b, a);
    ck_assert_int_eq(object_check(t.o, a, NULL, &res, NULL), -EBADMSG);
    ck_assert_int_eq(store(a, &res), 0);
    must_be(a, a);
    must_be(b, b);
    for (unsigned i = 0; i < 2; i++)
        alias(i, b, a);
    free(a);
    a = cluster_file(&t, "a", 50000, 'r', 3);
    ck_assert_int_eq(store(a, &res), 0);
    must_be(a, a);
    must_be(b, b);
    for (unsigned i = 0; i < 2; i++)
        alias(i, b, a);
    ck_assert_int_eq(object_delete(t.o, a, NULL, NULL, NULL), 0);
    must_be(b, b);
    free(a);
    free(b);
    cluster_stop(&t);
}
END_TEST

static TCase *tcase_bound(void)
{
    TCase *tc = tcase_create("a record is bound to its key");

    tcase_add_loop_test(tc, two_stores_that_answer_with_another_record_change_nothing, 0, 12);
    tcase_add_test(tc, a_store_never_deletes_what_a_foreign_record_names);
    return tc;
}

/* --- two machines on one volume -------------------------------------------------------------- */

#define LEASE_MS 300

struct machine {
    struct volume *volume;
    struct objects *o;
    struct zstor_conf conf; /* the test's, with a key of its own */
    char *state;
};

static void machine_start(struct machine *m, const char *name, uint8_t key)
{
    struct object_conf oc = {.conf = &m->conf, .hedge_ms = 300};

    m->conf = *t.conf;
    memset(m->conf.key, key, sizeof m->conf.key);
    memset(m->conf.meta_key, key + 1, sizeof m->conf.meta_key);
    m->state = cluster_path(&t, name);
    ck_assert_int_eq(volume_open(&m->volume, m->state, LEASE_MS, NULL), 0);
    oc.volume = m->volume;
    ck_assert_int_eq(object_open(&m->o, &oc, NULL), 0);
}

static void machine_stop(struct machine *m)
{
    object_close(m->o);
    volume_close(m->volume);
    free(m->state);
    *m = (struct machine){0};
}

static int machine_store(struct machine *m, const char *path, struct err *e)
{
    struct object_result res;

    *e = (struct err){0};
    return object_store(m->o, path, path, 0, NULL, &res, e);
}

static void machine_must_read(struct machine *m, const char *path, const char *want)
{
    CLEANUP(base_free) char *out = cluster_path(&t, "back");
    struct object_target to = {.path = out, .fd = -1};
    struct object_result res;
    struct err e = {0};

    ck_assert_msg(object_retrieve(m->o, path, NULL, &to, NULL, &res, &e) == 0, "%s", e.text);
    ck_assert(cluster_same(want, out));
    unlink(out);
}

static char *copy_of(const char *path) /* that outlives new content */
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    char *to = xasprintf("%s.was", path);

    ck_assert_int_eq(path_read(path, 1 << 30, &b, NULL), 0);
    ck_assert_int_eq(path_replace(to, buf_slice(&b), 0600, NULL), 0);
    return to;
}

START_TEST(a_wrong_key_replaces_nothing)
{
    struct machine right = {0}, wrong = {0};
    struct object_result res;
    struct err e = {0};
    char *a, *was;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&right, "m", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    ck_assert_int_eq(machine_store(&right, a, &e), 0);
    was = copy_of(a);
    machine_stop(&right);
    if (_i == 1) /* a volume from before there were notes */
        for (unsigned i = 0; i < 4; i++) {
            pthread_mutex_lock(&t.fake->lock);
            fake_find(t.meta[i], slice_str("/unit/zstor/key"))->deleted = true;
            fake_find(t.meta[i], slice_str("/unit/zstor/lease"))->deleted = true;
            pthread_mutex_unlock(&t.fake->lock);
        }
    machine_start(&wrong, "m", 77);
    ck_assert_int_eq(object_check_key(wrong.o, &e), -EKEYREJECTED);
    ck_assert_ptr_nonnull(strstr(e.text, "encryption.key"));
    free(a);
    a = cluster_file(&t, "a", 50000, 'r', 2);
    ck_assert_int_eq(machine_store(&wrong, a, &e), -EKEYREJECTED);
    ck_assert_int_lt(object_rebuild(wrong.o, a, NULL, NULL, &res, NULL), 0);
    ck_assert_int_eq(object_delete(wrong.o, a, NULL, NULL, NULL), -EKEYREJECTED);
    machine_stop(&wrong);
    machine_start(&right, "m", 7);
    ck_assert_int_eq(object_check_key(right.o, &e), 0);
    machine_must_read(&right, a, was);
    ck_assert_int_eq(machine_store(&right, a, &e), 0);
    machine_must_read(&right, a, a);
    machine_stop(&right);
    free(a);
    free(was);
    cluster_stop(&t);
}
END_TEST

START_TEST(another_machine_destroys_nothing)
{
    struct machine first = {0}, fresh = {0};
    struct object_result res;
    struct err e = {0};
    char *a, *was;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&first, "first", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    ck_assert_int_eq(machine_store(&first, a, &e), 0);
    was = copy_of(a);
    if (_i == 1) /* clean, else as after a crash */
        object_give_back(first.o);
    if (_i == 2)
        usleep(2 * LEASE_MS * 1000); /* the lease has run out */
    free(a);
    a = cluster_file(&t, "a", 50000, 'r', 2); /* the first rotation of a new, empty volume */
    machine_start(&fresh, "fresh", 7);
    ck_assert_int_eq(object_claim(fresh.o, false, NULL, &e), -EBUSY);
    ck_assert_ptr_nonnull(strstr(e.text, volume_host(first.volume)));
    ck_assert_ptr_nonnull(strstr(e.text, "takeover"));
    ck_assert_int_eq(machine_store(&fresh, a, &e), -EBUSY);
    ck_assert_int_eq(object_delete(fresh.o, a, NULL, NULL, &e), -EBUSY);
    ck_assert_int_eq(object_rebuild(fresh.o, a, NULL, NULL, &res, &e), 0); /* all is well, nothing
                                                                              to do */
    machine_must_read(&fresh, a, was);
    machine_must_read(&first, a, was);
    ck_assert_int_eq(machine_store(&first, a, &e), 0);
    machine_must_read(&fresh, a, a);
    machine_stop(&first);
    machine_stop(&fresh);
    free(a);
    free(was);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_takeover_ends_the_first_writer_and_keeps_its_objects)
{
    struct machine first = {0}, second = {0};
    struct err e = {0};
    char *a, *b, *was;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&first, "first", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    b = cluster_file(&t, "b", 50000, 'r', 9);
    ck_assert_int_eq(machine_store(&first, a, &e), 0);
    machine_start(&second, "second", 7);
    uint64_t begin = base_now_ms();
    ck_assert_int_eq(object_claim(second.o, true, NULL, &e), 0);
    ck_assert_uint_ge(base_now_ms() - begin, LEASE_MS); /* the first could still have been writing
                                                         */
    ck_assert_uint_eq(volume_epoch(second.volume), volume_epoch(first.volume) + 1);
    machine_must_read(&second, a, a);
    was = copy_of(a);
    free(a);
    a = cluster_file(&t, "a", 50000, 'r', 2);
    ck_assert_int_eq(machine_store(&first, a, &e), -EBUSY);
    ck_assert_ptr_nonnull(strstr(e.text, "taken over"));
    ck_assert_int_eq(machine_store(&first, b, &e), -EBUSY);
    machine_must_read(&second, a, was);
    ck_assert_int_eq(machine_store(&second, a, &e), 0);
    machine_must_read(&first, a, a);
    machine_stop(&first);
    machine_start(&first, "first", 7); /* started again it still is not the owner */
    ck_assert_int_eq(object_claim(first.o, false, NULL, &e), -EBUSY);
    machine_stop(&first);
    machine_stop(&second);
    machine_start(&second, "second", 7); /* killed: goes on at once */
    begin = base_now_ms();
    ck_assert_int_eq(object_claim(second.o, false, NULL, &e), 0);
    ck_assert_uint_lt(base_now_ms() - begin, 60 * LEASE_MS);
    ck_assert_int_eq(machine_store(&second, b, &e), 0);
    machine_stop(&second);
    free(a);
    free(b);
    free(was);
    cluster_stop(&t);
}
END_TEST

START_TEST(any_two_backends_are_enough_to_go_on_and_three_to_begin)
{
    struct machine m = {0}, other = {0};
    struct err e = {0};

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&m, "m", 7);
    for (unsigned i = 0; i < 2; i++)
        atomic_store(&t.meta[i]->refuse, true);
    ck_assert_int_eq(object_claim(m.o, false, NULL, &e), -EHOSTUNREACH); /* nobody can tell */
    atomic_store(&t.meta[0]->refuse, false);
    machine_stop(&m);
    machine_start(&m, "m", 7);
    ck_assert_int_eq(object_claim(m.o, false, NULL, &e), 0);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = i + 1; k < 4; k++) {
            machine_stop(&m);
            for (unsigned x = 0; x < 4; x++)
                atomic_store(&t.meta[x]->refuse, x == i || x == k);
            machine_start(&m, "m", 7);
            ck_assert_msg(object_claim(m.o, false, NULL, &e) == 0, "%u %u: %s", i, k, e.text);
            machine_start(&other, "other", 7);
            ck_assert_int_lt(object_claim(other.o, true, NULL, &e), 0);
            machine_stop(&other);
            machine_start(&other, "other2", 7);
            ck_assert_int_lt(object_claim(other.o, false, NULL, &e), 0);
            machine_stop(&other);
        }
    machine_stop(&m);
    cluster_stop(&t);
}
END_TEST

static TCase *tcase_machines(void)
{
    TCase *tc = tcase_create("a volume has one key and one writer");

    tcase_add_loop_test(tc, a_wrong_key_replaces_nothing, 0, 2);
    tcase_add_loop_test(tc, another_machine_destroys_nothing, 0, 3);
    tcase_add_test(tc, a_takeover_ends_the_first_writer_and_keeps_its_objects);
    tcase_add_test(tc, any_two_backends_are_enough_to_go_on_and_three_to_begin);
    return tc;
}

/* --- an old record is never taken for the newest --------------------------------------------- */

static struct buf kept[4]; /* what the backends had for a name */

static void keep(const char *path)
{
    CLEANUP(base_free) char *key = key_of(path);

    pthread_mutex_lock(&t.fake->lock);
    for (unsigned i = 0; i < 4; i++) {
        buf_clear(&kept[i]);
        buf_put_slice(&kept[i], buf_slice(&fake_find(t.meta[i], slice_str(key))->value));
    }
    pthread_mutex_unlock(&t.fake->lock);
}

static void replay(const char *path, unsigned i)
{
    CLEANUP(base_free) char *key = key_of(path);
    struct fake_entry *x;

    pthread_mutex_lock(&t.fake->lock);
    x = fake_find(t.meta[i], slice_str(key));
    if (!x)
        x = fake_insert(t.meta[i], slice_str(key));
    buf_clear(&x->value);
    buf_put_slice(&x->value, buf_slice(&kept[i]));
    x->time = ++t.fake->clock;
    pthread_mutex_unlock(&t.fake->lock);
}

static void drop_kept(void)
{
    for (unsigned i = 0; i < 4; i++)
        buf_fini(&kept[i]);
}

static int read_as(struct machine *m, const char *path, const char *want, bool *unproved)
{
    CLEANUP(base_free) char *out = cluster_path(&t, "back");
    struct object_result res;
    struct err e = {0};
    struct object_target to = {.path = out, .fd = -1};
    int r = object_retrieve(m->o, path, NULL, &to, NULL, &res, &e);

    if (r == 0)
        ck_assert_msg(cluster_same(want, out), "an old content");
    *unproved = res.unproved_newest;
    unlink(out);
    return r;
}

START_TEST(what_is_replayed_is_never_the_newest)
{
    struct machine m = {0};
    struct err e = {0};
    bool unproved;
    char *a;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&m, "m", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    ck_assert_int_eq(machine_store(&m, a, &e), 0);
    keep(a);
    free(a);
    a = cluster_file(&t, "a", 50000, 'r', 2);
    ck_assert_int_eq(machine_store(&m, a, &e), 0);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = i + 1; k < 4; k++) { /* two lie, the others answer or are away */
            machine_stop(&m);
            ck_assert_int_eq((machine_start(&m, "m", 7), 0), 0);
            replay(a, i);
            replay(a, k);
            for (unsigned x = 0; x < 4; x++)
                atomic_store(&t.meta[x]->refuse, _i == 1 && x != i && x != k);
            if (_i == 0)
                ck_assert_int_eq(read_as(&m, a, a, &unproved), 0);
            else
                ck_assert_int_eq(read_as(&m, a, a, &unproved), -EHOSTUNREACH);
            for (unsigned x = 0; x < 4; x++)
                atomic_store(&t.meta[x]->refuse, false);
            machine_stop(&m);
            machine_start(&m, "m", 7);
            ck_assert_msg(machine_store(&m, a, &e) == 0, "%s", e.text); /* heals */
            ck_assert_int_eq(read_as(&m, a, a, &unproved), 0);
            ck_assert(!unproved);
        }
    for (unsigned i = 0; i < 4; i++)
        replay(a, i);
    ck_assert_int_eq(read_as(&m, a, a, &unproved), -EBADMSG);
    machine_stop(&m);
    drop_kept();
    free(a);
    cluster_stop(&t);
}
END_TEST

START_TEST(who_does_not_remember_says_so)
{
    struct machine m = {0}, fresh = {0};
    struct err e = {0};
    bool unproved;
    char *a;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&m, "m", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    ck_assert_int_eq(machine_store(&m, a, &e), 0);
    machine_start(&fresh, "fresh", 7);
    ck_assert_int_eq(read_as(&fresh, a, a, &unproved), 0);
    ck_assert(!unproved);
    machine_stop(&fresh);
    atomic_store(&t.meta[0]->refuse, true);
    atomic_store(&t.meta[2]->refuse, true);
    machine_start(&fresh, "fresh2", 7);
    ck_assert_int_eq(read_as(&fresh, a, a, &unproved), 0);
    ck_assert(unproved);
    machine_stop(&fresh);
    machine_start(&fresh, "fresh", 7); /* has read it when all were there */
    ck_assert_int_eq(read_as(&fresh, a, a, &unproved), 0);
    ck_assert(!unproved);
    ck_assert_int_eq(read_as(&m, a, a, &unproved), 0);
    ck_assert(!unproved);
    machine_stop(&m);
    machine_stop(&fresh);
    free(a);
    cluster_stop(&t);
}
END_TEST

START_TEST(what_was_deleted_does_not_come_back)
{
    struct machine m = {0};
    struct object_result res;
    struct err e = {0};
    bool unproved;
    char *a;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&m, "m", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    ck_assert_int_eq(machine_store(&m, a, &e), 0);
    keep(a);
    ck_assert_int_eq(object_delete(m.o, a, NULL, NULL, &e), 0);
    machine_stop(&m);
    machine_start(&m, "m", 7);
    replay(a, 1);
    replay(a, 3);
    ck_assert_int_eq(object_check(m.o, a, NULL, &res, &e), 0);
    ck_assert_int_eq(machine_store(&m, a, &e), 0);
    ck_assert_int_eq(read_as(&m, a, a, &unproved), 0);
    machine_stop(&m);
    drop_kept();
    free(a);
    cluster_stop(&t);
}
END_TEST

/* With any two metadata backends away, and with one away and one that lies: new objects and new
 * contents go in and come back right; they count once three have them. */
START_TEST(two_backends_less_stop_nothing)
{
    struct machine m = {0};
    struct err e = {0};
    bool unproved;
    char *a, *b;

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&m, "m", 7);
    a = cluster_file(&t, "a", 50000, 'r', 1);
    ck_assert_int_eq(machine_store(&m, a, &e), 0);
    for (unsigned i = 0; i < 4; i++)
        for (unsigned k = 0; k < 4; k++) {
            unsigned seed = 10 + i * 4 + k;
            bool lie = i > k; /* one of the two answers with nonsense */
            char name[16];
            if (i == k)
                continue;
            snprintf(name, sizeof name, "new%u", seed);
            machine_stop(&m);
            atomic_store(&t.meta[i]->refuse, true);
            if (lie)
                atomic_store(&t.meta[k]->garble, 1 + (int)seed % 4);
            else
                atomic_store(&t.meta[k]->refuse, true);
            machine_start(&m, "m", 7);
            free(a);
            a = cluster_file(&t, "a", 50000, 'r', seed);
            b = cluster_file(&t, name, 3000, 'r', seed);
            int want = lie ? 0 : -EHOSTUNREACH;
            int got = machine_store(&m, a, &e);
            ck_assert_msg(got == want, "%u %u: %d %s", i, k, got, e.text);
            got = machine_store(&m, b, &e);
            ck_assert_msg(got == want, "%u %u: %d %s", i, k, got, e.text);
            ck_assert_int_eq(read_as(&m, a, a, &unproved), 0);
            ck_assert_int_eq(read_as(&m, b, b, &unproved), 0);
            for (unsigned x = 0; x < 4; x++) {
                atomic_store(&t.meta[x]->refuse, false);
                atomic_store(&t.meta[x]->garble, 0);
            }
            machine_stop(&m);
            machine_start(&m, "m", 7);
            ck_assert_msg(machine_store(&m, a, &e) == 0, "%s", e.text);
            ck_assert_msg(machine_store(&m, b, &e) == 0, "%s", e.text);
            ck_assert_int_eq(read_as(&m, a, a, &unproved), 0);
            ck_assert_int_eq(read_as(&m, b, b, &unproved), 0);
            free(b);
        }
    machine_stop(&m);
    free(a);
    cluster_stop(&t);
}
END_TEST

/* --- a new key ------------------------------------------------------------------------------- */

static void machine_keys(struct machine *m, const char *name, uint8_t key, uint8_t former)
{
    machine_start(m, name, key);
    memset(m->conf.meta_key, former, sizeof m->conf.meta_key);
}

START_TEST(a_new_key_opens_everything_and_the_former_one_nothing)
{
    struct machine m = {0};
    struct object_rekeyed done;
    struct err e = {0};
    bool unproved;
    char *f[6], name[16];

    cluster_start(&t, 2, 4, one_group, 1);
    machine_start(&m, "m", 7);
    for (unsigned i = 0; i < 6; i++) {
        snprintf(name, sizeof name, "f%u", i);
        f[i] = cluster_file(&t, name, 3000 + i, 'r', i);
        ck_assert_int_eq(machine_store(&m, f[i], &e), 0);
    }
    machine_stop(&m);
    machine_keys(&m, "m", 99, 55); /* neither is the volume's */
    ck_assert_int_eq(object_rekey(m.o, NULL, &done, &e), -EKEYREJECTED);
    machine_stop(&m);
    machine_keys(&m, "other", 99, 7); /* the key, but not the machine */
    ck_assert_int_eq(object_rekey(m.o, NULL, &done, &e), -EBUSY);
    machine_stop(&m);
    if (_i == 1) { /* a backend goes away in between */
        machine_keys(&m, "m", 99, 7);
        atomic_store(&t.meta[1]->fail_set, 4); /* the notes, and two records */
        ck_assert_int_lt(object_rekey(m.o, NULL, &done, &e), 0);
        ck_assert_uint_gt(done.failed, 0);
        for (unsigned i = 0; i < 6; i++)
            ck_assert_int_eq(read_as(&m, f[i], f[i], &unproved), 0);
        ck_assert_int_eq(machine_store(&m, f[0], &e), 0); /* work goes on */
        atomic_store(&t.meta[1]->fail_set, -1);
        machine_stop(&m);
    }
    machine_start(&m, "m", 7);
    ck_assert_int_eq(object_claim(m.o, false, NULL, &e), _i == 1 ? -EKEYREJECTED : 0);
    machine_stop(&m);
    machine_keys(&m, "m", 99, 7);
    ck_assert_msg(object_rekey(m.o, NULL, &done, &e) == 0, "%s", e.text);
    ck_assert_uint_eq(done.objects, 6);
    ck_assert_uint_eq(done.failed, 0);
    ck_assert_uint_ge(done.changed, _i == 1 ? 1 : 6);
    ck_assert_int_eq(object_rekey(m.o, NULL, &done, &e), 0);
    ck_assert_uint_eq(done.changed, 0);
    machine_stop(&m);
    machine_keys(&m, "m", 99, 55); /* the former key is gone */
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_eq(read_as(&m, f[i], f[i], &unproved), 0);
    ck_assert_int_eq(machine_store(&m, f[1], &e), 0);
    machine_stop(&m);
    machine_keys(&m, "m", 7, 7);
    ck_assert_int_eq(object_claim(m.o, false, NULL, &e), -EKEYREJECTED);
    for (unsigned i = 0; i < 6; i++)
        ck_assert_int_lt(read_as(&m, f[i], f[i], &unproved), 0);
    machine_stop(&m);
    for (unsigned i = 0; i < 6; i++)
        free(f[i]);
    cluster_stop(&t);
}
END_TEST

static TCase *tcase_newest(void)
{
    TCase *tc = tcase_create("the newest is known");

    tcase_set_timeout(tc, 300);
    tcase_add_loop_test(tc, what_is_replayed_is_never_the_newest, 0, 2);
    tcase_add_test(tc, who_does_not_remember_says_so);
    tcase_add_test(tc, what_was_deleted_does_not_come_back);
    tcase_add_test(tc, two_backends_less_stop_nothing);
    tcase_add_loop_test(tc, a_new_key_opens_everything_and_the_former_one_nothing, 0, 2);
    return tc;
}

UNIT_MAIN("identity", tcase_bound, tcase_machines, tcase_newest)
