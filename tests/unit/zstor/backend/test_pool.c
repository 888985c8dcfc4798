#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/fake_zdb.h"
#include "zstor/backend/pool.h"

static struct fake *f;
static struct fake_ns *ns[8];
static struct pool *p;
static struct backend_addr addr[8];

static void start(uint64_t connect_ms)
{
    struct pool_conf c = {.connect_timeout_ms = connect_ms,
                          .io_timeout_ms = 500,
                          .max_idle = 2,
                          .backoff_min_ms = 100,
                          .backoff_max_ms = 400};
    char text[64], name[16];

    f = fake_start();
    snprintf(text, sizeof text, "127.0.0.1:%d", f->port);
    for (int i = 0; i < 8; i++) {
        snprintf(name, sizeof name, "n%d", i);
        ns[i] = fake_add(f, name, i % 2, i == 1 ? "hush" : NULL);
        ck_assert_int_eq(backend_addr_parse(&addr[i], text, name, i == 1 ? "hush" : NULL, NULL), 0);
    }
    ck_assert_int_eq(pool_new(&p, &c), 0);
}

static void stop(void)
{
    pool_free(p);
    fake_stop(f);
    for (int i = 0; i < 8; i++)
        backend_addr_fini(&addr[i]);
}

START_TEST(connections_are_used_again)
{
    struct pool_conn *a, *b, *c;

    start(2000);
    ck_assert_int_eq(pool_get(p, &addr[1], &a, NULL), 0);
    pool_put(a, 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(pool_get(p, &addr[1], &a, NULL), 0);
        pool_put(a, 0);
    }
    ck_assert_uint_eq(atomic_load(&f->accepted), 1);
    ck_assert_int_eq(pool_get(p, &addr[1], &a, NULL), 0);
    ck_assert_int_eq(pool_get(p, &addr[1], &b, NULL), 0);
    ck_assert_int_eq(pool_get(p, &addr[1], &c, NULL), 0);
    ck_assert_uint_eq(atomic_load(&f->accepted), 3);
    pool_put(a, 0);
    pool_put(b, 0);
    pool_put(c, 0); /* max_idle is two: one is closed */
    for (int i = 0; i < 500 && atomic_load(&f->live) > 2; i++)
        usleep(2000);
    ck_assert_uint_eq(atomic_load(&f->live), 2);
    stop();
}
END_TEST

START_TEST(a_connection_the_peer_has_closed_is_not_handed_out)
{
    struct backend_info info;
    struct pool_conn *a;

    start(2000);
    ck_assert_int_eq(pool_get(p, &addr[0], &a, NULL), 0);
    pool_put(a, 0);
    fake_disconnect(f);
    for (int i = 0; i < 500 && atomic_load(&f->live); i++)
        usleep(2000);
    ck_assert_int_eq(pool_info(p, &addr[0], false, &info, NULL), 0);
    ck_assert_uint_eq(atomic_load(&f->accepted), 2);
    stop();
}
END_TEST

START_TEST(a_dead_backend_costs_its_time_once_and_comes_back)
{
    struct pool_health h;
    struct pool_conn *a;
    struct err e = {0};

    start(2000);
    atomic_store(&ns[2]->refuse, true);
    ck_assert_int_lt(pool_get(p, &addr[2], &a, NULL), 0);
    unsigned tried = atomic_load(&f->accepted);
    ck_assert_int_eq(pool_get(p, &addr[2], &a, &e), -EHOSTDOWN);
    ck_assert_uint_gt(strlen(e.text), 10);
    ck_assert_uint_eq(atomic_load(&f->accepted), tried); /* not tried again */
    pool_health(p, &addr[2], &h);
    ck_assert(h.known && h.down && h.failures == 1 && h.last_error[0]);
    atomic_store(&ns[2]->refuse, false);
    uint64_t end = base_now_ms() + 5000;
    while (pool_get(p, &addr[2], &a, NULL) < 0 && base_now_ms() < end)
        usleep(5000);
    pool_put(a, 0);
    pool_health(p, &addr[2], &h);
    ck_assert(!h.down && !h.last_error[0]);
    ck_assert_uint_gt(h.latency_us, 0);
    stop();
}
END_TEST

START_TEST(passwords_are_never_in_messages)
{
    struct pool_conn *a;
    struct backend_addr wrong;
    struct pool_health h;
    struct err e = {0};

    start(2000);
    backend_addr_make(&wrong, false, addr[1].ip, addr[1].port, "n1", "not-the-secret");
    ck_assert_int_eq(pool_get(p, &wrong, &a, &e), -EACCES);
    ck_assert_ptr_null(strstr(e.text, "not-the-secret"));
    pool_health(p, &wrong, &h);
    ck_assert_ptr_null(strstr(h.last_error, "not-the-secret"));
    backend_addr_fini(&wrong);
    stop();
}
END_TEST

START_TEST(many_are_opened_at_once_and_the_slow_ones_are_left_behind)
{
    const struct backend_addr *a[8];
    struct pool_conn *c[8];
    int rc[8];

    start(3000);
    for (int i = 0; i < 8; i++)
        a[i] = i == 5 ? NULL : &addr[i];
    atomic_store(&ns[3]->hang, true);
    uint64_t begin = base_now_ms();
    pool_get_many(p, a, 8, 200, c, rc);
    ck_assert_uint_lt(base_now_ms() - begin, 2000);
    for (int i = 0; i < 8; i++) {
        ck_assert_int_eq(rc[i], i == 3 ? -ETIMEDOUT : i == 5 ? -ENOENT : 0);
        ck_assert((c[i] != NULL) == (rc[i] == 0));
        pool_put(c[i], 0);
    }
    atomic_store(&ns[3]->hang, false); /* its connection is ready later */
    unsigned before = atomic_load(&f->accepted);
    for (int i = 0; i < 400 && !atomic_load(&ns[3]->selects); i++)
        usleep(5000);
    struct pool_conn *late;
    for (struct pool_health h = {0}; !h.known; usleep(2000))
        pool_health(p, &addr[3], &h);
    usleep(20 * 1000); /* from "connected" to "idle": nothing tells of it */
    ck_assert_int_eq(pool_get(p, &addr[3], &late, NULL), 0);
    ck_assert_uint_eq(atomic_load(&f->accepted), before);
    pool_put(late, 0);
    stop();
}
END_TEST

START_TEST(asking_many_ends_with_enough_or_with_a_stall)
{
    struct pool_ask ask[3];
    int rc[3];
    struct pool_conn *c[3];
    const struct backend_addr *a[3] = {&addr[0], &addr[2], &addr[4]};

    start(3000);
    for (int round = 0; round < 2; round++) {
        pool_get_many(p, a, 3, 0, c, rc);
        atomic_store(&ns[4]->hang, true);
        for (int i = 0; i < 3; i++)
            ask[i] = (struct pool_ask){.conn = c[i],
                                       .argc = 2,
                                       .argv = {slice_str("GET"), slice_str("x")}};
        uint64_t begin = base_now_ms();
        ck_assert_uint_eq(pool_ask(ask, 3, round ? 0 : 2, 50, NULL), 2);
        uint64_t took = base_now_ms() - begin;
        ck_assert(zclient_is_nil(ask[0].reply) && zclient_is_nil(ask[1].reply));
        ck_assert_int_eq(ask[2].rc, -ETIMEDOUT);
        if (round)
            ck_assert_uint_ge(took, 500);
        else
            ck_assert_uint_lt(took, 450);
        pool_ask_done(ask, 3);
        atomic_store(&ns[4]->hang, false);
        for (struct pool_health h = {.retry_in_ms = 1}; h.retry_in_ms; usleep(2000))
            pool_health(p, &addr[4], &h); /* it was marked down */
    }
    stop();
}
END_TEST

struct hammer {
    int seed;
    int good;
};

static void *hammer(void *arg)
{
    struct hammer *h = arg;

    for (int i = 0; i < 200; i++) {
        struct backend_info info;
        h->good += pool_info(p, &addr[(i * 7 + h->seed) % 8], false, &info, NULL) == 0;
    }
    return NULL;
}

START_TEST(threads_share_the_pool)
{
    struct hammer h[6] = {0};
    pthread_t t[6];

    start(3000);
    for (int i = 0; i < 6; i++) {
        h[i].seed = i;
        pthread_create(&t[i], NULL, hammer, &h[i]);
    }
    for (int i = 0; i < 6; i++) {
        pthread_join(t[i], NULL);
        ck_assert_int_eq(h[i].good, 200);
    }
    stop();
}
END_TEST

static TCase *tcase_pool(void)
{
    TCase *t = tcase_create("pool");

    tcase_set_timeout(t, 60);
    tcase_add_test(t, connections_are_used_again);
    tcase_add_test(t, a_connection_the_peer_has_closed_is_not_handed_out);
    tcase_add_test(t, a_dead_backend_costs_its_time_once_and_comes_back);
    tcase_add_test(t, passwords_are_never_in_messages);
    tcase_add_test(t, many_are_opened_at_once_and_the_slow_ones_are_left_behind);
    tcase_add_test(t, asking_many_ends_with_enough_or_with_a_stall);
    tcase_add_test(t, threads_share_the_pool);
    return t;
}

UNIT_MAIN("pool", tcase_pool)
