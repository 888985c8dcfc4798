/* What a job leaves is on disk when the call returns, and reaches the loop once. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/loop.h"
#include "tests/unit/common/scratch.h"
#include "zstor/format/record.h"
#include "zstor/queue/followup.h"

struct got {
    struct loop *loop; /* stopped when `until` are there */
    size_t n, until;
    struct journal_rec *rec[16];
};

static void take(void *arg, struct journal_rec *rec)
{
    struct got *g = arg;

    ck_assert_uint_lt(g->n, ARRAY_LEN(g->rec));
    g->rec[g->n++] = rec;
    if (g->loop && g->n == g->until)
        loop_stop(g->loop);
}

static void drop(struct got *g)
{
    for (size_t i = 0; i < g->n; i++)
        journal_rec_free(g->rec[i]);
    g->n = 0;
}

static struct journal *opened(struct got *g)
{
    struct journal *j = NULL;
    struct err e = {0};

    ck_assert_msg(journal_open(&j, scratch("state"), &e) == 0, "%s", e.text);
    ck_assert_msg(journal_load(j, take, g, &e) == 0, "%s", e.text);
    return j;
}

static void *complete(void *arg) /* a job thread */
{
    struct err e = {0};

    ck_assert_msg(followup_complete(arg, "/object", &e) == 0, "%s", e.text);
    return NULL;
}

START_TEST(what_is_left_is_on_disk_at_once_and_handed_over_once)
{
    struct meta_record dead;
    struct loop *loop = NULL;
    struct got g = {0}, again = {0};
    struct journal *j;
    struct followup *f;
    struct err e = {0};
    pthread_t t[4];
    char *copy;

    ck_assert_int_eq(loop_new(&loop, &e), 0);
    j = opened(&g);
    g.loop = loop;
    g.until = ARRAY_LEN(t) + 1;
    f = followup_new(&(struct followup_conf){.loop = loop, .journal = j, .added = take, .arg = &g});
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        ck_assert_int_eq(pthread_create(&t[i], NULL, complete, f), 0);
    for (size_t i = 0; i < ARRAY_LEN(t); i++)
        pthread_join(t[i], NULL);
    meta_record_init(&dead, (struct geometry){2, 2});
    dead.size = 7;
    ck_assert_int_eq(followup_bury(f, "/p/meta/k", &dead, &e), 0);
    meta_record_fini(&dead);
    ck_assert_uint_eq(g.n, 0); /* the loop has not run: a crash now */
    journal_close(j);
    j = opened(&again);
    ck_assert_uint_eq(again.n, ARRAY_LEN(t) + 1);
    ck_assert_int_eq(again.rec[0]->op, JOURNAL_REBUILD);
    ck_assert_str_eq(again.rec[0]->name, "/object");
    ck_assert_int_eq(again.rec[4]->op, JOURNAL_RECLAIM);
    ck_assert_uint_eq(again.rec[4]->bytes, 7);
    copy = journal_snapshot_path(j, again.rec[4]->seq);
    ck_assert_int_eq(access(copy, F_OK), 0);
    free(copy);
    ck_assert_int_eq(loop_run(loop), 0);
    ck_assert_uint_eq(g.n, ARRAY_LEN(t) + 1);
    followup_free(f);
    drop(&g);
    drop(&again);
    journal_close(j);
    loop_free(loop);
}
END_TEST

START_TEST(what_cannot_be_kept_is_said_and_leaves_nothing)
{
    struct loop *loop = NULL;
    struct got g = {0};
    struct journal *j;
    struct followup *f;
    struct err e = {0};
    char *name = xcalloc(1, 100000);

    memset(name, 'x', 99999);
    name[0] = '/';
    ck_assert_int_eq(loop_new(&loop, &e), 0);
    j = opened(&g);
    f = followup_new(&(struct followup_conf){.loop = loop, .journal = j, .added = take, .arg = &g});
    ck_assert_int_eq(followup_complete(f, name, &e), -ENAMETOOLONG);
    ck_assert_str_ne(e.text, "");
    followup_free(f);
    journal_close(j);
    j = opened(&g);
    ck_assert_uint_eq(g.n, 0);
    journal_close(j);
    loop_free(loop);
    free(name);
}
END_TEST

static TCase *all(void)
{
    TCase *t = scratch_case("followup");

    tcase_add_test(t, what_is_left_is_on_disk_at_once_and_handed_over_once);
    tcase_add_test(t, what_cannot_be_kept_is_said_and_leaves_nothing);
    return t;
}

UNIT_MAIN("followup", all)
