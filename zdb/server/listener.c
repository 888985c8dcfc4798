/* listener - see server/listener.h.  When the process is out of descriptors, accepting pauses until
 * a connection goes away or PAUSE_MS: the waiting ones stay in the kernel's queue and the loop does
 * not spin. */
#include "zdb/server/listener.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/net.h"
#include "zdb/server/client.h"
#include "zdb/server/replies.h"
#include "zdb/server/request.h"

#define ACCEPT_TURN  64 /* connections taken in one round */
#define PAUSE_MS     1000
#define LOG_EVERY_MS 60000

struct listener {
    struct server *s;
    struct loop_watch *watch;
    int fd;
};

struct server {
    struct loop *loop;
    struct server_conf conf;
    struct listener unix_, tcp;
    struct client_set clients;
    struct loop_timer *pause;
    bool started, paused;
    uint64_t logged_ms;
    dev_t dev; /* of the unix socket's file: only our own is removed */
    ino_t ino;
};

static void want_accept(struct server *s)
{
    unsigned want = s->started && !s->paused ? LOOP_READ : 0;

    if (s->unix_.watch)
        loop_watch_want(s->unix_.watch, want);
    if (s->tcp.watch)
        loop_watch_want(s->tcp.watch, want);
}

static bool log_now(struct server *s)
{
    uint64_t now = base_now_ms();

    if (s->logged_ms && now - s->logged_ms < LOG_EVERY_MS)
        return false;
    s->logged_ms = now;
    return true;
}

static void resume(void *arg)
{
    struct server *s = arg;

    s->paused = false;
    want_accept(s);
}

static void on_client_closed(void *arg)
{
    struct server *s = arg;
    if (s->paused)
        resume(s);
}

static void refuse(struct server *s, int fd)
{
    static const char text[] = "-" REPLY_TOO_MANY_CLIENTS "\r\n";
    ssize_t n = send(fd, text, sizeof text - 1, MSG_NOSIGNAL | MSG_DONTWAIT);

    (void)n;
    close(fd);
    if (log_now(s))
        log_warn("clients: %zu connections, no more are taken (--max-clients)", s->clients.count);
}

static void on_accept(void *arg, unsigned events)
{
    const struct listener *l = arg;
    struct server *s = l->s;
    int fd, r = 0;

    (void)events;
    for (int i = 0; i < ACCEPT_TURN; i++) {
        r = net_accept(l->fd, &fd);
        if (r < 0)
            break;
        if (s->clients.count >= s->conf.max_clients)
            refuse(s, fd);
        else
            client_new(&s->clients, fd);
    }
    if (r == 0 || r == -EAGAIN)
        return;
    if (log_now(s))
        log_warn("clients: %zu connections, cannot take more now: %s", s->clients.count,
                 strerror(-r));
    s->paused = true;
    want_accept(s);
    loop_timer_start(s->pause, PAUSE_MS, false);
}

static void listener_init(struct listener *l, struct server *s)
{
    l->s = s;
    l->watch = loop_watch_new(s->loop, l->fd, on_accept, l);
}

static void listener_fini(struct listener *l)
{
    loop_watch_free(l->watch);
    l->watch = NULL;
    base_close(&l->fd);
    l->fd = -1;
}

static mode_t socket_mode(void)
{
    mode_t mask = umask(0);

    umask(mask);
    return 0770 & ~mask;
}

static int listen_unix(struct server *s, struct err *e)
{
    struct stat st;

    int r = net_listen_unix(s->conf.socket, socket_mode(), &s->unix_.fd, e);
    if (r < 0)
        return r;
    if (stat(s->conf.socket, &st) < 0)
        return err_sys(e, errno, "socket %s", s->conf.socket);
    s->dev = st.st_dev;
    s->ino = st.st_ino;
    listener_init(&s->unix_, s);
    return 0;
}

int server_new(struct server **out, struct zdb *db, struct loop *loop, const struct server_conf *c,
               struct err *e)
{
    struct server *s = xcalloc(1, sizeof *s);
    int r = 0;

    s->loop = loop;
    s->conf = *c;
    s->unix_.fd = s->tcp.fd = -1;
    s->clients = (struct client_set){.db = db,
                                     .loop = loop,
                                     .max_output = c->max_output,
                                     .max_buffers = c->max_buffers,
                                     .idle_ms = c->idle_ms,
                                     .closed = on_client_closed,
                                     .arg = s};
    client_set_init(&s->clients);
    s->pause = loop_timer_new(loop, resume, s);
    if (c->socket)
        r = listen_unix(s, e);
    if (r == 0 && c->listen) {
        r = net_listen_tcp(c->listen, c->port, &s->tcp.fd, e);
        if (r == 0)
            listener_init(&s->tcp, s);
    }
    if (r < 0) {
        server_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void server_start(struct server *s)
{
    s->started = true;
    want_accept(s);
}

static void remove_socket(const struct server *s)
{
    struct stat st;

    if (s->ino && stat(s->conf.socket, &st) == 0 && st.st_ino == s->ino && st.st_dev == s->dev)
        unlink(s->conf.socket);
}

void server_stop(struct server *s)
{
    s->started = false;
    remove_socket(s);
    s->ino = 0;
    listener_fini(&s->unix_);
    listener_fini(&s->tcp);
    client_set_fini(&s->clients);
    client_set_init(&s->clients);
}

void server_free(struct server *s)
{
    if (!s)
        return;
    remove_socket(s);
    listener_fini(&s->unix_);
    listener_fini(&s->tcp);
    client_set_fini(&s->clients);
    loop_timer_free(s->pause);
    free(s);
}
