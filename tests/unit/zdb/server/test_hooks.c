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
    conf = (struct hook_conf){program, "unix:///x", 20000, 20000};
}

static void start(void)
{
    ck_assert_int_eq(hook_new(&hooks, loop, &conf, NULL), 0);
}

static void teardown(void)
{
    hook_free(hooks);
    loop_free(loop);
    path_remove_tree(dir);
}

static char *text(void)
{
    static char out[4096];
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
    hook_push(hooks, queue, name, 1, &what, a ? on_done : NULL, a);
}

START_TEST(runs_of_a_queue_follow_each_other_in_order)
{
    struct answer a[3] = {{0, 0}};

    start();
    push("ns", "one", "slow", &a[0]);
    push("ns", "two", "exit 3", &a[1]);
    push("ns", "three", "", &a[2]);
    ck_assert_uint_eq(hook_pending(hooks), 3);
    ck_assert_int_eq(a[0].count, 0); /* never from inside the call */
    ck_assert_uint_eq(hook_drain(hooks, 20000), 0);
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
    hook_now(hooks, "missing-data", 1, &what, on_done, &urgent);
    for (int i = 0; i < 200 && !(other.count && urgent.count); i++)
        loop_once(loop, 100);
    ck_assert_int_eq(other.count, 1);
    ck_assert_int_eq(urgent.count, 1);
    ck_assert_int_eq(hung.count, 0);
    ck_assert_uint_eq(hook_pending(hooks), 2);
    hook_forget(hooks, &hung);
}
END_TEST

START_TEST(time_limit_kills_and_says_so)
{
    struct answer a = {0, 0}, behind = {0, 0};

    conf.slow_timeout_ms = 300;
    start();
    push("q", "hung", "sleep", &a);
    push("q", "behind", "", &behind);
    ck_assert_uint_eq(hook_drain(hooks, 20000), 0);
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
        hook_now(hooks, "missing-data", 1, &deaf, on_done, &hung);
    for (int i = 0; i < 3; i++)
        hook_now(hooks, "missing-data", 1, &quick, on_done, &late[i]);
    uint64_t begin = base_now_ms();
    while (!late[2].count && base_now_ms() - begin < 30000)
        loop_once(loop, 100);
    for (int i = 0; i < 3; i++) {
        ck_assert_int_eq(late[i].count, 1);
        ck_assert_int_eq(late[i].result, -ETIMEDOUT);
    }
    ck_assert_int_eq(hung.count, 0);
    ck_assert_uint_eq(hook_drain(hooks, 30000), 0);
    ck_assert_int_eq(hung.count, PLACES);
    hook_now(hooks, "missing-data", 1, &quick, on_done, &late[0]);
    ck_assert_uint_eq(hook_drain(hooks, 20000), 0);
    ck_assert_int_eq(late[0].result, 0);
}
END_TEST

START_TEST(without_a_program_the_answer_comes_from_the_loop)
{
    struct answer a = {0, 0};

    conf.path = NULL;
    start();
    ck_assert(!hook_enabled(hooks));
    push("q", "any", "", &a);
    push("q", "any", "", NULL);
    ck_assert_int_eq(a.count, 0);
    for (int i = 0; i < 10 && !a.count; i++)
        loop_once(loop, 100);
    ck_assert_int_eq(a.count, 1);
    ck_assert_int_eq(a.result, -ENOENT);
    ck_assert_uint_eq(hook_each(hooks, NULL, NULL), 0);
    ck_assert_int_eq(hook_wait(hooks, "ready", 0, NULL), -ENOENT);
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
    ck_assert_uint_eq(hook_pending(hooks), 0);
}
END_TEST

START_TEST(forgotten_runs_end_without_an_answer)
{
    struct answer a = {0, 0};

    start();
    push("q", "one", "slow", &a);
    hook_forget(hooks, &a);
    ck_assert_uint_eq(hook_drain(hooks, 20000), 0);
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
    hook_drain(hooks, 20000);
    ck_assert_uint_eq(hook_each(hooks, first_info, &i), 1);
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
    for (int i = 0; i < 1000 && hook_pending(hooks); i++)
        loop_once(loop, 100);
    ck_assert_uint_le(hook_each(hooks, NULL, NULL), HOOK_KEEP_MAX + 1);
}
END_TEST

START_TEST(what_waits_at_the_end_is_handed_over)
{
    start();
    push("q", "slow", "slow", NULL);
    push("q", "waiting", "", NULL);
    hook_free(hooks);
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
    tcase_set_timeout(t, 60);
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
    return t;
}

UNIT_MAIN("zdb hook", hook_cases)
