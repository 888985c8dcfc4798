#include "tests/unit/unit.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/io.h"
#include "common/resp.h"
#include "common/zsend.h"

static int ours, theirs;

static void begin(void)
{
    int fds[2], small = 4096;

    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    ours = fds[0];
    theirs = fds[1];
    setsockopt(ours, SOL_SOCKET, SO_SNDBUF, &small, sizeof small); /* so that short counts are the
                                                                      rule */
    io_nonblock(theirs, true);
}

static void end(void)
{
    close(ours);
    close(theirs);
}

/* Takes at most max bytes from the other end. */
static void take(struct buf *got, size_t max)
{
    uint8_t *room = buf_reserve(got, max);
    ssize_t n = read(theirs, room, max);
    if (n > 0)
        buf_commit(got, (size_t)n);
}

static void send_all(struct zsend *z, struct buf *got, size_t step)
{
    while (zsend_left(z)) {
        ck_assert_int_eq(zsend_flush(z, ours), 0);
        take(got, step);
    }
    size_t before;
    do {
        before = got->len;
        take(got, 65536);
    } while (got->len > before);
}

START_TEST(what_arrives_is_what_the_plain_writer_writes)
{
    static const size_t lens[] = {0, 1, 511, 512, 513, 514, 5000, 100000};
    CLEANUP(base_free) uint8_t *bytes = xcalloc(1, 200000);

    for (size_t i = 0; i < 200000; i++)
        bytes[i] = (uint8_t)(i * 7 + (i >> 9));
    for (size_t step = 100; step < 100000; step *= 9) {
        struct zsend z = {0};
        struct buf want = BUF_INIT, got = BUF_INIT;
        for (size_t i = 0; i < 200; i++) {
            const struct slice argv[] = {
                slice_str("SET"), slice_of(bytes + i, lens[i % ARRAY_LEN(lens)]),
                slice_of(bytes + 2 * i, lens[i * 3 % 7 % ARRAY_LEN(lens)])};
            unsigned argc = (unsigned)(i % 3 + 1);
            ck_assert_int_eq(zsend_push(&z, argc, argv), 0);
            resp_put_request(&want, argc, argv);
            if (i % 5 == 0) { /* pushes and partly done sends mixed */
                ck_assert_int_eq(zsend_flush(&z, ours), 0);
                take(&got, step);
            }
        }
        send_all(&z, &got, step);
        ck_assert(slice_eq(buf_slice(&got), buf_slice(&want)));
        buf_fini(&got);
        buf_fini(&want);
        zsend_fini(&z);
    }
}
END_TEST

START_TEST(memory_stays_bounded_when_it_is_never_quite_empty)
{
    struct zsend z = {0};
    struct buf got = BUF_INIT;
    static char value[600];
    const struct slice argv[] = {slice_str("SET"), slice_of(value, sizeof value)};

    for (int i = 0; i < 20; i++)
        ck_assert_int_eq(zsend_push(&z, 2, argv), 0);
    for (int i = 0; i < 20000; i++) {
        ck_assert_int_eq(zsend_push(&z, 2, argv), 0);
        while (z.n - z.first > 40) {
            zsend_flush(&z, ours);
            take(&got, 4000);
            buf_clear(&got);
        }
        ck_assert(zsend_left(&z));
    }
    ck_assert_uint_lt(z.head.cap, 100000);
    ck_assert_uint_lt(z.cap, 1000);
    buf_fini(&got);
    zsend_fini(&z);
}
END_TEST

START_TEST(dropped_memory_is_not_touched)
{
    struct zsend z = {0};
    char *value = xcalloc(1, 1000);
    const struct slice argv[] = {slice_of(value, 1000)};

    ck_assert_int_eq(zsend_push(&z, 1, argv), 0);
    zsend_drop(&z);
    free(value);
    ck_assert(!zsend_left(&z));
    ck_assert_int_eq(zsend_flush(&z, ours), 0);
    struct buf got = BUF_INIT;
    take(&got, 100);
    ck_assert_uint_eq(got.len, 0);
    buf_fini(&got);
    zsend_fini(&z);
}
END_TEST

START_TEST(wipe_leaves_nothing_of_what_was_sent)
{
    struct zsend z = {0};
    const struct slice argv[] = {slice_str("SELECT"), slice_str("ns"), slice_str("secret")};
    struct buf got = BUF_INIT;

    ck_assert_int_eq(zsend_push(&z, 3, argv), 0);
    send_all(&z, &got, 1000);
    ck_assert_ptr_nonnull(memmem(z.head.p, z.head.cap, "secret", 6)); /* it is there before */
    zsend_wipe(&z);
    ck_assert_ptr_null(memmem(z.head.p, z.head.cap, "secret", 6));
    buf_fini(&got);
    zsend_fini(&z);
}
END_TEST

START_TEST(errors_of_the_socket_are_reported)
{
    struct zsend z = {0};
    const struct slice argv[] = {slice_str("PING")};

    ck_assert_int_eq(zsend_push(&z, 0, argv), -EINVAL);
    ck_assert(!zsend_left(&z));
    ck_assert_int_eq(zsend_push(&z, 1, argv), 0);
    ck_assert_int_eq(shutdown(ours, SHUT_WR), 0);
    ck_assert_int_eq(zsend_flush(&z, ours), -EPIPE); /* and no SIGPIPE */
    ck_assert(zsend_left(&z));
    zsend_fini(&z);
}
END_TEST

static TCase *zsend(void)
{
    TCase *t = tcase_create("zsend");
    tcase_add_checked_fixture(t, begin, end);
    tcase_add_test(t, what_arrives_is_what_the_plain_writer_writes);
    tcase_add_test(t, memory_stays_bounded_when_it_is_never_quite_empty);
    tcase_add_test(t, dropped_memory_is_not_touched);
    tcase_add_test(t, wipe_leaves_nothing_of_what_was_sent);
    tcase_add_test(t, errors_of_the_socket_are_reported);
    return t;
}

UNIT_MAIN("zsend", zsend)
