/* connection - see store/connection.h. */
#include "zdbfs/store/connection.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/log.h"

enum {
    CONNECT_MS = 5000,
    PATIENCE_MS = 10000, /* a server that is away longer than this fails requests at once */
    RETRY_MIN_MS = 20,
    RETRY_MAX_MS = 500,
    MAX_REPLY = 16 * 1024 * 1024, /* values have 8 MiB at most; a page of SCAN is smaller */
};

struct conn_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const struct conn_addr *addr;
    struct zclient **idle;
    unsigned nidle, open, max; /* open: idle and in use and being opened */
    uint64_t down_since_ms;    /* 0: up */
    uint64_t next_try_ms, retry_ms;
    uint64_t failed_ms; /* the last attempt that failed */
    uint64_t opened;
};

void conn_where(const struct conn_addr *a, char *out, size_t size)
{
    if (a->unix_path)
        snprintf(out, size, "%s", a->unix_path);
    else
        snprintf(out, size, "%s:%s", a->host, a->port);
}

struct conn_pool *conn_pool_new(const struct conn_addr *addr, unsigned max)
{
    struct conn_pool *p = xcalloc(1, sizeof *p);
    pthread_condattr_t attr;

    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->changed, &attr);
    pthread_condattr_destroy(&attr);
    p->addr = addr;
    p->max = max;
    p->idle = xcalloc(max, sizeof *p->idle);
    p->retry_ms = RETRY_MIN_MS;
    return p;
}

void conn_pool_free(struct conn_pool *p)
{
    if (!p)
        return;
    for (unsigned i = 0; i < p->nidle; i++)
        zclient_close(p->idle[i]);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p->idle);
    free(p);
}

int conn_plain(const struct conn_addr *a, uint64_t timeout_ms, struct zclient **out, struct err *e)
{
    struct zclient_conf c = {.host = a->host,
                             .port = a->port,
                             .unix_path = a->unix_path,
                             .connect_timeout_ms = MIN(timeout_ms, (uint64_t)CONNECT_MS),
                             .io_timeout_ms = timeout_ms,
                             .max_reply = MAX_REPLY};
    return zclient_open(out, &c, e);
}

static int open_one(struct conn_pool *p, uint64_t timeout_ms, struct zclient **out, struct err *e)
{
    const struct conn_addr *a = p->addr;
    struct zclient_conf c = {.host = a->host,
                             .port = a->port,
                             .unix_path = a->unix_path,
                             .ns = a->ns,
                             .password = a->password,
                             .plain_auth = true,
                             .connect_timeout_ms = MIN(timeout_ms, (uint64_t)CONNECT_MS),
                             .io_timeout_ms = timeout_ms,
                             .max_reply = MAX_REPLY};
    return zclient_open(out, &c, e);
}

static void wait_until(struct conn_pool *p, uint64_t until_ms)
{
    struct timespec ts = {(time_t)(until_ms / 1000), (long)(until_ms % 1000) * 1000000};
    pthread_cond_timedwait(&p->changed, &p->lock, &ts);
}

/* Under the lock.  The outcome of an attempt to connect. */
static void note_attempt(struct conn_pool *p, int r, const struct err *e)
{
    uint64_t now = base_now_ms();
    char where[256];

    conn_where(p->addr, where, sizeof where);
    if (r == 0) {
        if (p->down_since_ms)
            log_info("zdb %s %s: connected again after %.1f s", where, p->addr->ns,
                     (double)(now - p->down_since_ms) / 1000);
        p->down_since_ms = 0;
        p->retry_ms = RETRY_MIN_MS;
        p->opened++;
        return;
    }
    if (!p->down_since_ms) {
        p->down_since_ms = now;
        if (p->opened) /* else it is a failed start, which says so itself */
            log_warn("zdb %s: not reachable, trying again: %s", where, e->text);
    }
    p->failed_ms = now;
    p->next_try_ms = now + p->retry_ms;
    p->retry_ms = MIN(p->retry_ms * 2, (uint64_t)RETRY_MAX_MS);
}

/* Under the lock, which is released meanwhile. */
static int try_open(struct conn_pool *p, uint64_t timeout_ms, struct zclient **out, struct err *e)
{
    p->open++;
    p->next_try_ms = base_now_ms() + CONNECT_MS; /* one attempt at a time while the server is away
                                                  */
    pthread_mutex_unlock(&p->lock);
    int r = open_one(p, timeout_ms, out, e);
    pthread_mutex_lock(&p->lock);
    note_attempt(p, r, e);
    if (r < 0)
        p->open--;
    pthread_cond_broadcast(&p->changed);
    return r;
}

int conn_get(struct conn_pool *p, uint64_t deadline_ms, struct zclient **out, struct err *e)
{
    struct err own = {0};
    int r;

    if (!e)
        e = &own;
    pthread_mutex_lock(&p->lock);
    for (;;) {
        uint64_t now = base_now_ms();
        if (p->nidle) {
            *out = p->idle[--p->nidle];
            r = 0;
            break;
        }
        if (now >= deadline_ms) {
            r = err_set(e, ETIMEDOUT, "no connection to zdb in time");
            break;
        }
        if (p->open < p->max && (!p->down_since_ms || now >= p->next_try_ms)) {
            r = try_open(p, deadline_ms - now, out, e);
            if (r == 0)
                break;
            if (r == -EACCES || r == -ENOENT || p->opened == 0)
                break; /* time does not change that; at start-up it is said at once */
            if (base_now_ms() - p->down_since_ms > PATIENCE_MS) {
                r = -EIO;
                break;
            }
            continue;
        }
        wait_until(p, p->down_since_ms ? MIN(deadline_ms, p->next_try_ms) : deadline_ms);
        if (p->failed_ms > now && base_now_ms() - p->down_since_ms > PATIENCE_MS) {
            r = err_set(e, EIO, "zdb is not reachable"); /* another's attempt has just shown it */
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

void conn_put(struct conn_pool *p, struct zclient *c, bool broken)
{
    if (!c)
        return;
    broken = broken || zclient_pending(c) || zclient_status(c) < 0;
    pthread_mutex_lock(&p->lock);
    if (broken)
        p->open--;
    else
        p->idle[p->nidle++] = c;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (broken)
        zclient_close(c);
}

bool conn_up(struct conn_pool *p)
{
    pthread_mutex_lock(&p->lock);
    bool up = !p->down_since_ms;
    pthread_mutex_unlock(&p->lock);
    return up;
}

uint64_t conn_opened(struct conn_pool *p)
{
    pthread_mutex_lock(&p->lock);
    uint64_t n = p->opened;
    pthread_mutex_unlock(&p->lock);
    return n;
}
