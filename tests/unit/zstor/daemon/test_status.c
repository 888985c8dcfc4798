#include "tests/unit/unit.h"

#include <stdio.h>
#include <string.h>

#include "zstor/daemon/metrics.h"
#include "zstor/daemon/status.h"

static struct backend_addr meta, data, down;
static struct poller_backend list[3];
static struct status st;

static void make(void)
{
    ck_assert_int_eq(backend_addr_parse(&meta, "127.0.0.1:9900", "m\"1", "secret", NULL), 0);
    ck_assert_int_eq(backend_addr_parse(&data, "127.0.0.1:9900", "ns1", "secret", NULL), 0);
    ck_assert_int_eq(backend_addr_parse(&down, "[::1]:9", NULL, NULL, NULL), 0);
    list[0] = (struct poller_backend){.addr = &meta, .meta = true, .known = true, .up = true};
    list[0].info.data_disk_free = list[0].info.index_disk_free = UINT64_MAX;
    list[1] = (struct poller_backend){.addr = &data, .known = true, .up = true};
    list[1].info = (struct backend_info){.entries = 12,
                                         .data_size_bytes = 4096,
                                         .data_limits_bytes = 1073741824,
                                         .data_disk_free = UINT64_MAX,
                                         .data_faults = 3};
    list[2] =
        (struct poller_backend){.addr = &down, .known = true, .error = "refused \"by\" \xff\n"};
    st = (struct status){.backends = list, .n = 3, .daemon = true};
    st.queue = (struct sched_stats){.jobs = 2, .bytes = 96 * MIB, .failing = 1, .oldest_s = 7};
}

static void drop(void)
{
    backend_addr_fini(&meta);
    backend_addr_fini(&data);
    backend_addr_fini(&down);
}

START_TEST(the_tables_are_upstreams)
{
    static const char want[] = "+------------------------+-----------+---------+------------+------"
                               "------+------------------+\n"
                               "| backend                | reachable | objects | used space | free "
                               "space | usage percentage |\n"
                               "+========================+===========+=========+============+======"
                               "======+==================+\n"
                               "| 127.0.0.1:9900 - ns1   | Yes       |      12 |       4096 | "
                               "1073737728 |                0 |\n"
                               "+------------------------+-----------+---------+------------+------"
                               "------+------------------+\n"
                               "| [::1]:12345 - default  | No        |       - |          - |      "
                               "    - |                - |\n"
                               "+------------------------+-----------+---------+------------+------"
                               "------+------------------+\n";
    struct buf b = BUF_INIT;
    char *text, *second;

    backend_addr_fini(&down);
    ck_assert_int_eq(backend_addr_parse(&down, "[::1]:12345", NULL, NULL, NULL), 0);
    backend_addr_fini(&data);
    ck_assert_int_eq(backend_addr_parse(&data, "127.0.0.1:9900", "ns1", NULL, NULL), 0);
    status_table(&b, &st);
    text = buf_take_str(&b);
    second = strstr(text + 1, "\n+-"); /* the end of the first table is a rule, too */
    ck_assert_ptr_nonnull(second);
    /* widths follow the longest cell: here 21, so compare with the blanks squeezed */
    char squeezed[4096], expected[4096];
    size_t n = 0;
    for (const char *p = text; *p && n < sizeof squeezed - 1; p++)
        if (!(p[0] == p[1] && strchr(" -=", p[0])))
            squeezed[n++] = *p;
    squeezed[n] = '\0';
    n = 0;
    for (const char *p = want; *p; p++)
        if (!(p[0] == p[1] && strchr(" -=", p[0])))
            expected[n++] = *p;
    expected[n] = '\0';
    ck_assert_msg(strstr(squeezed, expected) != NULL, "%s", text);
    ck_assert_ptr_nonnull(
        strstr(text, "queue: 2 jobs, 96.0 MiB, 0 running, 1 failing, oldest 7 s"));
    ck_assert_ptr_null(strstr(text, "cache:"));
    free(text);
}
END_TEST

START_TEST(all_rows_of_a_table_are_equally_wide)
{
    struct buf b = BUF_INIT;
    char *text, *line, *save = NULL;
    size_t width = 0, rows = 0;
    bool rule = false;

    status_table(&b, &st);
    text = buf_take_str(&b);
    for (line = strtok_r(text, "\n", &save); line && *line != 'q';
         line = strtok_r(NULL, "\n", &save), rows++) {
        bool is_rule = *line == '+';

        if (is_rule && rule) /* the next table */
            width = 0;
        if (width)
            ck_assert_uint_eq(strlen(line), width);
        width = strlen(line);
        rule = is_rule;
    }
    ck_assert_uint_eq(rows, 5 + 7);
    free(text);
}
END_TEST

START_TEST(json_is_escaped_and_complete)
{
    struct buf b = BUF_INIT;
    char *text;

    status_json(&b, &st);
    text = buf_take_str(&b);
    ck_assert_ptr_nonnull(strstr(text, "\"namespace\": \"m\\\"1\""));
    ck_assert_ptr_nonnull(strstr(text, "\"error\": \"refused \\\"by\\\" ?\\u000a\""));
    ck_assert_ptr_nonnull(strstr(text, "\"at_risk\": true"));
    ck_assert_ptr_nonnull(
        strstr(text, "\"jobs\": 2, \"bytes\": 100663296, \"oldest_seconds\": 7, \"failing\": 1"));
    ck_assert_ptr_null(strstr(text, "secret"));
    ck_assert_uint_eq(strlen(text), strcspn(text, "\n") + 1);
    free(text);
}
END_TEST

START_TEST(risk_is_a_dead_backend_or_a_failing_job)
{
    ck_assert(status_at_risk(&st));
    list[2].up = true;
    ck_assert(status_at_risk(&st));
    st.queue.failing = 0;
    ck_assert(!status_at_risk(&st));
    st.queue.failing = 1;
    st.daemon = false;
    ck_assert(!status_at_risk(&st));
}
END_TEST

START_TEST(metrics_have_upstreams_names)
{
    static const char *const lines[] = {
        "connection_status{address=\"127.0.0.1:9900\",backend_type=\"meta\",namespace=\"m\\\"1\"} "
        "1\n",
        "connection_status{address=\"[::1]:9\",backend_type=\"data\",namespace=\"\"} 0\n",
        "entries{address=\"127.0.0.1:9900\",backend_type=\"data\",namespace=\"ns1\"} 12\n",
        "data_limit_bytes{address=\"127.0.0.1:9900\",backend_type=\"data\",namespace=\"ns1\"} "
        "1073741824\n",
        "data_faults{address=\"127.0.0.1:9900\",backend_type=\"data\",namespace=\"ns1\"} 3\n",
        "zstore_store_commands_finished{success=\"true\"} 5\n",
        "zstore_store_commands_finished{success=\"false\"} 4\n",
        "zstore_rebuild_commands_finished{success=\"true\"} 0\n",
        "# TYPE fs_fuse_reqs counter\n",
        "# HELP fs_fuse_reqs Total amount of fuse requests\n",
        "fs_syscalls{syscall=\"statsfs\"} 25\n",
        "fs_syscalls{syscall=\"ioctl\"} 26\n",
        "fs_bytes_written 28\n",
        "fs_cache_blocksize 11\n",
        "zstor_queue_jobs 2\n",
        "zstor_queue_bytes 100663296\n",
        "zstor_queue_oldest_seconds 7\n",
        "zstor_evicted_bytes_total 0\n",
        "zstor_heal_total 9\n",
    };
    struct exporter_counts counts = {.store = {4, 5}, .heals = 9};
    static struct object_stats objects;
    uint64_t fs[FSSTATS_FIELDS];
    struct exporter_view v = {.status = &st, .counts = &counts, .objects = &objects, .fs = fs};
    struct buf b = BUF_INIT;
    char *text;

    for (size_t i = 0; i < FSSTATS_FIELDS; i++)
        fs[i] = i;
    exporter_render(&b, &v);
    text = buf_take_str(&b);
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        ck_assert_msg(strstr(text, lines[i]) != NULL, "%s is not in\n%s", lines[i], text);
    ck_assert_ptr_null(strstr(text, "entries{address=\"[::1]:9\"")); /* a dead backend has no other
                                                                        series */
    ck_assert_ptr_null(strstr(text, "data_disk_freespace_bytes{"));  /* not told */
    ck_assert_ptr_null(strstr(text, "secret"));
    free(text);
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("status");

    tcase_add_checked_fixture(t, make, drop);
    tcase_add_test(t, the_tables_are_upstreams);
    tcase_add_test(t, all_rows_of_a_table_are_equally_wide);
    tcase_add_test(t, json_is_escaped_and_complete);
    tcase_add_test(t, risk_is_a_dead_backend_or_a_failing_job);
    tcase_add_test(t, metrics_have_upstreams_names);
    return t;
}

UNIT_MAIN("status", all)
