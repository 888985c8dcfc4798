/* control - server and client side of the daemon's unix socket. */
#include "zstor/daemon/control.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/net.h"
#include "common/resp.h"
#include "common/zclient.h"

#define MAX_CONNS    512
#define READ_CHUNK   (16 * KIB)
#define MAX_UNREAD   (128 * KIB) /* more than the largest request */
#define MAX_REPLY    ((size_t)256 * 1024 * 1024)
#define FOREVER_MS   ((uint64_t)365 * 24 * 3600 * 1000)
#define CONNECT_MS   5000
#define MAX_UNSENT   (64 * KIB) /* who does not read its replies is not answered further */
#define ROUND        8          /* requests of one connection in one round of the loop */
#define RETRY_ACCEPT 200        /* ms after running out of descriptors */

static const struct resp_limits limits = {.max_args = CONTROL_ARGS_MAX,
                                          .max_bulk = CONTROL_PATH_MAX + 1,
                                          .max_header = 64};

struct conn {
    struct control *c;
    int fd;
    struct loop_watch *watch;
    struct resp_parser parser;
    struct buf in, out;
    int passed;                /* descriptor that came along; -1: none */
    struct control_call *call; /* the request that is being answered; NULL: none */
    bool eof;                  /* nothing more will come; what is being answered still is */
    bool gone;                 /* nor can anything be sent */
    bool broken;               /* no further request is taken; closed when out is sent */
    bool busy;                 /* requests are being taken, up the stack */
    bool more;                 /* whole requests may be waiting in `in` */
    TAILQ_ENTRY(conn) link;
};

struct control_call {
    struct conn *conn; /* NULL: the client is gone */
};

struct control {
    struct loop *loop;
    char *path;
    int fd;
    dev_t dev;
    ino_t ino;
    struct loop_watch *watch;
    struct loop_timer *retry;
    control_fn *fn;
    void *arg;
    bool stopped;
    unsigned nconns;
    TAILQ_HEAD(, conn) conns; /* silent for longest first */
};

static void conn_close(struct conn *n)
{
    if (n->call)
        n->call->conn = NULL;
    TAILQ_REMOVE(&n->c->conns, n, link);
    n->c->nconns--;
    loop_watch_free(n->watch);
    close(n->fd);
    if (n->passed >= 0)
        close(n->passed);
    resp_fini(&n->parser);
    buf_fini(&n->in);
    buf_fini(&n->out);
    free(n);
}

/* Take what has come as requests, one after the other's answer; a few at a time, and none while
 * replies are not read. */
static void take_requests(struct conn *n)
{
    n->busy = true;
    n->more = true;
    for (unsigned i = 0;
         i < ROUND && !n->call && !n->broken && !n->c->stopped && n->out.len < MAX_UNSENT; i++) {
        struct control_req req;
        struct resp_req raw;
        struct err why = {0};
        int r = resp_next(&n->parser, buf_slice(&n->in), &raw);

        if (r == 0) {
            n->more = false;
            break;
        }
        if (r < 0) {
            resp_put_error(&n->out, "malformed request, a RESP array of bulk strings is allowed");
            n->broken = true;
            break;
        }
        r = control_proto_decode(&req, raw.argc, raw.argv, &why);
        buf_consume(&n->in, raw.bytes);
        if (r < 0) {
            resp_put_error(&n->out, why.text);
            continue;
        }
        n->call = xcalloc(1, sizeof *n->call);
        n->call->conn = n;
        n->c->fn(n->c->arg, n->call, &req);
        control_proto_fini(&req);
    }
    n->busy = false;
}

/* Sends, decides what to wait for, closes when all is done.  n may be gone afterwards. */
static void conn_progress(struct conn *n)
{
    unsigned want = 0;

    if (n->gone) {
        conn_close(n);
        return;
    }
    while (n->out.len > 0) {
        ssize_t k = send(n->fd, buf_data(&n->out), n->out.len, MSG_NOSIGNAL);

        if (k < 0 && errno == EINTR)
            continue;
        if (k < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            want |= LOOP_WRITE;
            break;
        }
        if (k < 0) {
            conn_close(n);
            return;
        }
        buf_consume(&n->out, (size_t)k);
    }
    if (n->out.len == 0 && !n->call && ((n->eof && !n->more) || n->broken || n->c->stopped)) {
        conn_close(n);
        return;
    }
    if (!n->eof && !n->broken && n->in.len < MAX_UNREAD)
        want |= LOOP_READ;
    if (n->more && !n->call && !n->broken) /* room is there at once, or when it has been read */
        want |= LOOP_WRITE;
    loop_watch_want(n->watch, want);
}

/* Closed by the client, not only its sending half. */
static bool hung_up(int fd)
{
    struct pollfd p = {.fd = fd};

    return poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR));
}

/* The last descriptor that came is kept, others are closed. */
static void take_passed(struct conn *n, struct msghdr *msg)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
        size_t bytes = c->cmsg_len - CMSG_LEN(0);
        int fd;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        for (size_t at = 0; at + sizeof fd <= bytes; at += sizeof fd) {
            memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
            if (n->passed >= 0)
                close(n->passed);
            n->passed = fd;
        }
    }
}

static ssize_t receive(struct conn *n, uint8_t *room, size_t size)
{
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec iov = {.iov_base = room, .iov_len = size};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    ssize_t k = recvmsg(n->fd, &msg, MSG_CMSG_CLOEXEC);

    if (k >= 0)
        take_passed(n, &msg);
    return k;
}

static void conn_read(struct conn *n)
{
    for (;;) {
        uint8_t *room = buf_reserve(&n->in, READ_CHUNK);
        ssize_t k = room ? receive(n, room, READ_CHUNK) : -1;

        if (k < 0 && room && errno == EINTR)
            continue;
        if (k < 0 && room && (errno == EAGAIN || errno == EWOULDBLOCK))
            return;
        if (k <= 0) {
            n->eof = true;
            n->gone = k < 0 || hung_up(n->fd);
            return;
        }
        buf_commit(&n->in, (size_t)k);
        return;
    }
}

static void on_conn(void *arg, unsigned events)
{
    struct conn *n = arg;

    TAILQ_REMOVE(&n->c->conns, n, link);
    TAILQ_INSERT_TAIL(&n->c->conns, n, link);
    if ((events & LOOP_READ) && !n->eof && !n->broken)
        conn_read(n);
    if (!n->gone)
        take_requests(n);
    conn_progress(n);
}

void control_reply(struct control_call *call, struct slice bytes)
{
    struct conn *n = call->conn;

    free(call);
    if (!n)
        return;
    n->call = NULL;
    buf_put_slice(&n->out, bytes);
    if (n->busy) /* inside the handler: take_requests goes on */
        return;
    take_requests(n);
    conn_progress(n);
}

int control_take_fd(struct control_call *call)
{
    int fd = call->conn ? call->conn->passed : -1;

    if (call->conn)
        call->conn->passed = -1;
    return fd;
}

void control_reply_ok(struct control_call *call)
{
    control_reply(call, slice_str("+OK\r\n"));
}

void control_reply_error(struct control_call *call, const char *text)
{
    struct buf b = BUF_INIT;

    resp_put_error(&b, text);
    control_reply(call, buf_slice(&b));
    buf_fini(&b);
}

/* --- listening ------------------------------------------------------------------------------- */

/* Who has asked nothing for longest makes room: idle connections must not keep hooks out. */
static bool make_room(struct control *c)
{
    struct conn *n;

    TAILQ_FOREACH(n, &c->conns, link)
    if (!n->call && n->out.len == 0 && !n->busy) {
        conn_close(n);
        return true;
    }
    return false;
}

static void conn_new(struct control *c, int fd)
{
    struct conn *n;

    if (c->nconns >= MAX_CONNS && !make_room(c)) {
        close(fd);
        log_warn("control: more than %d connections, one refused", MAX_CONNS);
        return;
    }
    n = xcalloc(1, sizeof *n);
    n->c = c;
    n->fd = fd;
    n->passed = -1;
    resp_init(&n->parser, &limits);
    n->watch = loop_watch_new(c->loop, fd, on_conn, n);
    TAILQ_INSERT_TAIL(&c->conns, n, link);
    c->nconns++;
    loop_watch_want(n->watch, LOOP_READ);
}

static void on_accept(void *arg, unsigned events)
{
    struct control *c = arg;
    int fd, r;

    (void)events;
    for (;;) {
        r = net_accept(c->fd, &fd);
        if (r < 0)
            break;
        conn_new(c, fd);
    }
    if (r != -EAGAIN) {
        log_warn("control: accept: %s", strerror(-r));
        loop_watch_want(c->watch, 0);
        loop_timer_start(c->retry, RETRY_ACCEPT, false);
    }
}

static void on_retry(void *arg)
{
    struct control *c = arg;

    loop_watch_want(c->watch, LOOP_READ);
}

int control_open(struct control **out, struct loop *l, const char *path, control_fn *fn, void *arg,
                 struct err *e)
{
    struct control *c = xcalloc(1, sizeof *c);
    struct stat st;
    int r;

    c->fd = -1;
    c->loop = l;
    c->fn = fn;
    c->arg = arg;
    TAILQ_INIT(&c->conns);
    r = net_listen_unix(path, 0600, &c->fd, e);
    if (r < 0) {
        if (r == -EADDRINUSE)
            r = err_set(e, EADDRINUSE, "socket: another daemon listens on %s", path);
        control_close(c);
        return r;
    }
    c->path = xstrdup(path);
    if (stat(path, &st) == 0) {
        c->dev = st.st_dev;
        c->ino = st.st_ino;
    }
    c->retry = loop_timer_new(l, on_retry, c);
    c->watch = loop_watch_new(l, c->fd, on_accept, c);
    loop_watch_want(c->watch, LOOP_READ);
    *out = c;
    return 0;
}

/* The socket goes at once, so that new clients are refused rather than left waiting. */
static void unlisten(struct control *c)
{
    struct stat st;

    if (c->fd < 0)
        return;
    loop_watch_free(c->watch);
    c->watch = NULL;
    loop_timer_free(c->retry);
    c->retry = NULL;
    if (c->path && stat(c->path, &st) == 0 && st.st_dev == c->dev && st.st_ino == c->ino)
        unlink(c->path); /* ours, not a successor's */
    close(c->fd);
    c->fd = -1;
}

void control_stop(struct control *c)
{
    struct conn *n, *next;

    if (c->stopped)
        return;
    c->stopped = true;
    unlisten(c);
    for (n = TAILQ_FIRST(&c->conns); n; n = next) {
        next = TAILQ_NEXT(n, link);
        if (!n->busy)
            conn_progress(n);
    }
}

bool control_quiet(const struct control *c)
{
    const struct conn *n;

    TAILQ_FOREACH(n, &c->conns, link)
    if (n->call || n->out.len)
        return false;
    return true;
}

void control_close(struct control *c)
{
    if (!c)
        return;
    while (!TAILQ_EMPTY(&c->conns))
        conn_close(TAILQ_FIRST(&c->conns));
    unlisten(c);
    free(c->path);
    free(c);
}

/* --- client ---------------------------------------------------------------------------------- */

struct control_client {
    struct zclient *z;
};

int control_client_open(struct control_client **out, const char *path, struct err *e)
{
    struct zclient_conf conf = {
        .unix_path = path,
        .connect_timeout_ms = CONNECT_MS,
        .io_timeout_ms = FOREVER_MS,
        .max_reply = MAX_REPLY,
    };
    struct zclient *z = NULL;
    int r = zclient_open(&z, &conf, e);

    if (r < 0)
        return err_prefix(e, "Could not connect to daemon socket %s", path);
    *out = xcalloc(1, sizeof **out);
    (*out)->z = z;
    return 0;
}

void control_client_close(struct control_client *c)
{
    if (!c)
        return;
    zclient_close(c->z);
    free(c);
}

int control_client_send(struct control_client *c, const struct control_req *req)
{
    struct slice argv[CONTROL_ARGS_MAX];
    unsigned argc = control_proto_argv(req, argv);

    return zclient_push(c->z, argc, argv);
}

int control_client_reply(struct control_client *c, uint64_t wait_ms, redisReply **out,
                         struct err *e)
{
    uint64_t now = base_now_ms();
    struct zclient *z = c->z;
    int r;

    zclient_drive(&z, 1, true, wait_ms ? now + wait_ms : now + FOREVER_MS);
    r = zclient_status(z);
    if (r == 0)
        return 0;
    r = zclient_pull(z, out, e); /* gives the reason, too */
    return r < 0 ? r : 1;
}

/* The descriptor goes along with a PING of its own: the client library writes bytes only. */
static int send_fd(int sock, int fd)
{
    static const char ping[] = "*1\r\n$4\r\nPING\r\n", pong[] = "+PONG\r\n";
    union {
        struct cmsghdr align;
        char space[CMSG_SPACE(sizeof(int))];
    } control = {.space = {0}};
    struct iovec iov = {.iov_base = (void *)(uintptr_t)ping, .iov_len = sizeof ping - 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control.space,
                         .msg_controllen = sizeof control.space};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
    char got[sizeof pong - 1];
    size_t n = 0;

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
    if (sendmsg(sock, &msg, MSG_NOSIGNAL) != (ssize_t)sizeof ping - 1)
        return errno ? -errno : -EIO;
    while (n < sizeof got) {
        struct pollfd p = {.fd = sock, .events = POLLIN};
        ssize_t k;

        if (poll(&p, 1, CONNECT_MS) == 0)
            return -ETIMEDOUT;
        k = read(sock, got + n, sizeof got - n);
        if (k == 0)
            return -ECONNRESET;
        if (k < 0 && errno != EAGAIN && errno != EINTR)
            return -errno;
        n += k > 0 ? (size_t)k : 0;
    }
    return memcmp(got, pong, sizeof got) == 0 ? 0 : -EPROTO;
}

int control_request(const char *path, const struct control_req *req, int fd, redisReply **out,
                    struct err *e)
{
    struct control_client *c = NULL;
    int r = control_client_open(&c, path, e);

    if (r < 0 || !c)
        return r;
    if (fd >= 0)
        r = send_fd(zclient_fd(c->z), fd);
    if (r == 0)
        r = control_client_send(c, req);
    if (r < 0)
        err_sys(e, -r, "send to daemon socket %s", path);
    else
        r = control_client_reply(c, 0, out, e);
    if (r < 0)
        err_prefix(e, "daemon");
    control_client_close(c);
    return r < 0 ? r : 0;
}
