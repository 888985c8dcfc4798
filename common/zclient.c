/* zclient - see zclient.h.  What is to be sent is in a struct zsend, what is received in a struct
 * zreply; here is who waits for what and how long, and the opening of a session. */
#include "common/zclient.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/digest.h"
#include "common/io.h"
#include "common/net.h"
#include "common/zreply.h"
#include "common/zsend.h"

enum {
    RECV_ROOM = 64 * 1024,
    KEEP_BYTES = 2 * 1024 * 1024, /* idle buffers larger than this go back to the system */
    DEFAULT_CONNECT_MS = 5000,
    DEFAULT_IO_MS = 30000,
    DEFAULT_MAX_REPLY = 64 * 1024 * 1024,
    CHALLENGE_MAX = 128,
};

struct zclient {
    int fd;
    bool tcp;
    char *peer;
    uint64_t io_timeout_ms;
    struct zsend out;
    struct zreply in;
    redisReply *ready;
    unsigned pending;       /* pushed, not pulled; ready counts */
    int failed;             /* -errno, sticky; a ready reply can still be pulled */
    uint64_t open_until_ms; /* end of the time for opening; UINT64_MAX when it is open */
};

/* ---- moving bytes --------------------------------------------------------------------------- */

int zclient_push(struct zclient *c, unsigned argc, const struct slice *argv)
{
    if (c->failed)
        return c->failed;
    int r = zsend_push(&c->out, argc, argv);
    if (r == 0)
        c->pending++;
    return r;
}

static bool has_unsent(const struct zclient *c)
{
    return zsend_left(&c->out);
}

static void fail(struct zclient *c, int r)
{
    if (!c->failed)
        c->failed = r;
    zsend_drop(&c->out); /* nothing of the caller's memory is touched from now on */
}

/* Next whole reply out of the bytes that are there. */
static void parse(struct zclient *c)
{
    if (c->ready || c->pending == 0 || c->failed)
        return;
    int r = zreply_next(&c->in, &c->ready);
    if (r < 0)
        fail(c, r);
}

/* Receive once.  0 also when nothing was there. */
static int receive(struct zclient *c, int flags)
{
    size_t want = MAX(zreply_want(&c->in), (size_t)RECV_ROOM);
    uint8_t *room = zreply_reserve(&c->in, want);
    ssize_t n;

    if (!room)
        return -ENOMEM;
    do
        n = recv(c->fd, room, want, flags);
    while (n < 0 && errno == EINTR && (flags & MSG_DONTWAIT));
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    zreply_commit(&c->in, (size_t)n);
    /* a peer without TCP_NODELAY holds its next reply back until this one is acknowledged; the
     * kernel forgets the option, so it is set after each read */
    int on = 1;
    if (c->tcp && c->pending > 1)
        setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &on, sizeof on);
    return 0;
}

static void receive_and_parse(struct zclient *c, int flags)
{
    if (c->ready || c->pending == 0 || c->failed)
        return;
    int r = receive(c, flags);
    if (r < 0)
        fail(c, r);
    else
        parse(c);
}

/* Send; when the peer has closed, what it said before is still worth reading ("-Payload too big").
 */
static void flush_or_listen(struct zclient *c)
{
    int r = zsend_flush(&c->out, c->fd);

    if (r == 0)
        return;
    receive_and_parse(c, MSG_DONTWAIT);
    fail(c, r);
}

static bool settled(const struct zclient *c)
{
    return c->failed || (!has_unsent(c) && (c->ready || c->pending == 0));
}

static bool decided(const struct zclient *c)
{
    return c->failed || c->ready;
}

short zclient_events(const struct zclient *c)
{
    if (settled(c))
        return 0;
    return (short)((has_unsent(c) ? POLLOUT : 0) | (!c->ready && c->pending ? POLLIN : 0));
}

void zclient_move(struct zclient *c, short revents)
{
    if (revents & (POLLIN | POLLHUP | POLLERR))
        receive_and_parse(c, MSG_DONTWAIT);
    if (has_unsent(c) && revents & (POLLOUT | POLLHUP | POLLERR))
        flush_or_listen(c);
}

uint64_t zclient_moved(const struct zclient *c)
{
    struct tcp_info ti = {0};
    socklen_t len = sizeof ti;

    if (getsockopt(c->fd, IPPROTO_TCP, TCP_INFO, &ti, &len) < 0)
        return 0;
    return ti.tcpi_bytes_acked + ti.tcpi_bytes_received;
}

void zclient_flush(struct zclient *c)
{
    if (!c->failed && has_unsent(c))
        flush_or_listen(c);
}

/* Wait for the unsettled ones, and move their bytes. */
static void wait_and_move(struct zclient *const *c, size_t n, struct pollfd *pfd, uint64_t now,
                          uint64_t deadline_ms)
{
    for (size_t i = 0; i < n; i++) {
        short events = c[i] ? zclient_events(c[i]) : 0;
        pfd[i] = (struct pollfd){.fd = events ? c[i]->fd : -1, .events = events};
    }
    uint64_t left = MIN(deadline_ms - now, (uint64_t)3600 * 1000);
    if (poll(pfd, n, (int)left) <= 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (c[i] && pfd[i].revents)
            zclient_move(c[i], pfd[i].revents);
}

void zclient_drive(struct zclient *const *c, size_t n, bool any, uint64_t deadline_ms)
{
    struct pollfd some[64];
    CLEANUP(base_free) struct pollfd *many = n > ARRAY_LEN(some) ? xcalloc(n, sizeof *many) : NULL;

    for (size_t i = 0; i < n; i++)
        if (c[i] && has_unsent(c[i]))
            flush_or_listen(c[i]);
    for (;;) {
        size_t open = 0, answers = 0;
        for (size_t i = 0; i < n; i++) {
            if (!c[i])
                continue;
            open += !settled(c[i]);
            answers += decided(c[i]);
        }
        if (open == 0 || (any && answers))
            return;
        uint64_t now = base_now_ms();
        if (now >= deadline_ms)
            return;
        wait_and_move(c, n, many ? many : some, now, deadline_ms);
    }
}

int zclient_status(const struct zclient *c)
{
    return c->ready ? 1 : c->failed;
}

int zclient_pull(struct zclient *c, redisReply **out, struct err *e)
{
    if (!c->ready && !c->failed) {
        if (c->pending == 0)
            return err_set(e, EINVAL, "%s: no reply is due", c->peer);
        uint64_t deadline = MIN(base_now_ms() + c->io_timeout_ms, c->open_until_ms);
        flush_or_listen(c);
        if (!has_unsent(c))
            receive_and_parse(c, 0); /* waits at most io_timeout_ms, see zclient_open */
        if (!decided(c))
            zclient_drive(&c, 1, true, deadline);
        if (!decided(c))
            fail(c, -ETIMEDOUT);
    }
    if (!c->ready) {
        if (c->failed == -ETIMEDOUT)
            return err_set(e, ETIMEDOUT, "%s: no reply within %llu ms", c->peer,
                           (unsigned long long)c->io_timeout_ms);
        if (c->failed == -EMSGSIZE)
            return err_set(e, EMSGSIZE, "%s: reply is longer than %zu bytes", c->peer, c->in.max);
        if (c->failed == -EPROTO)
            return err_set(e, EPROTO, "%s: reply is not in the redis protocol", c->peer);
        return err_sys(e, -c->failed, "%s", c->peer);
    }
    *out = c->ready;
    c->ready = NULL;
    c->pending--;
    if (c->pending)
        parse(c);
    else if (zreply_left(&c->in))
        fail(c, -EPROTO); /* more was said than asked: replies and requests would not match any more
                           */
    return 0;
}

int zclient_call(struct zclient *c, redisReply **out, struct err *e, unsigned argc,
                 const struct slice *argv)
{
    if (c->pending)
        return err_set(e, EBUSY, "%s: replies to earlier requests are due", c->peer);
    int r = zclient_push(c, argc, argv);
    if (r < 0)
        return err_sys(e, -r, "%s", c->peer);
    return zclient_pull(c, out, e);
}

unsigned zclient_pending(const struct zclient *c)
{
    return c->pending;
}

const char *zclient_peer(const struct zclient *c)
{
    return c->peer;
}

int zclient_fd(const struct zclient *c)
{
    return c->fd;
}

/* ---- opening -------------------------------------------------------------------------------- */

static int finish_connect(int fd, uint64_t deadline_ms)
{
    struct pollfd pfd = {.fd = fd, .events = POLLOUT};

    for (;;) {
        uint64_t now = base_now_ms();
        if (now >= deadline_ms)
            return -ETIMEDOUT;
        int n = poll(&pfd, 1, (int)MIN(deadline_ms - now, (uint64_t)3600 * 1000));
        if (n < 0 && errno != EINTR)
            return -errno;
        if (n > 0)
            return net_connect_result(fd);
    }
}

/* The addresses of the host one after the other, all within the time. */
static int connect_tcp(struct zclient *c, const struct zclient_conf *conf, uint64_t timeout_ms,
                       struct err *e)
{
    struct net_addrs *addrs;

    int r = net_resolve(&addrs, conf->host, conf->port, e);
    if (r < 0)
        return r;
    uint64_t deadline = base_now_ms() + timeout_ms;
    size_t n = net_addrs_count(addrs);
    for (size_t i = 0; i < n; i++) {
        int fd;
        r = net_connect_addr(addrs, i, &fd, e);
        if (r < 0)
            continue;
        if (r == 1)
            r = finish_connect(fd, deadline);
        if (r == 0) {
            c->fd = fd;
            break;
        }
        close(fd);
        err_sys(e, -r, "connect to %s port %s", conf->host, conf->port);
    }
    net_addrs_free(addrs);
    return r;
}

/* The server's error text, printable and short. */
static int refused(struct zclient *c, int code, const redisReply *r, struct err *e)
{
    return err_set(e, code, "%s: server says: %.*s", c->peer,
                   (int)MIN(zclient_bulk(r).len, (size_t)200),
                   zclient_bulk(r).len ? (const char *)zclient_bulk(r).p : "");
}

static void free_reply(redisReply **r)
{
    if (*r)
        freeReplyObject(*r);
}

static bool says(const redisReply *r, const char *word)
{
    struct slice s = zclient_bulk(r);
    return memmem(s.p ? s.p : (const uint8_t *)"", s.len, word, strlen(word)) != NULL;
}

/* One SELECT; its refusals as codes. */
static int select_with(struct zclient *c, unsigned argc, const struct slice *argv, struct err *e)
{
    CLEANUP(free_reply) redisReply *r = NULL;

    int n = zclient_call(c, &r, e, argc, argv);
    if (n < 0)
        return n;
    if (zclient_is_ok(r))
        return 0;
    if (says(r, "not found"))
        return refused(c, ENOENT, r, e);
    if (says(r, "denied") || says(r, "protected") || says(r, "Password"))
        return refused(c, EACCES, r, e);
    return refused(c, EPROTO, r, e);
}

/* 1: hash is sha1("challenge:password"); 0: the server has no challenges. */
static int challenge(struct zclient *c, const char *password, char hash[41], struct err *e)
{
    CLEANUP(free_reply) redisReply *r = NULL;
    const struct slice ask[] = {slice_str("AUTH"), slice_str("SECURE"), slice_str("CHALLENGE")};

    int n = zclient_call(c, &r, e, ARRAY_LEN(ask), ask);
    if (n < 0)
        return n;
    if (zclient_is_error(r))
        return 0;
    if (!r || r->type != REDIS_REPLY_STATUS || r->len == 0 || r->len > CHALLENGE_MAX)
        return err_set(e, EPROTO, "%s: reply to AUTH SECURE CHALLENGE is no challenge", c->peer);
    struct buf text = BUF_INIT;
    if (!buf_reserve(&text, r->len + strlen(password) + 1)) /* at once: growing would leave copies
                                                             */
        return err_sys(e, ENOMEM, "%s", c->peer);
    buf_put(&text, r->str, r->len);
    buf_put_u8(&text, ':');
    buf_put_str(&text, password);
    digest_sha1_hex(buf_slice(&text), hash);
    sodium_memzero(buf_data(&text), text.len);
    buf_fini(&text);
    return 1;
}

static int select_ns(struct zclient *c, const struct zclient_conf *conf, struct err *e)
{
    struct slice argv[4] = {slice_str("SELECT"), slice_str(conf->ns)};
    char hash[41];

    if (!conf->password)
        return select_with(c, 2, argv, e);
    int r = challenge(c, conf->password, hash, e);
    if (r < 0)
        return r;
    if (r == 1) {
        argv[2] = slice_str("SECURE");
        argv[3] = slice_str(hash);
        return select_with(c, 4, argv, e);
    }
    if (!conf->plain_auth)
        return err_set(e, EACCES,
                       "%s: server has no AUTH SECURE CHALLENGE; the password is not sent in clear "
                       "text unless that is allowed",
                       c->peer);
    argv[2] = slice_str(conf->password);
    r = select_with(c, 3, argv, e);
    zsend_wipe(&c->out); /* the password was in it */
    return r;
}

static int prepare(struct zclient *c, struct err *e)
{
    struct timeval tv = {(time_t)(c->io_timeout_ms / 1000),
                         (suseconds_t)(c->io_timeout_ms % 1000 * 1000)};

    /* Blocking with a time limit: the common request-reply costs one send and one receive.
     * Everything else asks for MSG_DONTWAIT. */
    int r = io_nonblock(c->fd, false);
    if (r == 0 && setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv) < 0)
        r = -errno;
    return r < 0 ? err_sys(e, -r, "%s: socket", c->peer) : 0;
}

int zclient_open(struct zclient **out, const struct zclient_conf *conf, struct err *e)
{
    struct zclient *c = xcalloc(1, sizeof *c);
    const char *ns = conf->ns ? conf->ns : "";
    struct err own;
    int r;

    if (!e)
        e = &own;
    c->fd = -1;
    c->io_timeout_ms = conf->io_timeout_ms ? conf->io_timeout_ms : DEFAULT_IO_MS;
    c->open_until_ms = conf->open_timeout_ms ? base_now_ms() + conf->open_timeout_ms : UINT64_MAX;
    if (conf->unix_path)
        c->peer = xasprintf("%s%s%s", conf->unix_path, *ns ? " " : "", ns);
    else
        c->peer = xasprintf("%s:%s%s%s", conf->host, conf->port, *ns ? " " : "", ns);
    r = zreply_init(&c->in, conf->max_reply ? conf->max_reply : (size_t)DEFAULT_MAX_REPLY,
                    KEEP_BYTES);
    if (r < 0) {
        err_sys(e, -r, "%s", c->peer);
        goto fail;
    }
    c->tcp = !conf->unix_path;
    if (conf->unix_path)
        r = net_connect_unix(conf->unix_path, &c->fd, e);
    else
        r = connect_tcp(c, conf,
                        conf->connect_timeout_ms ? conf->connect_timeout_ms : DEFAULT_CONNECT_MS,
                        e);
    if (r < 0)
        goto fail;
    r = prepare(c, e);
    if (r < 0)
        goto fail;
    r = conf->ns ? select_ns(c, conf, e) : 0;
    if (r < 0)
        goto fail;
    c->open_until_ms = UINT64_MAX;
    *out = c;
    return 0;
fail:
    zclient_close(c);
    return r;
}

void zclient_close(struct zclient *c)
{
    if (!c)
        return;
    base_close(&c->fd);
    if (c->ready)
        freeReplyObject(c->ready);
    zreply_fini(&c->in);
    zsend_fini(&c->out);
    free(c->peer);
    free(c);
}

/* ---- helpers -------------------------------------------------------------------------------- */

bool zclient_is_nil(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_NIL;
}

bool zclient_is_error(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_ERROR;
}

bool zclient_is_ok(const redisReply *r)
{
    return r && r->type == REDIS_REPLY_STATUS && r->len == 2 && memcmp(r->str, "OK", 2) == 0;
}

struct slice zclient_bulk(const redisReply *r)
{
    if (!r || (r->type != REDIS_REPLY_STRING && r->type != REDIS_REPLY_STATUS &&
               r->type != REDIS_REPLY_ERROR))
        return slice_of(NULL, 0);
    return slice_of(r->str, r->len);
}
