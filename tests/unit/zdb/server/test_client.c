/* Connections over socket pairs: batches, pauses, errors, ends. */
#include "tests/unit/unit.h"
#include "zdb/server/client.h"
#include "zdb/server/hooks.h"
#include "zdb/store.h"
#include "zdb/server/request.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

static char dir[32], data[64], idx[64];
static struct loop *loop;
static struct hooks *hooks;
static struct store *list;
static struct zdb db;
static struct client_set cs;
static int closed;

static void on_closed(void *arg)
{
    (void)arg;
    closed++;
}

static void setup(void)
{
    static const struct log_conf quiet = {.level = LOG_LVL_ERROR};
    struct hook_conf hc = {.instance = "unix:///x",
                           .fast_timeout_ms = 1000,
                           .slow_timeout_ms = 1000};
    struct store_conf nc = {
        .data_dir = data, .index_dir = idx, .mode = NS_USER, .datasize = 64 * MIB};
    struct zdb_conf zc = {.max_output = 64 * KIB};
    struct err e = {0};

    strcpy(dir, "/tmp/client.XXXXXX");
    ck_assert(mkdtemp(dir) && log_open(&quiet, &e) == 0);
    snprintf(data, sizeof data, "%s/data", dir);
    snprintf(idx, sizeof idx, "%s/index", dir);
    ck_assert_int_eq(loop_new(&loop, &e), 0);
    ck_assert_int_eq(hooks_new(&hooks, loop, &hc, &e), 0);
    ck_assert_msg(store_new(&list, &nc, loop, &e) == 0 && store_load(list, &e) == 0, "%s", e.text);
    ck_assert_int_eq(request_db_init(&db, &zc, loop, &e), 0);
    db.store = list;
    db.hooks = hooks;
    closed = 0;
    cs = (struct client_set){.db = &db,
                             .loop = loop,
                             .max_output = 64 * KIB,
                             .max_buffers = 64 * MIB,
                             .closed = on_closed};
    client_set_init(&cs);
}

static void teardown(void)
{
    client_set_fini(&cs);
    request_db_fini(&db);
    store_close(list);
    store_free(list);
    hooks_free(hooks);
    loop_free(loop);
    path_remove_tree(dir);
}

static int open_client(void)
{
    int fds[2], small = 4096;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    setsockopt(fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    client_new(&cs, fds[0]);
    return fds[1];
}

static void put(int fd, const char *text)
{
    ck_assert_int_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (int)strlen(text));
}

/* What comes until n bytes are there or the other side closes; *eof says which. */
static const char *take(int fd, size_t n, bool *eof)
{
    static char text[1 << 20];
    size_t have = 0;

    *eof = false;
    for (int i = 0; i < 2000 && have < n && !*eof; i++) {
        loop_once(loop, 5);
        ssize_t got = recv(fd, text + have, sizeof text - 1 - have, 0);
        if (got > 0)
            have += (size_t)got;
        *eof = got == 0;
    }
    text[have] = '\0';
    return text;
}

static void spin(int rounds)
{
    for (int i = 0; i < rounds; i++)
        loop_once(loop, 1);
}

START_TEST(a_batch_is_answered_in_one_piece)
{
    int fd = open_client();
    char text[256];

    put(fd, "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nb\r\n*2\r\n$3\r\nGET\r\n$"
            "1\r\na\r\n");
    spin(3);
    ssize_t n = recv(fd, text, sizeof text, 0);
    ck_assert_int_eq(n, 7 + 7 + 7);
    ck_assert_int_eq(memcmp(text, "+PONG\r\n$1\r\na\r\n$1\r\nb\r\n", 21), 0);
    close(fd);
    spin(3);
    ck_assert_int_eq(closed, 1);
    ck_assert_uint_eq(cs.count, 0);
}
END_TEST

START_TEST(bytes_one_by_one_make_requests_too)
{
    static const char text[] = "*2\r\n$3\r\nGET\r\n$1\r\na\r\n*1\r\n$4\r\nPING\r\n";
    int fd = open_client();
    bool eof;

    for (size_t i = 0; text[i]; i++) {
        ck_assert_int_eq(send(fd, text + i, 1, 0), 1);
        spin(1);
    }
    ck_assert_str_eq(take(fd, 12, &eof), "$-1\r\n+PONG\r\n");
    close(fd);
}
END_TEST

START_TEST(an_error_is_sent_then_the_connection_ends)
{
    int fd = open_client();
    bool eof;

    put(fd, "*1\r\n$4\r\nPING\r\nnonsense\r\n*1\r\n$4\r\nPING\r\n");
    ck_assert_str_eq(take(fd, 4096, &eof), "+PONG\r\n-Malformed request, array expected\r\n");
    ck_assert(eof);
    ck_assert_uint_eq(cs.count, 1); /* what still comes is dropped for a moment, so that the reply
                                       is not lost */
    put(fd, "more");
    spin(3);
    close(fd);
    spin(3);
    ck_assert_uint_eq(cs.count, 0);
}
END_TEST

START_TEST(an_error_without_a_close_of_the_peer_ends_too)
{
    int fd = open_client();

    put(fd, "nonsense\r\n");
    for (int i = 0; i < 400 && cs.count; i++)
        loop_once(loop, 20);
    ck_assert_uint_eq(cs.count, 0);
    close(fd);
}
END_TEST

START_TEST(unsent_output_stops_reading_and_all_replies_come_in_the_end)
{
    enum { VALUE = 30000, REQUESTS = 200 };
    static char value[VALUE + 64];
    int fd = open_client();
    bool eof;
    size_t sent = 0;

    int head = snprintf(value, sizeof value, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n", VALUE);
    memset(value + head, 'v', VALUE);
    strcpy(value + head + VALUE, "\r\n");
    for (size_t at = 0; value[at]; spin(1)) {
        ssize_t n = send(fd, value + at, strlen(value + at), MSG_NOSIGNAL);
        at += n > 0 ? (size_t)n : 0;
    }
    ck_assert_str_eq(take(fd, 7, &eof), "$1\r\nk\r\n");
    while (sent < REQUESTS) {
        static const char get[] = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
        if (send(fd, get, sizeof get - 1, MSG_NOSIGNAL) < 0)
            break;
        sent++;
    }
    spin(100);
    uint64_t executed = db.executed;
    spin(100);
    ck_assert_uint_eq(db.executed, executed); /* it waits for its reader */
    ck_assert_uint_le(executed, 1 + 64 * 1024 / VALUE + 8);
    for (size_t left = sent * (strlen("$30000\r\n") + VALUE + 2); left > 0;) {
        size_t got = strlen(take(fd, MIN(left, (size_t)50000), &eof));
        ck_assert_uint_gt(got, 0);
        ck_assert_uint_le(got, left);
        left -= got;
    }
    ck_assert_uint_eq(db.executed, 1 + sent);
    close(fd);
}
END_TEST

START_TEST(silent_connections_end_after_the_idle_time)
{
    int quiet, waiting, waits_for_event;
    bool eof;

    cs.idle_ms = 300;
    quiet = open_client();
    waits_for_event = open_client();
    waiting = open_client();
    put(waits_for_event, "*3\r\n$4\r\nWAIT\r\n$3\r\nSET\r\n$4\r\n3000\r\n");
    put(waiting, "*1\r\n$6\r\nMIRROR\r\n");
    ck_assert_str_eq(take(quiet, 1, &eof), "");
    ck_assert(eof);
    ck_assert_uint_eq(cs.count, 2);
    close(quiet);
    close(waiting);
    close(waits_for_event);
}
END_TEST

START_TEST(a_mirror_that_does_not_read_is_dropped)
{
    int mirror = open_client(), busy = open_client();
    static char request[20064];
    bool eof;

    put(mirror, "*1\r\n$6\r\nMIRROR\r\n");
    ck_assert_str_eq(take(mirror, 20, &eof), "+Starting mirroring\r\n");
    int head = snprintf(request, sizeof request, "*2\r\n$4\r\nPING\r\n$20000\r\n");
    memset(request + head, 'x', 20000);
    strcpy(request + head + 20000, "\r\n");
    for (int i = 0; i < 200 && cs.count == 2; i++) {
        put(busy, request);
        take(busy, 7, &eof);
    }
    ck_assert_uint_eq(cs.count, 1);
    close(mirror);
    close(busy);
}
END_TEST

START_TEST(end_of_the_set_sends_what_is_ready)
{
    int fd = open_client();
    char text[64];

    put(fd, "*1\r\n$4\r\nPING\r\n");
    spin(2);
    client_set_fini(&cs);
    ck_assert_int_eq(recv(fd, text, sizeof text, 0), 7);
    ck_assert_int_eq(recv(fd, text, sizeof text, 0), 0);
    close(fd);
    client_set_init(&cs);
}
END_TEST

/* One sync wakes many that have much to do: their work is spread over rounds, and who comes with a
 * small request is served in between.  Counted, not timed. */
START_TEST(clients_woken_together_do_not_fill_a_round)
{
    enum { CLIENTS = 300, GETS = 1000 };
    static char text[GETS * 32 + 128];
    int fd[CLIENTS], probe = open_client(), rounds = 0, ping_rounds = 0;
    uint64_t all = (uint64_t)CLIENTS * (GETS + 2), most = 0, before;
    bool asked = false, answered = false;
    char reply[16];

    for (int i = 0; i < CLIENTS; i++) {
        size_t n =
            (size_t)sprintf(text,
                            "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n%04d\r\n*1\r\n$4\r\nSYNC\r\n", i);
        for (int k = 0; k < GETS; k++)
            n += (size_t)sprintf(text + n, "*2\r\n$3\r\nGET\r\n$1\r\nn\r\n");
        fd[i] = open_client();
        put(fd[i], text);
    }
    for (; rounds < 100000 && (db.executed < all || (asked && !answered)); rounds++) {
        before = db.executed;
        loop_once(loop, 100);
        most = MAX(most, db.executed - before);
        if (!asked && db.executed > all / 20) { /* they are under way */
            put(probe, "*1\r\n$4\r\nPING\r\n");
            asked = true;
            all++;
        } else if (asked && !answered) {
            ping_rounds++;
            answered = recv(probe, reply, sizeof reply, 0) > 0;
        }
    }
    ck_assert_uint_eq(db.executed, all);
    ck_assert_uint_le(most, all / 3);
    ck_assert(answered);
    ck_assert_int_le(ping_rounds, 3);
    for (int i = 0; i < CLIENTS; i++)
        close(fd[i]);
    close(probe);
}
END_TEST

static TCase *client_cases(void)
{
    TCase *t = tcase_create("client");
    tcase_add_checked_fixture(t, setup, teardown);
    tcase_add_test(t, a_batch_is_answered_in_one_piece);
    tcase_add_test(t, clients_woken_together_do_not_fill_a_round);
    tcase_add_test(t, bytes_one_by_one_make_requests_too);
    tcase_add_test(t, an_error_is_sent_then_the_connection_ends);
    tcase_add_test(t, an_error_without_a_close_of_the_peer_ends_too);
    tcase_add_test(t, unsent_output_stops_reading_and_all_replies_come_in_the_end);
    tcase_add_test(t, silent_connections_end_after_the_idle_time);
    tcase_add_test(t, a_mirror_that_does_not_read_is_dropped);
    tcase_add_test(t, end_of_the_set_sends_what_is_ready);
    return t;
}

UNIT_MAIN("zdb client", client_cases)
