#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/cluster.h"

static struct cluster_test t;
static struct marks *marks;

static void start(unsigned k, unsigned n, unsigned backends)
{
    struct object_conf oc = {.stats = &t.stats, .hedge_ms = 20000}; /* no competitors */

    cluster_start(&t, k, n, &backends, 1);
    object_close(t.o);
    marks = marks_new();
    oc.conf = t.conf;
    oc.marks = marks;
    oc.pool = (struct pool_conf){.backoff_min_ms = 50, .backoff_max_ms = 200};
    ck_assert_int_eq(object_open(&t.o, &oc, NULL), 0);
}

static void stop(void)
{
    cluster_stop(&t);
    marks_free(marks);
}

static const struct backend_addr *addr(unsigned i)
{
    return &t.conf->groups[0].backends[i];
}

static char *store(const char *name, size_t size)
{
    struct object_result res;
    char *path = cluster_file(&t, name, size, 'r', (unsigned)size);

    ck_assert_int_eq(object_store(t.o, path, path, 0, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_lost + res.meta_lost, 0);
    return path;
}

struct found {
    unsigned n, good;
    char key[128];
};

static int note(void *arg, const char *key, unsigned good)
{
    struct found *f = arg;

    f->n++;
    f->good = good;
    snprintf(f->key, sizeof f->key, "%s", key);
    return 0;
}

static struct found survey(void)
{
    struct found f = {0};
    uint64_t seen;

    ck_assert_int_eq(object_survey(t.o, NULL, note, &f, &seen, NULL), 0);
    ck_assert_uint_eq(seen, 1);
    return f;
}

static unsigned gets(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 32 && t.data[i]; i++)
        n += atomic_load(&t.data[i]->gets);
    return n;
}

static unsigned sets(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < 32 && t.data[i]; i++)
        n += atomic_load(&t.data[i]->sets);
    return n;
}

static unsigned holder(void) /* a backend that has a shard */
{
    for (unsigned i = 0; i < 32; i++)
        if (t.data[i] && fake_live(t.fake, t.data[i]))
            return i;
    return 0;
}

static void lose(unsigned i) /* it answers nobody any more, and that is known */
{
    atomic_store(&t.data[i]->refuse, true);
    fake_disconnect(t.fake);
    object_probe(t.o);
}

static void must_be_readable(const char *path)
{
    struct object_result res;
    char *out = cluster_path(&t, "back");
    const struct object_target to = {.path = out, .fd = -1, .replace = true};

    ck_assert_int_eq(object_retrieve(t.o, path, NULL, &to, NULL, &res, NULL), 0);
    ck_assert(cluster_same(path, out));
    ck_assert_uint_eq(res.shards_lost, 0);
    free(out);
}

/* One backend of five is gone: data-many shards are read, one is written. */
START_TEST(a_lost_backend_costs_only_what_is_missing)
{
    struct object_result res;
    struct found f;
    unsigned g, s;
    char *path;

    start(3, 4, 5);
    path = store("file", 300000);
    ck_assert_uint_eq(survey().n, 0);
    lose(holder());
    f = survey();
    ck_assert_uint_eq(f.n, 1);
    ck_assert_uint_eq(f.good, 3);
    g = gets();
    s = sets();
    ck_assert_int_eq(object_repair(t.o, f.key, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_restored, 1);
    ck_assert_uint_eq(res.shards_lost + res.meta_lost, 0);
    ck_assert_uint_eq(gets() - g, 3); /* the read of metadata is not among them */
    ck_assert_uint_eq(sets() - s, 1);
    ck_assert_uint_eq(survey().n, 0);
    must_be_readable(path);
    free(path);
    stop();
}
END_TEST

/* Nowhere to put it: nothing is read, however often it is tried. */
START_TEST(without_a_place_nothing_is_read)
{
    struct object_result res;
    struct found f;
    unsigned g;
    char *path;

    start(2, 4, 4);
    path = store("file", 300000);
    lose(holder());
    f = survey();
    ck_assert_uint_eq(f.good, 3);
    g = gets();
    for (int i = 0; i < 5; i++) {
        ck_assert_int_eq(object_repair(t.o, f.key, NULL, &res, NULL), 0);
        ck_assert_uint_eq(res.shards_lost, 1);
    }
    ck_assert_uint_eq(gets(), g);
    free(path);
    stop();
}
END_TEST

/* Down for less than the delay is not lost. */
START_TEST(the_delay_is_kept)
{
    char *path;

    start(2, 4, 5);
    t.conf->repair_delay_s = 3600;
    path = store("file", 1000);
    lose(holder());
    ck_assert_uint_eq(survey().n, 0);
    t.conf->repair_delay_s = 0;
    ck_assert_uint_eq(survey().n, 1);
    free(path);
    stop();
}
END_TEST

/* What is drained gets nothing more; what it has moves, and goes there. */
START_TEST(a_drained_backend_is_emptied)
{
    struct object_result res;
    struct found f;
    unsigned i;
    char *path;

    start(2, 4, 5);
    path = store("file", 5000000);
    i = holder();
    marks_set(marks, addr(i), MARK_DRAIN, true);
    f = survey();
    ck_assert_uint_eq(f.n, 1);
    ck_assert_int_eq(object_repair(t.o, f.key, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_lost + res.backends_unconfigured, 0);
    ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 0);
    ck_assert_uint_eq(survey().n, 0);
    must_be_readable(path);
    free(path);
    path = store("other", 4000);
    ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 0);
    free(path);
    stop();
}
END_TEST

/* It is there and empty: its shard is looked at, the others are believed until they are needed. */
START_TEST(a_wiped_backend_is_found_out)
{
    struct object_result res;
    struct found f;
    unsigned i, g;
    char *path;

    start(2, 4, 4);
    path = store("file", 100000);
    i = holder();
    pthread_mutex_lock(&t.fake->lock);
    for (size_t k = 0; k < t.data[i]->n; k++)
        t.data[i]->entry[k].deleted = true;
    pthread_mutex_unlock(&t.fake->lock);
    ck_assert_uint_eq(survey().n, 0); /* nobody knows */
    marks_set(marks, addr(i), MARK_SUSPECT, true);
    f = survey();
    ck_assert_uint_eq(f.n, 1);
    g = gets();
    ck_assert_int_eq(object_repair(t.o, f.key, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_restored, 1);
    ck_assert_uint_eq(gets() - g, 3); /* it is asked once, then two are read */
    ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 1);
    marks_clear(marks, MARK_SUSPECT);
    ck_assert_uint_eq(survey().n, 0);
    must_be_readable(path);
    free(path);
    stop();
}
END_TEST

static TCase *all(void)
{
    TCase *c = tcase_create("repair");

    tcase_add_test(c, a_lost_backend_costs_only_what_is_missing);
    tcase_add_test(c, without_a_place_nothing_is_read);
    tcase_add_test(c, the_delay_is_kept);
    tcase_add_test(c, a_drained_backend_is_emptied);
    tcase_add_test(c, a_wiped_backend_is_found_out);
    return c;
}

UNIT_MAIN("repair", all)
