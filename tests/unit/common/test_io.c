#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

static int new_file(const char *name)
{
    int fd = open(scratch(name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    return fd;
}

START_TEST(written_bytes_come_back)
{
    CLEANUP(base_close) int fd = new_file("f");
    char got[6] = "";

    ck_assert_int_eq(io_write_full(fd, "hello", 5), 0);
    ck_assert_int_eq(io_pwrite_full(fd, "J", 1, 0), 0);
    ck_assert_int_eq(io_pread_full(fd, got, 5, 0), 0);
    ck_assert_str_eq(got, "Jello");
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(io_read_full(fd, got, 4), 0);
    ck_assert_int_eq(io_fsync(fd), 0);
    ck_assert_int_eq(io_fdatasync(fd), 0);
}
END_TEST

START_TEST(early_end_is_enodata)
{
    CLEANUP(base_close) int fd = new_file("f");
    char got[8];

    ck_assert_int_eq(io_write_full(fd, "12345", 5), 0);
    ck_assert_int_eq(io_pread_full(fd, got, 6, 0), -ENODATA);
    ck_assert_int_eq(io_pread_full(fd, got, 1, 5), -ENODATA);
    ck_assert_int_eq(io_pread_full(fd, got, 0, 50), 0);
    ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
    ck_assert_int_eq(io_read_full(fd, got, 6), -ENODATA);
}
END_TEST

START_TEST(errors_are_reported)
{
    CLEANUP(base_close) int ro = open("/dev/null", O_RDONLY | O_CLOEXEC);
    char c = 0;
    struct iovec v = {&c, 1};

    ck_assert_int_eq(io_write_full(ro, "x", 1), -EBADF);
    ck_assert_int_eq(io_pwrite_full(ro, "x", 1, 0), -EBADF);
    ck_assert_int_eq(io_pwritev_full(ro, &v, 1, 0), -EBADF);
    ck_assert_int_eq(io_read_full(-1, &c, 1), -EBADF);
    ck_assert_int_eq(io_fsync(-1), -EBADF);
    ck_assert_int_eq(io_fdatasync(-1), -EBADF);
    ck_assert_int_eq(io_nonblock(-1, true), -EBADF);
}
END_TEST

START_TEST(offsets_past_the_signed_range_are_refused)
{
    CLEANUP(base_close) int fd = new_file("f");
    char c = 0;
    struct iovec v = {&c, 1};

    ck_assert_int_eq(io_pread_full(fd, &c, 1, UINT64_MAX), -EINVAL);
    ck_assert_int_eq(io_pread_full(fd, &c, 1, INT64_MAX), -EINVAL);
    ck_assert_int_eq(io_pwrite_full(fd, &c, 1, UINT64_MAX - 1), -EFBIG);
    ck_assert_int_eq(io_pwritev_full(fd, &v, 1, UINT64_MAX - 1), -EFBIG);
}
END_TEST

START_TEST(full_disk_is_enospc)
{
    CLEANUP(base_close) int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(io_write_full(fd, "x", 1), -ENOSPC);
}
END_TEST

START_TEST(vector_writes_everything_in_order)
{
    enum { N = 3000 }; /* more than one system call takes */
    CLEANUP(base_close) int fd = new_file("f");
    static char text[N + 1], got[N + 5];
    static struct iovec v[2 * N];

    for (int i = 0; i < N; i++) {
        text[i] = (char)('a' + i % 26);
        v[2 * i] = (struct iovec){&text[i], 1};
        v[2 * i + 1] = (struct iovec){NULL, 0};
    }
    ck_assert_int_eq(io_pwritev_full(fd, v, 2 * N, 3), 0);
    ck_assert_int_eq(io_pread_full(fd, got, N, 3), 0);
    ck_assert_str_eq(got, text);
    ck_assert_int_eq(io_pwritev_full(fd, NULL, 0, 0), 0);
}
END_TEST

static void nothing(int sig)
{
    (void)sig;
}

struct slow {
    int fd;
    pthread_t reader;
};

/* Byte after byte, with a signal in between: short counts and EINTR on the other side. */
static void *feed_slowly(void *arg)
{
    struct slow *s = arg;

    for (char c = 'a'; c <= 'z'; c++) {
        pthread_kill(s->reader, SIGUSR1);
        if (write(s->fd, &c, 1) != 1)
            break;
    }
    return NULL;
}

START_TEST(short_counts_and_signals_are_handled)
{
    struct sigaction sa = {.sa_handler = nothing}; /* no SA_RESTART */
    char got[27] = "";
    int p[2];
    pthread_t t;

    sigaction(SIGUSR1, &sa, NULL);
    ck_assert_int_eq(pipe(p), 0);
    struct slow s = {p[1], pthread_self()};
    ck_assert_int_eq(pthread_create(&t, NULL, feed_slowly, &s), 0);
    ck_assert_int_eq(io_read_full(p[0], got, 26), 0);
    pthread_join(t, NULL);
    ck_assert_str_eq(got, "abcdefghijklmnopqrstuvwxyz");
    close(p[0]);
    close(p[1]);
}
END_TEST

START_TEST(nonblock_switches)
{
    CLEANUP(base_close) int fd = new_file("f");

    ck_assert_int_eq(io_nonblock(fd, true), 0);
    ck_assert(fcntl(fd, F_GETFL) & O_NONBLOCK);
    ck_assert_int_eq(io_nonblock(fd, true), 0);
    ck_assert_int_eq(io_nonblock(fd, false), 0);
    ck_assert(!(fcntl(fd, F_GETFL) & O_NONBLOCK));
}
END_TEST

static void same_content(int a, int b, size_t n)
{
    CLEANUP(base_free) char *x = xcalloc(1, n + 1), *y = xcalloc(1, n + 1);

    ck_assert_int_eq(io_pread_full(a, x, n, 0), 0);
    ck_assert_int_eq(io_pread_full(b, y, n, 0), 0);
    ck_assert_int_eq(memcmp(x, y, n), 0);
    ck_assert_int_eq(lseek(b, 0, SEEK_END), (off_t)n);
}

START_TEST(copy_is_whole_whatever_was_there)
{
    enum { N = 3 * 1024 * 1024 + 17 };
    CLEANUP(base_close) int src = new_file("src"), dst = new_file("dst");
    CLEANUP(base_free) char *p = xcalloc(1, N);
    uint64_t bytes = 0;

    for (int i = 0; i < N; i++)
        p[i] = (char)(i * 7 + (i >> 11));
    ck_assert_int_eq(io_write_full(src, p, N), 0);
    ck_assert_int_eq(ftruncate(dst, 2 * N), 0);
    ck_assert_int_eq(io_copy(src, dst, &bytes), 0);
    ck_assert_uint_eq(bytes, N);
    same_content(src, dst, N);
    ck_assert_int_eq(io_copy(src, dst, NULL), 0);
    ck_assert_int_eq(ftruncate(src, 0), 0);
    ck_assert_int_eq(io_copy(src, dst, &bytes), 0);
    ck_assert_uint_eq(bytes, 0);
    ck_assert_int_eq(lseek(dst, 0, SEEK_END), 0);
}
END_TEST

START_TEST(copy_between_file_systems_and_from_files_without_a_size)
{
    CLEANUP(base_close)
    int src = open("/proc/version", O_RDONLY | O_CLOEXEC), dst = new_file("dst");
    char want[512], got[512];
    uint64_t bytes = 0;

    ck_assert_int_ge(src, 0);
    ssize_t n = pread(src, want, sizeof want, 0);
    ck_assert_int_gt(n, 0);
    ck_assert_int_eq(io_copy(src, dst, &bytes), 0);
    ck_assert_uint_eq(bytes, (uint64_t)n);
    ck_assert_int_eq(io_pread_full(dst, got, (size_t)n, 0), 0);
    ck_assert_int_eq(memcmp(want, got, (size_t)n), 0);
}
END_TEST

START_TEST(copy_reports_errors)
{
    CLEANUP(base_close) int dst = new_file("dst");
    CLEANUP(base_close) int ro = open(scratch("dst"), O_RDONLY | O_CLOEXEC);

    ck_assert_int_lt(io_copy(-1, dst, NULL), 0);
    ck_assert_int_lt(io_copy(dst, ro, NULL), 0);
}
END_TEST

static TCase *io(void)
{
    TCase *t = scratch_case("io");
    tcase_add_test(t, written_bytes_come_back);
    tcase_add_test(t, early_end_is_enodata);
    tcase_add_test(t, errors_are_reported);
    tcase_add_test(t, offsets_past_the_signed_range_are_refused);
    tcase_add_test(t, full_disk_is_enospc);
    tcase_add_test(t, vector_writes_everything_in_order);
    tcase_add_test(t, short_counts_and_signals_are_handled);
    tcase_add_test(t, nonblock_switches);
    tcase_add_test(t, copy_is_whole_whatever_was_there);
    tcase_add_test(t, copy_between_file_systems_and_from_files_without_a_size);
    tcase_add_test(t, copy_reports_errors);
    return t;
}

UNIT_MAIN("io", io)
