#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "common/log.h"

static void log_to(const char *name, enum log_level level, uint64_t max, unsigned keep)
{
    struct err e;
    struct log_conf c = {.level = level, .path = scratch(name), .max_bytes = max, .keep = keep};
    ck_assert_int_eq(log_open(&c, &e), 0);
}

static struct buf content(const char *name)
{
    struct buf b = BUF_INIT;
    ck_assert_int_eq(path_read(scratch(name), 64 << 20, &b, NULL), 0);
    return b;
}

static bool is_there(const char *name)
{
    return access(scratch(name), F_OK) == 0;
}

START_TEST(line_has_stamp_level_and_text)
{
    log_to("l", LOG_LVL_INFO, 0, 0);
    log_warn("index %s: torn record at %d, cut", "i0", 420);
    CLEANUP(buf_fini) struct buf b = content("l");
    buf_put_u8(&b, 0);
    const char *s = (const char *)buf_data(&b);
    static const char shape[] = "dddd-dd-dd dd:dd:dd.ddd";
    for (size_t i = 0; shape[i]; i++)
        ck_assert(shape[i] == 'd' ? isdigit((unsigned char)s[i]) : s[i] == shape[i]);
    ck_assert_str_eq(s + strlen(shape), " WARN index i0: torn record at 420, cut\n");
}
END_TEST

START_TEST(levels_filter)
{
    log_to("l", LOG_LVL_WARN, 0, 0);
    ck_assert(log_enabled(LOG_LVL_ERROR));
    ck_assert(!log_enabled(LOG_LVL_INFO));
    log_error("one");
    log_info("two");
    log_debug("three");
    CLEANUP(buf_fini) struct buf b = content("l");
    buf_put_u8(&b, 0);
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), " ERROR one\n"));
    ck_assert_ptr_null(strstr((char *)buf_data(&b), "two"));
    ck_assert_ptr_null(strstr((char *)buf_data(&b), "three"));
}
END_TEST

START_TEST(a_record_is_one_line_whatever_it_contains)
{
    log_to("l", LOG_LVL_DEBUG, 0, 0);
    log_debug("a\nb\r\x1b[31m\x7f%s", "\n");
    CLEANUP(buf_fini) struct buf b = content("l");
    size_t newlines = 0;
    for (size_t i = 0; i < b.len; i++)
        newlines += buf_data(&b)[i] == '\n';
    ck_assert_uint_eq(newlines, 1);
    ck_assert_ptr_null(memchr(buf_data(&b), 0x1b, b.len));
}
END_TEST

START_TEST(long_text_is_cut_with_a_newline)
{
    CLEANUP(base_free) char *big = xcalloc(1, 10001);

    memset(big, 'x', 10000);
    log_to("l", LOG_LVL_INFO, 0, 0);
    log_info("%s", big);
    log_info("next");
    CLEANUP(buf_fini) struct buf b = content("l");
    ck_assert_uint_lt(b.len, 5000);
    buf_put_u8(&b, 0);
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), "xxx\n2"));
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), " INFO next\n"));
}
END_TEST

START_TEST(errno_is_kept_and_usable)
{
    log_to("l", LOG_LVL_INFO, 0, 0);
    errno = ENOENT;
    log_info("%m");
    ck_assert_int_eq(errno, ENOENT);
    CLEANUP(buf_fini) struct buf b = content("l");
    buf_put_u8(&b, 0);
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), "No such file"));
}
END_TEST

START_TEST(parents_are_made_and_old_content_stays)
{
    log_to("a/b/l", LOG_LVL_INFO, 0, 0);
    log_info("one");
    log_to("a/b/l", LOG_LVL_INFO, 0, 0);
    log_info("two");
    CLEANUP(buf_fini) struct buf b = content("a/b/l");
    buf_put_u8(&b, 0);
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), "one\n"));
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), "two\n"));
}
END_TEST

START_TEST(a_log_that_cannot_be_opened_is_an_error_with_its_name)
{
    struct err e;
    struct log_conf c = {.path = "/proc/none/log"};

    ck_assert_int_lt(log_open(&c, &e), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "/proc/none"));
    ck_assert_int_eq(log_fd(), STDERR_FILENO);
}
END_TEST

START_TEST(rotation_keeps_the_given_number_newest_first)
{
    log_to("z.log", LOG_LVL_INFO, 2000, 2);
    for (int i = 0; i < 200; i++)
        log_info("line %d of many, filled up to be about one hundred bytes, so that the file is "
                 "full soon",
                 i);
    ck_assert(is_there("z.log"));
    ck_assert(is_there("z.0.log"));
    ck_assert(is_there("z.1.log"));
    ck_assert(!is_there("z.2.log"));
    CLEANUP(buf_fini)
    struct buf now = content("z.log"), newer = content("z.0.log"), older = content("z.1.log");
    ck_assert_uint_le(now.len, 2200);
    ck_assert_uint_le(newer.len, 2200);
    ck_assert_uint_gt(newer.len, 2000);
    log_info("mark");
    buf_put_u8(&newer, 0);
    buf_put_u8(&older, 0);
    int a = 0, b = 0;
    ck_assert_int_eq(sscanf(strstr((char *)buf_data(&newer), "line "), "line %d", &a), 1);
    ck_assert_int_eq(sscanf(strstr((char *)buf_data(&older), "line "), "line %d", &b), 1);
    ck_assert_int_gt(a, b);
}
END_TEST

START_TEST(rotation_without_kept_files_starts_over)
{
    log_to("z", LOG_LVL_INFO, 1000, 0);
    for (int i = 0; i < 100; i++)
        log_info("line %d, filled up a little bit", i);
    CLEANUP(buf_fini) struct buf b = content("z");
    ck_assert_uint_le(b.len, 1100);
    ck_assert(!is_there("z.0"));
}
END_TEST

START_TEST(reopen_follows_an_outside_rename)
{
    log_to("l", LOG_LVL_INFO, 0, 0);
    int before = log_fd();
    log_info("old");
    ck_assert_int_eq(rename(scratch("l"), scratch("l.old")), 0);
    log_reopen();
    log_info("new");
    ck_assert_int_eq(log_fd(), before); /* who holds the number goes on with the new file */
    CLEANUP(buf_fini) struct buf b = content("l");
    buf_put_u8(&b, 0);
    ck_assert_ptr_nonnull(strstr((char *)buf_data(&b), "new\n"));
    ck_assert_ptr_null(strstr((char *)buf_data(&b), "old\n"));
}
END_TEST

enum { THREADS = 4, LINES = 2000 };

static void *chatter(void *arg)
{
    for (int i = 0; i < LINES; i++)
        log_info("thread %d line %d end", *(int *)arg, i);
    return NULL;
}

START_TEST(threads_do_not_mix_or_lose_lines)
{
    pthread_t t[THREADS];
    int id[THREADS], next[THREADS] = {0};

    log_to("l.txt", LOG_LVL_INFO, 50000, 1000);
    for (int i = 0; i < THREADS; i++) {
        id[i] = i;
        ck_assert_int_eq(pthread_create(&t[i], NULL, chatter, &id[i]), 0);
    }
    for (int i = 0; i < THREADS; i++)
        pthread_join(t[i], NULL);
    struct buf all = BUF_INIT;
    for (int i = 999; i >= 0; i--) {
        char name[32];
        snprintf(name, sizeof name, "l.%d.txt", i);
        if (is_there(name))
            ck_assert_int_eq(path_read(scratch(name), 64 << 20, &all, NULL), 0);
    }
    ck_assert_int_eq(path_read(scratch("l.txt"), 64 << 20, &all, NULL), 0);
    buf_put_u8(&all, 0);
    int count = 0;
    for (char *s = (char *)buf_data(&all), *nl; (nl = strchr(s, '\n')); s = nl + 1, count++) {
        int who = -1, line = -1, used = 0;
        *nl = '\0';
        if (sscanf(s + 23, " INFO thread %d line %d end%n", &who, &line, &used) != 2 ||
            s[23 + used] != '\0' || who < 0 || who >= THREADS || line != next[who]++)
            ck_abort_msg("damaged line: %s", s);
    }
    ck_assert_int_eq(count, THREADS * LINES);
    buf_fini(&all);
}
END_TEST

START_TEST(back_to_stderr)
{
    struct log_conf c = {.level = LOG_LVL_ERROR};

    log_to("l", LOG_LVL_INFO, 0, 0);
    ck_assert_int_ne(log_fd(), STDERR_FILENO);
    ck_assert_int_eq(log_open(&c, NULL), 0);
    ck_assert_int_eq(log_fd(), STDERR_FILENO);
    log_info("nobody sees this");
}
END_TEST

static TCase *log_case(void)
{
    TCase *t = scratch_case("log");
    tcase_add_test(t, line_has_stamp_level_and_text);
    tcase_add_test(t, levels_filter);
    tcase_add_test(t, a_record_is_one_line_whatever_it_contains);
    tcase_add_test(t, long_text_is_cut_with_a_newline);
    tcase_add_test(t, errno_is_kept_and_usable);
    tcase_add_test(t, parents_are_made_and_old_content_stays);
    tcase_add_test(t, a_log_that_cannot_be_opened_is_an_error_with_its_name);
    tcase_add_test(t, rotation_keeps_the_given_number_newest_first);
    tcase_add_test(t, rotation_without_kept_files_starts_over);
    tcase_add_test(t, reopen_follows_an_outside_rename);
    tcase_add_test(t, threads_do_not_mix_or_lose_lines);
    tcase_add_test(t, back_to_stderr);
    return t;
}

UNIT_MAIN("log", log_case)
