#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/io.h"
#include "common/net.h"
#include "common/zclient.h"

/* ---- a server that says what a test wants --------------------------------------------------- */

struct server {
    pthread_t thread;
    int listener;
    void (*talk)(struct server *s, int fd);
    int connections; /* to serve, one after the other */
    int nth;
    char port[16];
    char wrong[512]; /* first thing that was not as expected */
    void *arg;
};

static struct err e;

static void note(struct server *s, const char *what, const void *got, size_t n)
{
    if (!s->wrong[0])
        snprintf(s->wrong, sizeof s->wrong, "%s, got %zu bytes: %.*s", what, n,
                 (int)MIN(n, (size_t)200), (const char *)got);
}

static void say(struct server *s, int fd, const char *text)
{
    if (send(fd, text, strlen(text), MSG_NOSIGNAL) != (ssize_t)strlen(text))
        note(s, "cannot write", "", 0);
}

static void expect(struct server *s, int fd, const char *text)
{
    char got[4096] = "";
    size_t n = strlen(text);

    if (io_read_full(fd, got, n) < 0 || memcmp(got, text, n) != 0)
        note(s, text, got, strlen(got));
}

static void *serve(void *arg)
{
    struct server *s = arg;

    for (s->nth = 0; s->nth < s->connections; s->nth++) {
        struct pollfd p = {.fd = s->listener, .events = POLLIN};
        int fd;
        if (poll(&p, 1, 20000) != 1 || net_accept(s->listener, &fd) < 0) {
            note(s, "no connection", "", 0);
            break;
        }
        io_nonblock(fd, false);
        s->talk(s, fd);
        close(fd);
    }
    return NULL;
}

static void start(struct server *s, void (*talk)(struct server *, int), int connections)
{
    *s = (struct server){.talk = talk, .connections = connections};
    ck_assert_int_eq(net_listen_tcp("127.0.0.1", "0", &s->listener, NULL), 0);
    snprintf(s->port, sizeof s->port, "%d", net_local_port(s->listener));
    ck_assert_int_eq(pthread_create(&s->thread, NULL, serve, s), 0);
}

static void stop(struct server *s)
{
    pthread_join(s->thread, NULL);
    close(s->listener);
    if (s->wrong[0])
        ck_abort_msg("server: %s", s->wrong);
}

static struct zclient_conf conf_for(const struct server *s)
{
    return (struct zclient_conf){.host = "127.0.0.1",
                                 .port = s->port,
                                 .connect_timeout_ms = 10000,
                                 .io_timeout_ms = 10000,
                                 .max_reply = 16 << 20};
}

static struct zclient *open_to(const struct server *s)
{
    struct zclient_conf c = conf_for(s);
    struct zclient *z;

    if (zclient_open(&z, &c, &e) < 0)
        ck_abort_msg("%s", e.text);
    return z;
}

static int call(struct zclient *z, redisReply **r, const char *a, const char *b)
{
    const struct slice argv[] = {slice_str(a), b ? slice_str(b) : slice_of(NULL, 0)};
    *r = NULL;
    return zclient_call(z, r, &e, b ? 2 : 1, argv);
}

static void call_says(struct zclient *z, const char *word, const char *want)
{
    redisReply *r;

    if (call(z, &r, word, NULL) < 0)
        ck_abort_msg("%s", e.text);
    ck_assert(slice_eq_str(zclient_bulk(r), want));
    freeReplyObject(r);
}

/* ---- plain calls ---------------------------------------------------------------------------- */

static void pong(struct server *s, int fd)
{
    expect(s, fd, "*1\r\n$4\r\nPING\r\n");
    say(s, fd, "+PONG\r\n");
    expect(s, fd, "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
    say(s, fd, "$-1\r\n");
    expect(s, fd, "*1\r\n$4\r\nFAIL\r\n");
    say(s, fd, "-Command not supported\r\n");
}

START_TEST(a_call_gives_the_reply)
{
    struct server s;
    char want[64];
    redisReply *r;

    start(&s, pong, 1);
    struct zclient *z = open_to(&s);
    snprintf(want, sizeof want, "127.0.0.1:%s", s.port);
    ck_assert_str_eq(zclient_peer(z), want);
    ck_assert_int_ge(zclient_fd(z), 0);
    call_says(z, "PING", "PONG");
    ck_assert_int_eq(call(z, &r, "GET", "k"), 0);
    ck_assert(zclient_is_nil(r));
    freeReplyObject(r);
    ck_assert_int_eq(call(z, &r, "FAIL", NULL), 0); /* an error of the server is a reply */
    ck_assert(zclient_is_error(r));
    freeReplyObject(r);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void pong_once(struct server *s, int fd)
{
    expect(s, fd, "*1\r\n$4\r\nPING\r\n");
    say(s, fd, "+PONG\r\n");
}

START_TEST(unix_sockets_work)
{
    struct server s = {.talk = pong_once, .connections = 1};
    struct zclient_conf c = {.unix_path = scratch("s"), .ns = NULL};
    struct zclient *z;

    ck_assert_int_eq(net_listen_unix(scratch("s"), 0600, &s.listener, NULL), 0);
    ck_assert_int_eq(pthread_create(&s.thread, NULL, serve, &s), 0);
    ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
    ck_assert_str_eq(zclient_peer(z), scratch("s"));
    call_says(z, "PING", "PONG");
    zclient_close(z);
    stop(&s);
    c.unix_path = scratch("none");
    ck_assert_int_eq(zclient_open(&z, &c, &e), -ENOENT);
}
END_TEST

START_TEST(helpers_accept_null)
{
    ck_assert(!zclient_is_nil(NULL));
    ck_assert(!zclient_is_error(NULL));
    ck_assert(!zclient_is_ok(NULL));
    ck_assert_uint_eq(zclient_bulk(NULL).len, 0);
    zclient_close(NULL);
}
END_TEST

/* ---- big values ----------------------------------------------------------------------------- */

enum { BIG = 5 * 1024 * 1024 };

/* Reads a request of a known length, and sends the same bytes back as one bulk. */
static void echo_big(struct server *s, int fd)
{
    size_t head = strlen("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5242880\r\n"), n = head + BIG + 2;
    CLEANUP(base_free) char *p = malloc(n);

    if (io_read_full(fd, p, n) < 0 ||
        memcmp(p, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5242880\r\n", head) != 0)
        note(s, "SET expected", p, 40);
    say(s, fd, "$5242880\r\n");
    if (io_write_full(fd, p + head, BIG + 2) < 0)
        note(s, "cannot write", "", 0);
}

START_TEST(big_values_go_there_and_back)
{
    struct server s;
    CLEANUP(base_free) uint8_t *value = malloc(BIG);
    redisReply *r;

    for (size_t i = 0; i < BIG; i++)
        value[i] = (uint8_t)(i * 131 >> 3);
    start(&s, echo_big, 1);
    struct zclient *z = open_to(&s);
    const struct slice argv[] = {slice_str("SET"), slice_str("k"), slice_of(value, BIG)};
    ck_assert_int_eq(zclient_call(z, &r, &e, 3, argv), 0);
    ck_assert(slice_eq(zclient_bulk(r), slice_of(value, BIG)));
    freeReplyObject(r);
    zclient_close(z);
    stop(&s);
}
END_TEST

/* ---- pipelines ------------------------------------------------------------------------------ */

enum { PIPE_N = 2000, VALUE = 3000 };

/* Nothing is read while replies are written: both directions fill up. */
static void echo_each(struct server *s, int fd)
{
    size_t n = strlen("*2\r\n$3\r\nSET\r\n$3000\r\n") + VALUE + 2;
    CLEANUP(base_free) char *p = malloc(n);

    for (int i = 0; i < PIPE_N; i++) {
        if (io_read_full(fd, p, n) < 0) {
            note(s, "request missing", "", 0);
            return;
        }
        if (io_write_full(fd, p + 13, n - 13) < 0)
            note(s, "cannot write", "", 0);
    }
}

START_TEST(a_long_pipeline_does_not_block_and_keeps_the_order)
{
    struct server s;
    CLEANUP(base_free) char *values = xcalloc(PIPE_N, VALUE);

    start(&s, echo_each, 1);
    struct zclient *z = open_to(&s);
    for (int i = 0; i < PIPE_N; i++) {
        char *v = values + (size_t)i * VALUE;
        memset(v, 'a' + i % 26, VALUE);
        memcpy(v, &i, sizeof i);
        const struct slice argv[] = {slice_str("SET"), slice_of(v, VALUE)};
        ck_assert_int_eq(zclient_push(z, 2, argv), 0);
    }
    ck_assert_uint_eq(zclient_pending(z), PIPE_N);
    for (int i = 0; i < PIPE_N; i++) {
        redisReply *r;
        if (zclient_pull(z, &r, &e) < 0)
            ck_abort_msg("%s", e.text);
        if (!slice_eq(zclient_bulk(r), slice_of(values + (size_t)i * VALUE, VALUE)))
            ck_abort_msg("reply %d", i);
        freeReplyObject(r);
    }
    ck_assert_uint_eq(zclient_pending(z), 0);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void echo_sizes(struct server *s, int fd)
{
    char head[64];

    for (size_t n = 500; n < 530; n++) {
        CLEANUP(base_free) char *p = malloc(n + 2);
        snprintf(head, sizeof head, "*4\r\n$1\r\nx\r\n$%zu\r\n", n);
        expect(s, fd, head);
        if (io_read_full(fd, p, n + 2) < 0)
            note(s, "value missing", "", 0);
        snprintf(head, sizeof head, "$0\r\n\r\n$%zu\r\n", n);
        expect(s, fd, head);
        if (io_read_full(fd, p, n + 2) < 0)
            note(s, "value missing", "", 0);
        say(s, fd, "+OK\r\n");
    }
}

START_TEST(arguments_around_the_copy_limit_and_short_ones_may_change_after_the_push)
{
    struct server s;
    char value[600], small[2] = "x";

    memset(value, 'v', sizeof value);
    start(&s, echo_sizes, 1);
    struct zclient *z = open_to(&s);
    for (size_t n = 500; n < 530; n++) {
        redisReply *r;
        small[0] = 'x';
        const struct slice argv[] = {slice_str(small), slice_of(value, n), slice_of(NULL, 0),
                                     slice_of(value, n)};
        ck_assert_int_eq(zclient_push(z, 4, argv), 0);
        small[0] = 'y';
        ck_assert_int_eq(zclient_pull(z, &r, &e), 0);
        ck_assert(zclient_is_ok(r));
        freeReplyObject(r);
    }
    zclient_close(z);
    stop(&s);
}
END_TEST

START_TEST(wrong_use_is_refused)
{
    struct server s;
    const struct slice argv[] = {slice_str("PING")};
    redisReply *r;

    start(&s, pong_once, 1);
    struct zclient *z = open_to(&s);
    ck_assert_int_eq(zclient_pull(z, &r, &e), -EINVAL);
    ck_assert_int_eq(zclient_push(z, 0, argv), -EINVAL);
    ck_assert_int_eq(zclient_push(z, 1, argv), 0);
    ck_assert_int_eq(call(z, &r, "PING", NULL), -EBUSY);
    ck_assert_int_eq(zclient_pull(z, &r, &e), 0);
    freeReplyObject(r);
    zclient_close(z);
    stop(&s);
}
END_TEST

/* ---- what goes wrong ------------------------------------------------------------------------ */

static void say_nothing(struct server *s, int fd)
{
    char c;
    ssize_t n;

    do
        n = read(fd, &c, 1); /* until the client is gone */
    while (n > 0);
    (void)s;
}

START_TEST(silence_is_a_timeout_and_the_connection_is_broken)
{
    struct server s;
    struct zclient *z;
    redisReply *r;

    start(&s, say_nothing, 1);
    struct zclient_conf c = conf_for(&s);
    c.io_timeout_ms = 80;
    ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
    uint64_t begun = base_now_ms();
    ck_assert_int_eq(call(z, &r, "PING", NULL), -ETIMEDOUT);
    ck_assert_uint_ge(base_now_ms() - begun, 79);
    ck_assert_uint_lt(base_now_ms() - begun, 5000);
    ck_assert_ptr_nonnull(strstr(e.text, "no reply within 80 ms"));
    ck_assert_int_eq(zclient_status(z), -ETIMEDOUT);
    const struct slice argv[] = {slice_str("PING")};
    ck_assert_int_eq(zclient_push(z, 1, argv), -ETIMEDOUT);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void trickle(struct server *s, int fd)
{
    struct pollfd p = {.fd = fd};

    expect(s, fd, "*1\r\n$4\r\nPING\r\n");
    say(s, fd, "$1000\r\n");
    while (send(fd, "x", 1, MSG_NOSIGNAL) == 1 && poll(&p, 1, 10) == 0)
        ;
}

START_TEST(a_reply_that_trickles_does_not_extend_the_time)
{
    struct server s;
    struct zclient *z;
    redisReply *r;

    start(&s, trickle, 1);
    struct zclient_conf c = conf_for(&s);
    c.io_timeout_ms = 200;
    ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
    uint64_t begun = base_now_ms();
    ck_assert_int_eq(call(z, &r, "PING", NULL), -ETIMEDOUT);
    ck_assert_uint_lt(base_now_ms() - begun, 3000);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void hang_up(struct server *s, int fd)
{
    expect(s, fd, "*1\r\n$4\r\nPING\r\n");
    say(s, fd, "$10\r\nabc");
}

START_TEST(a_connection_that_ends_early_is_reset)
{
    struct server s;
    redisReply *r;

    start(&s, hang_up, 1);
    struct zclient *z = open_to(&s);
    ck_assert_int_eq(call(z, &r, "PING", NULL), -ECONNRESET);
    ck_assert_ptr_nonnull(strstr(e.text, s.port));
    zclient_close(z);
    stop(&s);
}
END_TEST

static void refuse_and_close(struct server *s, int fd)
{
    expect(s, fd, "*2\r\n$3\r\nSET\r\n$10485760\r\n");
    say(s, fd, "-Payload too big\r\n");
    shutdown(fd, SHUT_WR);
    char sink[65536];
    while (read(fd, sink, sizeof sink) > 0) /* else the reset could overtake the reply */
        ;
}

START_TEST(a_refusal_in_the_middle_of_a_request_is_heard)
{
    struct server s;
    redisReply *r;
    CLEANUP(base_free) char *big = xcalloc(1, 10 << 20);

    start(&s, refuse_and_close, 1);
    struct zclient *z = open_to(&s);
    const struct slice argv[] = {slice_str("SET"), slice_of(big, 10 << 20)};
    ck_assert_int_eq(zclient_push(z, 2, argv), 0);
    ck_assert_int_eq(zclient_pull(z, &r, &e), 0);
    ck_assert(zclient_is_error(r));
    freeReplyObject(r);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void talk_too_much(struct server *s, int fd)
{
    static const char *const too_much[] = {"$2000000\r\n", "*2147483647\r\n", "*2\r\n*1000000\r\n",
                                           "nonsense\r\n", "+OK\r\n+MORE\r\n"};

    expect(s, fd, "*1\r\n$4\r\nPING\r\n");
    say(s, fd, too_much[s->nth]);
    say_nothing(s, fd);
}

START_TEST(hostile_replies_are_errors_with_names)
{
    static const int want[] = {-EMSGSIZE, -EMSGSIZE, -EMSGSIZE, -EPROTO};
    struct server s;
    redisReply *r;

    start(&s, talk_too_much, 5);
    struct zclient_conf c = conf_for(&s);
    c.max_reply = 1 << 20;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct zclient *z;
        ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
        ck_assert_int_eq(call(z, &r, "PING", NULL), want[i]);
        ck_assert_int_eq(zclient_status(z), want[i]);
        zclient_close(z);
    }
    /* a reply nobody asked for: the first is right, then the connection is not used again */
    struct zclient *z;
    ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
    ck_assert_int_eq(call(z, &r, "PING", NULL), 0);
    ck_assert(zclient_is_ok(r));
    freeReplyObject(r);
    ck_assert_int_eq(call(z, &r, "PING", NULL), -EPROTO);
    zclient_close(z);
    stop(&s);
}
END_TEST

START_TEST(nobody_there_is_refused)
{
    struct server s = {.port = ""};
    struct zclient *z;

    ck_assert_int_eq(net_listen_tcp("127.0.0.1", "0", &s.listener, NULL), 0);
    snprintf(s.port, sizeof s.port, "%d", net_local_port(s.listener));
    close(s.listener);
    struct zclient_conf c = conf_for(&s);
    ck_assert_int_eq(zclient_open(&z, &c, &e), -ECONNREFUSED);
    ck_assert_ptr_nonnull(strstr(e.text, s.port));
    ck_assert_int_eq(zclient_open(&z, &c, NULL), -ECONNREFUSED);
    c.host = "no.such.host.invalid";
    ck_assert_int_lt(zclient_open(&z, &c, &e), 0);
}
END_TEST

static void look_for_signal(int sig)
{
    (void)sig;
}

static void *pester(void *arg)
{
    for (int i = 0; i < 20; i++) {
        pthread_kill(*(pthread_t *)arg, SIGUSR1);
        usleep(2000);
    }
    return NULL;
}

static void slow_pong(struct server *s, int fd)
{
    expect(s, fd, "*1\r\n$4\r\nPING\r\n");
    struct pollfd p = {.fd = fd};
    poll(&p, 1, 60);
    say(s, fd, "+PONG\r\n");
}

START_TEST(signals_do_not_disturb)
{
    struct sigaction sa = {.sa_handler = look_for_signal};
    pthread_t self = pthread_self(), t;
    struct server s;

    sigaction(SIGUSR1, &sa, NULL);
    start(&s, slow_pong, 1);
    struct zclient *z = open_to(&s);
    ck_assert_int_eq(pthread_create(&t, NULL, pester, &self), 0);
    call_says(z, "PING", "PONG");
    pthread_join(t, NULL);
    zclient_close(z);
    stop(&s);
}
END_TEST

/* ---- namespaces and passwords --------------------------------------------------------------- */

enum { BATCHES = 60, BATCH_REPLIES = 4 };

/* As the original zdb: each reply by itself, and no TCP_NODELAY. */
static void pongs_one_by_one(struct server *s, int fd)
{
    int off = 0;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &off, sizeof off);
    for (int i = 0; i < BATCHES; i++) {
        for (int k = 0; k < BATCH_REPLIES; k++)
            expect(s, fd, "*1\r\n$4\r\nPING\r\n");
        for (int k = 0; k < BATCH_REPLIES; k++)
            say(s, fd, "+PONG\r\n");
    }
}

/* A quarter of the batches is quick: a busy machine slows down some of them, a delayed
 * acknowledgement takes 40 ms in nearly all. */
START_TEST(replies_in_small_packets_do_not_wait_for_acknowledgements)
{
    struct server s;
    unsigned quick = 0;

    start(&s, pongs_one_by_one, 1);
    struct zclient *z = open_to(&s);
    const struct slice ping[] = {slice_str("PING")};
    for (int i = 0; i < BATCHES; i++) {
        uint64_t began = base_now_us();
        for (int k = 0; k < BATCH_REPLIES; k++)
            ck_assert_int_eq(zclient_push(z, 1, ping), 0);
        for (int k = 0; k < BATCH_REPLIES; k++) {
            redisReply *r = NULL;
            zclient_drive(&z, 1, true, base_now_ms() + 5000);
            ck_assert_int_eq(zclient_pull(z, &r, &e), 0);
            freeReplyObject(r);
        }
        quick += base_now_us() - began < 30000;
    }
    ck_assert_msg(quick > BATCHES / 4, "%u of %d were quick", quick, BATCHES);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void select_plain(struct server *s, int fd)
{
    expect(s, fd, "*2\r\n$6\r\nSELECT\r\n$2\r\nns\r\n");
    static const char *const answer[] = {"+OK\r\n", "-Namespace not found\r\n",
                                         "-Namespace protected and private\r\n", "-odd\r\n"};
    say(s, fd, answer[s->nth]);
}

START_TEST(namespace_is_selected_and_refusals_have_codes)
{
    static const int want[] = {0, -ENOENT, -EACCES, -EPROTO};
    struct server s;
    char peer[64];

    start(&s, select_plain, 4);
    struct zclient_conf c = conf_for(&s);
    c.ns = "ns";
    snprintf(peer, sizeof peer, "127.0.0.1:%s ns", s.port);
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        struct zclient *z = NULL;
        ck_assert_int_eq(zclient_open(&z, &c, &e), want[i]);
        if (want[i] == 0)
            ck_assert_str_eq(zclient_peer(z), peer);
        else
            ck_assert_ptr_nonnull(strstr(e.text, peer));
        zclient_close(z);
    }
    stop(&s);
}
END_TEST

static void select_secure(struct server *s, int fd)
{
    char want[128], hash[41];

    expect(s, fd, "*3\r\n$4\r\nAUTH\r\n$6\r\nSECURE\r\n$9\r\nCHALLENGE\r\n");
    say(s, fd, "+0123456789abcdef\r\n");
    digest_sha1_hex(slice_str("0123456789abcdef:secret"), hash);
    snprintf(want, sizeof want, "*4\r\n$6\r\nSELECT\r\n$2\r\nns\r\n$6\r\nSECURE\r\n$40\r\n%s\r\n",
             hash);
    expect(s, fd, want);
    say(s, fd, s->nth ? "-Access denied\r\n" : "+OK\r\n");
}

START_TEST(password_is_proved_not_sent)
{
    struct server s;
    struct zclient *z;

    start(&s, select_secure, 2);
    struct zclient_conf c = conf_for(&s);
    c.ns = "ns";
    c.password = "secret";
    ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
    ck_assert_ptr_null(strstr(zclient_peer(z), "secret"));
    zclient_close(z);
    ck_assert_int_eq(zclient_open(&z, &c, &e), -EACCES);
    ck_assert_ptr_nonnull(strstr(e.text, "Access denied"));
    ck_assert_ptr_null(strstr(e.text, "secret"));
    stop(&s);
}
END_TEST

static void no_challenge(struct server *s, int fd)
{
    expect(s, fd, "*3\r\n$4\r\nAUTH\r\n$6\r\nSECURE\r\n$9\r\nCHALLENGE\r\n");
    say(s, fd, "-Unexpected arguments\r\n");
    if (s->nth) {
        expect(s, fd, "*3\r\n$6\r\nSELECT\r\n$2\r\nns\r\n$6\r\nsecret\r\n");
        say(s, fd, "+OK\r\n");
    } else {
        char c;
        if (read(fd, &c, 1) != 0)
            note(s, "the password must not be sent", "", 0);
    }
}

START_TEST(password_goes_in_clear_text_only_when_allowed)
{
    struct server s;
    struct zclient *z;

    start(&s, no_challenge, 2);
    struct zclient_conf c = conf_for(&s);
    c.ns = "ns";
    c.password = "secret";
    ck_assert_int_eq(zclient_open(&z, &c, &e), -EACCES);
    ck_assert_ptr_nonnull(strstr(e.text, "clear text"));
    c.plain_auth = true;
    ck_assert_int_eq(zclient_open(&z, &c, &e), 0);
    zclient_close(z);
    stop(&s);
}
END_TEST

static void odd_challenge(struct server *s, int fd)
{
    static const char *const odd[] = {"$-1\r\n", ":5\r\n", "*0\r\n", "+\r\n"};
    CLEANUP(base_free) char *line = xcalloc(1, 10000);

    expect(s, fd, "*3\r\n$4\r\nAUTH\r\n$6\r\nSECURE\r\n$9\r\nCHALLENGE\r\n");
    if (s->nth < 4) {
        say(s, fd, odd[s->nth]);
    } else {
        memset(line, 'x', 5000);
        line[0] = '+';
        memcpy(line + 5000, "\r\n", 3);
        say(s, fd, line);
    }
}

START_TEST(odd_challenges_are_refused)
{
    struct server s;
    struct zclient *z;

    start(&s, odd_challenge, 5);
    struct zclient_conf c = conf_for(&s);
    c.ns = "ns";
    c.password = "secret";
    c.plain_auth = true;
    for (int i = 0; i < 5; i++)
        ck_assert_int_eq(zclient_open(&z, &c, &e), -EPROTO);
    stop(&s);
}
END_TEST

/* ---- many connections in one thread --------------------------------------------------------- */

enum { MANY = 8 };

static void set_ok(struct server *s, int fd)
{
    size_t n = strlen("*2\r\n$3\r\nSET\r\n$2000000\r\n") + 2000000 + 2;
    CLEANUP(base_free) char *p = malloc(n);

    if (io_read_full(fd, p, n) < 0)
        note(s, "request missing", "", 0);
    say(s, fd, "+OK\r\n");
}

START_TEST(drive_moves_all_connections_at_once)
{
    struct server s[MANY];
    struct zclient *z[MANY + 1] = {NULL};
    CLEANUP(base_free) char *big = xcalloc(1, 2000000);
    const struct slice argv[] = {slice_str("SET"), slice_of(big, 2000000)};

    for (int i = 0; i < MANY; i++) {
        start(&s[i], i == 3 ? say_nothing : set_ok, 1);
        z[i] = open_to(&s[i]);
        ck_assert_int_eq(zclient_status(z[i]), 0);
        ck_assert_int_eq(zclient_push(z[i], 2, argv), 0);
    }
    zclient_drive(z, MANY + 1, true, base_now_ms() + 20000); /* one at least */
    int ready = 0;
    for (int i = 0; i < MANY; i++)
        ready += zclient_status(z[i]) == 1;
    ck_assert_int_ge(ready, 1);
    uint64_t begun = base_now_ms();
    struct zclient *silent = z[3];
    z[3] = NULL;
    zclient_drive(z, MANY + 1, false, begun + 20000);
    z[3] = silent;
    for (int i = 0; i < MANY; i++)
        ck_assert_int_eq(zclient_status(z[i]), i != 3);
    begun = base_now_ms();
    zclient_drive(z, MANY + 1, false, begun + 50); /* the silent one holds it up to the deadline */
    ck_assert_uint_ge(base_now_ms() - begun, 50);
    ck_assert_int_eq(zclient_status(z[3]), 0);
    for (int i = 0; i < MANY; i++) {
        redisReply *r;
        if (i != 3) {
            ck_assert_int_eq(zclient_pull(z[i], &r, &e), 0);
            ck_assert(zclient_is_ok(r));
            freeReplyObject(r);
        }
        zclient_close(z[i]);
        stop(&s[i]);
    }
}
END_TEST

START_TEST(drive_reports_a_failure_as_a_decision)
{
    struct server s[2];
    struct zclient *z[2];
    const struct slice argv[] = {slice_str("PING")};

    start(&s[0], say_nothing, 1);
    start(&s[1], hang_up, 1);
    for (int i = 0; i < 2; i++) {
        z[i] = open_to(&s[i]);
        ck_assert_int_eq(zclient_push(z[i], 1, argv), 0);
    }
    zclient_drive(z, 2, true, base_now_ms() + 20000);
    ck_assert_int_eq(zclient_status(z[0]), 0);
    ck_assert_int_eq(zclient_status(z[1]), -ECONNRESET);
    for (int i = 0; i < 2; i++) {
        zclient_close(z[i]);
        stop(&s[i]);
    }
}
END_TEST

START_TEST(drive_of_nothing_returns)
{
    struct zclient *z[3] = {NULL};

    zclient_drive(z, 3, false, base_now_ms() + 10000);
    zclient_drive(z, 0, true, base_now_ms() + 10000);
    ck_assert_ptr_null(z[0]);
}
END_TEST

static TCase *zclient(void)
{
    TCase *t = scratch_case("zclient");
    tcase_add_test(t, a_call_gives_the_reply);
    tcase_add_test(t, unix_sockets_work);
    tcase_add_test(t, helpers_accept_null);
    tcase_add_test(t, big_values_go_there_and_back);
    tcase_add_test(t, a_long_pipeline_does_not_block_and_keeps_the_order);
    tcase_add_test(t, arguments_around_the_copy_limit_and_short_ones_may_change_after_the_push);
    tcase_add_test(t, wrong_use_is_refused);
    tcase_add_test(t, silence_is_a_timeout_and_the_connection_is_broken);
    tcase_add_test(t, a_reply_that_trickles_does_not_extend_the_time);
    tcase_add_test(t, a_connection_that_ends_early_is_reset);
    tcase_add_test(t, a_refusal_in_the_middle_of_a_request_is_heard);
    tcase_add_test(t, hostile_replies_are_errors_with_names);
    tcase_add_test(t, nobody_there_is_refused);
    tcase_add_test(t, signals_do_not_disturb);
    tcase_add_test(t, replies_in_small_packets_do_not_wait_for_acknowledgements);
    tcase_add_test(t, namespace_is_selected_and_refusals_have_codes);
    tcase_add_test(t, password_is_proved_not_sent);
    tcase_add_test(t, password_goes_in_clear_text_only_when_allowed);
    tcase_add_test(t, odd_challenges_are_refused);
    tcase_add_test(t, drive_moves_all_connections_at_once);
    tcase_add_test(t, drive_reports_a_failure_as_a_decision);
    tcase_add_test(t, drive_of_nothing_returns);
    return t;
}

UNIT_MAIN("zclient", zclient)
