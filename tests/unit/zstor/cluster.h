/* cluster - a configuration over one fake_zdb, a scratch directory, and helpers to make and compare
 * files.  Header only. */
#ifndef TESTS_ZSTOR_CLUSTER_H
#define TESTS_ZSTOR_CLUSTER_H

#include <fcntl.h>
#include <sys/stat.h>

#include "common/path.h"
#include "tests/unit/zstor/fake_zdb.h"
#include "zstor/object/object.h"

struct cluster_test {
    struct fake *fake;
    struct zstor_conf *conf;
    struct objects *o;
    struct object_stats stats;
    struct fake_ns *data[32], *meta[4];
    char dir[64];
};

/* groups of the given sizes; the first namespace of the data has a password, so has m0 */
static inline void cluster_start(struct cluster_test *t, unsigned k, unsigned n,
                                 const unsigned *sizes, size_t ngroups)
{
    struct object_conf oc = {.stats = &t->stats,
                             .hedge_ms = 300,
                             .pool = {.connect_timeout_ms = 30000,
                                      .lag_ms = 20000, /* a busy machine */
                                      .io_timeout_ms = 30000,
                                      .backoff_min_ms = 50,
                                      .backoff_max_ms = 200}};
    char text[64], name[16];
    unsigned nd = 0;

    memset(t, 0, sizeof *t);
    strcpy(t->dir, "/tmp/zstor-unit.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(t->dir));
    t->fake = fake_start();
    t->conf = xcalloc(1, sizeof *t->conf);
    t->conf->minimal_shards = k;
    t->conf->expected_shards = n;
    t->conf->state_dir = xasprintf("%s/state", t->dir);
    t->conf->prefix = xstrdup("unit");
    ck_assert_int_eq(mkdir(t->conf->state_dir, 0700), 0);
    memset(t->conf->key, 7, sizeof t->conf->key);
    memset(t->conf->meta_key, 9, sizeof t->conf->meta_key);
    snprintf(text, sizeof text, "127.0.0.1:%d", t->fake->port);
    t->conf->groups = xcalloc(ngroups, sizeof *t->conf->groups);
    t->conf->ngroups = ngroups;
    for (size_t g = 0; g < ngroups; g++) {
        t->conf->groups[g].n = sizes[g];
        t->conf->groups[g].backends = xcalloc(sizes[g], sizeof(struct backend_addr));
        for (unsigned i = 0; i < sizes[g]; i++, nd++) {
            snprintf(name, sizeof name, "d%u", nd);
            t->data[nd] = fake_add(t->fake, name, true, nd ? NULL : "pw-d0");
            ck_assert_int_eq(backend_addr_parse(&t->conf->groups[g].backends[i], text, name,
                                                nd ? NULL : "pw-d0", NULL),
                             0);
        }
    }
    for (unsigned i = 0; i < 4; i++) {
        snprintf(name, sizeof name, "m%u", i);
        t->meta[i] = fake_add(t->fake, name, false, i ? NULL : "pw-m0");
        ck_assert_int_eq(
            backend_addr_parse(&t->conf->meta[i], text, name, i ? NULL : "pw-m0", NULL), 0);
    }
    oc.conf = t->conf;
    ck_assert_int_eq(object_open(&t->o, &oc, NULL), 0);
}

static inline void cluster_stop(struct cluster_test *t)
{
    object_close(t->o);
    fake_stop(t->fake);
    zstor_conf_free(t->conf);
    path_remove_tree(t->dir);
}

static inline char *cluster_path(struct cluster_test *t, const char *name)
{
    return xasprintf("%s/%s", t->dir, name);
}

/* A file of `size` bytes: 'r' random (of seed), 't' text, 'z' zeros.  Path given. */
static inline char *cluster_file(struct cluster_test *t, const char *name, size_t size, char kind,
                                 unsigned seed)
{
    char *path = cluster_path(t, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    uint8_t *p = malloc(size + 8);
    uint64_t s = seed * 0x9e3779b97f4a7c15u + 1;

    ck_assert_int_ge(fd, 0);
    for (size_t i = 0; i < size; i += 8) {
        s ^= s << 13, s ^= s >> 7, s ^= s << 17;
        memcpy(p + i, &s, 8);
    }
    if (kind != 'r')
        for (size_t i = 0; i < size; i++)
            p[i] = kind == 't' ? (uint8_t) "the quick brown fox "[i % 20] : 0;
    ck_assert_int_eq(write(fd, p, size), (ssize_t)size);
    close(fd);
    free(p);
    return path;
}

static inline bool cluster_same(const char *a, const char *b)
{
    struct buf x = BUF_INIT, y = BUF_INIT;
    bool same = path_read(a, 1 << 30, &x, NULL) == 0 && path_read(b, 1 << 30, &y, NULL) == 0 &&
                slice_eq(buf_slice(&x), buf_slice(&y));

    buf_fini(&x);
    buf_fini(&y);
    return same;
}

static inline size_t cluster_live(struct cluster_test *t) /* data values that are not deleted */
{
    size_t n = 0;

    for (unsigned i = 0; i < 32 && t->data[i]; i++)
        n += fake_live(t->fake, t->data[i]);
    return n;
}

/* Until every backend that is down may be tried again. */
static inline void cluster_settle(struct cluster_test *t)
{
    const struct backend_addr *a[36];
    size_t n = 0;

    for (size_t g = 0; g < t->conf->ngroups; g++)
        for (size_t i = 0; i < t->conf->groups[g].n; i++)
            a[n++] = &t->conf->groups[g].backends[i];
    for (size_t i = 0; i < 4; i++)
        a[n++] = &t->conf->meta[i];
    for (size_t i = 0; i < n; i++)
        for (struct pool_health h;;) {
            pool_health(object_pool(t->o), a[i], &h);
            if (!h.retry_in_ms)
                break;
            usleep(2000);
        }
}

#endif
