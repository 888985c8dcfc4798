#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/unit/common/scratch.h"
#include "zstor/queue/journal.h"

#define S(text) ((char *)(text))

struct got {
    struct journal_rec *rec[64];
    size_t n;
};

static void take(void *arg, struct journal_rec *rec)
{
    struct got *g = arg;

    ck_assert_uint_lt(g->n, ARRAY_LEN(g->rec));
    g->rec[g->n++] = rec;
}

static struct journal *opened(struct got *g)
{
    struct journal *j = NULL;
    struct err e = {0};

    ck_assert_msg(journal_open(&j, scratch("state"), &e) == 0, "%s", e.text);
    ck_assert_msg(journal_load(j, take, g, &e) == 0, "%s", e.text);
    return j;
}

static void drop(struct got *g)
{
    for (size_t i = 0; i < g->n; i++)
        journal_rec_free(g->rec[i]);
    g->n = 0;
}

static void put_file(const char *path, const char *text)
{
    struct err e = {0};

    ck_assert_int_eq(path_replace(path, slice_str(text), 0600, &e), 0);
}

/* A job; source NULL: with a snapshot. */
static uint64_t add(struct journal *j, const char *name, const char *source)
{
    struct journal_rec rec = {.seq = journal_next(j),
                              .name = (char *)name,
                              .source = (char *)source,
                              .bytes = 7,
                              .queued_s = 1000};
    struct err e = {0};

    if (!source) {
        char *copy = journal_snapshot_path(j, rec.seq);

        put_file(copy, "content");
        free(copy);
    }
    ck_assert_msg(journal_add(j, &rec, &e) == 0, "%s", e.text);
    return rec.seq;
}

START_TEST(a_record_survives_encoding)
{
    struct journal_rec in[] = {
        {.op = JOURNAL_STORE,
         .name = S("/a/d1"),
         .source = S("/x/d1"),
         .remove = true,
         .bytes = UINT64_MAX,
         .queued_s = 1},
        {.op = JOURNAL_STORE,
         .name = S("/a\r\n$3"),
         .source = NULL,
         .bytes = 0,
         .queued_s = UINT64_MAX},
        {.op = JOURNAL_REBUILD, .name = S("/\xff\xfe"), .source = NULL},
    };

    for (size_t i = 0; i < ARRAY_LEN(in); i++) {
        struct journal_rec *out = xcalloc(1, sizeof *out);
        struct buf b = BUF_INIT;
        struct err e = {0};

        journal_encode(&in[i], &b);
        ck_assert_msg(journal_decode(out, buf_slice(&b), &e) == 0, "%s", e.text);
        ck_assert_int_eq(out->op, in[i].op);
        ck_assert_str_eq(out->name, in[i].name);
        ck_assert_int_eq(out->source == NULL, in[i].source == NULL);
        ck_assert_int_eq(out->remove, in[i].remove);
        ck_assert_uint_eq(out->bytes, in[i].bytes);
        ck_assert_uint_eq(out->queued_s, in[i].queued_s);
        journal_rec_free(out);
        /* no prefix and no changed byte of it is a job */
        for (size_t n = 0; n < b.len; n++) {
            struct journal_rec bad;
            struct buf c = BUF_INIT;

            ck_assert_int_eq(journal_decode(&bad, slice_of(buf_data(&b), n), &e), -EINVAL);
            buf_put_slice(&c, buf_slice(&b));
            buf_data(&c)[n] ^= 1;
            ck_assert_int_eq(journal_decode(&bad, buf_slice(&c), &e), -EINVAL);
            buf_fini(&c);
        }
        buf_fini(&b);
    }
}
END_TEST

START_TEST(jobs_come_back_in_order)
{
    struct got g = {0};
    struct journal *j = opened(&g);
    struct journal_rec gone = {0};

    ck_assert_uint_eq(g.n, 0);
    add(j, "/o/1", "/data/d1");
    gone.seq = add(j, "/o/2", NULL);
    add(j, "/o/3", NULL);
    journal_remove(j, &gone);
    journal_close(j);
    j = opened(&g);
    ck_assert_uint_eq(g.n, 2);
    ck_assert_str_eq(g.rec[0]->name, "/o/1");
    ck_assert_str_eq(g.rec[0]->source, "/data/d1");
    ck_assert_str_eq(g.rec[1]->name, "/o/3");
    ck_assert_ptr_null(g.rec[1]->source);
    ck_assert_uint_gt(journal_next(j), g.rec[1]->seq);
    drop(&g);
    journal_close(j);
}
END_TEST

START_TEST(a_removed_job_leaves_no_file)
{
    struct got g = {0};
    struct journal *j = opened(&g);
    struct journal_rec rec = {0};
    char **names;
    size_t n;

    rec.seq = add(j, "/o", NULL);
    journal_remove(j, &rec);
    ck_assert_int_eq(path_list(scratch("state/queue"), &names, &n), 0);
    path_list_free(names, n);
    ck_assert_uint_eq(n, 0);
    ck_assert_int_eq(path_list(scratch("state/snap"), &names, &n), 0);
    path_list_free(names, n);
    ck_assert_uint_eq(n, 0);
    journal_close(j);
}
END_TEST

START_TEST(leftovers_go_and_damage_is_kept_aside)
{
    struct got g = {0};
    struct journal *j = opened(&g);
    struct log_conf quiet = {.path = "/dev/null"};
    char *lost, name[64];
    uint64_t damaged;
    struct stat st;

    ck_assert_int_eq(log_open(&quiet, NULL), 0);
    damaged = add(j, "/o/damaged", NULL);
    add(j, "/o/good", NULL);
    lost = journal_snapshot_path(j, add(j, "/o/lost", NULL));
    ck_assert_int_eq(unlink(lost), 0);
    free(lost);
    journal_close(j);
    put_file(scratch("state/snap/00000000000000000999"), "orphan");
    put_file(scratch("state/queue/.00000000000000000777.job.ab12"), "half");
    snprintf(name, sizeof name, "state/queue/%020" PRIu64 ".job", damaged);
    put_file(scratch(name), "00000000\n*1\r\n$1\r\nx\r\n");

    j = opened(&g);
    ck_assert_uint_eq(g.n, 1);
    ck_assert_str_eq(g.rec[0]->name, "/o/good");
    ck_assert_int_lt(stat(scratch("state/snap/00000000000000000999"), &st), 0);
    ck_assert_int_lt(stat(scratch("state/queue/.00000000000000000777.job.ab12"), &st), 0);
    snprintf(name, sizeof name, "state/queue/%020" PRIu64 ".job.bad", damaged);
    ck_assert_int_eq(stat(scratch(name), &st), 0);
    snprintf(name, sizeof name, "state/snap/%020" PRIu64, damaged); /* the content is still there
                                                                       for a human */
    ck_assert_int_eq(stat(scratch(name), &st), 0);
    ck_assert_uint_gt(journal_next(j), 999); /* no number is used twice */
    drop(&g);
    journal_close(j);
}
END_TEST

START_TEST(a_second_owner_is_refused)
{
    struct got g = {0};
    struct journal *j = opened(&g), *k = NULL;
    struct err e = {0};

    ck_assert_int_eq(journal_open(&k, scratch("state"), &e), -EBUSY);
    ck_assert_ptr_nonnull(strstr(e.text, "in use by another zstor"));
    journal_close(j);
    ck_assert_int_eq(journal_open(&k, scratch("state"), &e), 0);
    journal_close(k);
}
END_TEST

/* A child adds jobs and tells each number after the acknowledgement; it is killed somewhere. */
START_TEST(what_was_acknowledged_survives_kill_9)
{
    for (int round = 0; round < 10; round++) {
        struct got g = {0};
        uint64_t seq, last = 0;
        size_t told = 0, n = 0;
        struct journal *j;
        int fds[2];
        pid_t pid;

        ck_assert_int_eq(pipe(fds), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
            j = opened(&g);
            for (;;) {
                seq = add(j, "/object", NULL);
                if (write(fds[1], &seq, sizeof seq) != sizeof seq)
                    _exit(1);
            }
        }
        close(fds[1]);
        for (; n < 3 + (size_t)round && read(fds[0], &seq, sizeof seq) == sizeof seq; n++)
            last = seq;
        kill(pid, SIGKILL);
        while (read(fds[0], &seq, sizeof seq) == sizeof seq) {
            last = seq;
            n++;
        }
        close(fds[0]);
        waitpid(pid, NULL, 0);
        j = opened(&g);
        for (size_t i = 0; i < g.n; i++)
            told += g.rec[i]->seq <= last;
        ck_assert_uint_eq(told, n); /* all that were told; perhaps one more that was not */
        ck_assert_uint_le(g.n, n + 1);
        for (size_t i = 0; i < g.n; i++)
            journal_remove(j, g.rec[i]);
        drop(&g);
        journal_close(j);
        ck_assert_int_eq(path_remove_tree(scratch("state")), 0);
    }
}
END_TEST

static TCase *all(void)
{
    TCase *t = scratch_case("journal");

    tcase_add_test(t, a_record_survives_encoding);
    tcase_add_test(t, jobs_come_back_in_order);
    tcase_add_test(t, a_removed_job_leaves_no_file);
    tcase_add_test(t, leftovers_go_and_damage_is_kept_aside);
    tcase_add_test(t, a_second_owner_is_refused);
    tcase_add_test(t, what_was_acknowledged_survives_kill_9);
    return t;
}

UNIT_MAIN("journal", all)
