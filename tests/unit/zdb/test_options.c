/* Command line of zdb: the original's names and abbreviations, ranges, what is refused. */
#include "tests/unit/unit.h"

#include <errno.h>
#include "zdb/options.h"
#include "common/bytes.h"
#include "common/base.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* argv is copied: parsing overwrites passwords in place */
static int parse(struct options *o, struct err *e, const char *line)
{
    static char text[512];
    static char *argv[32];
    int argc = 0;

    snprintf(text, sizeof text, "zdb %s", line);
    for (char *p = strtok(text, " "); p; p = strtok(NULL, " "))
        argv[argc++] = p;
    argv[argc] = NULL;
    err_clear(e);
    return options_parse(o, argc, argv, e);
}

START_TEST(defaults_are_the_originals_but_for_the_address)
{
    struct options o;
    struct err e;

    ck_assert_int_eq(parse(&o, &e, ""), 0);
    ck_assert_int_eq(o.action, OPTIONS_SERVE);
    ck_assert_str_eq(o.data, "./zdb-data");
    ck_assert_str_eq(o.index, "./zdb-index");
    ck_assert_str_eq(o.listen, "127.0.0.1"); /* others reach it only when told so */
    ck_assert_str_eq(o.port, "9900");
    ck_assert_uint_eq(o.datasize, 268435456);
    ck_assert_ptr_null(o.mode);
    ck_assert_ptr_null(o.admin);
    ck_assert_str_eq(o.instance, "tcp://127.0.0.1:9900");
    options_fini(&o);
}
END_TEST

/* zdb PING must not start a server. */
START_TEST(words_that_are_no_option_are_refused)
{
    static const char *const lines[] = {"PING", "--port 1 PING", "PING --port 1", "--check x"};

    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct options o;
        struct err e = {0};
        ck_assert_msg(parse(&o, &e, lines[i]) == -EINVAL, "%s", lines[i]);
        ck_assert_ptr_nonnull(strstr(e.text, "zdb --ctl"));
    }
}
END_TEST

START_TEST(instance_names_the_socket_even_with_dualnet)
{
    struct options o;
    struct err e;

    ck_assert_int_eq(parse(&o, &e, "--socket /run/z --dualnet --port 1"), 0);
    ck_assert_str_eq(o.instance, "unix:///run/z");
    options_fini(&o);
    ck_assert_int_eq(parse(&o, &e, "--listen 127.0.0.1 --port 20100"), 0);
    ck_assert_str_eq(o.instance, "tcp://127.0.0.1:20100");
    options_fini(&o);
}
END_TEST

START_TEST(one_dash_equals_sign_and_abbreviations_work)
{
    static const char *const lines[] = {
        "-mode seq -datasize=1M --maxsize=5",
        "--mo seq --datas 1M --max 5",
        "--mod=seq -datas=1024k --maxs=5",
        "--mode direct --datasize 1048576 --maxsize 5",
    };
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        struct options o;
        struct err e;
        ck_assert_msg(parse(&o, &e, lines[i]) == 0, "%s: %s", lines[i], e.text);
        ck_assert_str_eq(o.mode, "seq");
        ck_assert_uint_eq(o.datasize, 1 << 20);
        ck_assert_uint_eq(o.maxsize, 5);
        options_fini(&o);
    }
}
END_TEST

/* Every abbreviation that was unambiguous among the original's options means the same option here.
 */
START_TEST(our_options_make_no_old_abbreviation_ambiguous)
{
    static const char *const old[] = {"data",     "index",      "listen",  "port",   "socket",
                                      "dualnet",  "verbose",    "dump",    "sync",   "synctime",
                                      "mode",     "background", "logfile", "admin",  "hook",
                                      "datasize", "maxsize",    "protect", "secure", "rotate",
                                      "version",  "help"};
    static const char *const valued[] = {"data",     "index",   "listen",  "port",  "socket",
                                         "synctime", "mode",    "logfile", "admin", "hook",
                                         "datasize", "maxsize", "rotate"};
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        for (size_t n = 1; n <= strlen(old[i]); n++) {
            size_t hits = 0;
            bool exact = n == strlen(old[i]), has_value = false;
            for (size_t k = 0; k < ARRAY_LEN(old); k++)
                hits += strncmp(old[k], old[i], n) == 0;
            if (hits > 1 && !exact)
                continue;
            for (size_t k = 0; k < ARRAY_LEN(valued); k++)
                has_value |= strcmp(valued[k], old[i]) == 0;
            const char *value = strcmp(old[i], "mode") == 0   ? "user"
                                : strcmp(old[i], "hook") == 0 ? "/bin/true"
                                : strcmp(old[i], "port") == 0 ? "1000"
                                                              : "1000000";
            char line[128];
            snprintf(line, sizeof line, "--%.*s %s%s%s", (int)n, old[i], has_value ? value : "",
                     strcmp(old[i], "protect") == 0 ? " --admin x" : "", "");
            struct options o;
            struct err e;
            ck_assert_msg(parse(&o, &e, line) == 0, "%s: %s", line, e.text);
            options_fini(&o);
        }
    }
}
END_TEST

START_TEST(bad_lines_are_refused_with_the_option_named)
{
    static const struct {
        const char *line, *word;
    } bad[] = {
        {"--nonsense", "--nonsense"},
        {"--data", "--data"},
        {"--dump=1", "--dump"},
        {"--datasize 524287", "524287"},
        {"--datasize 4294967295", "4294967295"},
        {"--datasize 1K5", "1K5"},
        {"--datasize x", "--datasize"},
        {"--mode both", "both"},
        {"--protect", "--protect"},
        {"--rotate -1", "-1"},
        {"--max-clients 0", "--max-clients"},
        {"--hook-timeout 0", "--hook-timeout"},
        {"--hook /nonexistent/hook", "/nonexistent/hook"},
        {"--admin-file /nonexistent/file", "/nonexistent/file"},
        {"--ns x", "--ctl"},
        {"--ctl --dump", "--dump"},
        {"--adm", "--adm"},
        {"--hook-", "--hook-"},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct options o;
        struct err e;
        ck_assert_msg(parse(&o, &e, bad[i].line) < 0, "%s", bad[i].line);
        ck_assert_msg(strstr(e.text, bad[i].word) != NULL, "%s: %s", bad[i].line, e.text);
        ck_assert_msg(strchr(e.text, '\n') == NULL, "%s", e.text);
        ck_assert_ptr_null(o.admin);
    }
}
END_TEST

START_TEST(passwords_leave_argv_and_are_never_in_an_error)
{
    char arg0[] = "zdb", arg1[] = "--admin", arg2[] = "topsecret", arg3[] = "--admin=other";
    char *argv[] = {arg0, arg1, arg2, NULL, NULL};
    struct options o;
    struct err e = {0};

    ck_assert_int_eq(options_parse(&o, 3, argv, &e), 0);
    ck_assert_str_eq(o.admin, "topsecret");
    ck_assert_str_eq(arg2, "*********");
    options_fini(&o);
    memcpy(arg2, "topsecret", 9);
    argv[3] = arg3;
    ck_assert_int_lt(options_parse(&o, 4, argv, &e), 0);
    ck_assert_ptr_null(strstr(e.text, "topsecret"));
    ck_assert_ptr_null(strstr(e.text, "other"));
}
END_TEST

START_TEST(password_file_is_one_line_of_a_private_file)
{
    static const struct {
        const char *content;
        mode_t mode;
        int result; /* 0 or negative */
    } files[] = {
        {"pass word", 0600, 0},  {"pass word\n", 0400, 0}, {"pass word\r\n", 0600, 0},
        {"pass word", 0640, -1}, {"pass word", 0604, -1},  {"", 0600, -1},
        {"\n\n", 0600, -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        char path[] = "/tmp/options.XXXXXX", line[64];
        int fd = mkstemp(path);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, files[i].content, strlen(files[i].content)),
                         (int)strlen(files[i].content));
        ck_assert_int_eq(fchmod(fd, files[i].mode), 0);
        close(fd);
        snprintf(line, sizeof line, "--admin-file %s", path);
        struct options o;
        struct err e;
        int r = parse(&o, &e, line);
        unlink(path);
        ck_assert_msg(r == 0 ? files[i].result == 0 : files[i].result < 0, "%zu: %d %s", i, r,
                      e.text);
        if (r == 0) {
            ck_assert_str_eq(o.admin, "pass word");
            options_fini(&o);
        }
    }
}
END_TEST

START_TEST(words_behind_ctl_are_the_command)
{
    struct options o;
    struct err e;

    ck_assert_int_eq(parse(&o, &e, "--ctl --socket /s SET -k --port"), 0);
    ck_assert_int_eq(o.action, OPTIONS_CTL);
    ck_assert_int_eq(o.nwords, 3);
    ck_assert_str_eq(o.words[0], "SET");
    ck_assert_str_eq(o.words[1], "-k");
    ck_assert_str_eq(o.words[2], "--port");
    ck_assert_str_eq(o.port, "9900");
    options_fini(&o);
    ck_assert_int_eq(parse(&o, &e, "--ctl --port 5"), 0);
    ck_assert_int_eq(o.nwords, 0);
    options_fini(&o);
    ck_assert_int_eq(parse(&o, &e, "--ctl -- --strange"), 0);
    ck_assert_int_eq(o.nwords, 1);
    ck_assert_str_eq(o.words[0], "--strange");
    options_fini(&o);
}
END_TEST

static TCase *options_cases(void)
{
    TCase *t = tcase_create("options");
    tcase_add_test(t, defaults_are_the_originals_but_for_the_address);
    tcase_add_test(t, words_that_are_no_option_are_refused);
    tcase_add_test(t, instance_names_the_socket_even_with_dualnet);
    tcase_add_test(t, one_dash_equals_sign_and_abbreviations_work);
    tcase_add_test(t, our_options_make_no_old_abbreviation_ambiguous);
    tcase_add_test(t, bad_lines_are_refused_with_the_option_named);
    tcase_add_test(t, passwords_leave_argv_and_are_never_in_an_error);
    tcase_add_test(t, password_file_is_one_line_of_a_private_file);
    tcase_add_test(t, words_behind_ctl_are_the_command);
    return t;
}

UNIT_MAIN("zdb options", options_cases)
