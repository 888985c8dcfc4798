/* loop - see loop.h.  libevent is used without its locks: other threads only touch the list of
 * posted calls (under the mutex) and the eventfd. */
#include "common/loop.h"

#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct call {
    loop_fn *fn;
    void *arg;
};

struct calls {
    struct call *v;
    size_t n, cap;
};

struct signal_watch {
    struct signal_watch *next;
    struct event *ev;
    loop_fn *fn;
    void *arg;
};

struct loop {
    struct event_base *base;
    struct event *wake;
    int wake_fd;
    bool stop;            /* atomic; set by any thread */
    pthread_mutex_t lock; /* posted */
    struct calls posted;
    struct calls running; /* the loop's: what it took from posted */
    struct signal_watch *signals;
};

struct loop_watch {
    struct event rd, wr;
    loop_fd_fn *fn;
    void *arg;
    unsigned want;
};

struct loop_timer {
    struct event ev;
    struct event_base *base;
    loop_fn *fn;
    void *arg;
};

static void wake_up(struct loop *l)
{
    uint64_t one = 1;
    ssize_t n = write(l->wake_fd, &one, sizeof one); /* EAGAIN: it is awake as can be */
    (void)n;
}

static void on_wake(evutil_socket_t fd, short events, void *arg)
{
    struct loop *l = arg;
    uint64_t count;
    ssize_t n = read(fd, &count, sizeof count);

    (void)n;
    (void)events;
    pthread_mutex_lock(&l->lock);
    struct calls todo = l->posted;
    l->posted = l->running;
    l->posted.n = 0;
    pthread_mutex_unlock(&l->lock);

    for (size_t i = 0; i < todo.n; i++)
        todo.v[i].fn(todo.v[i].arg);
    todo.n = 0;
    l->running = todo; /* its memory is for the next time */
    if (__atomic_load_n(&l->stop, __ATOMIC_ACQUIRE))
        event_base_loopbreak(l->base);
}

int loop_new(struct loop **out, struct err *e)
{
    struct loop *l = xcalloc(1, sizeof *l);
    struct event_config *cfg = event_config_new();

    pthread_mutex_init(&l->lock, NULL);
    l->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (l->wake_fd < 0) {
        int code = errno;
        if (cfg)
            event_config_free(cfg);
        loop_free(l);
        return err_sys(e, code, "eventfd");
    }
    if (cfg) {
        /* Without the cached time a timer that is started late in a long round is not short by the
         * length of the round. */
        event_config_set_flag(cfg, EVENT_BASE_FLAG_NO_CACHE_TIME | EVENT_BASE_FLAG_IGNORE_ENV |
                                       EVENT_BASE_FLAG_NOLOCK);
        l->base = event_base_new_with_config(cfg);
        event_config_free(cfg);
    }
    if (l->base)
        l->wake = event_new(l->base, l->wake_fd, EV_READ | EV_PERSIST, on_wake, l);
    if (!l->wake || event_add(l->wake, NULL) < 0) {
        loop_free(l);
        return err_set(e, ENOMEM, "event loop cannot be made");
    }
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    while (l->signals) {
        struct signal_watch *s = l->signals;
        l->signals = s->next;
        event_free(s->ev);
        free(s);
    }
    if (l->wake)
        event_free(l->wake);
    if (l->base)
        event_base_free(l->base);
    base_close(&l->wake_fd);
    free(l->posted.v);
    free(l->running.v);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

int loop_run(struct loop *l)
{
    int r = event_base_loop(l->base, 0); /* the wake event keeps it from being empty */

    __atomic_store_n(&l->stop, false, __ATOMIC_RELEASE);
    return r < 0 ? -EIO : 0;
}

static void on_nothing(evutil_socket_t fd, short events, void *arg)
{
    (void)fd;
    (void)events;
    (void)arg;
}

int loop_once(struct loop *l, int timeout_ms)
{
    struct event limit;

    if (timeout_ms <= 0)
        return event_base_loop(l->base, EVLOOP_NONBLOCK) < 0 ? -EIO : 0;
    struct timeval tv = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    event_assign(&limit, l->base, -1, 0, on_nothing, NULL);
    if (event_add(&limit, &tv) < 0)
        return -ENOMEM;
    int r = event_base_loop(l->base, EVLOOP_ONCE);
    event_del(&limit);
    return r < 0 ? -EIO : 0;
}

void loop_stop(struct loop *l)
{
    __atomic_store_n(&l->stop, true, __ATOMIC_RELEASE);
    wake_up(l);
}

struct event_base *loop_base(struct loop *l)
{
    return l->base;
}

/* ---- descriptors ---------------------------------------------------------------------------- */

/* Two events, so that a change of one is one epoll_ctl and not a removal and an addition. */
static void on_readable(evutil_socket_t fd, short events, void *arg)
{
    struct loop_watch *w = arg;

    (void)fd;
    (void)events;
    w->fn(w->arg, LOOP_READ);
}

static void on_writable(evutil_socket_t fd, short events, void *arg)
{
    struct loop_watch *w = arg;

    (void)fd;
    (void)events;
    w->fn(w->arg, LOOP_WRITE);
}

struct loop_watch *loop_watch_new(struct loop *l, int fd, loop_fd_fn *fn, void *arg)
{
    struct loop_watch *w = xcalloc(1, sizeof *w);

    w->fn = fn;
    w->arg = arg;
    event_assign(&w->rd, l->base, fd, EV_READ | EV_PERSIST, on_readable, w);
    event_assign(&w->wr, l->base, fd, EV_WRITE | EV_PERSIST, on_writable, w);
    return w;
}

static void want_one(struct event *ev, bool had, bool wants)
{
    if (had == wants)
        return;
    if (!wants)
        event_del(ev);
    else if (event_add(ev, NULL) < 0)
        base_panic("event loop does not take a descriptor");
}

void loop_watch_want(struct loop_watch *w, unsigned events)
{
    want_one(&w->rd, w->want & LOOP_READ, events & LOOP_READ);
    want_one(&w->wr, w->want & LOOP_WRITE, events & LOOP_WRITE);
    w->want = events;
}

void loop_watch_free(struct loop_watch *w)
{
    if (!w)
        return;
    event_del(&w->rd);
    event_del(&w->wr);
    free(w);
}

/* ---- timers and signals --------------------------------------------------------------------- */

static void on_timer(evutil_socket_t fd, short events, void *arg)
{
    struct loop_timer *t = arg;

    (void)fd;
    (void)events;
    t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_timer *t = xcalloc(1, sizeof *t);

    t->base = l->base;
    t->fn = fn;
    t->arg = arg;
    event_assign(&t->ev, t->base, -1, 0, on_timer, t);
    return t;
}

void loop_timer_start(struct loop_timer *t, uint64_t ms, bool repeat)
{
    struct timeval tv = {(time_t)MIN(ms / 1000, (uint64_t)1 << 31),
                         (suseconds_t)(ms % 1000 * 1000)};

    event_del(&t->ev);
    event_assign(&t->ev, t->base, -1, repeat ? EV_PERSIST : 0, on_timer, t);
    if (event_add(&t->ev, &tv) < 0)
        base_panic("out of memory");
}

void loop_timer_stop(struct loop_timer *t)
{
    event_del(&t->ev);
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t)
        return;
    event_del(&t->ev);
    free(t);
}

struct loop_defer {
    struct event ev;
    loop_fn *fn;
    void *arg;
};

static void on_defer(evutil_socket_t fd, short events, void *arg)
{
    struct loop_defer *d = arg;

    (void)fd;
    (void)events;
    d->fn(d->arg);
}

struct loop_defer *loop_defer_new(struct loop *l, loop_fn *fn, void *arg)
{
    struct loop_defer *d = xcalloc(1, sizeof *d);

    d->fn = fn;
    d->arg = arg;
    event_assign(&d->ev, l->base, -1, 0, on_defer, d);
    return d;
}

void loop_defer_arm(struct loop_defer *d)
{
    event_active(&d->ev, EV_TIMEOUT, 0); /* to the end of the queue of ready events */
}

void loop_defer_free(struct loop_defer *d)
{
    if (!d)
        return;
    event_del(&d->ev);
    free(d);
}

static void on_signal(evutil_socket_t fd, short events, void *arg)
{
    struct signal_watch *s = arg;

    (void)fd;
    (void)events;
    s->fn(s->arg);
}

int loop_on_signal(struct loop *l, int signo, loop_fn *fn, void *arg)
{
    struct signal_watch *s = xcalloc(1, sizeof *s);

    s->fn = fn;
    s->arg = arg;
    s->ev = evsignal_new(l->base, signo, on_signal, s);
    if (!s->ev || event_add(s->ev, NULL) < 0) {
        if (s->ev)
            event_free(s->ev);
        free(s);
        return -EINVAL;
    }
    s->next = l->signals;
    l->signals = s;
    return 0;
}

/* ---- calls from other threads --------------------------------------------------------------- */

void loop_post(struct loop *l, loop_fn *fn, void *arg)
{
    pthread_mutex_lock(&l->lock);
    struct calls *c = &l->posted;
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->v = realloc(c->v, c->cap * sizeof *c->v);
        if (!c->v)
            base_panic("out of memory");
    }
    c->v[c->n++] = (struct call){fn, arg};
    bool first = c->n == 1;
    pthread_mutex_unlock(&l->lock);
    if (first)
        wake_up(l);
}
