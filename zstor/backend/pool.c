/* pool - see backend/pool.h.  One mutex for the table, the idle lists and the health; it is never
 * held while bytes move. */
#include "zstor/backend/pool.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/digest.h"
#include "common/log.h"
#include "zstor/backend/pool_impl.h"
#include "zstor/format/types.h"

#define MAX_OPENERS 32 /* threads that connect for one pool_get_many */

int pool_new(struct pool **out, const struct pool_conf *c)
{
    struct pool *p = xcalloc(1, sizeof *p);
    pthread_condattr_t attr;

    p->conf = *c;
    if (!p->conf.connect_timeout_ms)
        p->conf.connect_timeout_ms = 5000;
    if (!p->conf.io_timeout_ms)
        p->conf.io_timeout_ms = 30000;
    if (!p->conf.max_idle)
        p->conf.max_idle = 4;
    if (!p->conf.idle_ms)
        p->conf.idle_ms = 60000;
    if (!p->conf.backoff_min_ms)
        p->conf.backoff_min_ms = 1000;
    if (!p->conf.backoff_max_ms)
        p->conf.backoff_max_ms = 60000;
    pthread_mutex_init(&p->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&p->opened, &attr);
    pthread_condattr_destroy(&attr);
    *out = p;
    return 0;
}

static void conn_free(struct pool_conn *c)
{
    if (!c)
        return;
    zclient_close(c->client);
    free(c);
}

static void conn_list_free(struct pool_conn *c)
{
    while (c) {
        struct pool_conn *next = c->next;
        conn_free(c);
        c = next;
    }
}

struct pool_thread { /* one opener thread */
    struct pool_thread *next;
    pthread_t id;
    struct opening *work;
};

static void join_finished(struct pool *p)
{
    struct pool_thread *t;

    pthread_mutex_lock(&p->lock);
    t = p->finished;
    p->finished = NULL;
    pthread_mutex_unlock(&p->lock);
    while (t) {
        struct pool_thread *next = t->next;
        pthread_join(t->id, NULL);
        free(t);
        t = next;
    }
}

void pool_free(struct pool *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    while (p->openers)
        pthread_cond_wait(&p->opened, &p->lock);
    pthread_mutex_unlock(&p->lock);
    join_finished(p);
    while (p->remotes) {
        struct remote *r = p->remotes;
        p->remotes = r->next;
        conn_list_free(r->idle);
        backend_addr_fini(&r->addr);
        free(r);
    }
    pthread_cond_destroy(&p->opened);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

/* locked */
static struct remote *find(struct pool *p, const struct backend_addr *a)
{
    struct remote *r;

    for (r = p->remotes; r; r = r->next)
        if (backend_addr_same(&r->addr, a))
            return r;
    r = xcalloc(1, sizeof *r);
    r->pool = p;
    backend_addr_copy(&r->addr, a);
    backend_addr_name(a, r->name, sizeof r->name);
    r->next = p->remotes;
    p->remotes = r;
    return r;
}

/* --- health (all locked) --------------------------------------------------------------------- */

static void note_success(struct remote *r)
{
    r->known = true;
    r->probing = false;
    if (r->down)
        log_info("backend %s: up again", r->name);
    r->down = false;
    r->backoff_ms = r->down_since_s = 0;
    r->last_error[0] = '\0';
}

static void note_failure(struct remote *r, const char *text)
{
    const struct pool_conf *c = &r->pool->conf;
    uint64_t jitter = 0;

    r->known = true;
    r->probing = false;
    r->failures++;
    snprintf(r->last_error, sizeof r->last_error, "%s", text);
    if (!r->down) {
        log_warn("backend %s: down: %s", r->name, text);
        r->down = true;
        r->down_since_s = base_wall_s();
        r->backoff_ms = c->backoff_min_ms;
    } else {
        r->backoff_ms = MIN(r->backoff_ms * 2, c->backoff_max_ms);
    }
    (void)digest_random(&jitter, sizeof jitter); /* without it: no jitter */
    r->retry_at_ms = base_now_ms() + r->backoff_ms - jitter % (r->backoff_ms / 4 + 1);
}

/* --- taking and giving back ------------------------------------------------------------------ */

/* Nothing may have been said, and the peer must still be there. */
static bool idle_usable(const struct pool_conn *c, uint64_t now)
{
    struct pollfd pfd = {.fd = zclient_fd(c->client), .events = POLLIN};

    return now - c->idle_since_ms < c->remote->pool->conf.idle_ms && poll(&pfd, 1, 0) == 0;
}

/* locked; unusable ones are put on *dead, to be freed outside the lock */
static struct pool_conn *take_idle(struct remote *r, struct pool_conn **dead)
{
    uint64_t now = base_now_ms();

    while (r->idle) {
        struct pool_conn *c = r->idle;
        r->idle = c->next;
        r->nidle--;
        if (idle_usable(c, now)) {
            c->next = NULL;
            return c;
        }
        c->next = *dead;
        *dead = c;
    }
    return NULL;
}

/* An idle connection (1, *out), permission to open one (0), or -EHOSTDOWN. */
static int acquire(struct pool *p, const struct backend_addr *a, bool force, struct remote **remote,
                   struct pool_conn **out, struct err *e)
{
    struct pool_conn *dead = NULL;
    int r = 0;

    {
        POOL_LOCKED(p);
        *remote = find(p, a);
        *out = take_idle(*remote, &dead);
        if (*out)
            r = 1;
        else if ((*remote)->down && !force &&
                 ((*remote)->probing || base_now_ms() < (*remote)->retry_at_ms))
            r = err_set(e, EHOSTDOWN, "backend %s is down: %s", (*remote)->name,
                        (*remote)->last_error);
        else
            (*remote)->probing = (*remote)->down;
    }
    conn_list_free(dead);
    return r;
}

static int open_conn(struct pool *p, struct remote *r, const struct backend_addr *a,
                     struct pool_conn **out, struct err *e)
{
    /* the time-out inside zclient only matters while it connects and selects: later waits are
     * pool_ask and pool_stalled */
    struct zclient_conf zc = {.host = a->host,
                              .port = a->port_text,
                              .ns = a->ns,
                              .password = a->password,
                              .plain_auth = true,
                              .connect_timeout_ms = p->conf.connect_timeout_ms,
                              .io_timeout_ms =
                                  MIN(p->conf.connect_timeout_ms, p->conf.io_timeout_ms),
                              .max_reply = ZSTOR_MAX_REPLY};
    struct err own = {0};
    struct zclient *client = NULL;
    uint64_t start = base_now_us();
    int rc = zclient_open(&client, &zc, &own);

    POOL_LOCKED(p);
    if (rc < 0) {
        note_failure(r, own.text);
        return err_set(e, -rc, "backend %s: %s", r->name, own.text);
    }
    note_success(r);
    if (!r->latency_us)
        r->latency_us = (uint32_t)MIN(base_now_us() - start, (uint64_t)UINT32_MAX);
    *out = xcalloc(1, sizeof **out);
    (*out)->remote = r;
    (*out)->client = client;
    return 0;
}

int pool_get(struct pool *p, const struct backend_addr *a, struct pool_conn **out, struct err *e)
{
    struct remote *remote;
    int r = acquire(p, a, false, &remote, out, e);

    if (r == 1)
        return 0;
    return r < 0 ? r : open_conn(p, remote, a, out, e);
}

void pool_put(struct pool_conn *c, int rc)
{
    struct pool_conn *dead = NULL;

    if (!c)
        return;
    {
        struct remote *r = c->remote;
        POOL_LOCKED(r->pool);
        if (rc == 0 && zclient_pending(c->client) == 0 && zclient_status(c->client) == 0) {
            note_success(r);
            c->idle_since_ms = base_now_ms();
            c->next = r->idle;
            r->idle = c;
            c = NULL;
            if (++r->nidle > r->pool->conf.max_idle) { /* the oldest goes */
                struct pool_conn **last = &r->idle;
                while ((*last)->next)
                    last = &(*last)->next;
                dead = *last;
                *last = NULL;
                r->nidle--;
            }
        } else if (rc < 0) {
            struct err e;
            err_sys(&e, -rc, "connection broke");
            note_failure(r, e.text);
        }
    }
    conn_free(c);
    conn_free(dead);
}

/* --- many at once ---------------------------------------------------------------------------- */

/* One pool_get_many that has something to open.  Shared by the caller and the threads; under the
 * pool's lock, but for the opening itself.  Items are taken in order; what ends after the caller
 * has left goes to the idle list. */
struct opening {
    struct pool *pool;
    unsigned refs;
    bool abandoned;
    size_t n, next, left; /* left: items not decided yet */
    struct opening_item {
        struct remote *remote; /* NULL: nothing to open */
        struct backend_addr addr;
        struct pool_conn *conn;
        int rc;
    } item[];
};

/* locked */
static void opening_unref(struct opening *o)
{
    if (--o->refs)
        return;
    for (size_t i = 0; i < o->n; i++)
        backend_addr_fini(&o->item[i].addr);
    free(o);
}

/* Next item of o to open, or NULL.  locked */
static struct opening_item *opening_take(struct opening *o)
{
    while (o->next < o->n) {
        struct opening_item *it = &o->item[o->next++];
        if (it->remote)
            return it;
    }
    return NULL;
}

static void opening_work(struct opening *o)
{
    struct opening_item *it;

    pthread_mutex_lock(&o->pool->lock);
    while (!o->abandoned && (it = opening_take(o))) {
        struct pool_conn *conn = NULL, *late = NULL;
        pthread_mutex_unlock(&o->pool->lock);
        int rc = open_conn(o->pool, it->remote, &it->addr, &conn, NULL);
        pthread_mutex_lock(&o->pool->lock);
        it->rc = rc;
        o->left--;
        if (o->abandoned)
            late = conn;
        else
            it->conn = conn;
        pthread_cond_broadcast(&o->pool->opened);
        if (late) {
            pthread_mutex_unlock(&o->pool->lock);
            pool_put(late, 0);
            pthread_mutex_lock(&o->pool->lock);
        }
    }
    pthread_mutex_unlock(&o->pool->lock);
}

static void *opener_thread(void *arg)
{
    struct pool_thread *t = arg;
    struct opening *o = t->work;
    struct pool *p = o->pool;

    opening_work(o);
    pthread_mutex_lock(&p->lock);
    opening_unref(o);
    t->next = p->finished;
    p->finished = t;
    p->openers--;
    pthread_cond_broadcast(&p->opened);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* locked; how many threads there are */
static size_t start_openers(struct opening *o, size_t want)
{
    size_t n = 0;

    for (; n < MIN(want, (size_t)MAX_OPENERS); n++) {
        struct pool_thread *t = xcalloc(1, sizeof *t);
        t->work = o;
        if (pthread_create(&t->id, NULL, opener_thread, t) != 0) {
            free(t);
            break;
        }
        o->refs++;
        o->pool->openers++;
    }
    return n;
}

static void opening_wait(struct opening *o, uint64_t wait_ms)
{
    struct pool *p = o->pool;
    uint64_t end = base_now_ms() + wait_ms;
    struct timespec ts = {(time_t)(end / 1000), (long)(end % 1000 * 1000000)};

    while (o->left && !(wait_ms && base_now_ms() >= end))
        if (wait_ms)
            pthread_cond_timedwait(&p->opened, &p->lock, &ts);
        else
            pthread_cond_wait(&p->opened, &p->lock);
}

void pool_get_forced(struct pool *p, const struct backend_addr *const *a, size_t n, bool force,
                     uint64_t wait_ms, struct pool_conn **out, int *rc)
{
    struct opening *o = xcalloc(1, sizeof *o + n * sizeof o->item[0]);

    join_finished(p);
    *o = (struct opening){.pool = p, .refs = 1, .n = n};
    for (size_t i = 0; i < n; i++) {
        struct remote *remote = NULL;
        out[i] = NULL;
        rc[i] = a[i] ? acquire(p, a[i], force, &remote, &out[i], NULL) : -ENOENT;
        if (rc[i] == 0) {
            o->item[i] = (struct opening_item){.remote = remote, .rc = -ETIMEDOUT};
            backend_addr_copy(&o->item[i].addr, a[i]);
            o->left++;
        }
        if (rc[i] == 1)
            rc[i] = 0;
    }
    pthread_mutex_lock(&p->lock);
    /* a single one, or no thread to be had: open it here */
    if (o->left && ((o->left == 1 && !wait_ms) || start_openers(o, o->left) == 0)) {
        pthread_mutex_unlock(&p->lock);
        opening_work(o);
        pthread_mutex_lock(&p->lock);
    }
    opening_wait(o, wait_ms);
    o->abandoned = true;
    for (size_t i = 0; i < n; i++)
        if (o->item[i].remote) {
            rc[i] = o->item[i].rc;
            out[i] = o->item[i].conn;
            if (i >= o->next) /* nobody will try it now */
                o->item[i].remote->probing = false;
        }
    opening_unref(o);
    pthread_mutex_unlock(&p->lock);
}

void pool_get_many(struct pool *p, const struct backend_addr *const *a, size_t n, uint64_t wait_ms,
                   struct pool_conn **out, int *rc)
{
    pool_get_forced(p, a, n, false, wait_ms, out, rc);
}

void pool_get_all(struct pool *p, const struct backend_addr *const *a, size_t n, uint64_t wait_ms,
                  struct pool_conn **out, int *rc)
{
    pool_get_forced(p, a, n, true, wait_ms, out, rc);
}

struct zclient *pool_zclient(struct pool_conn *c)
{
    return c->client;
}

const char *pool_peer(const struct pool_conn *c)
{
    return c->remote->name;
}

void pool_health(struct pool *p, const struct backend_addr *a, struct pool_health *out)
{
    POOL_LOCKED(p);
    const struct remote *r = find(p, a);
    uint64_t now = base_now_ms();

    *out = (struct pool_health){.known = r->known,
                                .down = r->down,
                                .down_since_s = r->down_since_s,
                                .failures = r->failures,
                                .latency_us = r->latency_us};
    out->retry_in_ms = r->down && r->retry_at_ms > now ? r->retry_at_ms - now : 0;
    snprintf(out->last_error, sizeof out->last_error, "%s", r->last_error);
}
