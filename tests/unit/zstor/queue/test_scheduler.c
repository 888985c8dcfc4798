#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "tests/unit/common/scratch.h"
#include "zstor/queue/scheduler.h"

/* Operations here do what the table says: each run looks up the object's path, waits until its gate
 * is open, notes the order, answers with the next of its outcomes. */
struct act {
    const char *path;
    int rc[8];        /* outcomes of the runs, the last one for all that follow */
    atomic_uint lost; /* shards_lost of a run with rc 0 */
    bool gated;       /* waits until the gate is opened */
    atomic_uint runs;
};

static struct act acts[16];
static size_t nacts;
static char journey[4096]; /* "+a" begins, "-a" ends */
static bool gate_open;
static unsigned busy_now;
static atomic_uint busy_most;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct loop *loop;
static struct journal *journal;
static struct sched *sched;
static unsigned held, finished;

static void note(char sign, const char *path)
{
    size_t n = strlen(journey);

    snprintf(journey + n, sizeof journey - n, "%c%s ", sign, path + 1);
}

static void run(struct task *t, void *with, const atomic_bool *stop)
{
    const char *name = t->path ? t->path : t->meta_key;
    struct act *a = NULL;

    ck_assert_ptr_eq(with, &held);
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < nacts; i++)
        if (strcmp(acts[i].path, name) == 0 ||
            (strcmp(acts[i].path, "/many") == 0 && strncmp(name, "/many/", 6) == 0))
            a = &acts[i];
    ck_assert_ptr_nonnull(a);
    note('+', name);
    busy_now++;
    busy_most = MAX(busy_most, busy_now);
    pthread_cond_broadcast(&changed);
    while (a->gated && !gate_open && !atomic_load(stop)) {
        struct timespec ts;

        clock_gettime(CLOCK_REALTIME, &ts);
        ts.tv_nsec += 10000000;
        if (ts.tv_nsec >= 1000000000) {
            ts.tv_sec++;
            ts.tv_nsec -= 1000000000;
        }
        pthread_cond_timedwait(&changed, &lock, &ts);
    }
    unsigned k = MIN(a->runs, (unsigned)ARRAY_LEN(a->rc) - 1);

    t->rc = a->gated && atomic_load(stop) ? -ECANCELED : a->rc[k];
    if (t->rc < 0)
        err_set(&t->err, -t->rc, "as told");
    t->res.shards_lost = t->rc == 0 ? a->lost : 0;
    a->runs++;
    busy_now--;
    note('-', name);
    pthread_mutex_unlock(&lock);
}

static void *acquire(void *arg)
{
    held++;
    return arg;
}

static void release(void *arg, void *with)
{
    ck_assert_ptr_eq(arg, with);
    held--;
}

static void on_finished(void *arg, const struct task *t)
{
    (void)arg;
    (void)t;
    finished++;
}

static void start(void)
{
    struct log_conf quiet = {.path = "/dev/null"};
    struct sched_conf c = {
        .threads = {2, 2, 1},
        .max_commands = 8,
        .retry_min_ms = 20,
        .retry_max_ms = 80,
        .rebuild_min_ms = 20,
        .rebuild_max_ms = 80,
        .grace_s = 3600,
        .arg = &held,
        .acquire = acquire,
        .release = release,
        .run = run,
        .finished = on_finished,
    };
    struct err e = {0};

    scratch_begin();
    ck_assert_int_eq(log_open(&quiet, &e), 0);
    ck_assert_int_eq(loop_new(&loop, &e), 0);
    ck_assert_int_eq(journal_open(&journal, scratch("state"), &e), 0);
    c.loop = loop;
    c.journal = journal;
    ck_assert_msg(sched_new(&sched, &c, &e) == 0, "%s", e.text);
}

static void end(void)
{
    sched_free(sched);
    ck_assert_uint_eq(held, 0);
    journal_close(journal);
    loop_free(loop);
    scratch_end();
}

static struct act *act(const char *path, int first)
{
    struct act *a = &acts[nacts++];

    a->path = path;
    a->rc[0] = first; /* then 0 */
    return a;
}

static struct act *always(const char *path, int rc)
{
    struct act *a = act(path, rc);

    for (size_t i = 1; i < ARRAY_LEN(a->rc); i++)
        a->rc[i] = rc;
    return a;
}

/* A durable store; source NULL: a snapshot. */
static void add(enum journal_op op, const char *path, const char *source, bool remove)
{
    struct journal_rec *rec = xcalloc(1, sizeof *rec);
    struct err e = {0};

    *rec = (struct journal_rec){.seq = journal_next(journal),
                                .op = op,
                                .name = xstrdup(path),
                                .remove = remove,
                                .bytes = 10,
                                .queued_s = base_wall_s(),
                                .source = source ? xstrdup(source) : NULL};
    ck_assert_msg(journal_add(journal, rec, &e) == 0, "%s", e.text);
    sched_add(sched, rec, path);
}

static size_t in_journal(void)
{
    char **names = NULL;
    size_t n = 0;

    ck_assert_int_eq(path_list(scratch("state/queue"), &names, &n), 0);
    path_list_free(names, n);
    return n;
}

static uint64_t jobs(void)
{
    struct sched_stats st;

    sched_stats(sched, &st);
    return st.jobs + st.rebuilds;
}

#define UNTIL(cond)                                                                  \
    do {                                                                             \
        uint64_t until_ = base_now_ms() + 20000;                                     \
        while (!(cond)) {                                                            \
            ck_assert_msg(base_now_ms() < until_, "never: " #cond " (%s)", journey); \
            loop_once(loop, 10);                                                     \
        }                                                                            \
    } while (0)

static bool saw(const char *text)
{
    bool yes;

    pthread_mutex_lock(&lock);
    yes = strstr(journey, text) != NULL;
    pthread_mutex_unlock(&lock);
    return yes;
}

static void open_gate(void)
{
    pthread_mutex_lock(&lock);
    gate_open = true;
    pthread_cond_broadcast(&changed);
    pthread_mutex_unlock(&lock);
}

static void set_flag(void *arg)
{
    *(bool *)arg = true;
}

static void set_done(void *arg, bool done)
{
    *(int *)arg = done;
}

static void keep_rc(void *arg, const struct task *t)
{
    *(int *)arg = t->rc;
}

static int submit(enum sched_class class, enum task_op op, const char *path, const char *name,
                  int *rc)
{
    struct task *t = task_new(op, path);
    int r;

    *rc = 1;
    t->source = op == TASK_STORE ? xstrdup("/src") : NULL;
    r = sched_submit(sched, class, t, name, keep_rc, rc);
    if (r < 0)
        task_free(t);
    return r;
}

START_TEST(a_job_runs_and_leaves_the_journal)
{
    act("/a", 0);
    add(JOURNAL_STORE, "/a", NULL, false);
    ck_assert_uint_eq(in_journal(), 1);
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(in_journal(), 0);
    ck_assert_uint_eq(acts[0].runs, 1);
    ck_assert_uint_eq(finished, 1);
}
END_TEST

START_TEST(a_failing_job_is_tried_again_and_does_not_hold_the_others_up)
{
    struct act *a = act("/a", -ENOLINK);

    a->rc[1] = a->rc[2] = -ENOLINK;
    act("/b", 0);
    act("/c", 0);
    add(JOURNAL_STORE, "/a", NULL, false);
    add(JOURNAL_STORE, "/b", NULL, false);
    add(JOURNAL_STORE, "/c", NULL, false);
    UNTIL(jobs() == 1);
    ck_assert_uint_lt(acts[0].runs, 4);
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(acts[0].runs, 4);
    ck_assert_uint_eq(acts[1].runs, 1);
    ck_assert_uint_eq(in_journal(), 0);
}
END_TEST

static uint64_t reclaims(void)
{
    struct sched_stats st;

    sched_stats(sched, &st);
    return st.reclaims;
}

START_TEST(what_is_dead_waits_for_its_grace_whatever_happens)
{
    struct journal_rec *rec = xcalloc(1, sizeof *rec);
    struct act *a = act("/test/meta/1", 0);
    struct err e = {0};

    act("/a", 0);
    add(JOURNAL_RECLAIM, "/test/meta/1", NULL, false);
    sched_kick(sched);
    add(JOURNAL_STORE, "/a", NULL, false);
    UNTIL(acts[1].runs == 1);
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(a->runs, 0);
    ck_assert_uint_eq(reclaims(), 1);
    ck_assert(!sched_busy(sched, "/test/meta/1", true)); /* its object may be evicted meanwhile */
    *rec = (struct journal_rec){.seq = journal_next(journal),
                                .op = JOURNAL_RECLAIM,
                                .name = xstrdup("/test/meta/1"),
                                .queued_s = base_wall_s() - 4000}; /* before the last stop */
    ck_assert_int_eq(journal_add(journal, rec, &e), 0);
    sched_add(sched, rec, "/test/meta/1");
    ck_assert_uint_eq(reclaims(), 2); /* of one object, and neither is dropped for the other */
    UNTIL(reclaims() == 1);
    ck_assert_uint_eq(a->runs, 1);
    ck_assert_uint_eq(in_journal(), 1);
}
END_TEST

START_TEST(the_time_between_tries_grows_and_a_kick_ends_it)
{
    struct act *a = always("/a", -ENOLINK);
    struct sched_stats st;
    uint64_t begun = base_now_ms();

    add(JOURNAL_STORE, "/a", NULL, false);
    UNTIL(acts[0].runs == 4);
    ck_assert_uint_ge(base_now_ms() - begun, 10 + 20 + 40); /* halves of 20, 40, 80 */
    sched_stats(sched, &st);
    UNTIL((sched_stats(sched, &st), st.failing == 1));
    UNTIL((sched_stats(sched, &st), st.running[SCHED_STORE] == 0));
    unsigned before = a->runs;
    sched_kick(sched);
    sched_stats(sched, &st);
    ck_assert_uint_eq(st.running[SCHED_STORE], 1);
    UNTIL(a->runs > before);
}
END_TEST

START_TEST(a_pending_store_of_the_same_object_is_replaced)
{
    int done = -1;

    act("/a", 0)->gated = true;
    act("/b", 0)->gated = true;
    act("/c", 0);
    add(JOURNAL_STORE, "/a", NULL, false);
    add(JOURNAL_STORE, "/b", NULL, false); /* both threads are taken */
    add(JOURNAL_STORE, "/c", NULL, false);
    sched_wait(sched, set_done, &done);
    add(JOURNAL_STORE, "/c", NULL, false);
    add(JOURNAL_STORE, "/c", NULL, false);
    ck_assert_uint_eq(jobs(), 3);
    ck_assert_uint_eq(in_journal(), 3);
    open_gate();
    UNTIL(done == 1); /* the wait counts the newer one for the one that it replaced */
    ck_assert_uint_eq(acts[2].runs, 1);
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(in_journal(), 0);
}
END_TEST

START_TEST(a_store_that_deletes_is_not_replaced_by_one_that_does_not)
{
    act("/a", 0)->gated = true;
    act("/b", 0)->gated = true;
    act("/c", 0);
    add(JOURNAL_STORE, "/a", NULL, false);
    add(JOURNAL_STORE, "/b", NULL, false);
    add(JOURNAL_STORE, "/c", "/data/d1", true);
    add(JOURNAL_STORE, "/c", "/data/d1", false);
    ck_assert_uint_eq(jobs(), 4);
    open_gate();
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(acts[2].runs, 2);
}
END_TEST

START_TEST(one_object_is_never_written_twice_at_a_time)
{
    act("/a", 0)->gated = true;
    int rc;

    add(JOURNAL_STORE, "/a", NULL, false);
    UNTIL(saw("+a"));
    add(JOURNAL_STORE, "/a", NULL, false);
    ck_assert_int_eq(submit(SCHED_STORE, TASK_STORE, "/a", "/a", &rc), 0);
    ck_assert_int_eq(submit(SCHED_REPAIR, TASK_REBUILD, "/a", "/a", &rc), 0);
    ck_assert(sched_busy(sched, "/a", false));
    for (int i = 0; i < 10; i++)
        loop_once(loop, 5);
    ck_assert_uint_eq(busy_most, 1);
    open_gate();
    UNTIL(jobs() == 0 && !sched_busy(sched, "/a", true));
    ck_assert_uint_eq(busy_most, 1);
}
END_TEST

START_TEST(retrieves_do_not_wait_for_stores)
{
    int rc = 1;

    act("/a", 0)->gated = true;
    act("/b", 0)->gated = true;
    act("/c", 0);
    add(JOURNAL_STORE, "/a", NULL, false);
    add(JOURNAL_STORE, "/b", NULL, false);
    ck_assert_int_eq(submit(SCHED_QUICK, TASK_RETRIEVE, "/c", NULL, &rc), 0);
    UNTIL(rc == 0);
    ck_assert_uint_eq(jobs(), 2);
    open_gate();
    UNTIL(jobs() == 0);
}
END_TEST

START_TEST(retrieves_of_the_same_file_share_one_run)
{
    int rc[3];

    act("/a", 0)->gated = true;
    for (int i = 0; i < 3; i++)
        ck_assert_int_eq(submit(SCHED_QUICK, TASK_RETRIEVE, "/a", NULL, &rc[i]), 0);
    open_gate();
    UNTIL(rc[0] == 0 && rc[1] == 0 && rc[2] == 0);
    ck_assert_uint_eq(acts[0].runs, 1);
}
END_TEST

START_TEST(a_command_is_answered_with_its_failure_and_not_repeated)
{
    int rc = 1;

    act("/a", -ENOSPC);
    ck_assert_int_eq(submit(SCHED_STORE, TASK_STORE, "/a", "/a", &rc), 0);
    UNTIL(rc != 1);
    ck_assert_int_eq(rc, -ENOSPC);
    for (int i = 0; i < 10; i++)
        loop_once(loop, 10);
    ck_assert_uint_eq(acts[0].runs, 1);
}
END_TEST

START_TEST(a_store_that_was_waited_for_replaces_older_queued_ones)
{
    struct act *a = act("/a", -ENOLINK);
    int rc = 1;

    a->gated = true;
    add(JOURNAL_STORE, "/a", NULL, false);
    UNTIL(saw("+a"));
    ck_assert_int_eq(submit(SCHED_STORE, TASK_STORE, "/a", "/a", &rc), 0); /* waits for the object
                                                                            */
    open_gate();
    UNTIL(rc == 0); /* the first try of the job failed, then the command ran before it */
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(a->runs, 2);
    ck_assert_uint_eq(in_journal(), 0);
}
END_TEST

START_TEST(commands_are_bounded)
{
    int rc[12];

    act("/a", 0)->gated = true;
    for (int i = 0; i < 8; i++)
        ck_assert_int_eq(submit(SCHED_QUICK, TASK_CHECK, "/a", NULL, &rc[i]), 0);
    ck_assert_int_eq(submit(SCHED_QUICK, TASK_CHECK, "/a", NULL, &rc[8]), -EBUSY);
    open_gate();
    for (int i = 0; i < 8; i++)
        UNTIL(rc[i] == 0);
    ck_assert_int_eq(submit(SCHED_QUICK, TASK_CHECK, "/a", NULL, &rc[8]), 0);
    UNTIL(rc[8] == 0);
}
END_TEST

START_TEST(a_file_that_is_gone_for_good_is_dropped)
{
    char here[256], there[256];

    snprintf(here, sizeof here, "%s/d1", scratch_dir);
    snprintf(there, sizeof there, "%s/not-mounted/d1", scratch_dir);
    act("/a", -ENOENT);
    always("/b", -ENOENT);
    add(JOURNAL_STORE, "/a", here, false);
    add(JOURNAL_STORE, "/b", there, false); /* its directory is missing: it may come back */
    UNTIL(jobs() == 1);
    UNTIL(acts[1].runs >= 2);
    ck_assert_uint_eq(acts[0].runs, 1);
    ck_assert_uint_eq(in_journal(), 1);
}
END_TEST

START_TEST(a_rebuild_that_leaves_something_lost_is_tried_again)
{
    struct act *a = act("/a", 0);

    a->lost = 1;
    add(JOURNAL_REBUILD, "/a", NULL, false);
    add(JOURNAL_REBUILD, "/a", NULL, false); /* one is enough */
    ck_assert_uint_eq(jobs(), 1);
    UNTIL(a->runs == 3);
    a->lost = 0;
    UNTIL(jobs() == 0);
    ck_assert_uint_eq(in_journal(), 0);
}
END_TEST

START_TEST(waiting_ends_with_what_was_queued_before)
{
    int none = -1, first = -1, second = -1;

    act("/a", 0)->gated = true;
    act("/b", 0);
    always("/c", -EIO);
    sched_wait(sched, set_done, &none);
    ck_assert_int_eq(none, 1);
    add(JOURNAL_REBUILD, "/c", NULL, false); /* does not count */
    add(JOURNAL_STORE, "/b", NULL, false);
    sched_wait(sched, set_done, &first);
    add(JOURNAL_STORE, "/a", NULL, false);
    sched_wait(sched, set_done, &second);
    UNTIL(first == 1);
    ck_assert_int_eq(second, -1);
    open_gate();
    UNTIL(second == 1);
}
END_TEST

START_TEST(draining_runs_what_can_run_and_keeps_the_rest)
{
    struct act *a = always("/a", -ENOLINK);
    bool idle = false;
    int rc = 1, waited = -1;

    act("/b", 0)->gated = true;
    add(JOURNAL_STORE, "/a", NULL, false);
    UNTIL(a->runs == 1 && jobs() == 1);
    add(JOURNAL_STORE, "/b", NULL, false);
    sched_wait(sched, set_done, &waited);
    sched_drain(sched, set_flag, &idle);
    ck_assert_int_eq(submit(SCHED_QUICK, TASK_CHECK, "/b", NULL, &rc), -ESHUTDOWN);
    add(JOURNAL_STORE, "/a", NULL, false); /* kept for the next start */
    ck_assert(!idle);
    open_gate();
    UNTIL(idle);
    ck_assert_uint_eq(acts[1].runs, 1);
    ck_assert_uint_eq(in_journal(), 1);
    ck_assert_int_eq(waited, 0); /* told that it is not all done */
}
END_TEST

START_TEST(an_abort_ends_what_runs_and_keeps_it)
{
    bool idle = false;
    int rc = 1;

    act("/a", 0)->gated = true;
    act("/b", 0);
    add(JOURNAL_STORE, "/a", NULL, false);
    UNTIL(saw("+a"));
    ck_assert_int_eq(submit(SCHED_STORE, TASK_STORE, "/a", "/a", &rc), 0);
    sched_drain(sched, set_flag, &idle);
    sched_abort(sched);
    ck_assert_int_eq(rc, -ECANCELED);
    UNTIL(idle);
    ck_assert_uint_eq(in_journal(), 1);
    ck_assert_uint_eq(acts[1].runs, 0);
}
END_TEST

/* Steps of the queue since the last call, for each of n events. */
static uint64_t steps_each(uint64_t n)
{
    static uint64_t before;
    struct sched_stats st;
    uint64_t steps;

    sched_stats(sched, &st);
    steps = st.steps - before;
    before = st.steps;
    return steps / n;
}

static void add_many(unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        struct journal_rec *rec = xcalloc(1, sizeof *rec);

        *rec = (struct journal_rec){.seq = journal_next(journal),
                                    .op = JOURNAL_STORE,
                                    .bytes = 10,
                                    .queued_s = base_wall_s()};
        rec->name = xasprintf("/many/%u", i);
        sched_add(sched, rec, rec->name);
    }
}

/* Counted, not timed: with lists that are walked each event costs as many steps as jobs wait. */
START_TEST(a_hundred_thousand_waiting_jobs_cost_nothing)
{
    const uint64_t few = 400;
    struct sched_stats st;

    nacts = 2;
    acts[0] = (struct act){.path = "/many", .gated = true};
    acts[1] = (struct act){.path = "/quick"};
    steps_each(1);
    add_many(100000);
    ck_assert_uint_le(steps_each(100000), few); /* to come in */
    sched_stats(sched, &st);
    ck_assert_uint_eq(st.jobs, 100000);
    ck_assert_uint_eq(st.bytes, 1000000);
    for (int i = 0; i < 200; i++) { /* to be asked about, and to come and go beside them */
        int rc;
        ck_assert(sched_busy(sched, "/many/77777", false));
        sched_stats(sched, &st);
        ck_assert_int_eq(submit(SCHED_QUICK, TASK_CHECK, "/quick", NULL, &rc), 0);
        UNTIL(rc <= 0);
    }
    ck_assert_uint_le(steps_each(200), few);
    add_many(200); /* to be replaced */
    ck_assert_uint_le(steps_each(200), few);
    sched_stats(sched, &st);
    ck_assert_uint_ge(st.replaced, 198);
    uint64_t done = st.done;
    open_gate(); /* to run */
    UNTIL((sched_stats(sched, &st), st.done >= done + 2000));
    ck_assert_uint_le(steps_each(2000), few);
}
END_TEST

/* One thread: what somebody waits for, then the queue, then what has time. */
START_TEST(priorities_are_kept)
{
    static const char *const path[] = {"/first", "/idle", "/queued", "/asked"};
    int rc = 1;

    for (int i = 0; i < 4; i++)
        act(path[i], 0)->gated = true;
    ck_assert_int_eq(submit(SCHED_REPAIR, TASK_REBUILD, path[0], path[0], &rc), 0);
    UNTIL(saw("+first"));
    for (int i = 1; i < 4; i++) {
        struct task *t = task_new(TASK_REBUILD, path[i]);

        t->priority = i == 1 ? TASK_BACKGROUND : i == 2 ? TASK_QUEUED : TASK_AWAITED;
        ck_assert_int_eq(sched_submit(sched, SCHED_REPAIR, t, path[i], keep_rc, &rc), 0);
    }
    open_gate();
    UNTIL(saw("-idle"));
    ck_assert_str_eq(journey, "+first -first +asked -asked +queued -queued +idle -idle ");
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("sched");

    tcase_add_checked_fixture(t, start, end);
    tcase_add_test(t, a_job_runs_and_leaves_the_journal);
    tcase_add_test(t, a_failing_job_is_tried_again_and_does_not_hold_the_others_up);
    tcase_add_test(t, what_is_dead_waits_for_its_grace_whatever_happens);
    tcase_add_test(t, the_time_between_tries_grows_and_a_kick_ends_it);
    tcase_add_test(t, a_pending_store_of_the_same_object_is_replaced);
    tcase_add_test(t, a_store_that_deletes_is_not_replaced_by_one_that_does_not);
    tcase_add_test(t, one_object_is_never_written_twice_at_a_time);
    tcase_add_test(t, retrieves_do_not_wait_for_stores);
    tcase_add_test(t, retrieves_of_the_same_file_share_one_run);
    tcase_add_test(t, a_command_is_answered_with_its_failure_and_not_repeated);
    tcase_add_test(t, a_store_that_was_waited_for_replaces_older_queued_ones);
    tcase_add_test(t, commands_are_bounded);
    tcase_add_test(t, a_file_that_is_gone_for_good_is_dropped);
    tcase_add_test(t, a_rebuild_that_leaves_something_lost_is_tried_again);
    tcase_add_test(t, waiting_ends_with_what_was_queued_before);
    tcase_add_test(t, draining_runs_what_can_run_and_keeps_the_rest);
    tcase_add_test(t, an_abort_ends_what_runs_and_keeps_it);
    tcase_add_test(t, priorities_are_kept);
    tcase_add_test(t, a_hundred_thousand_waiting_jobs_cost_nothing);
    return t;
}

UNIT_MAIN("sched", all)
