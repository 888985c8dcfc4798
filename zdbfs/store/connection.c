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
    SPARE_MS = 50,                /* who has waited so long for a connection gets one more */
    SPARE = 64,                   /* times the usual number at most */
    MAX_REPLY = 16 * 1024 * 1024, /* values have 8 MiB at most; a page of SCAN is smaller */
};

struct conn_pool {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    const struct conn_addr *addr;
    struct conn *idle;
    unsigned nidle, open, max; /* open: idle and in use and being opened */
    uint64_t down_since_ms;    /* 0: up */
    uint64_t next_try_ms, retry_ms;
    uint64_t failed_ms; /* the last attempt that failed */
    uint64_t opened;
    uint64_t epoch, instance; /* instance: the server's, as of the epoch */
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
        zclient_close(p->idle[i].c);
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

static void free_reply(redisReply **r)
{
    if (*r)
        freeReplyObject(*r);
}

/* instance_id of INFO; 0 when the server does not say. */
static int ask_instance(struct zclient *c, uint64_t *out, struct err *e)
{
    static const char name[] = "\ninstance_id: ";
    CLEANUP(free_reply) redisReply *reply = NULL;
    const struct slice argv[] = {slice_str("INFO")};

    int r = zclient_call(c, &reply, e, 1, argv);
    if (r < 0)
        return r;
    struct slice text = zclient_bulk(reply);
    const uint8_t *p = text.len ? memmem(text.p, text.len, name, sizeof name - 1) : NULL;
    *out = 0;
    for (p = p ? p + sizeof name - 1 : NULL;
         p && p < text.p + text.len && *p >= '0' && *p <= '9' && *out < UINT64_MAX / 16; p++)
        *out = *out * 10 + (uint64_t)(*p - '0');
    return 0;
}

static int open_one(struct conn_pool *p, uint64_t timeout_ms, struct zclient **out,
                    uint64_t *instance, struct err *e)
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
    int r = zclient_open(out, &c, e);
    if (r < 0)
        return r;
    r = ask_instance(*out, instance, e);
    if (r < 0) {
        zclient_close(*out);
        *out = NULL;
    }
    return r;
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

/* Under the lock.  Connections of before are of no use: they belong to a server that has ended. */
static uint64_t note_instance(struct conn_pool *p, uint64_t instance)
{
    char where[256];

    if (p->epoch && p->instance == instance)
        return p->epoch;
    if (p->epoch) {
        conn_where(p->addr, where, sizeof where);
        log_warn("zdb %s %s: was started again; what it had not confirmed to be on disk is stored "
                 "again",
                 where, p->addr->ns);
    }
    p->instance = instance;
    return ++p->epoch;
}

/* Under the lock, which is released meanwhile. */
static int try_open(struct conn_pool *p, uint64_t timeout_ms, struct conn *out, struct err *e)
{
    uint64_t instance = 0;

    p->open++;
    p->next_try_ms = base_now_ms() + CONNECT_MS; /* one attempt at a time while the server is away
                                                  */
    pthread_mutex_unlock(&p->lock);
    int r = open_one(p, timeout_ms, &out->c, &instance, e);
    pthread_mutex_lock(&p->lock);
    note_attempt(p, r, e);
    if (r < 0)
        p->open--;
    else
        out->epoch = note_instance(p, instance);
    pthread_cond_broadcast(&p->changed);
    return r;
}

/* Under the lock: one that still belongs to the server of now. */
static bool take_idle(struct conn_pool *p, struct conn *out)
{
    while (p->nidle) {
        *out = p->idle[--p->nidle];
        if (out->epoch == p->epoch)
            return true;
        p->open--;
        zclient_close(out->c);
    }
    return false;
}

int conn_get(struct conn_pool *p, uint64_t deadline_ms, struct conn *out, struct err *e)
{
    struct err own = {0};
    int r;

    if (!e)
        e = &own;
    uint64_t begin = base_now_ms();
    pthread_mutex_lock(&p->lock);
    for (;;) {
        uint64_t now = base_now_ms();
        unsigned max = now >= begin + SPARE_MS ? p->max * SPARE : p->max;
        r = 0;
        if (take_idle(p, out))
            break;
        if (now >= deadline_ms) {
            r = err_set(e, ETIMEDOUT, "no connection to zdb in time");
            break;
        }
        if (p->open < max && (!p->down_since_ms || now >= p->next_try_ms)) {
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
        uint64_t until = p->down_since_ms ? p->next_try_ms : MAX(begin + SPARE_MS, now + 1);
        if (!p->down_since_ms && p->open >= p->max * SPARE)
            until = deadline_ms;
        wait_until(p, MIN(deadline_ms, until));
        if (p->failed_ms > now && base_now_ms() - p->down_since_ms > PATIENCE_MS) {
            r = err_set(e, EIO, "zdb is not reachable"); /* another's attempt has just shown it */
            break;
        }
    }
    pthread_mutex_unlock(&p->lock);
    return r;
}

void conn_put(struct conn_pool *p, struct conn *c, bool broken)
{
    if (!c->c)
        return;
    broken = broken || zclient_pending(c->c) || zclient_status(c->c) < 0;
    pthread_mutex_lock(&p->lock);
    broken = broken || c->epoch != p->epoch || p->nidle == p->max;
    if (broken)
        p->open--;
    else
        p->idle[p->nidle++] = *c;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    if (broken)
        zclient_close(c->c);
    c->c = NULL;
}

uint64_t conn_epoch(struct conn_pool *p)
{
    pthread_mutex_lock(&p->lock);
    uint64_t epoch = p->epoch;
    pthread_mutex_unlock(&p->lock);
    return epoch;
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
