#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/daemon.h"

static struct err e;

static int ends_with(pid_t pid)
{
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void text_of(const char *name, char *out, size_t size)
{
    struct buf b = BUF_INIT;
    ck_assert_int_eq(path_read(scratch(name), size - 1, &b, NULL), 0);
    CLEANUP(base_free) char *s = buf_take_str(&b);
    snprintf(out, size, "%s", s);
}

START_TEST(pid_file_has_the_pid_and_goes_away)
{
    char got[64], want[64];
    int fd = -1;

    ck_assert_int_eq(daemon_pidfile(scratch("p"), &fd, &e), 0);
    text_of("p", got, sizeof got);
    snprintf(want, sizeof want, "%d\n", (int)getpid());
    ck_assert_str_eq(got, want);
    ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    daemon_pidfile_remove(scratch("p"), fd);
    ck_assert_int_eq(access(scratch("p"), F_OK), -1);
    daemon_pidfile_remove(scratch("p"), -1);
}
END_TEST

START_TEST(second_instance_is_refused_with_pid_and_file)
{
    char want[256];
    int fd = -1, other = -1;

    ck_assert_int_eq(daemon_pidfile(scratch("p"), &fd, &e), 0);
    ck_assert_int_eq(daemon_pidfile(scratch("p"), &other, &e), -EEXIST);
    snprintf(want, sizeof want, "another instance is running (pid %d, %s)", (int)getpid(),
             scratch("p"));
    ck_assert_str_eq(e.text, want);
    ck_assert_int_eq(other, -1);
    daemon_pidfile_remove(scratch("p"), fd);
    ck_assert_int_eq(daemon_pidfile(scratch("p"), &other, &e), 0);
    daemon_pidfile_remove(scratch("p"), other);
}
END_TEST

START_TEST(stale_pid_file_of_a_killed_process_is_taken_over)
{
    int fd = -1;

    pid_t pid = fork();
    if (pid == 0) {
        if (daemon_pidfile(scratch("p"), &fd, NULL) < 0)
            _exit(1);
        kill(getpid(), SIGKILL);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_int_eq(access(scratch("p"), F_OK), 0);
    ck_assert_int_eq(daemon_pidfile(scratch("p"), &fd, &e), 0);
    daemon_pidfile_remove(scratch("p"), fd);
}
END_TEST

START_TEST(unwritable_pid_file_is_an_error_with_its_name)
{
    int fd;

    ck_assert_int_eq(daemon_pidfile(scratch("none/p"), &fd, &e), -ENOENT);
    ck_assert_ptr_nonnull(strstr(e.text, "none/p"));
    ck_assert_int_eq(symlink("/etc/passwd", scratch("l")), 0);
    ck_assert_int_eq(daemon_pidfile(scratch("l"), &fd, &e), -ELOOP); /* nobody makes us write
                                                                        elsewhere */
}
END_TEST

/* Forks, and in the fork goes to the background and runs child; the fork ends as the waiting parent
 * does. */
static pid_t go(bool keep_output, void (*child)(void))
{
    pid_t pid = fork();

    if (pid == 0) {
        if (daemon_background(keep_output, NULL) < 0)
            _exit(99);
        child();
        _exit(98);
    }
    return pid;
}

static void ready_then_end(void)
{
    daemon_ready();
    _exit(0);
}

static void die_with_7(void)
{
    _exit(7);
}

static void die_with_0(void)
{
    _exit(0);
}

static void die_by_signal(void)
{
    kill(getpid(), SIGKILL);
}

START_TEST(parent_ends_as_the_start_went)
{
    ck_assert_int_eq(ends_with(go(true, ready_then_end)), 0);
    ck_assert_int_eq(ends_with(go(true, die_with_7)), 7);
    ck_assert_int_eq(ends_with(go(true, die_with_0)), 1); /* never ready: no success */
    ck_assert_int_eq(ends_with(go(true, die_by_signal)), 1);
}
END_TEST

static void report_state(void)
{
    char line[256], in[64] = "", out[64] = "";

    daemon_ready();
    if (readlink("/proc/self/fd/0", in, sizeof in - 1) < 0 ||
        readlink("/proc/self/fd/1", out, sizeof out - 1) < 0)
        _exit(1);
    snprintf(line, sizeof line, "%d %s %s", getsid(0) == getpid(), in, out);
    path_replace(scratch("state"), slice_str(line), 0600, NULL);
    _exit(0);
}

static void await_state(char *got, size_t size)
{
    for (int i = 0; i < 1000 && access(scratch("state"), F_OK) < 0; i++)
        usleep(5000);
    text_of("state", got, size);
    ck_assert_int_eq(unlink(scratch("state")), 0);
}

START_TEST(child_has_its_own_session_and_null_descriptors)
{
    char got[256];

    ck_assert_int_eq(ends_with(go(false, report_state)), 0);
    await_state(got, sizeof got);
    ck_assert_str_eq(got, "1 /dev/null /dev/null");
}
END_TEST

START_TEST(output_is_kept_when_asked)
{
    char got[256];

    int fd = open(scratch("out"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), saved = dup(1);
    dup2(fd, 1);
    ck_assert_int_eq(ends_with(go(true, report_state)), 0);
    dup2(saved, 1);
    await_state(got, sizeof got);
    ck_assert_ptr_nonnull(strstr(got, scratch("out")));
    close(fd);
    close(saved);
}
END_TEST

static void complain(void)
{
    if (write(2, "what is wrong\n", 14) < 0)
        _exit(97);
    _exit(3);
}

START_TEST(complaints_before_ready_are_seen)
{
    char got[64];

    int fd = open(scratch("errors"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600), saved = dup(2);
    dup2(fd, 2);
    ck_assert_int_eq(ends_with(go(false, complain)), 3);
    dup2(saved, 2);
    text_of("errors", got, sizeof got);
    ck_assert_str_eq(got, "what is wrong\n");
    close(fd);
    close(saved);
}
END_TEST

START_TEST(pid_file_survives_the_background)
{
    int fd = -1, other;

    ck_assert_int_eq(daemon_pidfile(scratch("p"), &fd, &e), 0);
    int p[2];
    ck_assert_int_eq(pipe(p), 0);
    pid_t pid = fork();
    if (pid == 0) {
        char c;
        if (daemon_background(true, NULL) < 0 || daemon_pidfile_write(fd, NULL) < 0)
            _exit(1);
        daemon_ready();
        close(p[1]);
        _exit(read(p[0], &c, 1) != 0); /* until the test closes its end */
    }
    ck_assert_int_eq(ends_with(pid), 0);
    close(fd); /* as the parent's exit does */
    ck_assert_int_eq(daemon_pidfile(scratch("p"), &other, &e), -EEXIST);
    char got[64];
    text_of("p", got, sizeof got);
    ck_assert_int_ne(strtol(got, NULL, 10), (long)getpid());
    got[strcspn(got, "\n")] = 0;
    ck_assert_ptr_nonnull(strstr(e.text, got));
    close(p[0]);
    close(p[1]);
    int r = -EEXIST;
    for (int i = 0; i < 1000 && r == -EEXIST; i++) { /* it ends, and the lock with it */
        r = daemon_pidfile(scratch("p"), &other, &e);
        usleep(r < 0 ? 5000 : 0);
    }
    ck_assert_int_eq(r, 0);
    daemon_pidfile_remove(scratch("p"), other);
}
END_TEST

static void notified(const struct sockaddr_un *sa, socklen_t n, const char *name)
{
    char got[32] = "";
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    ck_assert_int_eq(bind(fd, (const struct sockaddr *)sa, n), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    daemon_ready();
    ck_assert_int_eq(read(fd, got, sizeof got - 1), 7);
    ck_assert_str_eq(got, "READY=1");
    close(fd);
}

START_TEST(service_manager_is_told)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX}, abstract = {.sun_family = AF_UNIX};
    char name[64];

    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", scratch("notify"));
    notified(&sa, sizeof sa, scratch("notify"));
    int n = snprintf(name, sizeof name, "@qsfs-unit-%d", (int)getpid());
    memcpy(abstract.sun_path + 1, name + 1, (size_t)n - 1);
    notified(&abstract, (socklen_t)(offsetof(struct sockaddr_un, sun_path) + (size_t)n), name);
    setenv("NOTIFY_SOCKET", "nonsense", 1);
    daemon_ready();
    unsetenv("NOTIFY_SOCKET");
    daemon_ready();
}
END_TEST

START_TEST(descriptor_limit_is_raised_to_the_hard_one)
{
    struct rlimit rl;

    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &rl), 0);
    rl.rlim_cur = 64;
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &rl), 0);
    daemon_raise_nofile();
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &rl), 0);
    ck_assert_uint_eq(rl.rlim_cur, rl.rlim_max);
}
END_TEST

START_TEST(keys_do_not_end_in_core_dumps)
{
    struct rlimit rl;

    pid_t pid = fork(); /* not the test itself: the leak check wants to trace it */
    if (pid == 0) {
        daemon_no_core();
        _exit(getrlimit(RLIMIT_CORE, &rl) < 0 || rl.rlim_cur != 0 || prctl(PR_GET_DUMPABLE) != 0);
    }
    ck_assert_int_eq(ends_with(pid), 0);
}
END_TEST

static TCase *daemon_case(void)
{
    TCase *t = scratch_case("daemon");
    tcase_add_test(t, pid_file_has_the_pid_and_goes_away);
    tcase_add_test(t, second_instance_is_refused_with_pid_and_file);
    tcase_add_test(t, stale_pid_file_of_a_killed_process_is_taken_over);
    tcase_add_test(t, unwritable_pid_file_is_an_error_with_its_name);
    tcase_add_test(t, parent_ends_as_the_start_went);
    tcase_add_test(t, child_has_its_own_session_and_null_descriptors);
    tcase_add_test(t, output_is_kept_when_asked);
    tcase_add_test(t, complaints_before_ready_are_seen);
    tcase_add_test(t, pid_file_survives_the_background);
    tcase_add_test(t, service_manager_is_told);
    tcase_add_test(t, descriptor_limit_is_raised_to_the_hard_one);
    tcase_add_test(t, keys_do_not_end_in_core_dumps);
    return t;
}

UNIT_MAIN("daemon", daemon_case)
