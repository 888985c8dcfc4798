/* net - see net.h. */
#include "common/net.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void free_addrs(struct addrinfo **ai)
{
    if (*ai)
        freeaddrinfo(*ai);
}

static int resolve(const char *host, const char *port, int flags, struct addrinfo **out,
                   struct err *e)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = AF_UNSPEC, .ai_flags = flags};
    int r = getaddrinfo(host, port, &hints, out);

    if (r == EAI_SYSTEM)
        return err_sys(e, errno, "resolve %s port %s", host ? host : "*", port);
    if (r)
        return err_set(e, r == EAI_AGAIN ? EAGAIN : EADDRNOTAVAIL, "resolve %s port %s: %s",
                       host ? host : "*", port, gai_strerror(r));
    return 0;
}

/* On a listening socket: Linux hands both options on to the accepted ones. */
static void tcp_options(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

int net_listen_tcp(const char *host, const char *port, int *out, struct err *e)
{
    CLEANUP(free_addrs) struct addrinfo *ai = NULL;
    int on = 1;

    int r = resolve(host, port, AI_PASSIVE, &ai, e);
    if (r < 0)
        return r;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0)
        return err_sys(e, errno, "socket for %s port %s", host, port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    tcp_options(fd);
    if (bind(fd, ai->ai_addr, ai->ai_addrlen) < 0 || listen(fd, SOMAXCONN) < 0) {
        r = err_sys(e, errno, "listen on %s port %s", host, port);
        close(fd);
        return r;
    }
    *out = fd;
    return 0;
}

static int unix_addr(const char *path, struct sockaddr_un *sa, struct err *e)
{
    size_t n = strlen(path);

    if (n == 0 || n >= sizeof sa->sun_path)
        return err_set(e, ENAMETOOLONG, "socket path %s: %zu bytes, 1 to %zu are possible", path, n,
                       sizeof sa->sun_path - 1);
    memset(sa, 0, sizeof *sa);
    sa->sun_family = AF_UNIX;
    memcpy(sa->sun_path, path, n + 1);
    return 0;
}

static int unix_socket(void)
{
    return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* Something is at the path.  0: it was a socket that nobody serves, and is removed. */
static int remove_stale(const char *path, const struct sockaddr_un *sa, struct err *e)
{
    struct stat st;

    if (lstat(path, &st) < 0)
        return errno == ENOENT ? 0 : err_sys(e, errno, "socket %s", path);
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, EADDRINUSE,
                       "socket %s: another kind of file is there, remove it or choose another path",
                       path);
    CLEANUP(base_close) int fd = unix_socket();
    if (fd < 0)
        return err_sys(e, errno, "socket");
    if (connect(fd, (const struct sockaddr *)sa, sizeof *sa) == 0 || errno != ECONNREFUSED)
        return err_set(e, EADDRINUSE, "socket %s: a running process listens there", path);
    if (unlink(path) < 0 && errno != ENOENT)
        return err_sys(e, errno, "remove stale socket %s", path);
    return 0;
}

int net_listen_unix(const char *path, mode_t mode, int *out, struct err *e)
{
    struct sockaddr_un sa;

    int r = unix_addr(path, &sa, e);
    if (r < 0)
        return r;
    int fd = unix_socket();
    if (fd < 0)
        return err_sys(e, errno, "socket");
    /* bind() gives the file the mode of the socket, less the umask; the chmod afterwards can only
     * widen it. */
    if (fchmod(fd, mode) < 0) {
        r = err_sys(e, errno, "mode of socket %s", path);
        goto fail;
    }
    if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
        if (errno != EADDRINUSE) {
            r = err_sys(e, errno, "bind socket %s", path);
            goto fail;
        }
        r = remove_stale(path, &sa, e);
        if (r < 0)
            goto fail;
        if (bind(fd, (struct sockaddr *)&sa, sizeof sa) < 0) {
            r = err_sys(e, errno, "bind socket %s", path);
            goto fail;
        }
    }
    if (chmod(path, mode) < 0 || listen(fd, SOMAXCONN) < 0) {
        r = err_sys(e, errno, "listen on socket %s", path);
        goto fail;
    }
    *out = fd;
    return 0;
fail:
    close(fd);
    return r;
}

int net_accept(int listen_fd, int *out)
{
    for (;;) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            *out = fd;
            return 0;
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return -errno;
    }
}

struct net_addrs {
    struct addrinfo *ai;
    char *host, *port;
};

int net_resolve(struct net_addrs **out, const char *host, const char *port, struct err *e)
{
    struct addrinfo *ai;

    int r = resolve(host, port, 0, &ai, e);
    if (r < 0)
        return r;
    struct net_addrs *a = xcalloc(1, sizeof *a);
    *a = (struct net_addrs){ai, xstrdup(host), xstrdup(port)};
    *out = a;
    return 0;
}

size_t net_addrs_count(const struct net_addrs *a)
{
    size_t n = 0;

    for (const struct addrinfo *ai = a->ai; ai; ai = ai->ai_next)
        n++;
    return n;
}

int net_connect_addr(const struct net_addrs *a, size_t i, int *out, struct err *e)
{
    const struct addrinfo *ai = a->ai;
    int r;

    while (i--)
        ai = ai->ai_next;
    int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, ai->ai_protocol);
    if (fd < 0)
        return err_sys(e, errno, "socket for %s port %s", a->host, a->port);
    tcp_options(fd);
    r = connect(fd, ai->ai_addr, ai->ai_addrlen);
    if (r < 0 && errno != EINPROGRESS && errno != EINTR) {
        r = err_sys(e, errno, "connect to %s port %s", a->host, a->port);
        close(fd);
        return r;
    }
    *out = fd;
    return r < 0 ? 1 : 0;
}

void net_addrs_free(struct net_addrs *a)
{
    if (!a)
        return;
    freeaddrinfo(a->ai);
    free(a->host);
    free(a->port);
    free(a);
}

int net_connect_tcp(const char *host, const char *port, int *out, struct err *e)
{
    struct net_addrs *a;

    int r = net_resolve(&a, host, port, e);
    if (r < 0)
        return r;
    r = net_connect_addr(a, 0, out, e);
    net_addrs_free(a);
    return r;
}

int net_connect_unix(const char *path, int *out, struct err *e)
{
    struct sockaddr_un sa;

    int r = unix_addr(path, &sa, e);
    if (r < 0)
        return r;
    int fd = unix_socket();
    if (fd < 0)
        return err_sys(e, errno, "socket");
    do
        r = connect(fd, (struct sockaddr *)&sa, sizeof sa);
    while (r < 0 && errno == EINTR);
    if (r < 0) { /* EAGAIN: the backlog is full; there is nothing to wait for on this descriptor */
        r = err_sys(e, errno, "connect to socket %s", path);
        close(fd);
        return r;
    }
    *out = fd;
    return 0;
}

int net_connect_result(int fd)
{
    int code = 0;
    socklen_t n = sizeof code;

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
        return -errno;
    return -code;
}

int net_local_port(int fd)
{
    union {
        struct sockaddr sa;
        struct sockaddr_in in;
        struct sockaddr_in6 in6;
        struct sockaddr_storage any;
    } a;
    socklen_t n = sizeof a;

    if (getsockname(fd, &a.sa, &n) < 0)
        return -errno;
    switch (a.sa.sa_family) {
    case AF_INET:
        return ntohs(a.in.sin_port);
    case AF_INET6:
        return ntohs(a.in6.sin6_port);
    default:
        return -EAFNOSUPPORT;
    }
}
