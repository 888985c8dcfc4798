/* ask - the part of backend/pool.h that talks: supervision of a connection, one command on many
 * connections, NSINFO. */
#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "zstor/backend/pool_impl.h"

#define INFO_GRACE_MS \
    5000 /* who has not said by then how much room it has is not worth writing to */

static void note_latency(struct pool_conn *c, uint64_t us)
{
    struct remote *r = c->remote;
    POOL_LOCKED(r->pool);

    us = MIN(us, (uint64_t)60 * 1000 * 1000);
    r->latency_us =
        r->latency_us ? (uint32_t)((r->latency_us * (uint64_t)7 + us) / 8) : (uint32_t)us;
}

/* --- supervision ----------------------------------------------------------------------------- */

static uint64_t moved_bytes(const struct pool_conn *c)
{
    struct tcp_info ti = {0};
    socklen_t len = sizeof ti;

    if (getsockopt(zclient_fd(c->client), IPPROTO_TCP, TCP_INFO, &ti, &len) < 0)
        return 0;
    return ti.tcpi_bytes_acked + ti.tcpi_bytes_received;
}

void pool_watch(struct pool_conn *c)
{
    c->moved_bytes = moved_bytes(c);
    c->moved_at_ms = base_now_ms();
}

uint64_t pool_silent_ms(struct pool_conn *c)
{
    uint64_t moved = moved_bytes(c), now = base_now_ms();

    if (moved != c->moved_bytes) {
        c->moved_bytes = moved;
        c->moved_at_ms = now;
    }
    return now - c->moved_at_ms;
}

bool pool_stalled(struct pool_conn *c)
{
    return pool_silent_ms(c) >= c->remote->pool->conf.io_timeout_ms;
}

/* --- one command on many connections --------------------------------------------------------- */

static void ask_collect(struct pool_ask *a, uint64_t start_us, size_t *answered)
{
    int st = zclient_status(a->conn->client);

    if (st == 0) {
        a->rc = pool_stalled(a->conn) ? -ETIMEDOUT : -EINPROGRESS;
        return;
    }
    a->rc = zclient_pull(a->conn->client, &a->reply, NULL);
    if (a->rc == 0) {
        (*answered)++;
        note_latency(a->conn, base_now_us() - start_us);
    }
}

size_t pool_ask(struct pool_ask *a, size_t n, size_t enough, uint64_t grace_ms,
                const atomic_bool *stop)
{
    struct zclient **clients = xcalloc(n + 1, sizeof(struct zclient *));
    uint64_t start_us = base_now_us(), give_up = UINT64_MAX;
    size_t answered = 0;

    for (size_t i = 0; i < n; i++) {
        a[i].reply = NULL;
        a[i].rc = a[i].conn ? zclient_push(a[i].conn->client, a[i].argc, a[i].argv) : -EHOSTDOWN;
        if (a[i].rc == 0) {
            a[i].rc = -EINPROGRESS;
            pool_watch(a[i].conn);
        }
    }
    for (;;) {
        uint64_t now = base_now_ms();
        size_t open = 0;
        for (size_t i = 0; i < n; i++) {
            clients[i] = a[i].rc == -EINPROGRESS ? a[i].conn->client : NULL;
            open += clients[i] != NULL;
        }
        if (open == 0 || now >= give_up || (stop && atomic_load(stop)))
            break;
        zclient_drive(clients, n, true, MIN(now + 500, give_up));
        for (size_t i = 0; i < n; i++)
            if (a[i].rc == -EINPROGRESS)
                ask_collect(&a[i], start_us, &answered);
        if (enough && answered >= enough && give_up == UINT64_MAX)
            give_up = base_now_ms() + grace_ms;
    }
    for (size_t i = 0; i < n; i++)
        if (a[i].rc == -EINPROGRESS)
            a[i].rc = stop && atomic_load(stop) ? -ECANCELED : -ETIMEDOUT;
    free(clients);
    return answered;
}

void pool_ask_done(struct pool_ask *a, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (a[i].reply)
            freeReplyObject(a[i].reply);
        a[i].reply = NULL;
        pool_put(a[i].conn, a[i].rc == -ECANCELED ? 1 : a[i].rc);
        a[i].conn = NULL;
    }
}

/* --- NSINFO ---------------------------------------------------------------------------------- */

void pool_info_many(struct pool *p, const struct backend_addr *const *a, size_t n, bool force,
                    struct backend_info *out, int *rc)
{
    struct pool_conn **conn = xcalloc(n + 1, sizeof(struct pool_conn *));
    struct pool_ask *ask = xcalloc(n + 1, sizeof *ask);

    pool_get_forced(p, a, n, force, 0, conn, rc);
    for (size_t i = 0; i < n; i++)
        ask[i] = (struct pool_ask){.conn = conn[i],
                                   .argc = 2,
                                   .argv = {slice_str("NSINFO"),
                                            slice_str(a[i] && a[i]->ns ? a[i]->ns : "default")}};
    pool_ask(ask, n, 1, INFO_GRACE_MS, NULL);
    for (size_t i = 0; i < n; i++) {
        if (rc[i] < 0)
            continue;
        rc[i] = ask[i].rc;
        if (rc[i] == 0 && ask[i].reply->type != REDIS_REPLY_STRING)
            rc[i] = -EPROTO;
        if (rc[i] == 0)
            rc[i] = backend_info_parse(zclient_bulk(ask[i].reply), &out[i], NULL);
    }
    pool_ask_done(ask, n);
    free(ask);
    free(conn);
}

int pool_info(struct pool *p, const struct backend_addr *a, bool force, struct backend_info *out,
              struct err *e)
{
    struct pool_health h;
    int rc;

    pool_info_many(p, &a, 1, force, out, &rc);
    if (rc == 0)
        return 0;
    pool_health(p, a, &h);
    if (rc == -EPROTO)
        return err_set(e, EPROTO, "backend %s: no usable answer to NSINFO", a->address);
    return err_set(e, -rc, "backend %s: %s", a->address,
                   h.last_error[0] ? h.last_error : "no answer");
}
