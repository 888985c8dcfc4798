#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "zstor/daemon/protocol.h"

#define S(text) ((char *)(text))

/* Words separated by '|'. */
static int decode(const char *text, struct control_req *out, struct err *e)
{
    static char copy[16384];
    struct slice argv[64];
    unsigned argc = 0;
    char *p = copy, *next;

    snprintf(copy, sizeof copy, "%s", text);
    for (; p; p = next) {
        next = strchr(p, '|');
        if (next)
            *next++ = '\0';
        argv[argc++] = slice_str(p);
    }
    return control_proto_decode(out, argc, argv, e);
}

START_TEST(a_request_survives_encoding)
{
    static const struct control_req reqs[] = {
        {.op = CONTROL_STORE, .file = S("/a")},
        {.op = CONTROL_STORE,
         .file = S("/a"),
         .key_path = S("/k"),
         .remove = true,
         .notblocking = true,
         .save_failure = true,
         .stop_at_error = true},
        {.op = CONTROL_RETRIEVE, .file = S("/a"), .force = true, .to_fd = true},
        {.op = CONTROL_CHECK, .file = S("/a b\nc")},
        {.op = CONTROL_REBUILD, .file = S("/a")},
        {.op = CONTROL_REBUILD, .key = S("/p/meta/00")},
        {.op = CONTROL_REBUILD, .all = true},
        {.op = CONTROL_STATUS, .json = true},
        {.op = CONTROL_QUEUE, .list = true},
        {.op = CONTROL_QUEUE, .count = true},
        {.op = CONTROL_WAIT},
        {.op = CONTROL_PING},
    };

    for (size_t i = 0; i < ARRAY_LEN(reqs); i++) {
        const struct control_req *r = &reqs[i];
        struct slice argv[CONTROL_ARGS_MAX];
        unsigned argc = control_proto_argv(r, argv);
        struct control_req got;
        struct err e = {0};

        ck_assert_msg(control_proto_decode(&got, argc, argv, &e) == 0, "%zu: %s", i, e.text);
        ck_assert_int_eq(got.op, r->op);
        ck_assert_int_eq(got.file == NULL, r->file == NULL);
        ck_assert_int_eq(got.key_path == NULL, r->key_path == NULL);
        ck_assert_int_eq(got.force, r->force);
        ck_assert_int_eq(got.to_fd, r->to_fd);
        ck_assert_int_eq(got.key == NULL, r->key == NULL);
        if (r->file)
            ck_assert_str_eq(got.file, r->file);
        if (r->key)
            ck_assert_str_eq(got.key, r->key);
        ck_assert_int_eq(got.remove, r->remove);
        ck_assert_int_eq(got.notblocking, r->notblocking);
        ck_assert_int_eq(got.save_failure, r->save_failure);
        ck_assert_int_eq(got.stop_at_error, r->stop_at_error);
        ck_assert_int_eq(got.all, r->all);
        ck_assert_int_eq(got.json, r->json);
        ck_assert_int_eq(got.list, r->list);
        ck_assert_int_eq(got.count, r->count);
        control_proto_fini(&got);
    }
}
END_TEST

START_TEST(words_may_be_written_in_any_case)
{
    struct control_req r;
    struct err e = {0};

    ck_assert_int_eq(decode("store|/a|keyPath|/k|Delete", &r, &e), 0);
    ck_assert_str_eq(r.key_path, "/k");
    ck_assert(r.remove);
    control_proto_fini(&r);
}
END_TEST

START_TEST(wrong_requests_are_refused_with_a_reason)
{
    static const char *const t[][2] = {
        {"NOPE", "unknown command"},
        {"STOR", "unknown command"},
        {"", "unknown command"},
        {"STORE", "needs a file"},
        {"STORE|a", "relative"},
        {"STORE|", "0 bytes"},
        {"STORE|/a|KEYPATH", "needs a value"},
        {"STORE|/a|KEYPATH|k", "relative"},
        {"STORE|/a|KEYPATH|/k|KEYPATH|/l", "twice"},
        {"STORE|/a|OUTPUT|/b", "unknown word in argument 3"},
        {"RETRIEVE|/a|DELETE", "unknown word"},
        {"CHECK|/a|/b", "unknown word"},
        {"REBUILD", "Either `file` or `key`"},
        {"REBUILD|FILE|/a|KEY|/b", "Only one of `file` or `key`"},
        {"REBUILD|ALL|KEY|/b", "Only one of `file` or `key`"},
        {"REBUILD|FILE|a", "relative"},
        {"STATUS|XML", "unknown word"},
        {"PING|x", "unknown word"},
    };

    for (size_t i = 0; i < ARRAY_LEN(t); i++) {
        struct control_req r;
        struct err e = {0};

        ck_assert_msg(decode(t[i][0], &r, &e) == -EINVAL, "accepted: %s", t[i][0]);
        ck_assert_msg(strstr(e.text, t[i][1]) != NULL, "%s: %s", t[i][0], e.text);
        ck_assert_ptr_null(r.file);
        ck_assert_ptr_null(r.key);
    }
}
END_TEST

START_TEST(a_path_is_bounded_and_has_no_nul)
{
    static char path[CONTROL_PATH_MAX + 2];
    struct slice argv[2] = {slice_str("CHECK"), {NULL, 0}};
    struct control_req r;
    struct err e = {0};

    memset(path, '/', sizeof path);
    argv[1] = slice_of(path, CONTROL_PATH_MAX);
    ck_assert_int_eq(control_proto_decode(&r, 2, argv, &e), 0);
    control_proto_fini(&r);
    argv[1] = slice_of(path, CONTROL_PATH_MAX + 1);
    ck_assert_int_eq(control_proto_decode(&r, 2, argv, &e), -EINVAL);
    argv[1] = slice_of("/a\0b", 4);
    ck_assert_int_eq(control_proto_decode(&r, 2, argv, &e), -EINVAL);
    ck_assert_int_eq(control_proto_decode(&r, 0, argv, &e), -EINVAL);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("control_proto");

    tcase_add_test(t, a_request_survives_encoding);
    tcase_add_test(t, words_may_be_written_in_any_case);
    tcase_add_test(t, wrong_requests_are_refused_with_a_reason);
    tcase_add_test(t, a_path_is_bounded_and_has_no_nul);
    return t;
}

UNIT_MAIN("control_proto", all)
