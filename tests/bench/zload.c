/* zload - load for tests/bench/zdb that redis-benchmark cannot make: each of C connections sends a
 * batch of SETs with new values (and SYNC behind them), waits for all replies, and sends the next.
 *   zload HOST PORT CONNECTIONS BATCH SIZE SECONDS [sync]
 * Prints requests per second (SETs only).  Stands alone: built by tests/bench/zdb. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_CONNS 1000
#define IN_SIZE   65536

struct conn {
    int fd;
    char *out;
    size_t out_len, out_sent;
    char in[IN_SIZE];
    size_t in_len;
    unsigned waiting; /* replies */
    uint64_t round;
};

static unsigned batch, size;
static bool with_sync;

static void die(const char *what)
{
    fprintf(stderr, "zload: %s: %s\n", what, strerror(errno));
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void next_batch(struct conn *c, unsigned id)
{
    char *p = c->out;

    for (unsigned i = 0; i < batch; i++) {
        char key[32];
        int klen = snprintf(key, sizeof key, "d%u:%u", id, i);
        p += sprintf(p, "*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%u\r\n", klen, key, size);
        memset(p, 'z', size);
        int n = sprintf(p, "%020llu", (unsigned long long)c->round);
        p[n] = 'z';
        p += size;
        p += sprintf(p, "\r\n");
    }
    if (with_sync)
        p += sprintf(p, "*1\r\n$4\r\nSYNC\r\n");
    c->out_len = (size_t)(p - c->out);
    c->out_sent = 0;
    c->waiting = batch + with_sync;
    c->round++;
}

/* Bytes of the first whole reply, 0: not there yet */
static size_t reply(const char *p, size_t n)
{
    const char *nl = memchr(p, '\n', n);

    if (!nl)
        return 0;
    size_t head = (size_t)(nl - p) + 1;
    if (p[0] == '-') {
        fprintf(stderr, "zload: %.*s", (int)head, p);
        exit(1);
    }
    if (p[0] != '$' || p[1] == '-')
        return head;
    size_t all = head + strtoul(p + 1, NULL, 10) + 2;
    return all <= n ? all : 0;
}

static void push(struct conn *c)
{
    while (c->out_sent < c->out_len) {
        ssize_t n = send(c->fd, c->out + c->out_sent, c->out_len - c->out_sent, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0)
            die("send");
        c->out_sent += (size_t)n;
    }
}

static void take(struct conn *c)
{
    ssize_t n = recv(c->fd, c->in + c->in_len, IN_SIZE - c->in_len, 0);
    size_t used, at = 0;

    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("recv");
    c->in_len += n > 0 ? (size_t)n : 0;
    while (c->waiting && (used = reply(c->in + at, c->in_len - at)) > 0) {
        at += used;
        c->waiting--;
    }
    memmove(c->in, c->in + at, c->in_len - at);
    c->in_len -= at;
}

int main(int argc, char **argv)
{
    static struct conn conns[MAX_CONNS];
    struct epoll_event ev, evs[64];
    unsigned long done = 0;

    if (argc < 7)
        return fprintf(stderr, "usage: zload HOST PORT CONNECTIONS BATCH SIZE SECONDS [sync]\n"), 1;
    unsigned n = (unsigned)atoi(argv[3]);
    batch = (unsigned)atoi(argv[4]);
    size = (unsigned)atoi(argv[5]);
    with_sync = argc > 7;
    if (n < 1 || n > MAX_CONNS || size < 21 || batch < 1 || batch > 1000)
        return fprintf(stderr, "zload: 1 to %d connections, size from 21, batch 1 to 1000\n",
                       MAX_CONNS),
               1;
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[2]))};
    if (inet_pton(AF_INET, argv[1], &sa.sin_addr) != 1)
        die("address");
    int ep = epoll_create1(0), on = 1;
    for (unsigned i = 0; i < n; i++) {
        struct conn *c = &conns[i];
        c->fd = socket(AF_INET, SOCK_STREAM, 0);
        if (connect(c->fd, (struct sockaddr *)&sa, sizeof sa) < 0)
            die("connect");
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        fcntl(c->fd, F_SETFL, O_NONBLOCK);
        c->out = malloc((size_t)batch * (size + 128) + 128);
        if (!c->out)
            die("malloc");
        ev = (struct epoll_event){.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u32 = i};
        next_batch(c, i);
        epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev);
    }
    double start = now(), end = start + atof(argv[6]);
    while (now() < end) {
        int k = epoll_wait(ep, evs, 64, 100);
        for (int i = 0; i < k; i++) {
            struct conn *c = &conns[evs[i].data.u32];
            push(c);
            size_t before;
            do {
                before = c->in_len;
                unsigned waiting = c->waiting;
                take(c);
                if (c->waiting == 0) {
                    done += batch;
                    next_batch(c, evs[i].data.u32);
                    push(c);
                }
                if (waiting == c->waiting && c->in_len == before)
                    break;
            } while (true);
        }
    }
    printf("%.0f\n", (double)done / (now() - start));
    return 0;
}
