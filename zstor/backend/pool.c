/* pool - see backend/pool.h.  One mutex for the table, the idle lists and the health; it is never
 * held while bytes move. */
#include "zstor/backend/pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/digest.h"
#include "common/log.h"
#include "zstor/backend/kinds.h"
#include "zstor/backend/pool_impl.h"
#include "zstor/format/types.h"

#define MAX_OPENERS  32 /* threads that connect for one pool_get_many */
#define WAIT_STEP_MS 200

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
    if (!p->conf.lag_ms)
        p->conf.lag_ms = 1000;
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
    struct backend_op *op;

    if (!c)
        return;
    while ((op = STAILQ_FIRST(&c->ops))) {
        STAILQ_REMOVE_HEAD(&c->ops, next);
        op->rc = -ECANCELED;
    }
    c->kind->close(c->link);
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

static void describe(struct remote *r, const struct backend_addr *a)
{
    backend_addr_fini(&r->addr);
    backend_addr_copy(&r->addr, a);
    backend_addr_name(a, r->name, sizeof r->name);
    r->health = (struct health){0};
}

/* locked */
static struct remote *find(struct pool *p, const struct backend_addr *a)
{
    struct remote *r;

    for (r = p->remotes; r; r = r->next)
        if (backend_addr_same(&r->addr, a)) {
            if (r->addr.place == BACKEND_ELSEWHERE && a->place != BACKEND_ELSEWHERE)
                describe(r, a); /* it was known by its number only: never had a connection */
            return r;
        }
    r = xcalloc(1, sizeof *r);
    r->pool = p;
    describe(r, a);
    r->next = p->remotes;
    p->remotes = r;
    return r;
}

/* --- health (all locked) --------------------------------------------------------------------- */

static void note_success(struct remote *r, enum health_track t, uint64_t latency_us)
{
    if (health_good(&r->health, t, latency_us)) {
        if (t == HEALTH_LINK)
            log_info("backend %s: up again", r->name);
        else
            log_info("backend %s: %ss work again", r->name, health_name(t));
    }
}

static void note_failure(struct remote *r, enum health_track t, const char *text)
{
    const struct pool_conf *c = &r->pool->conf;
    uint64_t jitter = 0;

    (void)digest_random(&jitter, sizeof jitter); /* without it: no jitter */
    if (!health_bad(&r->health, t, text, c->backoff_min_ms, c->backoff_max_ms, jitter))
        return;
    if (t == HEALTH_LINK)
        log_warn("backend %s: down: %s", r->name, text);
    else
        log_warn("backend %s: no %ss for now: %s", r->name, health_name(t), text);
}

void pool_judge(struct pool_conn *c, enum health_track track, const char *why, uint64_t latency_us)
{
    POOL_LOCKED(c->remote->pool);

    if (why)
        note_failure(c->remote, track, why);
    else
        note_success(c->remote, track, latency_us);
}

void pool_judge_slow(struct pool_conn *c, enum health_track track)
{
    POOL_LOCKED(c->remote->pool);

    if (health_slow(&c->remote->health, track))
        note_failure(c->remote, track, "much slower than the others");
}

/* --- taking and giving back ------------------------------------------------------------------ */

/* Nothing may have been said, and the peer must still be there. */
static bool idle_usable(const struct pool_conn *c, uint64_t now)
{
    return now < c->idle_since_ms + c->remote->pool->conf.idle_ms && c->kind->idle(c->link);
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
static int acquire(struct pool *p, const struct backend_addr *a, enum health_track track,
                   bool force, struct remote **remote, struct pool_conn **out, struct err *e)
{
    struct pool_conn *dead = NULL;
    int r = 0;

    {
        POOL_LOCKED(p);
        *remote = find(p, a);
        if (!force && !health_allows(&(*remote)->health, track))
            r = err_set(e, EHOSTDOWN, "backend %s is down: %s", (*remote)->name,
                        (*remote)->health.last_error);
        else
            *out = take_idle(*remote, &dead);
        if (*out)
            r = 1;
    }
    conn_list_free(dead);
    return r;
}

static int open_conn(struct pool *p, struct remote *r, const struct backend_addr *a,
                     struct pool_conn **out, struct err *e)
{
    struct backend_limits limits = {.connect_ms = p->conf.connect_timeout_ms,
                                    .max_answer = ZSTOR_MAX_REPLY};
    char identity[sizeof r->identity] = "";
    struct err own = {0};
    uint64_t start = base_now_us();
    const struct backend_kind *kind = backend_kind_of(a);
    void *link = NULL;
    int rc;

    if (kind)
        rc = kind->open(&link, a, &limits, identity, sizeof identity, &own);
    else
        rc = err_set(&own, EHOSTUNREACH, "no backend of this name is configured");

    POOL_LOCKED(p);
    if (rc < 0) {
        note_failure(r, HEALTH_LINK, own.text);
        return err_set(e, -rc, "backend %s: %s", r->name, own.text);
    }
    note_success(r, HEALTH_LINK,
                 r->health.track[HEALTH_LINK].latency_us ? 0 : base_now_us() - start);
    memcpy(r->identity, identity, sizeof identity);
    *out = xcalloc(1, sizeof **out);
    (*out)->remote = r;
    (*out)->kind = kind;
    (*out)->link = link;
    STAILQ_INIT(&(*out)->ops);
    return 0;
}

int pool_get(struct pool *p, const struct backend_addr *a, enum health_track track,
             struct pool_conn **out, struct err *e)
{
    struct remote *remote;
    int r;

    *out = NULL;
    r = acquire(p, a, track, false, &remote, out, e);
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
        if (rc == 0 && !c->broken && c->pending == 0 && c->kind->idle(c->link)) {
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
        } else if (rc < 0 && !c->broken) {
            struct err e;
            err_sys(&e, -rc, "connection given up");
            note_failure(r, HEALTH_LINK, e.text);
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

static uint64_t ms_from(uint64_t begin_ms, uint64_t ms)
{
    return ms ? begin_ms + ms : UINT64_MAX;
}

/* Until all are decided, or what `want` says; done: connections there are already. */
static void opening_wait(struct opening *o, const struct pool_want *want, size_t done)
{
    struct pool *p = o->pool;
    uint64_t end = ms_from(base_now_ms(), want->wait_ms);
    bool graced = false;

    while (o->left && !(want->stop && atomic_load(want->stop))) {
        uint64_t now = base_now_ms(), until;
        size_t there = done;
        struct timespec ts;
        for (size_t i = 0; i < o->n; i++)
            there += o->item[i].conn != NULL;
        if (want->enough && there >= want->enough && !graced) {
            graced = true;
            end = MIN(end, now + want->grace_ms);
        }
        if (now >= end)
            break;
        until = MIN(end, now + WAIT_STEP_MS);
        ts = (struct timespec){(time_t)(until / 1000), (long)(until % 1000 * 1000000)};
        pthread_cond_timedwait(&p->opened, &p->lock, &ts);
    }
}

static bool patient(const struct pool_want *w)
{
    return !w->wait_ms && !w->stop && !w->enough;
}

void pool_get_many(struct pool *p, const struct backend_addr *const *a, size_t n,
                   const struct pool_want *want, struct pool_conn **out, int *rc)
{
    struct opening *o = xcalloc(1, sizeof *o + n * sizeof o->item[0]);
    size_t done = 0;

    join_finished(p);
    *o = (struct opening){.pool = p, .refs = 1, .n = n};
    for (size_t i = 0; i < n; i++) {
        struct remote *remote = NULL;
        out[i] = NULL;
        rc[i] = a[i] ? acquire(p, a[i], want->track, want->force, &remote, &out[i], NULL) : -ENOENT;
        if (rc[i] == 0) {
            o->item[i] = (struct opening_item){.remote = remote, .rc = -ETIMEDOUT};
            backend_addr_copy(&o->item[i].addr, a[i]);
            o->left++;
        }
        if (rc[i] == 1) {
            rc[i] = 0;
            done++;
        }
    }
    pthread_mutex_lock(&p->lock);
    /* a single one, or no thread to be had: open it here */
    if (o->left && ((o->left == 1 && patient(want)) || start_openers(o, o->left) == 0)) {
        pthread_mutex_unlock(&p->lock);
        opening_work(o);
        pthread_mutex_lock(&p->lock);
    }
    opening_wait(o, want, done);
    o->abandoned = true;
    for (size_t i = 0; i < n; i++)
        if (o->item[i].remote) {
            rc[i] = o->item[i].rc;
            out[i] = o->item[i].conn;
            if (!out[i] && rc[i] == -ETIMEDOUT && want->stop && atomic_load(want->stop))
                rc[i] = -ECANCELED;
        }
    opening_unref(o);
    pthread_mutex_unlock(&p->lock);
}

const char *pool_peer(const struct pool_conn *c)
{
    return c->remote->name;
}

void pool_health(struct pool *p, const struct backend_addr *a, struct pool_health *out)
{
    POOL_LOCKED(p);
    const struct remote *r = find(p, a);
    const struct health *h = &r->health;

    *out = (struct pool_health){.down = health_down(h, HEALTH_READ),
                                .down_write = health_down(h, HEALTH_WRITE),
                                .retry_in_ms = health_retry_ms(h)};
    for (int i = 0; i < HEALTH_TRACKS; i++) {
        const struct health_state *s = &h->track[i];
        out->track[i] = *s;
        out->known = out->known || s->known;
        out->failures += s->failures;
        if (s->down && (!out->down_since_s || s->down_since_s < out->down_since_s))
            out->down_since_s = s->down_since_s;
        if (!out->latency_us)
            out->latency_us = s->latency_us;
    }
    out->puts = r->puts;
    out->dels = r->dels;
    memcpy(out->identity, r->identity, sizeof out->identity);
    memcpy(out->last_error, h->last_error, sizeof out->last_error);
}

void pool_count(struct pool_conn *c, bool put)
{
    POOL_LOCKED(c->remote->pool);
    *(put ? &c->remote->puts : &c->remote->dels) += 1;
}

uint64_t pool_lag_ms(const struct pool *p)
{
    return p->conf.lag_ms;
}
