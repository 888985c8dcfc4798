#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/output.h"
#include "common/spawn.h"

static struct loop *l;
static struct err e;

struct result {
    int calls, status;
    bool timed_out;
};

static void begin(void)
{
    scratch_begin();
    struct log_conf c = {.level = LOG_LVL_INFO, .path = scratch("log")};
    ck_assert_int_eq(log_open(&c, NULL), 0);
    ck_assert_int_eq(loop_new(&l, NULL), 0);
}

static void end(void)
{
    output_end(l);
    loop_free(l);
    scratch_end();
}

static void on_done(void *arg, int status, bool timed_out)
{
    struct result *r = arg;

    r->calls++;
    r->status = status;
    r->timed_out = timed_out;
}

static struct spawn *start(struct result *res, const char *script, uint64_t timeout_ms)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    struct spawn_conf c = {.argv = argv, .timeout_ms = timeout_ms, .log_name = "prog"};
    struct spawn *s;

    *res = (struct result){0};
    if (spawn_start(&s, l, &c, on_done, res, &e) < 0)
        ck_abort_msg("%s", e.text);
    return s;
}

static void finish(struct result *res)
{
    uint64_t deadline = base_now_ms() + 30000;

    while (res->calls == 0 && base_now_ms() < deadline)
        loop_once(l, 100);
    ck_assert_int_eq(res->calls, 1);
}

static struct result run(const char *script, uint64_t timeout_ms)
{
    struct result res;

    start(&res, script, timeout_ms);
    finish(&res);
    return res;
}

/* The log, as text. */
static char *logged(void)
{
    struct buf b = BUF_INIT;
    ck_assert_int_eq(path_read(scratch("log"), 16 << 20, &b, NULL), 0);
    return buf_take_str(&b);
}

static void log_has(const char *text)
{
    CLEANUP(base_free) char *s = logged();
    if (!strstr(s, text))
        ck_abort_msg("not in the log: %s\n%s", text, s);
}

START_TEST(exit_codes_come_back)
{
    struct result r = run("exit 0", 0);
    ck_assert_int_eq(r.status, 0);
    ck_assert(!r.timed_out);
    r = run("exit 7", 0);
    ck_assert(WIFEXITED(r.status));
    ck_assert_int_eq(WEXITSTATUS(r.status), 7);
    r = run("kill -9 $$", 0);
    ck_assert(WIFSIGNALED(r.status));
    ck_assert_int_eq(WTERMSIG(r.status), SIGKILL);
    ck_assert(!r.timed_out);
}
END_TEST

START_TEST(a_program_that_cannot_be_run_is_an_error)
{
    const char *const argv[] = {scratch("none"), NULL};
    struct spawn_conf c = {.argv = argv};
    struct result res = {0};
    struct spawn *s;

    ck_assert_int_eq(spawn_start(&s, l, &c, on_done, &res, &e), -ENOENT);
    ck_assert_ptr_nonnull(strstr(e.text, argv[0]));
    ck_assert_int_eq(path_replace(scratch("f"), slice_str("#!/bin/sh\n"), 0600, NULL), 0);
    const char *const argv2[] = {scratch("f"), NULL};
    c.argv = argv2;
    ck_assert_int_eq(spawn_start(&s, l, &c, on_done, &res, &e), -EACCES);
    const char *const argv3[] = {"true", NULL}; /* no PATH search */
    c.argv = argv3;
    ck_assert_int_eq(spawn_start(&s, l, &c, on_done, &res, &e), -ENOENT);
    loop_once(l, 20);
    ck_assert_int_eq(res.calls, 0);
}
END_TEST

START_TEST(arguments_are_not_touched_by_a_shell)
{
    const char *const argv[] = {"/bin/echo", "$HOME; `id`", "a  b", NULL};
    struct spawn_conf c = {.argv = argv};
    struct result res = {0};
    struct spawn *s;

    ck_assert_int_eq(spawn_start(&s, l, &c, on_done, &res, &e), 0);
    finish(&res);
    log_has("INFO /bin/echo: $HOME; `id` a  b\n");
}
END_TEST

START_TEST(output_lines_go_to_the_log_with_the_name)
{
    run("echo one; echo two >&2; printf three", 0);
    log_has(" INFO prog: one\n");
    log_has(" INFO prog: two\n");
    log_has(" INFO prog: three\n");
}
END_TEST

START_TEST(long_lines_are_cut_at_1000_bytes)
{
    run("i=0; while [ $i -lt 300 ]; do printf 0123456789; i=$((i+1)); done; echo; echo short", 0);
    CLEANUP(base_free) char *s = logged();
    char *line = strstr(s, "prog: 0123");
    ck_assert_ptr_nonnull(line);
    ck_assert_uint_eq(strcspn(line, "\n"), strlen("prog: ") + 1000);
    ck_assert_ptr_nonnull(strstr(s, "prog: short\n"));
}
END_TEST

START_TEST(much_output_is_taken_without_a_stop)
{
    struct result r =
        run("i=0; while [ $i -lt 5000 ]; do echo line $i of much output; i=$((i+1)); done", 0);
    ck_assert_int_eq(r.status, 0);
    log_has("prog: line 0 of much output\n");
    log_has("prog: line 4999 of much output\n");
}
END_TEST

START_TEST(child_has_0_1_2_and_its_own_group_and_no_signal_state)
{
    int extra = open("/dev/null", O_RDONLY); /* without close-on-exec, as a library might */
    sigset_t set;

    ck_assert_int_ge(extra, 3);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    run("ls /proc/self/fd | tr '\\n' ' '; echo; readlink /proc/$$/fd/0; "
        "ps=$(cut -d' ' -f5 /proc/$$/stat); [ $ps = $$ ] && echo own group; "
        "grep ^SigBlk: /proc/$$/status | tr -d '\\t'; sh -c 'kill -PIPE $$'; echo pipe $?",
        0);
    log_has("prog: 0 1 2 3 \n"); /* 3 is the directory that ls reads */
    log_has("prog: /dev/null\n");
    log_has("prog: own group\n");
    log_has("prog: SigBlk:0000000000000000\n");
    log_has("prog: pipe 141\n"); /* not ignored */
    close(extra);
}
END_TEST

START_TEST(environment_can_be_given)
{
    const char *const argv[] = {"/bin/sh", "-c", "echo A=$A B=$B", NULL}, *const env[] = {"A=1",
                                                                                          NULL};
    struct spawn_conf c = {.argv = argv, .env = env, .log_name = "prog"};
    struct result res = {0};
    struct spawn *s;

    setenv("B", "2", 1);
    ck_assert_int_eq(spawn_start(&s, l, &c, on_done, &res, &e), 0);
    finish(&res);
    log_has("prog: A=1 B=\n");
    run("echo B=$B", 0);
    log_has("prog: B=2\n");
}
END_TEST

START_TEST(timeout_ends_the_program)
{
    uint64_t begun = base_now_ms();
    struct result r = run("sleep 100", 50);

    ck_assert(r.timed_out);
    ck_assert(WIFSIGNALED(r.status));
    ck_assert_int_eq(WTERMSIG(r.status), SIGTERM);
    ck_assert_uint_lt(base_now_ms() - begun, 5000);
}
END_TEST

START_TEST(timeout_lets_the_program_clean_up)
{
    struct result r =
        run("trap 'echo cleaned; exit 3' TERM; echo set; while :; do sleep 0.05; done", 300);

    ck_assert(r.timed_out);
    ck_assert(WIFEXITED(r.status));
    ck_assert_int_eq(WEXITSTATUS(r.status), 3);
    log_has("prog: cleaned\n");
}
END_TEST

static bool alive(pid_t pid)
{
    char path[64], text[256] = "";

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    char *state = n > 0 ? strrchr(text, ')') : NULL;
    return state && state[2] != 'Z' && state[2] != 'X';
}

/* Pid that the script wrote to the file "pid". */
static pid_t pid_of_child(void)
{
    struct buf b = BUF_INIT;
    for (int i = 0; i < 500; i++) {
        buf_clear(&b);
        if (path_read(scratch("pid"), 100, &b, NULL) == 0 && b.len &&
            buf_data(&b)[b.len - 1] == '\n')
            break;
        loop_once(l, 10);
    }
    CLEANUP(base_free) char *s = buf_take_str(&b);
    ck_assert_uint_gt(strlen(s), 0);
    return (pid_t)strtol(s, NULL, 10);
}

static void dies(pid_t pid)
{
    for (int i = 0; i < 500 && alive(pid); i++)
        loop_once(l, 10);
    ck_assert(!alive(pid));
}

START_TEST(timeout_kills_the_whole_group_even_when_it_ignores_term)
{
    char script[256];

    snprintf(script, sizeof script, "trap '' TERM; sleep 100 & echo $! > %s; wait; sleep 100",
             scratch("pid"));
    struct result res;
    start(&res, script, 100);
    pid_t child = pid_of_child();
    finish(&res);
    ck_assert(res.timed_out);
    ck_assert(WIFSIGNALED(res.status));
    ck_assert_int_eq(WTERMSIG(res.status), SIGKILL);
    dies(child);
}
END_TEST

START_TEST(timeout_kills_what_the_leader_leaves_behind)
{
    char script[256];

    /* the leader ends on TERM, its child does not */
    snprintf(script, sizeof script, "(trap '' TERM; sleep 100) & echo $! > %s; wait",
             scratch("pid"));
    struct result res;
    start(&res, script, 200);
    pid_t child = pid_of_child();
    finish(&res);
    ck_assert(res.timed_out);
    dies(child);
}
END_TEST

START_TEST(background_children_do_not_delay_the_end)
{
    char script[256];
    uint64_t begun = base_now_ms();

    snprintf(script, sizeof script, "sleep 100 & echo $! > %s; echo done", scratch("pid"));
    struct result r = run(script, 0); /* it holds the output open */
    ck_assert_int_eq(r.status, 0);
    ck_assert_uint_lt(base_now_ms() - begun, 10000);
    log_has("prog: done\n");
    pid_t child = pid_of_child();
    ck_assert(alive(child));
    kill(child, SIGKILL);
}
END_TEST

/* The scripts of users put uploads in the background and return: whatever those write later, they
 * must not die of it. */
START_TEST(background_children_may_write_after_the_end)
{
    char script[512];

    snprintf(script, sizeof script,
             "(while [ ! -e %s ]; do sleep 0.02; done; echo late; echo more; echo over > %s) &",
             scratch("go"), scratch("written"));
    struct result r = run(script, 0);
    ck_assert_int_eq(r.status, 0);
    int fd = open(scratch("go"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    for (int i = 0; i < 500 && access(scratch("written"), F_OK) < 0; i++)
        loop_once(l, 20);
    ck_assert_int_eq(access(scratch("written"), F_OK), 0);
    for (int i = 0; i < 5; i++)
        loop_once(l, 20);
    log_has("prog: late\n");
    log_has("prog: more\n");
}
END_TEST

/* More of them than are read here: cat(1) has the oldest. */
START_TEST(many_background_children_keep_a_reader)
{
    enum { N = OUTPUT_LEFT_MAX + 8 };
    char script[512], name[32];

    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "written%d", i);
        snprintf(script, sizeof script,
                 "(while [ ! -e %s ]; do sleep 0.02; done; echo late; echo over > %s) &",
                 scratch("go"), scratch(name));
        ck_assert_int_eq(run(script, 0).status, 0);
    }
    int fd = open(scratch("go"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    for (int i = 0; i < N; i++) {
        snprintf(name, sizeof name, "written%d", i);
        for (int k = 0; k < 500 && access(scratch(name), F_OK) < 0; k++)
            loop_once(l, 20);
        ck_assert_int_eq(access(scratch(name), F_OK), 0);
    }
}
END_TEST

/* The last writer ends between two turns of the loop: whoever comes first finds it out, once. */
START_TEST(an_output_may_end_at_any_moment)
{
    int pipes[3][2];

    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(pipe2(pipes[i], O_CLOEXEC), 0);
    for (int i = 0; i < 3; i++) {
        struct output *o = output_new(l, pipes[i][0], "left");
        ck_assert_int_eq(write(pipes[i][1], "last words\n", 11), 11);
        if (i == 0)
            close(pipes[i][1]);
        output_leave(o);
        if (i == 1) {
            close(pipes[i][1]);
            loop_once(l, 0);
        }
        if (i == 2)
            close(pipes[i][1]);
    }
    output_end(l); /* of the third */
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(fcntl(pipes[i][0], F_GETFD), -1);
}
END_TEST

START_TEST(kill_ends_it_now_and_done_runs)
{
    struct result res;
    struct spawn *s = start(&res, "trap '' TERM; sleep 100; sleep 100", 0);

    ck_assert_int_gt(spawn_pid(s), 0);
    spawn_kill(s);
    finish(&res);
    ck_assert(WIFSIGNALED(res.status));
    ck_assert_int_eq(WTERMSIG(res.status), SIGKILL);
    ck_assert(!res.timed_out);
}
END_TEST

START_TEST(detached_runs_on_without_done_and_is_reaped_later)
{
    char script[256];
    struct result res, other;

    snprintf(script, sizeof script, "echo $$ > %s; exec sleep 100", scratch("pid"));
    struct spawn *s = start(&res, script, 60000);
    pid_t pid = spawn_pid(s);
    ck_assert_int_eq(pid_of_child(), pid);
    spawn_detach(s);
    loop_once(l, 50);
    ck_assert_int_eq(res.calls, 0);
    ck_assert(alive(pid));
    kill(pid, SIGKILL);
    dies(pid); /* a zombie now */
    start(&other, "exit 0", 0);
    finish(&other);
    ck_assert_int_eq(kill(pid, 0), -1);
    ck_assert_int_eq(errno, ESRCH);
}
END_TEST

START_TEST(many_at_the_same_time)
{
    enum { N = 30 };
    struct result res[N];
    char script[32];

    for (int i = 0; i < N; i++) {
        snprintf(script, sizeof script, "exit %d", i);
        start(&res[i], script, 10000);
    }
    for (int i = 0; i < N; i++) {
        finish(&res[i]);
        ck_assert_int_eq(WEXITSTATUS(res[i].status), i);
    }
}
END_TEST

static struct result chained;

static void start_next(void *arg, int status, bool timed_out)
{
    on_done(arg, status, timed_out);
    start(&chained, "exit 5", 0);
}

START_TEST(done_may_start_the_next)
{
    const char *const argv[] = {"/bin/true", NULL};
    struct spawn_conf c = {.argv = argv};
    struct result res = {0};
    struct spawn *s;

    ck_assert_int_eq(spawn_start(&s, l, &c, start_next, &res, &e), 0);
    finish(&res);
    finish(&chained);
    ck_assert_int_eq(WEXITSTATUS(chained.status), 5);
}
END_TEST

START_TEST(works_when_0_1_2_are_closed)
{
    struct result r;

    close(0);
    close(1);
    int keep = fcntl(2, F_DUPFD_CLOEXEC, 100);
    close(2);
    r = run("echo out; echo err >&2; exit 4", 0);
    dup2(keep, 2);
    ck_assert_int_eq(WEXITSTATUS(r.status), 4);
    log_has("prog: out\n");
    log_has("prog: err\n");
}
END_TEST

static TCase *spawn(void)
{
    TCase *t = tcase_create("spawn");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, exit_codes_come_back);
    tcase_add_test(t, a_program_that_cannot_be_run_is_an_error);
    tcase_add_test(t, arguments_are_not_touched_by_a_shell);
    tcase_add_test(t, output_lines_go_to_the_log_with_the_name);
    tcase_add_test(t, long_lines_are_cut_at_1000_bytes);
    tcase_add_test(t, much_output_is_taken_without_a_stop);
    tcase_add_test(t, child_has_0_1_2_and_its_own_group_and_no_signal_state);
    tcase_add_test(t, environment_can_be_given);
    tcase_add_test(t, timeout_ends_the_program);
    tcase_add_test(t, timeout_lets_the_program_clean_up);
    tcase_add_test(t, timeout_kills_the_whole_group_even_when_it_ignores_term);
    tcase_add_test(t, timeout_kills_what_the_leader_leaves_behind);
    tcase_add_test(t, background_children_do_not_delay_the_end);
    tcase_add_test(t, background_children_may_write_after_the_end);
    tcase_add_test(t, many_background_children_keep_a_reader);
    tcase_add_test(t, an_output_may_end_at_any_moment);
    tcase_add_test(t, kill_ends_it_now_and_done_runs);
    tcase_add_test(t, detached_runs_on_without_done_and_is_reaped_later);
    tcase_add_test(t, many_at_the_same_time);
    tcase_add_test(t, done_may_start_the_next);
    tcase_add_test(t, works_when_0_1_2_are_closed);
    return t;
}

UNIT_MAIN("spawn", spawn)
