#include "tests/unit/unit.h"

#include <errno.h>
#include <string.h>

#include "zstor/backend/nsinfo.h"

#define HEAD "# namespace\nname: d1\nentries: 4\npublic: yes\nworm: no\n"
#define TAIL                                                                                \
    "password: no\ndata_size_bytes: 100\ndata_size_mb: 0.00\nindex_size_bytes: 288\nmode: " \
    "sequential\n"
#define GOOD HEAD "locked: no\n" TAIL "data_limits_bytes: 1000\n"

static int parse(const char *text, struct backend_info *out)
{
    struct err e = {0};
    int r = backend_info_parse(slice_str(text), out, &e);

    if (r < 0)
        ck_assert_ptr_nonnull(strstr(e.text, "NSINFO"));
    return r;
}

START_TEST(a_whole_answer_is_taken)
{
    struct backend_info i;

    ck_assert_int_eq(
        parse(GOOD "data_disk_freespace_bytes: 500\r\nstats_data_faults: 3\nunknown: x\nno colon\n",
              &i),
        0);
    ck_assert_str_eq(i.name, "d1");
    ck_assert(i.mode == BACKEND_SEQUENTIAL && i.is_public && !i.worm && !i.locked && !i.password);
    ck_assert_uint_eq(i.entries, 4);
    ck_assert_uint_eq(i.data_faults, 3);
    ck_assert_uint_eq(i.data_disk_free, 500);
    ck_assert_uint_eq(i.index_disk_free, UINT64_MAX);
}
END_TEST

START_TEST(hostile_answers_are_refused)
{
    static const char *const bad[] = {
        "",
        "\n\n",
        "name: d1\n",
        HEAD TAIL "data_limits_bytes: 1000\n",
        HEAD "locked: maybe\n" TAIL "data_limits_bytes: 0\n",
        GOOD "entries: -1\n",
        GOOD "entries: 99999999999999999999\n",
        GOOD "name: \n",
        GOOD "data_size_bytes: 1e3\n",
    };
    struct backend_info i;
    char longname[600] = GOOD "name: ";

    for (size_t k = 0; k < ARRAY_LEN(bad); k++)
        ck_assert_msg(parse(bad[k], &i) == -EPROTO, "%s", bad[k]);
    memset(longname + strlen(longname), 'x', 300);
    ck_assert_int_eq(parse(longname, &i), -EPROTO);
    ck_assert_int_eq(parse(GOOD "name: a\tb\n", &i), -EPROTO);
}
END_TEST

START_TEST(room_is_the_limit_less_the_use_and_never_more_than_the_disk)
{
    struct backend_info i;

    ck_assert_int_eq(parse(GOOD, &i), 0);
    ck_assert_uint_eq(backend_info_free(&i), 900);
    i.data_disk_free = 50;
    ck_assert_uint_eq(backend_info_free(&i), 50);
    i.data_limits_bytes = 0;
    i.data_disk_free = UINT64_MAX;
    ck_assert_uint_eq(backend_info_free(&i), UINT64_MAX);
    i.data_limits_bytes = 99; /* more in it than allowed */
    ck_assert_uint_eq(backend_info_free(&i), 0);
}
END_TEST

START_TEST(who_may_be_written_to)
{
    struct backend_info i;
    struct err e = {0};

    ck_assert_int_eq(parse(GOOD, &i), 0);
    ck_assert_int_eq(backend_info_writable(&i, BACKEND_SEQUENTIAL, 900, &e), 0);
    ck_assert_int_eq(backend_info_writable(&i, BACKEND_SEQUENTIAL, 901, &e), -ENOSPC);
    ck_assert_ptr_nonnull(
        strstr(e.text, "only has 900 bytes of space left, but 901 bytes are needed"));
    ck_assert_int_eq(backend_info_writable(&i, BACKEND_USERKEY, 1, &e), -EINVAL);
    ck_assert_str_eq(e.text, "expected 0-db namespace to be in userkey mode, but is in sequential");
    i.worm = true;
    ck_assert_int_eq(backend_info_writable(&i, BACKEND_SEQUENTIAL, 1, &e), 0);
    i.mode = BACKEND_USERKEY;
    ck_assert_int_eq(backend_info_writable(&i, BACKEND_USERKEY, 1, &e), -EROFS);
    i.worm = false;
    i.locked = true;
    ck_assert_int_eq(backend_info_writable(&i, BACKEND_USERKEY, 1, &e), -EROFS);
}
END_TEST

START_TEST(what_a_server_says_is_printed_harmlessly)
{
    char out[10];

    ck_assert_str_eq(backend_text(slice_of("a\nb\x1b[c\x7f"
                                           "defgh",
                                           12),
                                  out, sizeof out),
                     "a.b.[c.de");
    ck_assert_str_eq(backend_text(slice_of(NULL, 0), out, sizeof out), "");
}
END_TEST

static TCase *tcase_backend(void)
{
    TCase *t = tcase_create("backend");

    tcase_add_test(t, a_whole_answer_is_taken);
    tcase_add_test(t, hostile_answers_are_refused);
    tcase_add_test(t, room_is_the_limit_less_the_use_and_never_more_than_the_disk);
    tcase_add_test(t, who_may_be_written_to);
    tcase_add_test(t, what_a_server_says_is_printed_harmlessly);
    return t;
}

UNIT_MAIN("backend", tcase_backend)
