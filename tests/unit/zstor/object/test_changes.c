#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "common/path.h"
#include "tests/unit/common/scratch.h"
#include "zstor/object/changes.h"

static struct changes *opened(bool daemon)
{
    struct changes *c = NULL;
    struct err e = {0};

    ck_assert_msg(changes_open(&c, scratch("state"), daemon, &e) == 0, "%s", e.text);
    return c;
}

static void change(struct changes *c, const char *key)
{
    ck_assert_int_eq(changes_before(c, key), 0);
    changes_after(c, key);
}

/* One run; how many keys it was given. */
static size_t run(struct changes *c, bool good, bool *whole)
{
    struct changes_state s = {0};
    struct changes_work w;
    struct err e = {0};
    size_t n;

    changes_begin(c, &w);
    n = w.n;
    *whole = w.whole;
    buf_put_str(&s.anchor, "anchor");
    ck_assert_int_eq(changes_end(c, &w, good ? &s : NULL, &e), 0);
    changes_state_fini(&s);
    return n;
}

START_TEST(a_first_start_wants_everything_and_then_only_changes)
{
    struct changes *c = opened(true);
    bool whole;

    ck_assert(changes_any(c) && changes_pending(c, "/a"));
    ck_assert_uint_eq(run(c, true, &whole), 0);
    ck_assert(whole && !changes_any(c) && !changes_pending(c, "/a"));
    change(c, "/a");
    change(c, "/a");
    change(c, "/b");
    ck_assert(changes_any(c) && changes_pending(c, "/a") && !changes_pending(c, "/c"));
    ck_assert_uint_eq(run(c, false, &whole), 2); /* it failed: again */
    ck_assert(!whole && changes_pending(c, "/a"));
    ck_assert_uint_eq(run(c, true, &whole), 2);
    ck_assert(!whole && !changes_any(c));
    changes_close(c);
    c = opened(true); /* nothing was left */
    ck_assert(!changes_any(c));
    changes_close(c);
}
END_TEST

START_TEST(a_crash_with_a_change_wants_everything)
{
    struct changes *c = opened(true);
    bool whole;

    (void)run(c, true, &whole);
    ck_assert_int_eq(changes_before(c, "/a"), 0); /* the change is under way */
    changes_close(c);
    c = opened(true);
    ck_assert(changes_pending(c, "/b"));
    (void)run(c, true, &whole);
    ck_assert(whole);
    changes_close(c);
}
END_TEST

START_TEST(what_is_under_way_is_not_taken)
{
    struct changes *c = opened(true);
    bool whole;

    (void)run(c, true, &whole);
    ck_assert_int_eq(changes_before(c, "/a"), 0);
    ck_assert_uint_eq(run(c, true, &whole), 0);
    ck_assert(changes_pending(c, "/a")); /* the old record was logged, if any */
    changes_after(c, "/a");
    ck_assert_uint_eq(run(c, true, &whole), 1);
    ck_assert(!changes_pending(c, "/a") && !changes_any(c));
    changes_close(c);
}
END_TEST

START_TEST(parts_are_no_changes)
{
    struct changes *c = opened(true);
    bool whole;

    (void)run(c, true, &whole);
    changes_own(c, "/part", false);
    change(c, "/part");
    ck_assert(changes_any(c) && !changes_pending(c, "/part")); /* the anchor is stale */
    ck_assert_uint_eq(run(c, true, &whole), 0);
    ck_assert(!changes_any(c));
    changes_own(c, "/part", true);
    change(c, "/part");
    ck_assert(!changes_any(c));
    changes_close(c);
}
END_TEST

START_TEST(a_command_beside_the_daemon_is_noticed)
{
    struct changes *c = opened(true), *command;
    bool whole;

    (void)run(c, true, &whole);
    command = opened(false);
    change(command, "/a");
    changes_close(command);
    ck_assert(changes_any(c));
    (void)run(c, true, &whole);
    ck_assert(whole && !changes_any(c));
    changes_close(c);
}
END_TEST

START_TEST(the_state_comes_back_or_is_refused)
{
    struct changes_state s = {0}, got;
    CLEANUP(buf_fini) struct buf raw = BUF_INIT;
    struct err e = {0};

    ck_assert_int_eq(path_mkdirs(scratch("state"), 0700), 0);
    buf_put_str(&s.anchor, "anchor");
    s.n = 2;
    s.place = xcalloc(2, sizeof *s.place);
    s.place[0] = (struct changes_place){.backend = xstrdup("1.2.3.4:5 a"), .key = {1, 2}, .len = 4};
    s.place[1] = (struct changes_place){.backend = xstrdup("1.2.3.4:5 b"), .key = {3}, .len = 8};
    ck_assert_int_eq(changes_state_write(scratch("state"), &s, &e), 0);
    ck_assert_int_eq(changes_state_read(scratch("state"), &got), 0);
    ck_assert_uint_eq(got.n, 2);
    ck_assert_str_eq(got.place[1].backend, "1.2.3.4:5 b");
    ck_assert_mem_eq(got.place[0].key, s.place[0].key, 8);
    ck_assert_uint_eq(got.place[0].len, 4);
    changes_state_fini(&got);
    changes_state_fini(&s);
    ck_assert_int_eq(path_read(scratch("state/metadata-log"), 4096, &raw, &e), 0);
    for (size_t i = 0; i < raw.len; i++) {
        buf_data(&raw)[i] ^= 1;
        ck_assert_int_eq(path_replace(scratch("state/metadata-log"), buf_slice(&raw), 0600, &e), 0);
        ck_assert_int_eq(changes_state_read(scratch("state"), &got), -EBADMSG);
        buf_data(&raw)[i] ^= 1;
    }
}
END_TEST

static TCase *all(void)
{
    TCase *t = scratch_case("changes");

    tcase_add_test(t, a_first_start_wants_everything_and_then_only_changes);
    tcase_add_test(t, a_crash_with_a_change_wants_everything);
    tcase_add_test(t, what_is_under_way_is_not_taken);
    tcase_add_test(t, parts_are_no_changes);
    tcase_add_test(t, a_command_beside_the_daemon_is_noticed);
    tcase_add_test(t, the_state_comes_back_or_is_refused);
    return t;
}

UNIT_MAIN("changes", all)
