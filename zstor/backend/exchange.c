/* exchange - see backend/exchange.h. */
#include "zstor/backend/exchange.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "zstor/backend/pool_impl.h"
#include "zstor/format/types.h"

#define STEP_MS 250 /* deadlines are looked at so often */
#define INFO_GRACE_MS                                                                            \
    1000                  /* who has not said by then how much room it has is not written to now \
                           */
#define ASK_GRACE_MS 5000 /* and is not there, when it was asked for that alone */

static enum health_track track_of(const struct backend_op *op)
{
    switch (op->verb) {
    case BACKEND_INFO:
        return HEALTH_LINK;
    case BACKEND_GET:
    case BACKEND_NAMED_GET:
    case BACKEND_TIME:
    case BACKEND_LIST:
    case BACKEND_NEWEST:
        return HEALTH_READ;
    default:
        return HEALTH_WRITE;
    }
}

/* The time now.  While the thread of the connection was away (it computed, or waited for the disk)
 * bytes could not move: that time does not count. */
static uint64_t look(struct pool_conn *c)
{
    uint64_t now = base_now_ms(), away = now - c->looked_ms;

    if (c->pending && away > (uint64_t)2 * STEP_MS) {
        c->head_us += away * 1000;
        c->window_ms += away;
        c->heard_ms += away;
    }
    c->looked_ms = now;
    return now;
}

/* --- one connection -------------------------------------------------------------------------- */

static void head_begins(struct pool_conn *c)
{
    c->head_us = base_now_us();
    c->looked_ms = c->window_ms = c->heard_ms = c->head_us / 1000;
    c->window_moved = c->heard_moved = c->kind->moved(c->link);
}

static void break_conn(struct pool_conn *c, int rc)
{
    struct backend_op *op;

    c->broken = rc;
    while ((op = STAILQ_FIRST(&c->ops))) {
        STAILQ_REMOVE_HEAD(&c->ops, next);
        op->rc = rc;
    }
    c->pending = 0;
}

void exchange_fail(struct pool_conn *c, int rc, const char *why)
{
    const struct backend_op *head = STAILQ_FIRST(&c->ops);

    if (c->broken)
        return;
    if (why)
        pool_judge(c, rc == -ETIMEDOUT && head ? track_of(head) : HEALTH_LINK, why, 0);
    break_conn(c, rc);
}

void exchange_leave(struct pool_conn *c)
{
    const struct backend_op *head = STAILQ_FIRST(&c->ops);

    if (!head || c->broken)
        return;
    pool_judge_slow(c, track_of(head));
    break_conn(c, -ETIMEDOUT);
}

static void fail_with(struct pool_conn *c, int rc)
{
    struct err e;

    if (rc == -EMSGSIZE)
        err_set(&e, EMSGSIZE, "the answer is longer than %zu bytes", ZSTOR_MAX_REPLY);
    else if (rc == -EPROTO)
        err_set(&e, EPROTO, "the answer is not in its protocol");
    else
        err_sys(&e, -rc, "connection broke");
    exchange_fail(c, rc, e.text);
}

int exchange_submit(struct pool_conn *c, struct backend_op *op)
{
    int r;

    op->out = slice_of(NULL, 0);
    op->said[0] = '\0';
    op->answered = false;
    op->rc = c->broken;
    if (c->broken)
        return c->broken;
    op->rc = -EINPROGRESS;
    r = c->kind->submit(c->link, op);
    STAILQ_INSERT_TAIL(&c->ops, op, next);
    if (c->pending++ == 0)
        head_begins(c);
    if (r < 0)
        fail_with(c, r);
    return MIN(r, 0);
}

/* Of what may have begun after the clock was read. */
static uint64_t since(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

/* Does the oldest operation take too long? */
static bool late(struct pool_conn *c, uint64_t now)
{
    const struct backend_op *op = STAILQ_FIRST(&c->ops);
    uint64_t io = c->remote->pool->conf.io_timeout_ms, bytes = op->key.len + op->value.len, moved;

    if (op->verb == BACKEND_GET || op->verb == BACKEND_NAMED_GET || op->verb == BACKEND_LIST ||
        op->verb == BACKEND_NEWEST)
        bytes += op->expect ? op->expect : ZSTOR_MAX_REPLY;
    if (since(now, c->head_us / 1000) > io + bytes * 1000 / EXCHANGE_RATE)
        return true;
    if (since(now, c->window_ms) < io)
        return false;
    moved = c->kind->moved(c->link);
    if (moved - c->window_moved < io * EXCHANGE_TRICKLE / 1000)
        return true;
    c->window_ms = now;
    c->window_moved = moved;
    return false;
}

/* What is done; how many operations have ended. */
static size_t collect(struct pool_conn *c)
{
    uint64_t now = look(c);
    struct backend_op *op;
    size_t ended = 0;

    while (!c->broken && (op = STAILQ_FIRST(&c->ops))) {
        int r = c->kind->take(c->link, op);
        if (r < 0) {
            ended += c->pending;
            fail_with(c, r);
            break;
        }
        if (r == 0) {
            if (late(c, now)) {
                ended += c->pending;
                exchange_fail(c, -ETIMEDOUT, "no answer in time");
            }
            break;
        }
        STAILQ_REMOVE_HEAD(&c->ops, next);
        c->pending--;
        ended++;
        if (op->rc == 0 || op->rc == -ENOENT)
            pool_judge(c, track_of(op), NULL, base_now_us() - c->head_us);
        if (op->rc == 0 && (op->verb == BACKEND_PUT || op->verb == BACKEND_DEL))
            pool_count(c, op->verb == BACKEND_PUT);
        if (c->pending)
            head_begins(c);
    }
    return ended;
}

unsigned exchange_pending(const struct pool_conn *c)
{
    return c->pending;
}

int exchange_broken(const struct pool_conn *c)
{
    return c->broken;
}

uint64_t exchange_quiet_ms(struct pool_conn *c)
{
    uint64_t moved = c->kind->moved(c->link), now = look(c);

    if (moved != c->heard_moved) {
        c->heard_moved = moved;
        c->heard_ms = now;
    }
    return since(now, c->heard_ms);
}

uint64_t exchange_age_ms(struct pool_conn *c)
{
    uint64_t now = look(c);

    return c->pending ? since(now, c->head_us / 1000) : 0;
}

/* --- many ------------------------------------------------------------------------------------ */

static void move_bytes(struct pool_conn *const *c, size_t n, struct pollfd *pfd, int wait_ms)
{
    for (size_t i = 0; i < n; i++) {
        pfd[i] = (struct pollfd){.fd = -1};
        if (c[i] && !c[i]->broken && c[i]->pending)
            c[i]->kind->want(c[i]->link, &pfd[i]);
    }
    if (poll(pfd, n, wait_ms) <= 0)
        return;
    for (size_t i = 0; i < n; i++)
        if (pfd[i].fd >= 0 && pfd[i].revents)
            c[i]->kind->move(c[i]->link, pfd[i].revents);
}

void exchange_drive(struct pool_conn *const *c, size_t n, bool any, uint64_t until_ms)
{
    struct pollfd some[64];
    CLEANUP(base_free) struct pollfd *many = n > ARRAY_LEN(some) ? xcalloc(n, sizeof *many) : NULL;

    for (size_t i = 0; i < n; i++)
        if (c[i] && !c[i]->broken)
            c[i]->kind->flush(c[i]->link);
    for (;;) {
        uint64_t now = base_now_ms();
        size_t ended = 0, open = 0;
        for (size_t i = 0; i < n; i++) {
            if (!c[i] || c[i]->broken)
                continue;
            ended += collect(c[i]);
            open += c[i]->pending > 0;
        }
        if (open == 0 || (any && ended) || now >= until_ms)
            return;
        move_bytes(c, n, many ? many : some, (int)MIN(until_ms - now, (uint64_t)STEP_MS));
    }
}

size_t exchange_run(struct exchange *x, size_t n, size_t enough, uint64_t grace_ms,
                    const atomic_bool *stop)
{
    struct pool_conn **conn = xcalloc(n + 1, sizeof(struct pool_conn *));
    uint64_t give_up = UINT64_MAX;
    size_t answered;
    bool stopped;

    for (size_t i = 0; i < n; i++) {
        x[i].op.rc = -EHOSTDOWN;
        x[i].op.answered = false;
        if (x[i].conn && exchange_submit(x[i].conn, &x[i].op) == 0)
            conn[i] = x[i].conn;
    }
    for (;;) {
        uint64_t now = base_now_ms();
        size_t open = 0;
        answered = 0;
        for (size_t i = 0; i < n; i++) {
            open += x[i].op.rc == -EINPROGRESS;
            answered += x[i].op.answered;
        }
        if (enough && answered >= enough && give_up == UINT64_MAX)
            give_up = now + grace_ms;
        stopped = stop && atomic_load(stop);
        if (open == 0 || now >= give_up || stopped)
            break;
        exchange_drive(conn, n, true, MIN(now + STEP_MS, give_up));
    }
    for (size_t i = 0; i < n; i++)
        if (x[i].op.rc == -EINPROGRESS) {
            if (stopped)
                exchange_fail(x[i].conn, -ECANCELED, NULL);
            else
                exchange_leave(x[i].conn);
        }
    free(conn);
    return answered;
}

void exchange_fini(struct exchange *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        backend_op_fini(&x[i].op);
}

void exchange_done(struct exchange *x, size_t n)
{
    exchange_fini(x, n);
    for (size_t i = 0; i < n; i++) {
        pool_put(x[i].conn, 0);
        x[i].conn = NULL;
    }
}

/* --- state ----------------------------------------------------------------------------------- */

void exchange_info(struct pool *p, const struct backend_addr *const *a, size_t n, bool force,
                   const atomic_bool *stop, struct backend_info *out, int *rc)
{
    struct pool_conn **conn = xcalloc(n + 1, sizeof(struct pool_conn *));
    struct exchange *x = xcalloc(n + 1, sizeof *x);
    struct pool_want want = {.track = HEALTH_LINK, .force = force, .stop = stop};

    if (!force && n > 1) {
        want.enough = (n + 1) / 2;
        want.grace_ms = INFO_GRACE_MS;
    }
    pool_get_many(p, a, n, &want, conn, rc);
    for (size_t i = 0; i < n; i++)
        x[i] = (struct exchange){.conn = conn[i], .op = {.verb = BACKEND_INFO, .info = &out[i]}};
    exchange_run(x, n, (n + 1) / 2, force ? ASK_GRACE_MS : INFO_GRACE_MS, stop);
    for (size_t i = 0; i < n; i++)
        if (rc[i] == 0)
            rc[i] = x[i].op.rc;
    exchange_done(x, n);
    free(x);
    free(conn);
}

int exchange_info_one(struct pool *p, const struct backend_addr *a, bool force,
                      struct backend_info *out, struct err *e)
{
    struct pool_health h;
    int rc;

    exchange_info(p, &a, 1, force, NULL, out, &rc);
    if (rc == 0)
        return 0;
    pool_health(p, a, &h);
    if (rc == -EPROTO)
        return err_set(e, EPROTO, "backend %s: no usable answer about its state", a->address);
    return err_set(e, -rc, "backend %s: %s", a->address,
                   h.last_error[0] ? h.last_error : "no answer");
}
