/* poller - state of all backends. */
#include "zstor/daemon/poller.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"
#include "zstor/backend/exchange.h"

struct round { /* the thread's, then the loop's */
    struct engine *engine;
    struct poller_backend *list;
    size_t n;
};

struct poller {
    struct poller_conf conf;
    struct workq *thread;
    struct loop_timer *timer;
    struct round *current; /* NULL: none runs */
    struct round *last;    /* NULL: none ended yet */
};

static void round_free(struct round *r)
{
    if (!r)
        return;
    free(r->list);
    engine_put(r->engine);
    free(r);
}

static struct poller_backend *list_of(const struct zstor_conf *c, size_t *n)
{
    size_t all = ZSTOR_META_COPIES, k = 0;
    struct poller_backend *list;

    for (size_t g = 0; g < c->ngroups; g++)
        all += c->groups[g].n;
    list = xcalloc(all, sizeof *list);
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++, k++) {
        list[k].addr = &c->meta[i];
        list[k].meta = true;
    }
    for (size_t g = 0; g < c->ngroups; g++)
        for (size_t i = 0; i < c->groups[g].n; i++)
            list[k++].addr = &c->groups[g].backends[i];
    *n = all;
    return list;
}

static void judge(struct poller_backend *b, int rc, struct pool *pool)
{
    const struct pool_health *h = &b->health;

    b->known = true;
    pool_health(pool, b->addr, &b->health);
    if (rc < 0) {
        snprintf(b->error, sizeof b->error, "%s", h->last_error[0] ? h->last_error : strerror(-rc));
    } else if (b->meta && b->info.mode != BACKEND_USERKEY) {
        snprintf(b->error, sizeof b->error,
                 "expected 0-db namespace to be in userkey mode, but is in %s",
                 b->info.mode == BACKEND_SEQUENTIAL ? "sequential" : "another");
    } else if (!b->meta && b->info.mode != BACKEND_SEQUENTIAL) {
        snprintf(b->error, sizeof b->error,
                 "expected 0-db namespace to be in sequential mode, but is in %s",
                 b->info.mode == BACKEND_USERKEY ? "user-key" : "another");
    } else {
        b->up = true;
    }
}

struct poller_backend *poller_ask(const struct zstor_conf *c, struct objects *o, size_t *n)
{
    struct poller_backend *list = list_of(c, n);
    const struct backend_addr **addr = xcalloc(*n, sizeof *addr);
    struct backend_info *info = xcalloc(*n, sizeof *info);
    int *rc = xcalloc(*n, sizeof *rc);

    for (size_t i = 0; i < *n; i++) {
        addr[i] = list[i].addr;
        pool_health(object_pool(o), addr[i], &list[i].health);
        list[i].puts = list[i].health.puts;
    }
    exchange_info(object_pool(o), addr, *n, true, NULL, info, rc);
    for (size_t i = 0; i < *n; i++) {
        list[i].info = info[i];
        judge(&list[i], rc[i], object_pool(o));
    }
    free(addr);
    free(info);
    free(rc);
    return list;
}

static void on_done(void *arg);

static void on_thread(void *arg)
{
    struct poller *p = arg;
    struct round *r = p->current;

    r->list = poller_ask(r->engine->conf, r->engine->objects, &r->n);
    object_renew(r->engine->objects);
    loop_post(p->conf.loop, on_done, p);
}

static void begin(void *arg)
{
    struct poller *p = arg;

    if (p->current)
        return;
    p->current = xcalloc(1, sizeof *p->current);
    p->current->engine = engine_get(p->conf.engine);
    if (workq_push(p->thread, on_thread, p) < 0) { /* never: one slot, one round */
        round_free(p->current);
        p->current = NULL;
    }
}

static const struct poller_backend *find(const struct round *r, const struct poller_backend *b)
{
    for (size_t i = 0; r && i < r->n; i++)
        if (r->list[i].meta == b->meta && backend_addr_same(r->list[i].addr, b->addr))
            return &r->list[i];
    return NULL;
}

static bool compare(const struct round *old, const struct round *now, bool *changed)
{
    bool recovered = false;

    for (size_t i = 0; i < now->n; i++) {
        const struct poller_backend *b = &now->list[i], *was = find(old, b);
        const char *kind = b->meta ? "metadata" : "data";
        char name[400];

        backend_addr_name(b->addr, name, sizeof name);
        if (!was || was->up != b->up || (!b->meta && b->info.entries < was->info.entries))
            *changed = true;
        if (!b->up && (!was || was->up))
            log_warn("%s backend %s: not usable: %s", kind, name, b->error);
        if (b->up && was && !was->up) {
            log_info("%s backend %s: back", kind, name);
            recovered = true;
        }
    }
    return recovered;
}

static void on_done(void *arg)
{
    struct poller *p = arg;
    struct round *now = p->current, *old = p->last;
    bool changed = false, recovered = compare(old, now, &changed);

    p->last = now;
    p->current = NULL;
    round_free(old);
    p->conf.polled(p->conf.arg, recovered, changed);
}

const struct poller_backend *poller_view(const struct poller *p, size_t *n)
{
    *n = p->last ? p->last->n : 0;
    return p->last ? p->last->list : NULL;
}

void poller_now(struct poller *p)
{
    begin(p);
}

void poller_swap(struct poller *p, struct engine *g)
{
    engine_put(p->conf.engine);
    p->conf.engine = engine_get(g);
    begin(p);
}

int poller_new(struct poller **out, const struct poller_conf *c, struct err *e)
{
    struct poller *p = xcalloc(1, sizeof *p);
    int r;

    p->conf = *c;
    engine_get(p->conf.engine);
    p->timer = loop_timer_new(c->loop, begin, p);
    r = workq_new(&p->thread, "poller", 1, 1, e);
    if (r < 0) {
        poller_free(p);
        return r;
    }
    loop_timer_start(p->timer, c->period_ms, true);
    begin(p);
    *out = p;
    return 0;
}

void poller_free(struct poller *p)
{
    if (!p)
        return;
    workq_free(p->thread);
    round_free(p->current);
    round_free(p->last);
    loop_timer_free(p->timer);
    engine_put(p->conf.engine);
    free(p);
}
