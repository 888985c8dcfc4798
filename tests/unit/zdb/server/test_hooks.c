/* The hook runner: order in a queue, independence of queues, results, time limit, listing. */
#include "tests/unit/unit.h"
#include "zdb/server/hooks.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[] = "/tmp/hook.XXXXXX";
static char program[64], record[64];
static struct loop *loop;
static struct hooks *hooks;
static struct hook_conf conf;

/* Argument 3 says what to do: "exit N", "sleep", "deaf", "slow"; every call is written down at its
 * start and its end. */
static const char script[] = "#!/bin/sh\n"
                             "echo \"+$1 $3\" >>\"${0%/*}/record\"\n"
                             "case $3 in exit*) status=${3#exit } ;; deaf) trap '' TERM; sleep 60 "
                             ";; sleep) sleep 60 ;; slow) sleep 0.2 ;; esac\n"
                             "echo \"-$1 $3\" >>\"${0%/*}/record\"\n"
                             "exit ${status:-0}\n";

static void setup(void)
{
    strcpy(dir, "/tmp/hook.XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(dir));
    snprintf(program, sizeof program, "%s/program", dir);
    snprintf(record, sizeof record, "%s/record", dir);
    int fd = open(program, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    ck_assert_int_eq(write(fd, script, sizeof script - 1), (int)sizeof script - 1);
    close(fd);
    ck_assert_int_eq(loop_new(&loop, NULL), 0);
    conf = (struct hook_conf){program, "unix:///x", 20000, 20000, 0, 0};
}

static void start(void)
{
    ck_assert_int_eq(hooks_new(&hooks, loop, &conf, NULL), 0);
}

static void teardown(void)
{
    hooks_free(hooks);
    loop_free(loop);
    path_remove_tree(dir);
}

static char *text(void)
{
    static char out[65536];
    struct buf b = BUF_INIT;
    if (path_read(record, sizeof out - 1, &b, NULL) < 0)
        return strcpy(out, "");
    snprintf(out, sizeof out, "%.*s", (int)b.len, (const char *)buf_data(&b));
    buf_fini(&b);
    return out;
}

struct answer {
    int result, count;
};

static void on_done(void *arg, int result)
{
    struct answer *a = arg;
    a->result = result;
    a->count++;
}

static void push(const char *queue, const char *name, const char *what, struct answer *a)
{
    hooks_push(hooks, queue, name, 1, &what, a ? on_done : NULL, a);
}

START_TEST(runs_of_a_queue_follow_each_other_in_order)
{
    struct answer a[3] = {{0, 0}};

    start();
    push("ns", "one", "slow", &a[0]);
    push("ns", "two", "exit 3", &a[1]);
    push("ns", "three", "", &a[2]);
    ck_assert_uint_eq(hooks_pending(hooks), 3);
    ck_assert_int_eq(a[0].count, 0); /* never from inside the call */
    ck_assert_uint_eq(hooks_drain(hooks, 20000), 0);
    ck_assert_str_eq(text(), "+one slow\n-one slow\n+two exit 3\n-two exit 3\n+three \n-three \n");
    ck_assert_int_eq(a[0].result, 0);
    ck_assert_int_eq(a[1].result, 3);
    ck_assert_int_eq(a[2].result, 0);
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(a[i].count, 1);
}
END_TEST

START_TEST(a_hanging_queue_stops_no_other_and_no_urgent_run)
{
    struct answer hung = {0, 0}, other = {0, 0}, urgent = {0, 0};
    const char *what = "";

    start();
    push("a", "hung", "sleep", &hung);
    push("a", "behind", "", NULL);
    push("b", "other", "", &other);
    hooks_now(hooks, "missing-data", 1, &what, on_done, &urgent);
    for (int i = 0; i < 200 && !(other.count && urgent.count); i++)
        loop_once(loop, 100);
    ck_assert_int_eq(other.count, 1);
    ck_assert_int_eq(urgent.count, 1);
    ck_assert_int_eq(hung.count, 0);
    ck_assert_uint_eq(hooks_pending(hooks), 2);
    hooks_forget(hooks, &hung);
}
END_TEST

START_TEST(time_limit_kills_and_says_so)
{
    struct answer a = {0, 0}, behind = {0, 0};

    conf.slow_timeout_ms = 300;
    start();
    push("q", "hung", "sleep", &a);
    push("q", "behind", "", &behind);
    ck_assert_uint_eq(hooks_drain(hooks, 20000), 0);
    ck_assert_int_eq(a.result, -ETIMEDOUT);
    ck_assert_int_eq(behind.count, 1);
}
END_TEST

START_TEST(an_urgent_run_without_a_place_is_answered_in_time)
{
    enum { PLACES = 64 };
    struct answer hung = {0, 0}, late[3] = {{0, 0}};
    const char *deaf = "deaf", *quick = "";

    conf.fast_timeout_ms = 1500;
    start();
    for (int i = 0; i < PLACES; i++)
        hooks_now(hooks, "missing-data", 1, &deaf, on_done, &hung);
    for (int i = 0; i < 3; i++)
        hooks_now(hooks, "missing-data", 1, &quick, on_done, &late[i]);
    uint64_t begin = base_now_ms();
    while (!late[2].count && base_now_ms() - begin < 30000)
        loop_once(loop, 100);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(late[i].count, 1);
        ck_assert_int_eq(late[i].result, -ETIMEDOUT);
    }
    ck_assert_int_eq(hung.count, 0);
    ck_assert_uint_eq(hooks_drain(hooks, 30000), 0);
    ck_assert_int_eq(hung.count, PLACES);
    hooks_now(hooks, "missing-data", 1, &quick, on_done, &late[0]);
    ck_assert_uint_eq(hooks_drain(hooks, 20000), 0);
    ck_assert_int_eq(late[0].result, 0);
}
END_TEST

START_TEST(without_a_program_the_answer_comes_from_the_loop)
{
    struct answer a = {0, 0};

    conf.path = NULL;
    start();
    ck_assert(!hooks_enabled(hooks));
    push("q", "any", "", &a);
    push("q", "any", "", NULL);
    ck_assert_int_eq(a.count, 0);
    for (int i = 0; i < 10 && !a.count; i++)
        loop_once(loop, 100);
    ck_assert_int_eq(a.count, 1);
    ck_assert_int_eq(a.result, -ENOENT);
    ck_assert_uint_eq(hooks_each(hooks, NULL, NULL), 0);
    ck_assert_int_eq(hooks_wait(hooks, "ready", 0, NULL), -ENOENT);
}
END_TEST

START_TEST(a_program_that_cannot_start_fails_and_the_queue_goes_on)
{
    struct answer a = {0, 0}, b = {0, 0};

    conf.path = "/nonexistent/program";
    start();
    push("q", "one", "", &a);
    push("q", "two", "", &b);
    for (int i = 0; i < 100 && !b.count; i++)
        loop_once(loop, 100);
    ck_assert_int_eq(a.count, 1);
    ck_assert_int_eq(b.count, 1);
    ck_assert_int_ne(a.result, 0);
    ck_assert_uint_eq(hooks_pending(hooks), 0);
}
END_TEST

START_TEST(forgotten_runs_end_without_an_answer)
{
    struct answer a = {0, 0};

    start();
    push("q", "one", "slow", &a);
    hooks_forget(hooks, &a);
    ck_assert_uint_eq(hooks_drain(hooks, 20000), 0);
    ck_assert_int_eq(a.count, 0);
    ck_assert_str_eq(text(), "+one slow\n-one slow\n");
}
END_TEST

static void first_info(const struct hook_info *i, void *arg)
{
    struct hook_info *first = arg;
    if (!first->name)
        *first = *i;
}

START_TEST(listing_has_arguments_times_and_status)
{
    struct hook_info i = {0};

    start();
    push("q", "one", "exit 9", NULL);
    hooks_drain(hooks, 20000);
    ck_assert_uint_eq(hooks_each(hooks, first_info, &i), 1);
    ck_assert_str_eq(i.name, "one");
    ck_assert_uint_eq(i.nargs, 1);
    ck_assert_int_gt(i.pid, 0);
    ck_assert_int_eq(i.status, 9);
    ck_assert_uint_ge(i.finished, i.started);
    ck_assert_uint_gt(i.started, 1600000000);
}
END_TEST

START_TEST(listing_is_bounded)
{
    const struct log_conf quiet = {.level = LOG_LVL_ERROR, .path = "/dev/null"};

    ck_assert_int_eq(log_open(&quiet, NULL), 0);
    conf.path = "/nonexistent/program"; /* fails at once: many runs in no time */
    start();
    for (int i = 0; i < HOOK_KEEP_MAX + 500; i++) {
        push(NULL, "one", "", NULL);
        loop_once(loop, 0);
    }
    for (int i = 0; i < 1000 && hooks_pending(hooks); i++)
        loop_once(loop, 100);
    ck_assert_uint_le(hooks_each(hooks, NULL, NULL), HOOK_KEEP_MAX + 1);
}
END_TEST

/* Number of lines that begin so, and the most that were open at one time. */
static int most_at_once(const char *all, int *starts)
{
    int open = 0, most = 0;

    *starts = 0;
    for (const char *p = all; *p; p = strchr(p, '\n') + 1) {
        open += *p == '+' ? 1 : -1;
        *starts += *p == '+';
        most = MAX(most, open);
        if (!strchr(p, '\n'))
            break;
    }
    return most;
}

/* Many wait when zdb ends: they run one after the other, in their order, behind the one that runs
 * already. */
START_TEST(what_waits_at_the_end_runs_in_order_and_one_at_a_time)
{
    enum { N = 60 };
    char what[32], want[N * 16] = "", *at;
    int starts = 0;

    start();
    push("q", "first", "slow", NULL);
    for (int i = 0; i < 50 && !strstr(text(), "+first"); i++)
        loop_once(loop, 20);
    for (int i = 0; i < N; i++) {
        snprintf(what, sizeof what, "it's %d", i);
        push(i % 2 ? "q" : "first", "n", what, NULL);
        snprintf(want + strlen(want), sizeof want - strlen(want), "+n it's %d\n", i);
    }
    hooks_free(hooks);
    hooks = NULL;
    snprintf(what, sizeof what, "-n it's %d\n", N - 1);
    for (int i = 0; i < 1000 && !strstr(text(), what); i++)
        usleep(20000);
    ck_assert_int_eq(most_at_once(text(), &starts), 1);
    ck_assert_int_eq(starts, N + 1);
    at = text();
    for (int i = 0; i < N; i++) {
        snprintf(what, sizeof what, "+n it's %d\n", i);
        at = strstr(at, what);
        ck_assert_ptr_nonnull(at);
    }
}
END_TEST

/* A thousand events: a round of the loop does not grow with them. */
START_TEST(many_starts_are_spread_over_rounds)
{
    struct answer first = {0, 0}, last = {0, 0};
    char queue[16];
    int rounds = 0;

    conf.max_queued = 8;
    start();
    for (int i = 0; i < 200; i++) {
        snprintf(queue, sizeof queue, "%d", i);
        push(queue, "n", "", i == 0 ? &first : i == 199 ? &last : NULL);
        ck_assert_uint_le(hooks_each(hooks, NULL, NULL), 0); /* nothing from inside the call */
    }
    for (; !last.count && rounds < 100000; rounds++) {
        loop_once(loop, 100);
        ck_assert_uint_le(hooks_running(hooks), 8);
    }
    ck_assert_uint_eq(hooks_drain(hooks, 30000), 0);
    ck_assert_int_eq(first.count, 1);
    ck_assert_int_eq(last.result, 0);
}
END_TEST

START_TEST(the_queue_has_a_limit_and_says_so)
{
    const struct log_conf quiet = {.level = LOG_LVL_ERROR, .path = "/dev/null"};
    struct answer a = {0, 0};
    char what[16];

    ck_assert_int_eq(log_open(&quiet, NULL), 0);
    start();
    for (int i = 0; i < HOOK_PENDING_MAX + 10; i++) {
        snprintf(what, sizeof what, "%d", i);
        push("q", "n", what, NULL);
    }
    ck_assert_uint_eq(hooks_pending(hooks), HOOK_PENDING_MAX);
    push("q", "n", "x", &a);
    loop_once(loop, 100);
    loop_once(loop, 100);
    ck_assert_int_eq(a.count, 1);
    ck_assert_int_eq(a.result, -ENOBUFS);
    conf.path = "/bin/true";
}
END_TEST

START_TEST(equal_events_that_wait_are_one)
{
    start();
    push("q", "first", "slow", NULL);
    for (int i = 0; i < 1000; i++)
        push("q", "updated", "", NULL);
    ck_assert_uint_eq(hooks_pending(hooks), 2);
    push("q", "other", "", NULL);
    push("q", "updated", "", NULL);
    ck_assert_uint_eq(hooks_pending(hooks), 4);
}
END_TEST

/* The program is being replaced at that moment. */
START_TEST(a_program_that_is_missing_for_a_moment_is_tried_again)
{
    struct answer a = {0, 0};
    char aside[80];

    snprintf(aside, sizeof aside, "%s.new", program);
    ck_assert_int_eq(rename(program, aside), 0);
    start();
    push("q", "one", "", &a);
    for (int i = 0; i < 5; i++)
        loop_once(loop, 10);
    ck_assert_int_eq(a.count, 0);
    ck_assert_int_eq(rename(aside, program), 0);
    ck_assert_uint_eq(hooks_drain(hooks, 20000), 0);
    ck_assert_int_eq(a.result, 0);
    ck_assert_str_eq(text(), "+one \n-one \n");
}
END_TEST

START_TEST(nobody_waits_for_urgent_ones_that_are_cancelled)
{
    struct answer running = {0, 0}, waiting = {0, 0}, queued = {0, 0};
    const char *deaf = "deaf";

    conf.max_urgent = 1;
    start();
    hooks_now(hooks, "missing-data", 1, &deaf, on_done, &running);
    hooks_now(hooks, "missing-data", 1, &deaf, on_done, &waiting);
    push("q", "one", "", &queued);
    for (int i = 0; i < 100 && !strstr(text(), "+missing-data"); i++)
        loop_once(loop, 20);
    uint64_t begin = base_now_ms();
    hooks_cancel_urgent(hooks);
    ck_assert_uint_eq(hooks_drain(hooks, 10000), 0);
    ck_assert_uint_lt(base_now_ms() - begin, 5000);
    loop_once(loop, 10);
    ck_assert_int_eq(running.result, 128 + 9);
    ck_assert_int_eq(waiting.result, -ECANCELED);
    ck_assert_int_eq(queued.result, 0);
}
END_TEST

START_TEST(what_waits_at_the_end_is_handed_over)
{
    start();
    push("q", "slow", "slow", NULL);
    push("q", "waiting", "", NULL);
    hooks_free(hooks);
    hooks = NULL;
    for (int i = 0; i < 500 && !(strstr(text(), "-slow") && strstr(text(), "-waiting")); i++)
        usleep(20000);
    ck_assert_ptr_nonnull(strstr(text(), "-waiting"));
    ck_assert_ptr_nonnull(strstr(text(), "-slow"));
}
END_TEST

static TCase *hook_cases(void)
{
    TCase *t = tcase_create("hook");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, runs_of_a_queue_follow_each_other_in_order);
    tcase_add_test(t, a_hanging_queue_stops_no_other_and_no_urgent_run);
    tcase_add_test(t, time_limit_kills_and_says_so);
    tcase_add_test(t, an_urgent_run_without_a_place_is_answered_in_time);
    tcase_add_test(t, without_a_program_the_answer_comes_from_the_loop);
    tcase_add_test(t, a_program_that_cannot_start_fails_and_the_queue_goes_on);
    tcase_add_test(t, forgotten_runs_end_without_an_answer);
    tcase_add_test(t, listing_has_arguments_times_and_status);
    tcase_add_test(t, listing_is_bounded);
    tcase_add_test(t, what_waits_at_the_end_is_handed_over);
    tcase_add_test(t, what_waits_at_the_end_runs_in_order_and_one_at_a_time);
    tcase_add_test(t, many_starts_are_spread_over_rounds);
    tcase_add_test(t, the_queue_has_a_limit_and_says_so);
    tcase_add_test(t, equal_events_that_wait_are_one);
    tcase_add_test(t, a_program_that_is_missing_for_a_moment_is_tried_again);
    tcase_add_test(t, nobody_waits_for_urgent_ones_that_are_cancelled);
    return t;
}

UNIT_MAIN("zdb hook", hook_cases)
