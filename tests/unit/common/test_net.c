#include "tests/unit/unit.h"
#include "tests/unit/common/scratch.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/net.h"

static struct err e;

static bool has_flags(int fd)
{
    return (fcntl(fd, F_GETFD) & FD_CLOEXEC) && (fcntl(fd, F_GETFL) & O_NONBLOCK);
}

static int option(int fd, int level, int name)
{
    int v = 0;
    socklen_t n = sizeof v;
    ck_assert_int_eq(getsockopt(fd, level, name, &v, &n), 0);
    return v;
}

static void wait_for(int fd, short events)
{
    struct pollfd p = {.fd = fd, .events = events};
    ck_assert_int_eq(poll(&p, 1, 5000), 1);
}

static int accepted(int listener)
{
    int fd = -1;
    wait_for(listener, POLLIN);
    ck_assert_int_eq(net_accept(listener, &fd), 0);
    return fd;
}

static void talks(int a, int b)
{
    char c = 0;
    ck_assert_int_eq(write(a, "x", 1), 1);
    wait_for(b, POLLIN);
    ck_assert_int_eq(read(b, &c, 1), 1);
    ck_assert_int_eq(c, 'x');
}

START_TEST(tcp_connects_and_has_its_options)
{
    int listener, c, nobody;
    char port[16];

    ck_assert_int_eq(net_listen_tcp("127.0.0.1", "0", &listener, &e), 0);
    ck_assert(has_flags(listener));
    ck_assert_int_eq(net_accept(listener, &nobody), -EAGAIN);
    snprintf(port, sizeof port, "%d", net_local_port(listener));
    int r = net_connect_tcp("127.0.0.1", port, &c, &e);
    ck_assert_int_ge(r, 0);
    if (r == 1)
        wait_for(c, POLLOUT);
    ck_assert_int_eq(net_connect_result(c), 0);
    int s = accepted(listener);
    int both[] = {c, s};
    for (size_t i = 0; i < 2; i++) {
        ck_assert(has_flags(both[i]));
        ck_assert_int_ne(option(both[i], IPPROTO_TCP, TCP_NODELAY), 0);
        ck_assert_int_ne(option(both[i], SOL_SOCKET, SO_KEEPALIVE), 0);
    }
    talks(c, s);
    talks(s, c);
    close(c);
    close(s);
    close(listener);
}
END_TEST

START_TEST(ipv6_works)
{
    int listener, c;
    char port[16];

    if (net_listen_tcp("::1", "0", &listener, &e) < 0) {
        ck_assert_int_eq(e.code, EADDRNOTAVAIL); /* a machine without IPv6: nothing else is an
                                                    excuse */
        return;
    }
    snprintf(port, sizeof port, "%d", net_local_port(listener));
    ck_assert_int_ge(net_connect_tcp("::1", port, &c, &e), 0);
    int s = accepted(listener);
    talks(c, s);
    close(c);
    close(s);
    close(listener);
}
END_TEST

START_TEST(refused_connection_shows_in_the_result)
{
    int listener, c;
    char port[16];

    ck_assert_int_eq(net_listen_tcp("127.0.0.1", "0", &listener, &e), 0);
    snprintf(port, sizeof port, "%d", net_local_port(listener));
    close(listener);
    int r = net_connect_tcp("127.0.0.1", port, &c, &e);
    if (r == 1) {
        wait_for(c, POLLOUT);
        r = net_connect_result(c);
        close(c);
    }
    ck_assert_int_eq(r, -ECONNREFUSED);
}
END_TEST

START_TEST(used_port_is_an_error_that_names_it)
{
    int listener, second;
    char port[16];

    ck_assert_int_eq(net_listen_tcp("127.0.0.1", "0", &listener, &e), 0);
    snprintf(port, sizeof port, "%d", net_local_port(listener));
    ck_assert_int_eq(net_listen_tcp("127.0.0.1", port, &second, &e), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(e.text, port));
    ck_assert_ptr_nonnull(strstr(e.text, "127.0.0.1"));
    close(listener);
}
END_TEST

START_TEST(bad_names_and_ports_are_errors)
{
    int fd;

    ck_assert_int_lt(net_listen_tcp("127.0.0.1", "no-such-service", &fd, &e), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "no-such-service"));
    ck_assert_int_lt(net_connect_tcp("256.256.256.256", "1", &fd, &e), 0);
    ck_assert_ptr_nonnull(strstr(e.text, "256.256.256.256"));
}
END_TEST

START_TEST(all_addresses_can_be_tried)
{
    struct net_addrs *a;
    int fd;

    ck_assert_int_eq(net_resolve(&a, "127.0.0.1", "1", &e), 0);
    ck_assert_uint_eq(net_addrs_count(a), 1);
    if (net_connect_addr(a, 0, &fd, &e) >= 0)
        close(fd);
    net_addrs_free(a);
    net_addrs_free(NULL);
}
END_TEST

START_TEST(unix_connects_with_the_mode_asked_for)
{
    struct stat st;
    int listener, c;

    umask(022);
    ck_assert_int_eq(net_listen_unix(scratch("s"), 0666, &listener, &e), 0);
    ck_assert(has_flags(listener));
    ck_assert_int_eq(stat(scratch("s"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0666);
    ck_assert_int_eq(net_connect_unix(scratch("s"), &c, &e), 0);
    ck_assert(has_flags(c));
    int s = accepted(listener);
    talks(c, s);
    ck_assert_int_eq(net_local_port(listener), -EAFNOSUPPORT);
    close(c);
    close(s);
    close(listener);
    umask(0);
    ck_assert_int_eq(net_listen_unix(scratch("t"), 0600, &listener, &e), 0);
    ck_assert_int_eq(stat(scratch("t"), &st), 0);
    ck_assert_uint_eq(st.st_mode & 0777, 0600);
    close(listener);
}
END_TEST

START_TEST(stale_socket_is_replaced_and_a_live_one_is_not)
{
    int listener, second, c;

    ck_assert_int_eq(net_listen_unix(scratch("s"), 0600, &listener, &e), 0);
    ck_assert_int_eq(net_listen_unix(scratch("s"), 0600, &second, &e), -EADDRINUSE);
    ck_assert_int_eq(net_connect_unix(scratch("s"), &c, &e), 0); /* still the first one's */
    close(c);
    close(listener);
    ck_assert_int_eq(net_connect_unix(scratch("s"), &c, &e), -ECONNREFUSED);
    ck_assert_int_eq(net_listen_unix(scratch("s"), 0600, &second, &e), 0);
    ck_assert_int_eq(net_connect_unix(scratch("s"), &c, &e), 0);
    close(c);
    close(second);
}
END_TEST

START_TEST(other_files_at_the_path_are_never_removed)
{
    int fd;
    struct stat st;

    ck_assert_int_eq(path_replace(scratch("f"), slice_str("precious"), 0600, NULL), 0);
    ck_assert_int_eq(net_listen_unix(scratch("f"), 0600, &fd, &e), -EADDRINUSE);
    ck_assert_ptr_nonnull(strstr(e.text, "another kind of file"));
    ck_assert_int_eq(stat(scratch("f"), &st), 0);
    ck_assert_int_eq(st.st_size, 8);
    ck_assert_int_eq(mkdir(scratch("d"), 0700), 0);
    ck_assert_int_eq(net_listen_unix(scratch("d"), 0600, &fd, &e), -EADDRINUSE);
    ck_assert_int_eq(symlink(scratch("nowhere"), scratch("l")), 0);
    ck_assert_int_eq(net_listen_unix(scratch("l"), 0600, &fd, &e), -EADDRINUSE);
    ck_assert_int_eq(lstat(scratch("l"), &st), 0);
}
END_TEST

START_TEST(paths_too_long_for_a_socket_are_refused)
{
    char path[200];
    int fd;

    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    ck_assert_int_eq(net_listen_unix(path, 0600, &fd, &e), -ENAMETOOLONG);
    ck_assert_ptr_nonnull(strstr(e.text, "107"));
    ck_assert_int_eq(net_connect_unix(path, &fd, &e), -ENAMETOOLONG);
    ck_assert_int_eq(net_connect_unix("", &fd, &e), -ENAMETOOLONG);
}
END_TEST

START_TEST(no_socket_is_enoent)
{
    int fd;

    ck_assert_int_eq(net_connect_unix(scratch("none"), &fd, &e), -ENOENT);
    ck_assert_int_eq(net_listen_unix(scratch("none/s"), 0600, &fd, &e), -ENOENT);
}
END_TEST

static TCase *net(void)
{
    TCase *t = scratch_case("net");
    tcase_add_test(t, tcp_connects_and_has_its_options);
    tcase_add_test(t, ipv6_works);
    tcase_add_test(t, refused_connection_shows_in_the_result);
    tcase_add_test(t, used_port_is_an_error_that_names_it);
    tcase_add_test(t, bad_names_and_ports_are_errors);
    tcase_add_test(t, all_addresses_can_be_tried);
    tcase_add_test(t, unix_connects_with_the_mode_asked_for);
    tcase_add_test(t, stale_socket_is_replaced_and_a_live_one_is_not);
    tcase_add_test(t, other_files_at_the_path_are_never_removed);
    tcase_add_test(t, paths_too_long_for_a_socket_are_refused);
    tcase_add_test(t, no_socket_is_enoent);
    return t;
}

UNIT_MAIN("net", net)
