#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/loop.h"

static struct loop *l;

static void begin(void)
{
    ck_assert_int_eq(loop_new(&l, NULL), 0);
}

static void end(void)
{
    loop_free(l);
}

static void stop(void *arg)
{
    (void)arg;
    loop_stop(l);
}

static void count(void *arg)
{
    ++*(int *)arg;
}

/* ---- timers --------------------------------------------------------------------------------- */

START_TEST(timer_fires_after_its_time_and_once)
{
    int n = 0;
    struct loop_timer *t = loop_timer_new(l, count, &n), *end_timer = loop_timer_new(l, stop, NULL);
    uint64_t start = base_now_ms();

    loop_timer_start(t, 20, false);
    loop_timer_start(end_timer, 60, false);
    ck_assert_int_eq(loop_run(l), 0);
    ck_assert_uint_ge(base_now_ms() - start + LOOP_CLOCK_MS, 60);
    ck_assert_int_eq(n, 1);
    loop_timer_free(t);
    loop_timer_free(end_timer);
    loop_timer_free(NULL);
}
END_TEST

START_TEST(repeating_timer_repeats_until_stopped)
{
    int n = 0;
    struct loop_timer *t = loop_timer_new(l, count, &n);

    loop_timer_start(t, 1, true);
    while (n < 3)
        ck_assert_int_eq(loop_once(l, 1000), 0);
    loop_timer_stop(t);
    int had = n;
    loop_once(l, 20);
    ck_assert_int_eq(n, had);
    loop_timer_free(t);
}
END_TEST

START_TEST(starting_again_moves_the_time_and_ends_repetition)
{
    int n = 0;
    struct loop_timer *t = loop_timer_new(l, count, &n);

    loop_timer_start(t, 1, true);
    loop_timer_start(t, 100000, false);
    loop_once(l, 20);
    ck_assert_int_eq(n, 0);
    loop_timer_start(t, 1, false);
    loop_once(l, 1000);
    ck_assert_int_eq(n, 1);
    loop_timer_free(t);
}
END_TEST

struct slow {
    struct loop_timer *second;
    uint64_t started;
};

static void busy_then_start(void *arg)
{
    struct slow *s = arg;
    uint64_t until = base_now_ms() + 60;

    while (base_now_ms() < until)
        ;
    s->started = base_now_ms();
    loop_timer_start(s->second, 40, false);
}

START_TEST(timer_started_late_in_a_round_is_not_short)
{
    struct slow s = {.second = loop_timer_new(l, stop, NULL)};
    struct loop_timer *first = loop_timer_new(l, busy_then_start, &s);

    loop_timer_start(first, 1, false);
    ck_assert_int_eq(loop_run(l), 0);
    ck_assert_uint_ge(base_now_ms() - s.started, 39);
    loop_timer_free(first);
    loop_timer_free(s.second);
}
END_TEST

static struct loop_timer *own;

static void free_own(void *arg)
{
    count(arg);
    loop_timer_free(own);
}

START_TEST(timer_may_free_itself_even_when_it_repeats)
{
    int n = 0;

    own = loop_timer_new(l, free_own, &n);
    loop_timer_start(own, 0, true);
    while (n == 0)
        loop_once(l, 1000);
    loop_once(l, 10);
    ck_assert_int_eq(n, 1);
}
END_TEST

/* ---- descriptors ---------------------------------------------------------------------------- */

struct end {
    int fd;
    struct loop_watch *w;
    unsigned seen;
    int calls;
    bool free_on_call;
};

static void on_fd(void *arg, unsigned events)
{
    struct end *e = arg;

    e->seen |= events;
    e->calls++;
    if (e->free_on_call) {
        loop_watch_free(e->w);
        e->w = NULL;
    }
}

static void pair(struct end *a, int *other)
{
    int fds[2];

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    *a = (struct end){.fd = fds[0]};
    *other = fds[1];
    a->w = loop_watch_new(l, a->fd, on_fd, a);
}

static void end_pair(struct end *a, int other)
{
    loop_watch_free(a->w);
    close(a->fd);
    if (other >= 0)
        close(other);
}

START_TEST(watch_wants_nothing_at_first)
{
    struct end a;
    int other;

    pair(&a, &other);
    ck_assert_int_eq(write(other, "x", 1), 1);
    loop_once(l, 10);
    ck_assert_int_eq(a.calls, 0);
    end_pair(&a, other);
}
END_TEST

START_TEST(watch_is_level_triggered_and_follows_what_is_wanted)
{
    struct end a;
    char c;
    int other;

    pair(&a, &other);
    loop_watch_want(a.w, LOOP_READ);
    loop_once(l, 10);
    ck_assert_int_eq(a.calls, 0);
    ck_assert_int_eq(write(other, "x", 1), 1);
    loop_once(l, 1000);
    loop_once(l, 1000);
    ck_assert_int_eq(a.calls, 2);
    ck_assert_uint_eq(a.seen, LOOP_READ);
    ck_assert_int_eq(read(a.fd, &c, 1), 1);
    loop_once(l, 10);
    ck_assert_int_eq(a.calls, 2);
    loop_watch_want(a.w, LOOP_WRITE);
    loop_once(l, 1000);
    ck_assert_uint_eq(a.seen, LOOP_READ | LOOP_WRITE);
    loop_watch_want(a.w, LOOP_WRITE);
    loop_watch_want(a.w, 0);
    int had = a.calls;
    ck_assert_int_eq(write(other, "x", 1), 1);
    loop_once(l, 10);
    ck_assert_int_eq(a.calls, had);
    end_pair(&a, other);
}
END_TEST

START_TEST(hang_up_shows_as_what_is_wanted)
{
    struct end a, b;
    int other;

    pair(&a, &other);
    loop_watch_want(a.w, LOOP_READ);
    close(other);
    loop_once(l, 1000);
    ck_assert_uint_eq(a.seen, LOOP_READ);
    end_pair(&a, -1);
    pair(&b, &other);
    loop_watch_want(b.w, LOOP_WRITE);
    close(other);
    loop_once(l, 1000);
    ck_assert_uint_eq(b.seen, LOOP_WRITE);
    end_pair(&b, -1);
}
END_TEST

START_TEST(watch_may_free_itself_while_both_events_are_ready)
{
    struct end a;
    int other;

    pair(&a, &other);
    a.free_on_call = true;
    ck_assert_int_eq(write(other, "x", 1), 1);
    loop_watch_want(a.w, LOOP_READ | LOOP_WRITE);
    loop_once(l, 1000);
    loop_once(l, 10);
    ck_assert_int_eq(a.calls, 1);
    end_pair(&a, other);
}
END_TEST

struct killer {
    struct end *victims;
    int n, calls;
};

static void kill_all(void *arg, unsigned events)
{
    struct killer *k = arg;

    (void)events;
    k->calls++;
    for (int i = 0; i < k->n; i++) {
        loop_watch_free(k->victims[i].w);
        k->victims[i].w = NULL;
    }
}

START_TEST(a_callback_may_free_others_that_are_ready)
{
    enum { N = 20 };
    struct end v[N];
    int other[N];
    struct killer k = {v, N, 0};

    for (int i = 0; i < N; i++) {
        pair(&v[i], &other[i]);
        loop_watch_free(v[i].w);
        v[i].w = loop_watch_new(l, v[i].fd, kill_all, &k);
        loop_watch_want(v[i].w, LOOP_READ | LOOP_WRITE);
        ck_assert_int_eq(write(other[i], "x", 1), 1);
    }
    loop_once(l, 1000);
    loop_once(l, 10);
    ck_assert_int_eq(k.calls, 1);
    for (int i = 0; i < N; i++)
        end_pair(&v[i], other[i]);
}
END_TEST

/* ---- deferred calls ------------------------------------------------------------------------- */

struct seq {
    struct loop_defer *d;
    struct buf order;
};

static void put_d(void *arg)
{
    buf_put_u8(&((struct seq *)arg)->order, 'd');
}

static void put_r(void *arg, unsigned events)
{
    struct seq *s = arg;

    (void)events;
    buf_put_u8(&s->order, 'r');
    loop_defer_arm(s->d);
    loop_defer_arm(s->d);
}

START_TEST(deferred_call_runs_once_behind_what_is_ready)
{
    struct seq s = {.order = BUF_INIT};
    int fds[3][2];
    struct loop_watch *w[3];

    s.d = loop_defer_new(l, put_d, &s);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds[i]),
                         0);
        ck_assert_int_eq(write(fds[i][1], "x", 1), 1);
        w[i] = loop_watch_new(l, fds[i][0], put_r, &s);
        loop_watch_want(w[i], LOOP_READ);
    }
    loop_once(l, 1000);
    ck_assert(slice_eq_str(buf_slice(&s.order), "rrrd"));
    loop_once(l, 1000);
    ck_assert(slice_eq_str(buf_slice(&s.order), "rrrdrrrd"));
    for (int i = 0; i < 3; i++) {
        loop_watch_free(w[i]);
        close(fds[i][0]);
        close(fds[i][1]);
    }
    loop_defer_free(s.d);
    loop_defer_free(NULL);
    buf_fini(&s.order);
}
END_TEST

START_TEST(deferred_call_that_is_freed_does_not_run)
{
    int n = 0;
    struct loop_defer *d = loop_defer_new(l, count, &n);

    loop_defer_arm(d);
    loop_defer_free(d);
    loop_once(l, 10);
    ck_assert_int_eq(n, 0);
}
END_TEST

/* ---- posted calls --------------------------------------------------------------------------- */

enum { POSTS = 20000, POSTERS = 3 };

struct poster {
    pthread_t t;
    int sent, seen;
    bool in_order;
};

struct post {
    struct poster *p;
    int i;
};

static int posts_left;

static void on_post(void *arg)
{
    struct post *m = arg;

    m->p->in_order = m->p->in_order && m->i == m->p->seen;
    m->p->seen++;
    free(m);
    if (--posts_left == 0)
        loop_stop(l);
}

static void *post_many(void *arg)
{
    struct poster *p = arg;

    for (int i = 0; i < POSTS; i++) {
        struct post *m = malloc(sizeof *m);
        if (!m)
            abort();
        *m = (struct post){p, i};
        loop_post(l, on_post, m);
    }
    return NULL;
}

START_TEST(posts_of_other_threads_run_all_and_in_order)
{
    struct poster p[POSTERS];

    posts_left = POSTS * POSTERS;
    for (int i = 0; i < POSTERS; i++) {
        p[i] = (struct poster){.in_order = true};
        ck_assert_int_eq(pthread_create(&p[i].t, NULL, post_many, &p[i]), 0);
    }
    ck_assert_int_eq(loop_run(l), 0);
    for (int i = 0; i < POSTERS; i++) {
        pthread_join(p[i].t, NULL);
        ck_assert_int_eq(p[i].seen, POSTS);
        ck_assert(p[i].in_order);
    }
}
END_TEST

static void post_again(void *arg)
{
    int *left = arg;

    if (--*left)
        loop_post(l, post_again, left);
    else
        loop_stop(l);
}

START_TEST(a_posted_call_may_post)
{
    int left = 1000;

    loop_post(l, post_again, &left);
    ck_assert_int_eq(loop_run(l), 0);
    ck_assert_int_eq(left, 0);
}
END_TEST

START_TEST(stop_before_run_is_not_lost_and_run_can_be_repeated)
{
    loop_stop(l);
    ck_assert_int_eq(loop_run(l), 0);
    loop_post(l, stop, NULL);
    ck_assert_int_eq(loop_run(l), 0);
}
END_TEST

static void *stop_it(void *arg)
{
    (void)arg;
    loop_stop(l);
    return NULL;
}

START_TEST(stop_from_another_thread_wakes_the_loop)
{
    pthread_t t;

    ck_assert_int_eq(pthread_create(&t, NULL, stop_it, NULL), 0);
    ck_assert_int_eq(loop_run(l), 0);
    pthread_join(t, NULL);
}
END_TEST

START_TEST(posted_calls_that_did_not_run_are_dropped)
{
    int n = 0;
    struct loop *other;

    ck_assert_int_eq(loop_new(&other, NULL), 0);
    loop_post(other, count, &n);
    loop_free(other);
    loop_free(NULL);
    ck_assert_int_eq(n, 0);
}
END_TEST

START_TEST(once_waits_at_most_the_time)
{
    uint64_t start = base_now_ms();

    ck_assert_int_eq(loop_once(l, 30), 0);
    uint64_t took = base_now_ms() - start;
    ck_assert_uint_ge(took, 29);
    ck_assert_uint_lt(took, 5000);
    start = base_now_ms();
    ck_assert_int_eq(loop_once(l, 0), 0);
    ck_assert_uint_lt(base_now_ms() - start, 1000);
}
END_TEST

START_TEST(signals_arrive_on_the_loop)
{
    int n = 0, m = 0;

    ck_assert_int_eq(loop_on_signal(l, SIGUSR1, count, &n), 0);
    ck_assert_int_eq(loop_on_signal(l, SIGUSR2, count, &m), 0);
    raise(SIGUSR1);
    while (n == 0)
        loop_once(l, 1000);
    ck_assert_int_eq(n, 1);
    ck_assert_int_eq(m, 0);
    raise(SIGUSR2);
    raise(SIGUSR1);
    while (m == 0 || n == 1)
        loop_once(l, 1000);
    ck_assert_int_eq(n, 2);
    ck_assert_int_lt(loop_on_signal(l, 10000, count, &n), 0);
}
END_TEST

START_TEST(base_is_there_for_http)
{
    ck_assert_ptr_nonnull(loop_base(l));
}
END_TEST

static TCase *loop(void)
{
    TCase *t = tcase_create("loop");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, timer_fires_after_its_time_and_once);
    tcase_add_test(t, repeating_timer_repeats_until_stopped);
    tcase_add_test(t, starting_again_moves_the_time_and_ends_repetition);
    tcase_add_test(t, timer_started_late_in_a_round_is_not_short);
    tcase_add_test(t, timer_may_free_itself_even_when_it_repeats);
    tcase_add_test(t, watch_wants_nothing_at_first);
    tcase_add_test(t, watch_is_level_triggered_and_follows_what_is_wanted);
    tcase_add_test(t, hang_up_shows_as_what_is_wanted);
    tcase_add_test(t, watch_may_free_itself_while_both_events_are_ready);
    tcase_add_test(t, a_callback_may_free_others_that_are_ready);
    tcase_add_test(t, deferred_call_runs_once_behind_what_is_ready);
    tcase_add_test(t, deferred_call_that_is_freed_does_not_run);
    tcase_add_test(t, posts_of_other_threads_run_all_and_in_order);
    tcase_add_test(t, a_posted_call_may_post);
    tcase_add_test(t, stop_before_run_is_not_lost_and_run_can_be_repeated);
    tcase_add_test(t, stop_from_another_thread_wakes_the_loop);
    tcase_add_test(t, posted_calls_that_did_not_run_are_dropped);
    tcase_add_test(t, once_waits_at_most_the_time);
    tcase_add_test(t, signals_arrive_on_the_loop);
    tcase_add_test(t, base_is_there_for_http);
    return t;
}

UNIT_MAIN("loop", loop)
