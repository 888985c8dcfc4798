#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "common/loop.h"
#include "common/workq.h"

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void add_one(void *arg)
{
    __atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
}

static void wait_at_gate(void *arg)
{
    add_one(arg);
    pthread_mutex_lock(&gate);
    pthread_mutex_unlock(&gate);
}

static int value(int *n)
{
    return __atomic_load_n(n, __ATOMIC_RELAXED);
}

START_TEST(every_job_runs_once)
{
    struct workq *q;
    int n = 0, pushed = 0;

    ck_assert_int_eq(workq_new(&q, "test", 4, 100, NULL), 0);
    while (pushed < 20000) {
        int r = workq_push(q, add_one, &n);
        if (r == 0)
            pushed++;
        else
            ck_assert_int_eq(r, -EAGAIN);
    }
    workq_free(q);
    ck_assert_int_eq(n, pushed);
}
END_TEST

START_TEST(queue_is_bounded)
{
    struct workq *q;
    int started = 0, n = 0;

    pthread_mutex_lock(&gate);
    ck_assert_int_eq(workq_new(&q, "test", 1, 3, NULL), 0);
    ck_assert_int_eq(workq_push(q, wait_at_gate, &started), 0);
    while (value(&started) == 0) /* taken by the thread */
        ;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(workq_push(q, add_one, &n), 0);
    ck_assert_uint_eq(workq_queued(q), 3);
    ck_assert_int_eq(workq_push(q, add_one, &n), -EAGAIN);
    ck_assert_int_eq(value(&n), 0);
    pthread_mutex_unlock(&gate);
    workq_free(q);
    ck_assert_int_eq(n, 3);
}
END_TEST

static int order[100], order_n;

static void note(void *arg)
{
    order[order_n++] = *(int *)arg;
}

START_TEST(one_thread_keeps_the_order_across_the_ring)
{
    struct workq *q;
    int id[100];

    ck_assert_int_eq(workq_new(&q, "test", 1, 7, NULL), 0);
    for (int i = 0; i < 100; i++) {
        id[i] = i;
        while (workq_push(q, note, &id[i]) == -EAGAIN)
            ;
    }
    workq_free(q);
    ck_assert_int_eq(order_n, 100);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(order[i], i);
}
END_TEST

START_TEST(threads_work_at_the_same_time)
{
    struct workq *q;
    int started = 0;

    pthread_mutex_lock(&gate);
    ck_assert_int_eq(workq_new(&q, "test", 3, 10, NULL), 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(workq_push(q, wait_at_gate, &started), 0);
    while (value(&started) < 3)
        ;
    pthread_mutex_unlock(&gate);
    workq_free(q);
}
END_TEST

START_TEST(stop_refuses_new_jobs_and_runs_the_queued)
{
    struct workq *q;
    int started = 0, n = 0;

    pthread_mutex_lock(&gate);
    ck_assert_int_eq(workq_new(&q, "test", 1, 10, NULL), 0);
    ck_assert_int_eq(workq_push(q, wait_at_gate, &started), 0);
    ck_assert_int_eq(workq_push(q, add_one, &n), 0);
    workq_stop(q);
    ck_assert_int_eq(workq_push(q, add_one, &n), -ESHUTDOWN);
    pthread_mutex_unlock(&gate);
    workq_free(q);
    ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(senseless_sizes_are_refused)
{
    struct workq *q;
    struct err e;

    ck_assert_int_eq(workq_new(&q, "test", 0, 10, &e), -EINVAL);
    ck_assert_int_eq(workq_new(&q, "test", 1, 0, &e), -EINVAL);
    workq_free(NULL);
}
END_TEST

static void look_at_thread(void *arg)
{
    sigset_t set;

    pthread_getname_np(pthread_self(), arg, 16);
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    if (!sigismember(&set, SIGTERM))
        memcpy(arg, "unmasked", 9);
}

START_TEST(threads_have_the_name_and_leave_signals_to_the_loop)
{
    struct workq *q;
    char name[16] = "";
    sigset_t set;

    ck_assert_int_eq(workq_new(&q, "a-name-too-long-for-a-thread", 1, 1, NULL), 0);
    ck_assert_int_eq(workq_push(q, look_at_thread, name), 0);
    workq_free(q);
    ck_assert_str_eq(name, "a-name-too-long");
    pthread_sigmask(SIG_SETMASK, NULL, &set);
    ck_assert(!sigismember(&set, SIGTERM)); /* ours is as before */
}
END_TEST

struct trip {
    struct loop *l;
    int n;
};

static void arrived(void *arg)
{
    struct trip *t = arg;
    if (++t->n == 100)
        loop_stop(t->l);
}

static void go(void *arg)
{
    struct trip *t = arg;
    loop_post(t->l, arrived, t);
}

START_TEST(results_go_back_through_the_loop)
{
    struct trip t = {0};
    struct workq *q;

    ck_assert_int_eq(loop_new(&t.l, NULL), 0);
    ck_assert_int_eq(workq_new(&q, "test", 2, 100, NULL), 0);
    for (int i = 0; i < 100; i++)
        ck_assert_int_eq(workq_push(q, go, &t), 0);
    ck_assert_int_eq(loop_run(t.l), 0);
    workq_free(q);
    loop_free(t.l);
    ck_assert_int_eq(t.n, 100);
}
END_TEST

static TCase *workq(void)
{
    TCase *t = tcase_create("workq");
    tcase_add_test(t, every_job_runs_once);
    tcase_add_test(t, queue_is_bounded);
    tcase_add_test(t, one_thread_keeps_the_order_across_the_ring);
    tcase_add_test(t, threads_work_at_the_same_time);
    tcase_add_test(t, stop_refuses_new_jobs_and_runs_the_queued);
    tcase_add_test(t, senseless_sizes_are_refused);
    tcase_add_test(t, threads_have_the_name_and_leave_signals_to_the_loop);
    tcase_add_test(t, results_go_back_through_the_loop);
    return t;
}

UNIT_MAIN("workq", workq)
