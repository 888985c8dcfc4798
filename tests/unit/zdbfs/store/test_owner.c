#include "tests/unit/unit.h"
#include "zdbfs/store/owner.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

START_TEST(this_process_is_alive)
{
    struct head_owner o;

    owner_self(&o, "/mnt");
    ck_assert_uint_eq(o.pid, (unsigned)getpid());
    ck_assert_int_eq(owner_look(&o), OWNER_ALIVE);
}
END_TEST

START_TEST(a_process_that_ended_is_gone_also_while_nobody_has_waited_for_it)
{
    struct head_owner o;
    int status, pipes[2];
    siginfo_t si;

    ck_assert_int_eq(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        owner_self(&o, "/mnt");
        if (write(pipes[1], &o, sizeof o) != (ssize_t)sizeof o)
            _exit(1);
        for (;;)
            pause();
    }
    ck_assert_int_eq(read(pipes[0], &o, sizeof o), sizeof o);
    ck_assert_int_eq(owner_look(&o), OWNER_ALIVE);
    struct head_owner former = o;
    former.pid_start--; /* its number was used again */
    ck_assert_int_eq(owner_look(&former), OWNER_GONE);
    kill(pid, SIGKILL);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &si, WEXITED | WNOWAIT), 0);
    ck_assert_int_eq(owner_look(&o), OWNER_GONE);
    waitpid(pid, &status, 0);
    ck_assert_int_eq(owner_look(&o), OWNER_GONE);
    close(pipes[0]);
    close(pipes[1]);
}
END_TEST

START_TEST(what_cannot_be_seen_from_here_is_elsewhere)
{
    struct head_owner me, o;

    owner_self(&me, "/mnt");
    o = me;
    o.pid_ns++;
    ck_assert_int_eq(owner_look(&o), OWNER_ELSEWHERE);
    o = me;
    o.boot[3] ^= 1;
    o.machine[5] ^= 1;
    ck_assert_int_eq(owner_look(&o), OWNER_ELSEWHERE);
    o = me;
    memset(o.boot, 0, 16);
    ck_assert_int_eq(owner_look(&o), OWNER_ELSEWHERE);
}
END_TEST

START_TEST(an_earlier_boot_of_this_machine_is_over)
{
    static const uint8_t zero[16];
    struct head_owner o;

    owner_self(&o, "/mnt");
    bool named = memcmp(o.machine, zero, 16) != 0;
    o.boot[3] ^= 1;
    ck_assert_int_eq(owner_look(&o), named ? OWNER_REBOOTED : OWNER_ELSEWHERE);
    o.host[0] ^= 1;
    ck_assert_int_eq(owner_look(&o), OWNER_ELSEWHERE);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("owner");
    tcase_add_test(t, this_process_is_alive);
    tcase_add_test(t, a_process_that_ended_is_gone_also_while_nobody_has_waited_for_it);
    tcase_add_test(t, what_cannot_be_seen_from_here_is_elsewhere);
    tcase_add_test(t, an_earlier_boot_of_this_machine_is_over);
    return t;
}

UNIT_MAIN("owner", all)
