#include "tests/unit/unit.h"

#include <dirent.h>
#include <errno.h>

#include "tests/unit/zstor/cluster.h"

static struct cluster_test t;

static int store(const char *path, struct object_result *res)
{
    struct err e = {0};
    int r = object_store(t.o, path, path, 0, NULL, res, &e);

    if (r < 0) {
        ck_assert_str_ne(e.text, "");
        fprintf(stderr, "store: %s\n", e.text);
    }
    return r;
}

/* On a busy machine a backend may be slow, and its part left to a rebuild. */
static int store_whole(const char *path, struct object_result *res)
{
    int r = store(path, res);

    for (struct object_result left = *res; r == 0 && left.shards_lost + left.meta_lost > 0;)
        r = object_rebuild(t.o, path, NULL, NULL, &left, NULL);
    return r;
}

static int retrieve(const char *path, const char *out, struct object_result *res)
{
    struct err e = {0};
    struct object_target to = {.path = out, .fd = -1, .replace = true};
    int r = object_retrieve(t.o, path, NULL, &to, NULL, res, &e);

    if (r < 0)
        ck_assert_str_ne(e.text, "");
    return r;
}

static void must_round_trip(const char *path)
{
    struct object_result res;
    char *out = cluster_path(&t, "back");

    ck_assert_int_eq(retrieve(path, out, &res), 0);
    ck_assert(cluster_same(path, out));
    unlink(out);
    free(out);
}

static unsigned temporary_files(void)
{
    DIR *d = opendir(t.dir);
    unsigned n = 0;
    struct dirent *e;

    while ((e = readdir(d)))
        n += e->d_name[0] == '.' && strcmp(e->d_name, ".") && strcmp(e->d_name, "..");
    closedir(d);
    return n;
}

START_TEST(sizes_and_kinds_round_trip)
{
    static const size_t sizes[] = {0, 1, 14, 65535, 65536, 65537, 1000003, 9 * 1024 * 1024 + 5};
    static const unsigned two[] = {5};

    cluster_start(&t, 2, 4, two, 1);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        for (const char *kind = "rtz"; *kind; kind++) {
            struct object_result res;
            char *path = cluster_file(&t, "file", sizes[i], *kind, (unsigned)i);
            ck_assert_int_eq(store_whole(path, &res), 0);
            ck_assert(!res.skipped || sizes[i] < 2);
            ck_assert_uint_eq(res.size, sizes[i]);
            ck_assert_uint_eq(res.shards, 4);
            must_round_trip(path);
            free(path);
        }
    ck_assert_uint_gt(atomic_load(&t.data[0]->syncs) + atomic_load(&t.data[1]->syncs), 0);
    ck_assert_uint_gt(atomic_load(&t.meta[0]->syncs), 0);
    ck_assert_uint_eq(temporary_files(), 0);
    cluster_stop(&t);
}
END_TEST

/* An index file of 25 bytes in ten parts, the descriptor of a namespace in sixteen. */
static const unsigned parts[] = {1, 2, 7, 10, 16, 20};

START_TEST(small_objects_in_many_parts)
{
    const unsigned k = parts[_i], n = k + 2;
    static const size_t more[] = {100, 511, 1000, 1024, 2047, 4095, 4096};

    cluster_start(&t, k, n, &n, 1);
    for (size_t i = 0; i < 40 + ARRAY_LEN(more); i++) {
        struct object_result res;
        char *path = cluster_file(&t, "file", i < 40 ? i : more[i - 40], 'r', (unsigned)i + 1);
        ck_assert_int_eq(store_whole(path, &res), 0);
        atomic_store(&t.data[i % n]->garble, 1);
        must_round_trip(path);
        atomic_store(&t.data[i % n]->garble, 0);
        free(path);
    }
    cluster_stop(&t);
}
END_TEST

struct geo {
    unsigned k, n, group;
    size_t size;
};

static const struct geo geos[] = {{1, 2, 2, 3000000},     {4, 6, 6, 2500000},
                                  {16, 20, 20, 5000000},  {3, 8, 8, 70000},
                                  {10, 15, 15, 40000000}, {20, 30, 30, 3333333}};

START_TEST(every_geometry_survives_the_loss_of_parity_many)
{
    const struct geo *g = &geos[_i];
    struct object_result res;
    char *path;

    cluster_start(&t, g->k, g->n, &g->group, 1);
    path = cluster_file(&t, "file", g->size, 'r', 1);
    ck_assert_int_eq(store_whole(path, &res), 0);
    for (unsigned i = 0; i < g->n - g->k; i++)
        atomic_store(&t.data[i * 7 % g->group]->garble, 1 + (int)i % 7);
    must_round_trip(path);
    for (unsigned i = 0; i < g->group; i++)
        atomic_store(&t.data[i]->garble, i <= g->n - g->k ? 4 : 0);
    ck_assert_int_eq(retrieve(path, path, &res), -EIO);
    /* one that is slow on a busy machine counts too, once the others cannot be enough */
    ck_assert_uint_ge(res.shards_lost, g->n - g->k + 1);
    ck_assert_uint_le(res.shards_lost, g->n);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(the_same_content_is_not_stored_twice)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 100000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    unsigned sets = atomic_load(&t.data[0]->sets);
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert(res.skipped);
    ck_assert_uint_eq(atomic_load(&t.data[0]->sets), sets);
    /* another geometry is another object */
    t.conf->minimal_shards = 3;
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert(!res.skipped);
    must_round_trip(path);
    ck_assert_int_eq(object_store(t.o, path, path, OBJECT_FORCE, NULL, &res, NULL), 0);
    ck_assert(!res.skipped);
    ck_assert_uint_eq(cluster_live(&t), 4);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(old_shards_go_when_the_object_is_replaced_or_deleted)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    for (unsigned round = 0; round < 3; round++) {
        path = cluster_file(&t, "file", 5000000 - round, 'r', round);
        ck_assert_int_eq(store(path, &res), 0);
        ck_assert_uint_eq(cluster_live(&t), 8); /* two values each */
        must_round_trip(path);
        free(path);
    }
    path = cluster_path(&t, "file");
    ck_assert_int_eq(object_check(t.o, path, NULL, &res, NULL), 1);
    ck_assert_int_eq(object_delete(t.o, path, NULL, NULL, NULL), 0);
    ck_assert_uint_eq(cluster_live(&t), 0);
    ck_assert_int_eq(object_check(t.o, path, NULL, &res, NULL), 0);
    ck_assert_int_eq(object_delete(t.o, path, NULL, NULL, NULL), 0);
    ck_assert_int_eq(retrieve(path, path, &res), -ENOENT);
    ck_assert_uint_eq(atomic_load(&t.stats.old_values_leaked), 0);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_failed_retrieve_leaves_the_file_alone)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path, *copy;
    struct stat st;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 300000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    free(path);
    path = cluster_file(&t, "file", 1234, 't', 1); /* newer local content */
    copy = cluster_file(&t, "copy", 1234, 't', 1);
    for (int i = 0; i < 3; i++)
        atomic_store(&t.data[i]->garble, 1);
    ck_assert_int_eq(retrieve(path, path, &res), -EIO);
    ck_assert(cluster_same(path, copy));
    ck_assert_uint_eq(temporary_files(), 0);
    /* and a good one keeps mode and makes directories */
    for (int i = 0; i < 3; i++)
        atomic_store(&t.data[i]->garble, 0);
    ck_assert_int_eq(chmod(path, 0640), 0);
    ck_assert_int_eq(retrieve(path, path, &res), 0);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0640);
    ck_assert_int_eq(st.st_size, 300000);
    free(copy);
    copy = cluster_path(&t, "new/dir/file");
    ck_assert_int_eq(retrieve(path, copy, &res), 0);
    ck_assert(cluster_same(path, copy));
    ck_assert_int_eq(retrieve(path, t.dir, &res), -EISDIR);
    free(copy);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_hanging_backend_is_hedged_on_read)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;
    uint64_t start;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 300000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    atomic_store(&t.data[0]->hang, true);
    atomic_store(&t.data[1]->hang, true);
    start = base_now_ms();
    must_round_trip(path);
    must_round_trip(path);
    ck_assert_uint_lt(base_now_ms() - start, 29000); /* less than one time-out, though two of four
                                                       hang */
    atomic_store(&t.data[0]->hang, false);
    atomic_store(&t.data[1]->hang, false);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(broken_backends_are_replaced_by_spares_while_storing)
{
    static const unsigned one[] = {7};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    atomic_store(&t.data[0]->full, true);
    atomic_store(&t.data[1]->fail_set, 1); /* the second value fails */
    atomic_store(&t.data[2]->locked, true);
    path = cluster_file(&t, "file", 9000000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert_uint_eq(res.shards_lost, 0);
    ck_assert_uint_eq(cluster_live(&t), 4 * 3); /* nothing of the failed attempt is left */
    must_round_trip(path);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(too_few_backends_store_degraded_and_rebuild_completes)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    atomic_store(&t.data[1]->refuse, true);
    atomic_store(&t.data[3]->locked, true);
    path = cluster_file(&t, "file", 100000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert_uint_eq(res.shards_lost, 2);
    ck_assert_uint_eq(atomic_load(&t.stats.degraded), 1);
    must_round_trip(path);
    ck_assert_int_eq(store(path, &res), 0); /* what is there is not sent again */
    ck_assert(res.skipped);
    ck_assert_uint_eq(res.shards_lost, 2);
    ck_assert_uint_eq(cluster_live(&t), 2);
    ck_assert_int_eq(object_check(t.o, path, NULL, &res, NULL), 1);
    ck_assert_uint_eq(res.shards_lost, 2);
    atomic_store(&t.data[1]->refuse, false);
    atomic_store(&t.data[3]->locked, false);
    cluster_settle(&t);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_restored, 2);
    ck_assert_uint_eq(res.shards_lost, 0);
    atomic_store(&t.data[0]->garble, 4);
    atomic_store(&t.data[2]->garble, 4);
    must_round_trip(path); /* from the two new ones alone */
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(fewer_than_minimal_shards_is_an_error_that_leaves_nothing)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    for (int i = 0; i < 3; i++)
        atomic_store(&t.data[i]->full, true);
    path = cluster_file(&t, "file", 100000, 'r', 1);
    ck_assert_int_eq(store(path, &res), -ENOSPC);
    ck_assert_uint_eq(cluster_live(&t), 0);
    ck_assert_int_eq(object_check(t.o, path, NULL, &res, NULL), 0);
    for (int i = 0; i < 3; i++) {
        atomic_store(&t.data[i]->full, false);
        atomic_store(&t.data[i]->refuse, true);
    }
    ck_assert_int_eq(store(path, &res), -ENOLINK);
    free(path);
    cluster_stop(&t);
}
END_TEST

static void must_have_distinct_places(const char *path, unsigned n)
{
    struct buf json = BUF_INIT;
    unsigned places = 0;
    char *text;

    ck_assert_int_eq(object_describe(t.o, path, NULL, &json, NULL), 1);
    text = buf_take_str(&json);
    for (unsigned i = 0; i < 10; i++) {
        char name[32];
        char *at;

        snprintf(name, sizeof name, "\"namespace\": \"d%u\"", i);
        at = strstr(text, name);
        places += at != NULL;
        ck_assert(!at || !strstr(at + 1, name));
    }
    ck_assert_uint_eq(places, n);
    free(text);
}

/* A wiped backend numbers its values from 0 again, so the keys of lost shards come to name other
 * objects' new shards. */
START_TEST(rebuild_onto_a_wiped_backend_deletes_nobody_elses_shard)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path[12];

    cluster_start(&t, 2, 4, one, 1);
    for (unsigned i = 0; i < ARRAY_LEN(path); i++) {
        char name[16];

        snprintf(name, sizeof name, "file%u", i);
        path[i] = cluster_file(&t, name, 30000 + i, 'r', i);
        ck_assert_int_eq(store(path[i], &res), 0);
    }
    pthread_mutex_lock(&t.fake->lock);
    for (size_t k = 0; k < t.data[2]->n; k++)
        buf_fini(&t.data[2]->entry[k].value);
    t.data[2]->n = 0;
    pthread_mutex_unlock(&t.fake->lock);
    for (unsigned i = ARRAY_LEN(path); i-- > 0;) { /* backwards: every old key is taken by another
                                                      object */
        ck_assert_int_eq(object_rebuild(t.o, path[i], NULL, NULL, &res, NULL), 0);
        ck_assert_uint_eq(res.shards_restored, 1);
    }
    ck_assert_uint_eq(cluster_live(&t), 4 * ARRAY_LEN(path));
    /* replaced and deleted objects do not take others' values with them either */
    ck_assert_int_eq(object_delete(t.o, path[0], NULL, NULL, NULL), 0);
    atomic_store(&t.data[0]->refuse, true);
    atomic_store(&t.data[1]->refuse, true);
    for (unsigned i = 1; i < ARRAY_LEN(path); i++)
        must_round_trip(path[i]);
    for (unsigned i = 0; i < ARRAY_LEN(path); i++)
        free(path[i]);
    cluster_stop(&t);
}
END_TEST

START_TEST(rebuild_restores_every_kind_of_loss_on_distinct_backends)
{
    static const unsigned one[] = {6};
    struct object_result res;
    struct buf json = BUF_INIT;
    char *path, *text;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 5000000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    uint64_t generation = res.generation;
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_restored + res.shards_lost, 0);
    ck_assert_uint_eq(res.generation, generation); /* nothing was wrong, nothing was written */
    for (int round = 0; round < 6; round++) {
        /* whichever two hold shards: one is lost for good, one is damaged at its place */
        int hit = 0;
        struct fake_ns *damaged = NULL;
        size_t ndamaged = 0;
        for (int i = 0; i < 6 && hit < 2; i++) {
            struct fake_ns *n = t.data[(i + round) % 6];
            if (fake_live(t.fake, n) == 0)
                continue;
            pthread_mutex_lock(&t.fake->lock);
            damaged = n;
            ndamaged = n->n;
            for (size_t k = 0; k < n->n; k++) {
                if (n->entry[k].deleted)
                    continue;
                if (hit)
                    buf_data(&n->entry[k].value)[77] ^= 4;
                n->entry[k].deleted = !hit;
            }
            pthread_mutex_unlock(&t.fake->lock);
            hit++;
        }
        ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
        ck_assert_uint_eq(res.shards_restored, 2);
        ck_assert_uint_eq(res.shards_lost, 0);
        must_have_distinct_places(path, 4); /* damaged values stay: they are not proven to be this
                                               object's */
        pthread_mutex_lock(&t.fake->lock);
        for (size_t k = 0; k < ndamaged; k++)
            damaged->entry[k].deleted = true;
        pthread_mutex_unlock(&t.fake->lock);
        must_round_trip(path);
    }
    /* all but k lost: still rebuilt; one more: an error, nothing is made worse */
    ck_assert_int_eq(object_describe(t.o, path, NULL, &json, NULL), 1);
    text = buf_take_str(&json);
    ck_assert_ptr_nonnull(strstr(text, "\"shard_idx\": 3"));
    free(text);
    for (int i = 0, hit = 0; i < 6 && hit < 3; i++)
        if (fake_live(t.fake, t.data[i])) {
            atomic_store(&t.data[i]->garble, 4);
            hit++;
        }
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), -EIO);
    for (int i = 0; i < 6; i++)
        atomic_store(&t.data[i]->garble, 0);
    must_round_trip(path);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(rebuild_keeps_the_geometry_of_the_record)
{
    static const unsigned one[] = {8};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 50000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    t.conf->minimal_shards = 3;
    t.conf->expected_shards = 6;
    for (int i = 0; i < 8; i++)
        if (fake_live(t.fake, t.data[i])) {
            atomic_store(&t.data[i]->garble, 4);
            break;
        }
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards, 4);
    ck_assert_uint_eq(res.shards_restored, 1);
    must_round_trip(path);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(rebuild_moves_shards_off_backends_that_are_not_configured)
{
    static const unsigned two[] = {4, 4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, two, 2);
    t.conf->ngroups = 1; /* the second group is not there yet */
    path = cluster_file(&t, "file", 50000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    /* now the second group is all there is, but for one backend of the first */
    struct zstor_group first = t.conf->groups[0], second = t.conf->groups[1];
    struct backend_addr all[5];
    memcpy(all, second.backends, 4 * sizeof *all);
    all[4] = first.backends[0];
    t.conf->groups[0] = (struct zstor_group){all, 5};
    ck_assert_int_eq(object_check(t.o, path, NULL, &res, NULL), 1);
    ck_assert_uint_eq(res.backends_unconfigured, 3);
    atomic_store(&t.data[6]->locked, true);
    atomic_store(&t.data[7]->locked, true);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.backends_unconfigured, 1); /* only two places */
    ck_assert_uint_eq(res.shards_restored, 2);
    ck_assert_uint_eq(cluster_live(&t), 4);
    must_round_trip(path);
    atomic_store(&t.data[6]->locked, false);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.backends_unconfigured, 0);
    ck_assert_uint_eq(cluster_live(&t), 4);
    for (int i = 1; i < 4; i++)
        ck_assert_uint_eq(fake_live(t.fake, t.data[i]), 0);
    must_round_trip(path);
    t.conf->groups[0] = first;
    t.conf->ngroups = 2;
    free(path);
    cluster_stop(&t);
}
END_TEST

struct worker {
    pthread_t thread;
    char *path[3], *out;
    int failed;
};

static void *work(void *arg)
{
    struct worker *w = arg;

    for (int round = 0; round < 3; round++)
        for (int i = 0; i < 3; i++) {
            struct object_result res;
            w->failed += object_store(t.o, w->path[i], w->path[i], round ? OBJECT_FORCE : 0, NULL,
                                      &res, NULL) != 0;
            struct object_target to = {.path = w->out, .fd = -1, .replace = true};

            w->failed += object_retrieve(t.o, w->path[i], NULL, &to, NULL, &res, NULL) != 0;
            w->failed += !cluster_same(w->path[i], w->out);
            w->failed += object_rebuild(t.o, w->path[i], NULL, NULL, &res, NULL) != 0;
        }
    return NULL;
}

START_TEST(threads_share_one_context)
{
    static const unsigned one[] = {6};
    struct worker w[4] = {0};

    cluster_start(&t, 2, 4, one, 1);
    for (unsigned k = 0; k < 4; k++) {
        char name[32];
        for (unsigned i = 0; i < 3; i++) {
            snprintf(name, sizeof name, "file%u-%u", k, i);
            w[k].path[i] = cluster_file(&t, name, 1000 + 200000 * i, 'r', k * 3 + i);
        }
        snprintf(name, sizeof name, "out%u", k);
        w[k].out = cluster_path(&t, name);
        pthread_create(&w[k].thread, NULL, work, &w[k]);
    }
    for (unsigned k = 0; k < 4; k++) {
        pthread_join(w[k].thread, NULL);
        ck_assert_int_eq(w[k].failed, 0);
        for (unsigned i = 0; i < 3; i++)
            free(w[k].path[i]);
        free(w[k].out);
    }
    ck_assert_uint_eq(cluster_live(&t), 4 * 12);
    cluster_stop(&t);
}
END_TEST

START_TEST(rebuild_without_a_spare_says_what_is_lost)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 50000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    atomic_store(&t.data[2]->refuse, true);
    unsigned sets = atomic_load(&t.data[0]->sets);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_restored, 0);
    ck_assert_uint_eq(res.shards_lost, 1);
    ck_assert_uint_eq(atomic_load(&t.data[0]->sets), sets);
    /* it was only away: nothing has to be done */
    atomic_store(&t.data[2]->refuse, false);
    cluster_settle(&t);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.shards_lost + res.shards_restored, 0);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(nothing_is_uploaded_while_metadata_cannot_be_saved)
{
    static const unsigned one[] = {5};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 50000, 'r', 1);
    atomic_store(&t.meta[1]->locked, true);
    atomic_store(&t.meta[2]->locked, true);
    atomic_store(&t.meta[3]->locked, true);
    ck_assert_int_lt(store(path, &res), 0);
    ck_assert_uint_eq(cluster_live(&t), 0);
    atomic_store(&t.meta[2]->locked, false);
    /* with two it is there, but does not count */
    ck_assert_int_eq(store(path, &res), -EHOSTUNREACH);
    ck_assert_uint_eq(cluster_live(&t), 4);
    must_round_trip(path);
    ck_assert_int_lt(store(path, &res), 0);
    atomic_store(&t.meta[3]->locked, false);
    /* three of four are enough, and nothing is sent again */
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert(res.skipped);
    ck_assert_uint_eq(cluster_live(&t), 4);
    ck_assert_uint_eq(res.meta_lost, 1);
    ck_assert_uint_eq(atomic_load(&t.stats.meta_partial), 1);
    atomic_store(&t.meta[1]->locked, false);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, NULL, &res, NULL), 0);
    ck_assert_uint_eq(res.meta_lost, 0);
    ck_assert_int_eq(object_check(t.o, path, NULL, &res, NULL), 1);
    ck_assert_uint_eq(res.meta_lost, 0);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(stopping_ends_an_operation_and_cleans_up)
{
    static const unsigned one[] = {4};
    atomic_bool stop = true;
    struct object_ctl ctl = {.stop = &stop};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 5000000, 'r', 1);
    ck_assert_int_eq(object_store(t.o, path, path, 0, &ctl, &res, NULL), -ECANCELED);
    ck_assert_uint_eq(cluster_live(&t), 0);
    atomic_store(&stop, false);
    ck_assert_int_eq(object_store(t.o, path, path, 0, &ctl, &res, NULL), 0);
    atomic_store(&stop, true);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(object_retrieve(t.o, path, NULL, NULL, &ctl, &res, NULL), -ECANCELED);
    ck_assert_int_eq(object_rebuild(t.o, path, NULL, &ctl, &res, NULL), -ECANCELED);
    ck_assert_uint_eq(temporary_files(), 0);
    free(path);
    cluster_stop(&t);
}
END_TEST

static void count_progress(void *arg, uint64_t done, uint64_t total)
{
    uint64_t *last = arg;

    ck_assert_uint_ge(done, last[0]);
    ck_assert_uint_le(done, MAX(total, done));
    last[0] = done;
    last[1]++;
}

START_TEST(progress_never_goes_back)
{
    static const unsigned one[] = {4};
    uint64_t last[2] = {0};
    struct object_ctl ctl = {.progress = count_progress, .arg = last};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 9000000, 'r', 1);
    ck_assert_int_eq(object_store(t.o, path, path, 0, &ctl, &res, NULL), 0);
    ck_assert_uint_gt(last[1], 4);
    last[0] = last[1] = 0;
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(object_retrieve(t.o, path, NULL, NULL, &ctl, &res, NULL), 0);
    ck_assert_uint_gt(last[1], 4);
    free(path);
    cluster_stop(&t);
}
END_TEST

static int count_key(void *arg, const char *key)
{
    ck_assert_int_eq(strncmp(key, "/unit/meta/", 11), 0);
    ck_assert_uint_eq(strlen(key), 43);
    return ++*(int *)arg == 1000;
}

START_TEST(all_objects_are_listed_once_and_rebuilt)
{
    static const unsigned one[] = {5};
    struct object_result res;
    int seen = 0;

    cluster_start(&t, 2, 4, one, 1);
    for (int i = 0; i < 10; i++) {
        char name[16], *path;
        snprintf(name, sizeof name, "file%d", i);
        path = cluster_file(&t, name, 3000, 'r', (unsigned)i);
        atomic_store(&t.meta[i % 4]->locked, true); /* no single backend has all */
        ck_assert_int_eq(store(path, &res), 0);
        atomic_store(&t.meta[i % 4]->locked, false);
        free(path);
    }
    ck_assert_int_eq(object_each(t.o, count_key, &seen, NULL), 0);
    ck_assert_int_eq(seen, 10);
    for (int i = 0; i < 5; i++)
        if (fake_live(t.fake, t.data[i])) {
            pthread_mutex_lock(&t.fake->lock);
            for (size_t k = 0; k < t.data[i]->n; k++)
                t.data[i]->entry[k].deleted = true;
            pthread_mutex_unlock(&t.fake->lock);
            break;
        }
    ck_assert_int_eq(object_rebuild_all(t.o, NULL, NULL, NULL, NULL), 0);
    for (int i = 0; i < 4; i++)
        ck_assert_uint_eq(fake_live(t.fake, t.meta[i]), 10); /* metadata values are back as well */
    ck_assert_uint_eq(cluster_live(&t), 40);
    atomic_store(&t.meta[0]->refuse, true);
    atomic_store(&t.meta[1]->refuse, true);
    seen = 0;
    ck_assert_int_eq(object_each(t.o, count_key, &seen, NULL), 0);
    ck_assert_int_eq(seen, 10);
    atomic_store(&t.meta[2]->refuse, true);
    ck_assert_int_eq(object_each(t.o, count_key, &seen, NULL), -EHOSTUNREACH);
    cluster_stop(&t);
}
END_TEST

START_TEST(delete_flag_removes_the_source_and_keys_follow_symlinks)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path, *link, *real = NULL, *out;

    cluster_start(&t, 2, 4, one, 1);
    path = cluster_file(&t, "file", 5000, 'r', 1);
    link = cluster_path(&t, "link");
    out = cluster_path(&t, "out");
    ck_assert_int_eq(symlink("file", link), 0);
    ck_assert_int_eq(object_store_path(link, NULL, &real, NULL), 0);
    ck_assert_str_eq(real, path);
    ck_assert_int_eq(object_store(t.o, path, real, 0, NULL, &res, NULL), 0);
    ck_assert_int_eq(retrieve(link, out, &res), 0); /* by the name of the link */
    ck_assert(cluster_same(path, out));
    ck_assert_int_eq(object_store(t.o, path, real, OBJECT_DELETE, NULL, &res, NULL), 0);
    ck_assert_int_eq(access(path, F_OK), -1);
    ck_assert_int_eq(retrieve(path, NULL, &res), 0);
    ck_assert(cluster_same(path, out));
    ck_assert_int_eq(store(t.dir, &res), -EINVAL);
    ck_assert_int_eq(store("/nonexistent/x", &res), -ENOENT);
    free(real);
    free(out);
    free(link);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(servers_without_sync_and_without_challenges_are_served)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, one, 1);
    atomic_store(&t.fake->no_secure, true);
    for (int i = 0; i < 4; i++) {
        atomic_store(&t.data[i]->no_sync_command, true);
        atomic_store(&t.meta[i]->no_sync_command, true);
    }
    path = cluster_file(&t, "file", 50000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert_uint_eq(res.shards_lost + res.meta_lost, 0);
    must_round_trip(path);
    free(path);
    cluster_stop(&t);
}
END_TEST

/* It answers what it is asked and hangs on writes: two stores find out, the shard goes to the spare
 * one; the next ones do not even try. */
START_TEST(a_gray_backend_costs_its_time_twice)
{
    static const unsigned five[] = {5};
    struct object_result res;
    unsigned gray = 0, sets;

    cluster_start(&t, 2, 4, five, 1);
    object_close(t.o);
    struct object_conf oc = {.conf = t.conf,
                             .stats = &t.stats,
                             .hedge_ms = 300,
                             .pool = {.io_timeout_ms = 60000, .backoff_min_ms = 60000}};
    ck_assert_int_eq(object_open(&t.o, &oc, NULL), 0);
    atomic_store(&t.data[gray]->hang_set, true);
    for (int round = 0; atomic_load(&t.data[gray]->sets) < HEALTH_SLOW; round++) {
        char *path = cluster_file(&t, "file", 3000 + (size_t)round, 'r', (unsigned)round);
        ck_assert_int_eq(store(path, &res), 0);
        ck_assert_uint_eq(res.shards_lost, 0);
        must_round_trip(path);
        free(path);
    }
    sets = atomic_load(&t.data[gray]->sets);
    for (unsigned i = 0; i < 10; i++) {
        char *path = cluster_file(&t, "file", 9000, 'r', 100 + i);
        ck_assert_int_eq(store(path, &res), 0);
        ck_assert_uint_eq(res.shards_lost, 0);
        free(path);
    }
    ck_assert_uint_eq(atomic_load(&t.data[gray]->sets), sets);
    cluster_stop(&t);
}
END_TEST

/* A byte now and then from two data backends and one of metadata. */
START_TEST(dripping_backends_are_as_dead_as_silent_ones)
{
    static const unsigned six[] = {6};
    struct object_result res;
    char *path;

    cluster_start(&t, 2, 4, six, 1);
    path = cluster_file(&t, "file", 300000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    for (int i = 0; i < 2; i++)
        atomic_store(&t.data[i]->drip_ms, 100);
    atomic_store(&t.meta[1]->drip_ms, 100);
    must_round_trip(path);
    free(path);
    path = cluster_file(&t, "other", 300000, 'r', 2);
    ck_assert_int_eq(store(path, &res), 0);
    ck_assert_uint_eq(res.shards_lost, 0);
    for (int i = 0; i < 2; i++)
        atomic_store(&t.data[i]->drip_ms, 0);
    atomic_store(&t.meta[1]->drip_ms, 0);
    must_round_trip(path);
    free(path);
    cluster_stop(&t);
}
END_TEST

START_TEST(a_local_disk_without_room_is_replaced_by_memory)
{
    static const unsigned one[] = {4};
    struct object_result res;
    char *path, *state;

    cluster_start(&t, 2, 4, one, 1);
    state = t.conf->state_dir;
    t.conf->state_dir = xstrdup("/nonexistent");
    path = cluster_file(&t, "file", 5000000, 'r', 1);
    ck_assert_int_eq(store(path, &res), 0);
    must_round_trip(path);
    free(state);
    free(path);
    cluster_stop(&t);
}
END_TEST

static TCase *tcase_object(void)
{
    TCase *tc = tcase_create("object");

    tcase_set_timeout(tc, 300);
    tcase_add_test(tc, sizes_and_kinds_round_trip);
    tcase_add_loop_test(tc, small_objects_in_many_parts, 0, ARRAY_LEN(parts));
    tcase_add_loop_test(tc, every_geometry_survives_the_loss_of_parity_many, 0, ARRAY_LEN(geos));
    tcase_add_test(tc, the_same_content_is_not_stored_twice);
    tcase_add_test(tc, old_shards_go_when_the_object_is_replaced_or_deleted);
    tcase_add_test(tc, a_failed_retrieve_leaves_the_file_alone);
    tcase_add_test(tc, a_hanging_backend_is_hedged_on_read);
    tcase_add_test(tc, broken_backends_are_replaced_by_spares_while_storing);
    tcase_add_test(tc, too_few_backends_store_degraded_and_rebuild_completes);
    tcase_add_test(tc, fewer_than_minimal_shards_is_an_error_that_leaves_nothing);
    tcase_add_test(tc, rebuild_onto_a_wiped_backend_deletes_nobody_elses_shard);
    tcase_add_test(tc, rebuild_restores_every_kind_of_loss_on_distinct_backends);
    tcase_add_test(tc, rebuild_keeps_the_geometry_of_the_record);
    tcase_add_test(tc, rebuild_moves_shards_off_backends_that_are_not_configured);
    tcase_add_test(tc, threads_share_one_context);
    tcase_add_test(tc, rebuild_without_a_spare_says_what_is_lost);
    tcase_add_test(tc, nothing_is_uploaded_while_metadata_cannot_be_saved);
    tcase_add_test(tc, stopping_ends_an_operation_and_cleans_up);
    tcase_add_test(tc, progress_never_goes_back);
    tcase_add_test(tc, all_objects_are_listed_once_and_rebuilt);
    tcase_add_test(tc, delete_flag_removes_the_source_and_keys_follow_symlinks);
    tcase_add_test(tc, servers_without_sync_and_without_challenges_are_served);
    tcase_add_test(tc, a_gray_backend_costs_its_time_twice);
    tcase_add_test(tc, dripping_backends_are_as_dead_as_silent_ones);
    tcase_add_test(tc, a_local_disk_without_room_is_replaced_by_memory);
    return tc;
}

UNIT_MAIN("object", tcase_object)
