#include "tests/unit/unit.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/net.h"
#include "common/resp.h"
#include "tests/unit/common/scratch.h"
#include "zstor/daemon/control.h"

static struct loop *loop;
static struct control *control;
static struct control_call *open_calls[64];
static size_t nopen;
static char seen[4096];

/* CHECK waits for the test; PING is answered inside the handler. */
static void handle(void *arg, struct control_call *call, const struct control_req *req)
{
    size_t n = strlen(seen);

    (void)arg;
    snprintf(seen + n, sizeof seen - n, "%s %s;", control_proto_name(req->op),
             req->file ? req->file : "");
    if (req->op == CONTROL_PING)
        control_reply(call, slice_str("+PONG\r\n"));
    else
        open_calls[nopen++] = call;
}

static void start(void)
{
    struct log_conf quiet = {.path = "/dev/null"};
    struct err e = {0};

    scratch_begin();
    ck_assert_int_eq(log_open(&quiet, &e), 0);
    ck_assert_int_eq(loop_new(&loop, &e), 0);
    ck_assert_msg(control_open(&control, loop, scratch("sock"), handle, NULL, &e) == 0, "%s",
                  e.text);
}

static void end(void)
{
    control_close(control);
    for (size_t i = 0; i < nopen; i++)
        control_reply_ok(open_calls[i]); /* lost, but freed */
    loop_free(loop);
    scratch_end();
}

static void turn(void)
{
    for (int i = 0; i < 5; i++)
        loop_once(loop, 5);
}

static int client(const char *bytes)
{
    struct err e = {0};
    int fd = -1;

    ck_assert_int_ge(net_connect_unix(scratch("sock"), &fd, &e), 0);
    ck_assert_int_eq(io_write_full(fd, bytes, strlen(bytes)), 0);
    turn();
    return fd;
}

/* What has come; "" nothing yet, "EOF" closed. */
static const char *got(int fd)
{
    static char text[4096];
    ssize_t n;

    turn();
    n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        return "EOF";
    text[n < 0 ? 0 : n] = '\0';
    return text;
}

#define PING  "*1\r\n$4\r\nPING\r\n"
#define CHECK "*2\r\n$5\r\nCHECK\r\n$2\r\n/a\r\n"

START_TEST(requests_of_a_connection_are_answered_in_order)
{
    int fd = client(PING CHECK PING PING), other;

    ck_assert_str_eq(got(fd), "+PONG\r\n");
    ck_assert_str_eq(seen, "PING ;CHECK /a;"); /* the next one waits for the answer */
    other = client(PING);                      /* and nobody else does */
    ck_assert_str_eq(got(other), "+PONG\r\n");
    control_reply_ok(open_calls[--nopen]);
    ck_assert_str_eq(got(fd), "+OK\r\n+PONG\r\n+PONG\r\n");
    close(fd);
    close(other);
}
END_TEST

START_TEST(a_request_may_come_in_pieces)
{
    int fd = client("");

    for (const char *p = PING; *p; p++) {
        ck_assert_int_eq(io_write_full(fd, p, 1), 0);
        loop_once(loop, 1);
    }
    ck_assert_str_eq(got(fd), "+PONG\r\n");
    close(fd);
}
END_TEST

START_TEST(a_wrong_request_is_an_error_and_the_connection_goes_on)
{
    int fd = client("*1\r\n$4\r\nNOPE\r\n" PING);
    const char *text = got(fd);

    ck_assert_msg(strncmp(text, "-unknown command", 16) == 0, "%s", text);
    ck_assert_ptr_nonnull(strstr(text, "\r\n+PONG\r\n"));
    close(fd);
}
END_TEST

START_TEST(bytes_that_are_no_request_end_the_connection)
{
    static const char *const bad[] = {
        "GET / HTTP/1.0\r\n\r\n",   "*0\r\n",        "*17\r\n",
        "*1\r\n$99999\r\n",         "*1\r\n$-1\r\n", "*1\r\n$4\r\nPINGxx",
        "*99999999999999999999\r\n"};

    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        int fd = client(bad[i]);

        ck_assert_msg(strncmp(got(fd), "-malformed request", 18) == 0, "%s", bad[i]);
        ck_assert_str_eq(got(fd), "EOF");
        close(fd);
    }
}
END_TEST

START_TEST(the_answer_to_a_client_that_left_is_dropped)
{
    int fd = client(CHECK);

    ck_assert_uint_eq(nopen, 1);
    close(fd);
    turn();
    control_reply_ok(open_calls[--nopen]);
    fd = client(PING);
    ck_assert_str_eq(got(fd), "+PONG\r\n");
    close(fd);
}
END_TEST

START_TEST(a_client_that_only_ended_sending_is_answered)
{
    int fd = client(CHECK);

    shutdown(fd, SHUT_WR);
    turn();
    control_reply_ok(open_calls[--nopen]);
    ck_assert_str_eq(got(fd), "+OK\r\n");
    ck_assert_str_eq(got(fd), "EOF");
    close(fd);
}
END_TEST

START_TEST(clients_that_left_take_no_place)
{
    for (int i = 0; i < 60; i++) {
        int fd = client(CHECK);

        close(fd);
    }
    turn();
    ck_assert(control_quiet(control));
}
END_TEST

START_TEST(the_socket_is_private_and_taken_once)
{
    struct control *second = NULL;
    struct err e = {0};
    struct stat st;

    ck_assert_int_eq(stat(scratch("sock"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    ck_assert_int_eq(control_open(&second, loop, scratch("sock"), handle, NULL, &e), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(e.text, "another daemon listens"));
    ck_assert_int_eq(stat(scratch("sock"), &st), 0);
}
END_TEST

START_TEST(stopping_answers_what_is_open_and_refuses_the_rest)
{
    struct err e = {0};
    struct stat st;
    int fd = client(CHECK PING), idle = client(""), late = -1;

    control_stop(control);
    ck_assert_int_lt(stat(scratch("sock"), &st), 0);
    ck_assert_int_lt(net_connect_unix(scratch("sock"), &late, &e), 0);
    ck_assert_str_eq(got(idle), "EOF");
    ck_assert(!control_quiet(control));
    control_reply_ok(open_calls[--nopen]);
    ck_assert_str_eq(got(fd), "+OK\r\n"); /* the PING behind it is not taken any more */
    ck_assert_str_eq(got(fd), "EOF");
    ck_assert(control_quiet(control));
    close(fd);
    close(idle);
}
END_TEST

static void *ask(void *arg)
{
    struct control_req req = {.op = CONTROL_PING};
    struct err e = {0};

    ck_assert_msg(control_request(scratch("sock"), &req, -1, arg, &e) == 0, "%s", e.text);
    return NULL;
}

START_TEST(the_client_side_gets_its_reply)
{
    uint64_t until = base_now_ms() + 10000;
    redisReply *reply = NULL;
    struct control_req req = {.op = CONTROL_PING};
    struct err e = {0};
    pthread_t t;

    ck_assert_int_eq(pthread_create(&t, NULL, ask, &reply), 0);
    while (pthread_tryjoin_np(t, NULL) != 0) {
        ck_assert_uint_lt(base_now_ms(), until);
        loop_once(loop, 10);
    }
    ck_assert_str_eq(reply->str, "PONG");
    freeReplyObject(reply);
    ck_assert_int_lt(control_request(scratch("nobody"), &req, -1, &reply, &e), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "Could not connect to daemon socket"));
}
END_TEST

static TCase *all(void)
{
    TCase *t = tcase_create("control");

    tcase_add_checked_fixture(t, start, end);
    tcase_add_test(t, requests_of_a_connection_are_answered_in_order);
    tcase_add_test(t, a_request_may_come_in_pieces);
    tcase_add_test(t, a_wrong_request_is_an_error_and_the_connection_goes_on);
    tcase_add_test(t, bytes_that_are_no_request_end_the_connection);
    tcase_add_test(t, the_answer_to_a_client_that_left_is_dropped);
    tcase_add_test(t, a_client_that_only_ended_sending_is_answered);
    tcase_add_test(t, clients_that_left_take_no_place);
    tcase_add_test(t, the_socket_is_private_and_taken_once);
    tcase_add_test(t, stopping_answers_what_is_open_and_refuses_the_rest);
    tcase_add_test(t, the_client_side_gets_its_reply);
    return t;
}

UNIT_MAIN("control", all)
