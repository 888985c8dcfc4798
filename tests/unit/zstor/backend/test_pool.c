#include "tests/unit/unit.h"

#include <errno.h>

#include "tests/unit/zstor/fake_zdb.h"
#include "zstor/backend/exchange.h"

static struct fake *f;
static struct fake_ns *ns[8];
static struct pool *p;
static struct backend_addr addr[8];

static void start(uint64_t connect_ms)
{
    struct pool_conf c = {.connect_timeout_ms = connect_ms,
                          .io_timeout_ms = connect_ms > 3000 ? connect_ms : 500,
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
    ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &a, NULL), 0);
    pool_put(a, 0);
    for (int i = 0; i < 20; i++) {
        ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &a, NULL), 0);
        pool_put(a, 0);
    }
    ck_assert_uint_eq(atomic_load(&f->accepted), 1);
    ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &a, NULL), 0);
    ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &b, NULL), 0);
    ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &c, NULL), 0);
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
    ck_assert_int_eq(pool_get(p, &addr[0], HEALTH_READ, &a, NULL), 0);
    pool_put(a, 0);
    fake_disconnect(f);
    for (int i = 0; i < 500 && atomic_load(&f->live); i++)
        usleep(2000);
    ck_assert_int_eq(exchange_info_one(p, &addr[0], false, &info, NULL), 0);
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
    ck_assert_int_lt(pool_get(p, &addr[2], HEALTH_READ, &a, NULL), 0);
    unsigned tried = atomic_load(&f->accepted);
    ck_assert_int_eq(pool_get(p, &addr[2], HEALTH_READ, &a, &e), -EHOSTDOWN);
    ck_assert_uint_gt(strlen(e.text), 10);
    ck_assert_uint_eq(atomic_load(&f->accepted), tried); /* not tried again */
    pool_health(p, &addr[2], &h);
    ck_assert(h.known && h.down && h.failures == 1 && h.last_error[0]);
    atomic_store(&ns[2]->refuse, false);
    uint64_t end = base_now_ms() + 5000;
    while (pool_get(p, &addr[2], HEALTH_READ, &a, NULL) < 0 && base_now_ms() < end)
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
    ck_assert_int_eq(pool_get(p, &wrong, HEALTH_READ, &a, &e), -EACCES);
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

    start(20000);
    for (int i = 0; i < 8; i++)
        a[i] = i == 5 ? NULL : &addr[i];
    atomic_store(&ns[3]->hang, true);
    uint64_t begin = base_now_ms();
    pool_get_many(p, a, 8, &(struct pool_want){.enough = 6, .grace_ms = 200}, c, rc);
    ck_assert_uint_lt(base_now_ms() - begin, 19000); /* not the time-out of the one that hangs */
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
    ck_assert_int_eq(pool_get(p, &addr[3], HEALTH_READ, &late, NULL), 0);
    ck_assert_uint_eq(atomic_load(&f->accepted), before);
    pool_put(late, 0);
    stop();
}
END_TEST

static const struct backend_addr *const three[3] = {&addr[0], &addr[2], &addr[4]};

/* GET of nothing from three; how many were answered */
static size_t ask_three(struct exchange *x, size_t enough, const atomic_bool *stop)
{
    const struct pool_want want = {.track = HEALTH_READ, .force = true};
    struct pool_conn *c[3];
    int rc[3];

    pool_get_many(p, three, 3, &want, c, rc);
    for (int i = 0; i < 3; i++)
        x[i] = (struct exchange){.conn = c[i],
                                 .op = {.verb = BACKEND_NAMED_GET, .key = slice_str("x")}};
    return exchange_run(x, 3, enough, 50, stop);
}

static struct pool_health health(int i)
{
    struct pool_health h;

    pool_health(p, &addr[i], &h);
    return h;
}

START_TEST(asking_many_ends_with_enough_or_with_a_stall)
{
    struct exchange x[3];

    start(3000);
    for (int round = 0; round < 2; round++) {
        ask_three(x, 0, NULL); /* everybody is connected */
        exchange_done(x, 3);
        atomic_store(&ns[4]->hang, true);
        uint64_t begin = base_now_ms();
        ck_assert_uint_eq(ask_three(x, round ? 0 : 2, NULL), 2);
        uint64_t took = base_now_ms() - begin;
        ck_assert(x[0].op.rc == -ENOENT && x[1].op.rc == -ENOENT);
        ck_assert_int_eq(x[2].op.rc, -ETIMEDOUT);
        if (round)
            ck_assert_uint_ge(took, 500);
        exchange_done(x, 3);
        ck_assert(health(4).down == (round == 1) && !health(0).down); /* slow once is no failure */
        atomic_store(&ns[4]->hang, false);
    }
    stop();
}
END_TEST

/* A byte now and then is as dead as silence, and what is told to stop stops. */
START_TEST(a_dripping_answer_ends_and_stop_is_obeyed)
{
    struct exchange x[3];
    atomic_bool stopped;

    start(3000);
    ask_three(x, 0, NULL);
    exchange_done(x, 3);
    atomic_store(&ns[4]->drip_ms, 150); /* five bytes: longer than the time-out of 500 ms */
    ck_assert_uint_eq(ask_three(x, 0, NULL), 2);
    ck_assert_int_eq(x[2].op.rc, -ETIMEDOUT);
    exchange_done(x, 3);
    atomic_store(&ns[4]->drip_ms, 0);
    atomic_store(&ns[2]->hang, true);
    atomic_init(&stopped, true);
    ask_three(x, 0, &stopped);
    ck_assert_int_eq(x[1].op.rc, -ECANCELED);
    exchange_done(x, 3);
    ck_assert(!health(2).track[HEALTH_READ].down); /* nobody was to blame */
    stop();
}
END_TEST

static int put_one(int i)
{
    struct exchange x = {.op = {.verb = BACKEND_PUT, .value = slice_str("value")}};
    int r = pool_get(p, &addr[i], HEALTH_WRITE, &x.conn, NULL);

    if (r < 0)
        return r;
    exchange_run(&x, 1, 0, 0, NULL);
    r = x.op.rc;
    exchange_done(&x, 1);
    return r;
}

/* Gray: it answers what it is asked and hangs on writes.  Answers do not make it well. */
START_TEST(a_backend_that_hangs_on_writes_alone_is_left_alone_for_writes)
{
    struct backend_info info;
    uint64_t first, flap;

    start(3000);
    ck_assert_int_eq(put_one(3), 0);
    atomic_store(&ns[3]->hang_set, true);
    ck_assert_int_eq(put_one(3), -ETIMEDOUT);
    ck_assert(health(3).down_write && !health(3).down);
    ck_assert_int_eq(exchange_info_one(p, &addr[3], false, &info, NULL), 0);
    unsigned sets, failures;
    int r;
    do { /* a machine so slow that the time to wait is over is told to wait longer */
        sets = atomic_load(&ns[3]->sets);
        r = put_one(3);
    } while (r == -ETIMEDOUT);
    ck_assert_int_eq(r, -EHOSTDOWN);
    ck_assert_uint_eq(atomic_load(&ns[3]->sets), sets);
    first = health(3).track[HEALTH_WRITE].backoff_ms;
    failures = health(3).track[HEALTH_WRITE].failures;
    atomic_store(&ns[3]->hang_set, false);
    while (put_one(3) < 0)
        usleep(2000);
    ck_assert(!health(3).down_write);
    atomic_store(&ns[3]->hang_set, true); /* it flaps: it has to wait longer */
    ck_assert_int_eq(put_one(3), -ETIMEDOUT);
    flap = health(3).track[HEALTH_WRITE].backoff_ms;
    ck_assert_uint_gt(flap, first);
    ck_assert_uint_eq(health(3).track[HEALTH_WRITE].failures, failures + 1);
    atomic_store(&ns[3]->hang_set, false);
    while (put_one(3) < 0)
        usleep(2000);
    for (int i = 0; i < HEALTH_SETTLE; i++)
        ck_assert_int_eq(put_one(3), 0);
    ck_assert_uint_eq(health(3).track[HEALTH_WRITE].backoff_ms, 0); /* forgotten */
    stop();
}
END_TEST

START_TEST(sync_is_not_sent_to_what_is_no_zdb)
{
    struct exchange x = {.op = {.verb = BACKEND_SYNC}};

    start(3000);
    atomic_store(&f->redis, true);
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(pool_get(p, &addr[i], HEALTH_WRITE, &x.conn, NULL), 0);
        ck_assert_uint_eq(exchange_run(&x, 1, 0, 0, NULL), 1);
        ck_assert_int_eq(x.op.rc, 0);
        exchange_done(&x, 1);
        ck_assert_uint_eq(atomic_load(&ns[i]->syncs), (unsigned)i);
        ck_assert(!health(i).identity[0] == (i == 0));
        atomic_store(&f->redis, false);
    }
    stop();
}
END_TEST

START_TEST(operations_are_answered_in_order_and_a_part_is_a_part)
{
    struct backend_op op[4];
    struct pool_conn *c;
    char key[8];

    start(3000);
    ck_assert_int_eq(put_one(1), 0);
    ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &c, NULL), 0);
    op[0] = (struct backend_op){.verb = BACKEND_PUT, .value = slice_str("0123456789")};
    ck_assert_int_eq(exchange_submit(c, &op[0]), 0);
    exchange_drive(&c, 1, false, UINT64_MAX);
    ck_assert_int_eq(op[0].rc, 0);
    ck_assert_uint_eq(op[0].out.len, 8);
    memcpy(key, op[0].out.p, 8);
    backend_op_fini(&op[0]);
    op[0] = (struct backend_op){.verb = BACKEND_GET, .key = slice_of(key, 8)};
    op[1] = (struct backend_op){.verb = BACKEND_GET, .key = slice_of(key, 8), .off = 3, .len = 4};
    op[2] = (struct backend_op){.verb = BACKEND_GET, .key = slice_of(key, 8), .off = 30};
    op[3] = (struct backend_op){.verb = BACKEND_GET, .key = slice_str("\xff\xff\xff\xff")};
    for (int i = 0; i < 4; i++)
        ck_assert_int_eq(exchange_submit(c, &op[i]), 0);
    ck_assert_uint_eq(exchange_pending(c), 4);
    exchange_drive(&c, 1, false, UINT64_MAX);
    ck_assert(slice_eq_str(op[0].out, "0123456789"));
    ck_assert(slice_eq_str(op[1].out, "3456"));
    ck_assert(op[2].rc == 0 && op[2].out.len == 0);
    ck_assert_int_eq(op[3].rc, -ENOENT);
    for (int i = 0; i < 4; i++)
        backend_op_fini(&op[i]);
    pool_put(c, 0);
    stop();
}
END_TEST

static void *ask_in_turn(void *arg)
{
    struct pool_conn *c;

    (void)arg;
    ck_assert_int_eq(pool_get(p, &addr[1], HEALTH_READ, &c, NULL), 0);
    for (int round = 0; round < 3000; round++) {
        struct backend_op op[8];

        for (int i = 0; i < 8; i++) {
            op[i] = (struct backend_op){.verb = BACKEND_GET, .key = slice_str("\xff\xff\xff\xff")};
            ck_assert_int_eq(exchange_submit(c, &op[i]), 0);
        }
        exchange_drive(&c, 1, false, UINT64_MAX);
        for (int i = 0; i < 8; i++) {
            ck_assert_int_eq(op[i].rc, -ENOENT); /* never "no answer in time" */
            backend_op_fini(&op[i]);
        }
    }
    pool_put(c, 0);
    return NULL;
}

/* An operation that becomes the oldest in the moment when the clock ticks has waited for no time,
 * not for ever. */
START_TEST(an_operation_that_has_just_begun_is_not_late)
{
    pthread_t t[6];

    start(30000);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_create(&t[i], NULL, ask_in_turn, NULL);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
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
        h->good += exchange_info_one(p, &addr[(i * 7 + h->seed) % 8], false, &info, NULL) == 0;
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

    tcase_add_test(t, connections_are_used_again);
    tcase_add_test(t, a_connection_the_peer_has_closed_is_not_handed_out);
    tcase_add_test(t, a_dead_backend_costs_its_time_once_and_comes_back);
    tcase_add_test(t, passwords_are_never_in_messages);
    tcase_add_test(t, many_are_opened_at_once_and_the_slow_ones_are_left_behind);
    tcase_add_test(t, asking_many_ends_with_enough_or_with_a_stall);
    tcase_add_test(t, a_dripping_answer_ends_and_stop_is_obeyed);
    tcase_add_test(t, a_backend_that_hangs_on_writes_alone_is_left_alone_for_writes);
    tcase_add_test(t, sync_is_not_sent_to_what_is_no_zdb);
    tcase_add_test(t, operations_are_answered_in_order_and_a_part_is_a_part);
    tcase_add_test(t, an_operation_that_has_just_begun_is_not_late);
    tcase_add_test(t, threads_share_the_pool);
    return t;
}

UNIT_MAIN("pool", tcase_pool)
