#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/metrics.h"
#include "common/net.h"

static void is(struct buf *b, const char *want)
{
    if (!slice_eq_str(buf_slice(b), want))
        ck_abort_msg("got %.*s, want %s", (int)b->len, (char *)buf_data(b), want);
    buf_clear(b);
}

START_TEST(families_and_samples_look_as_prometheus_wants)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    const char *const labels[] = {"backend", "[::1]:9900", "ns", "a\\b\"c\nd", NULL},
                      *const none[] = {NULL};

    metrics_family(&b, "x_total", "counter", "Things \\ done\nso far \"quoted\"");
    is(&b, "# HELP x_total Things \\\\ done\\nso far \"quoted\"\n# TYPE x_total counter\n");
    metrics_sample_u64(&b, "x_total", NULL, UINT64_MAX);
    is(&b, "x_total 18446744073709551615\n");
    metrics_sample_u64(&b, "x_total", none, 0);
    is(&b, "x_total 0\n");
    metrics_sample_u64(&b, "x_total", labels, 5);
    is(&b, "x_total{backend=\"[::1]:9900\",ns=\"a\\\\b\\\"c\\nd\"} 5\n");
}
END_TEST

START_TEST(doubles_are_exact_and_short)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    metrics_sample(&b, "x", NULL, 0.1);
    is(&b, "x 0.1\n");
    metrics_sample(&b, "x", NULL, 3);
    is(&b, "x 3\n");
    metrics_sample(&b, "x", NULL, -1.5);
    is(&b, "x -1.5\n");
    metrics_sample(&b, "x", NULL, 1.0 / 3);
    is(&b, "x 0.33333333333333331\n");
    metrics_sample(&b, "x", NULL, 1700000000.123);
    is(&b, "x 1700000000.123\n");
    metrics_sample(&b, "x", NULL, NAN);
    is(&b, "x NaN\n");
    metrics_sample(&b, "x", NULL, INFINITY);
    is(&b, "x +Inf\n");
    metrics_sample(&b, "x", NULL, -INFINITY);
    is(&b, "x -Inf\n");
}
END_TEST

static void collect(struct buf *out, void *arg)
{
    metrics_sample_u64(out, arg, NULL, 1);
}

START_TEST(collectors_run_in_order)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;
    struct metrics *m;
    char one[] = "one", two[] = "two";

    ck_assert_int_eq(metrics_new(&m), 0);
    metrics_render(m, &b);
    is(&b, "");
    metrics_collector(m, collect, one);
    metrics_collector(m, collect, two);
    metrics_render(m, &b);
    is(&b, "one 1\ntwo 1\n");
    metrics_free(m);
    metrics_free(NULL);
}
END_TEST

/* ---- http ----------------------------------------------------------------------------------- */

static struct loop *l;
static struct metrics *m;
static struct metrics_http *h;
static char up[] = "up";

static int health(struct buf *out, const char **type, void *arg)
{
    (void)arg;
    buf_put_str(out, "{}");
    *type = "application/json";
    return 503;
}

static void begin(void)
{
    struct err e;

    ck_assert_int_eq(loop_new(&l, NULL), 0);
    ck_assert_int_eq(metrics_new(&m), 0);
    metrics_collector(m, collect, up);
    if (metrics_serve(&h, l, m, "127.0.0.1", 0, &e) < 0)
        ck_abort_msg("%s", e.text);
    metrics_page(h, "/healthz", health, NULL);
}

static void end(void)
{
    metrics_close(h);
    metrics_close(NULL);
    metrics_free(m);
    loop_free(l);
}

/* Everything the server says to the request, until it closes. */
static char *ask(const char *request)
{
    struct buf got = BUF_INIT;
    char port[16];
    int fd;

    snprintf(port, sizeof port, "%d", metrics_port(h));
    ck_assert_int_ge(net_connect_tcp("127.0.0.1", port, &fd, NULL), 0);
    struct pollfd p = {.fd = fd, .events = POLLOUT};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
    ck_assert_int_eq(write(fd, request, strlen(request)), (ssize_t)strlen(request));
    for (int i = 0; i < 1000; i++) {
        loop_once(l, 5);
        ssize_t n = read(fd, buf_reserve(&got, 4096), 4096);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            break;
        if (n > 0)
            buf_commit(&got, (size_t)n);
    }
    close(fd);
    return buf_take_str(&got);
}

static void answers(const char *request, const char *status, const char *a, const char *b)
{
    CLEANUP(base_free) char *s = ask(request);

    if (strncmp(s, status, strlen(status)) != 0 || (a && !strstr(s, a)) || (b && !strstr(s, b)))
        ck_abort_msg("answer to %s: %s", request, s);
}

START_TEST(metrics_are_served)
{
    answers("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200",
            "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n", "\r\n\r\nup 1\n");
    answers("GET /metrics?name=x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200",
            "up 1\n", NULL);
    ck_assert_int_gt(metrics_port(h), 0);
}
END_TEST

START_TEST(head_has_no_body)
{
    CLEANUP(base_free)
    char *s = ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    ck_assert_int_eq(strncmp(s, "HTTP/1.1 200", 12), 0);
    ck_assert_ptr_nonnull(strstr(s, "Content-Length: 5\r\n"));
    ck_assert_ptr_null(strstr(s, "up 1"));
}
END_TEST

START_TEST(other_pages_have_their_own_type_and_status)
{
    answers("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 503",
            "application/json\r\n", "\r\n\r\n{}");
}
END_TEST

START_TEST(unknown_pages_are_404)
{
    answers("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404",
            "no such page", NULL);
    answers("GET /metrics/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404", NULL,
            NULL);
    answers("GET //metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 404", NULL,
            NULL);
}
END_TEST

START_TEST(other_methods_and_garbage_are_refused)
{
    answers("POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 501", NULL, NULL);
    answers("garbage\r\n\r\n", "HTTP/1.1 400", NULL, NULL);
    answers("GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "HTTP/1.1 200", NULL,
            NULL); /* still there */
}
END_TEST

START_TEST(huge_headers_are_refused)
{
    CLEANUP(buf_fini) struct buf b = BUF_INIT;

    buf_put_str(&b, "GET /metrics HTTP/1.1\r\nX: ");
    for (int i = 0; i < 20000; i++)
        buf_put_u8(&b, 'x');
    buf_put_str(&b, "\r\n\r\n");
    buf_put_u8(&b, 0);
    CLEANUP(base_free) char *s = ask((char *)buf_data(&b));
    ck_assert_int_ne(strncmp(s, "HTTP/1.1 200", 12), 0);
}
END_TEST

START_TEST(used_port_is_an_error)
{
    struct metrics_http *other;
    struct err e;

    ck_assert_int_eq(metrics_serve(&other, l, m, "127.0.0.1", (uint16_t)metrics_port(h), &e),
                     -EADDRINUSE);
    ck_assert_int_eq(strncmp(e.text, "metrics: ", 9), 0);
}
END_TEST

static TCase *text(void)
{
    TCase *t = tcase_create("text");
    tcase_add_test(t, families_and_samples_look_as_prometheus_wants);
    tcase_add_test(t, doubles_are_exact_and_short);
    tcase_add_test(t, collectors_run_in_order);
    return t;
}

static TCase *http(void)
{
    TCase *t = tcase_create("http");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, metrics_are_served);
    tcase_add_test(t, head_has_no_body);
    tcase_add_test(t, other_pages_have_their_own_type_and_status);
    tcase_add_test(t, unknown_pages_are_404);
    tcase_add_test(t, other_methods_and_garbage_are_refused);
    tcase_add_test(t, huge_headers_are_refused);
    tcase_add_test(t, used_port_is_an_error);
    return t;
}

UNIT_MAIN("metrics", text, http)
