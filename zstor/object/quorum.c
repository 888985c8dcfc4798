/* quorum - see object/quorum.h. */
#include "zstor/object/quorum.h"

#include <errno.h>

#include "common/log.h"

#define N ZSTOR_META_COPIES

#define WRITE_GRACE_MS 2000 /* for the others, when enough have it */

void quorum_open(struct quorum *c, const struct metastore *ms, enum health_track track, bool force)
{
    const struct backend_addr *addr[N];
    struct pool_conn *conn[N];
    struct pool_want want = {.track = track, .force = force};
    int rc[N];

    *c = (struct quorum){.ms = ms};
    if (!force) { /* the others are not needed, if they are slow */
        want.enough = ZSTOR_META_WRITE_QUORUM;
        want.grace_ms =
            track == HEALTH_READ ? ms->grace_ms : MAX(ms->grace_ms, (uint64_t)WRITE_GRACE_MS);
    }
    for (unsigned i = 0; i < N; i++)
        addr[i] = &ms->conf->meta[i];
    pool_get_many(ms->pool, addr, N, &want, conn, rc);
    for (unsigned i = 0; i < N; i++)
        c->ask[i].conn = conn[i];
}

void quorum_close(struct quorum *c)
{
    exchange_done(c->ask, N);
}

void quorum_command(struct exchange *a, enum backend_verb verb, struct slice key,
                    struct slice value)
{
    a->op = (struct backend_op){.verb = verb, .key = key, .value = value};
}

struct slice quorum_nothing(void)
{
    return slice_of(NULL, 0);
}

void quorum_complain(const struct quorum *c, unsigned i, const char *what)
{
    const struct backend_op *op = &c->ask[i].op;
    char name[192];
    struct err e;

    backend_addr_name(&c->ms->conf->meta[i], name, sizeof name);
    err_sys(&e, -op->rc, "no answer");
    log_warn("backend %s: %s: %s", name, what, op->said[0] ? op->said : e.text);
}

/* A connection that failed is given back, so that it is not asked again. */
static void drop_failed(struct quorum *c)
{
    exchange_fini(c->ask, N);
    for (unsigned i = 0; i < N; i++)
        if (c->ask[i].conn && exchange_broken(c->ask[i].conn)) {
            pool_put(c->ask[i].conn, 0);
            c->ask[i].conn = NULL;
        }
}

unsigned quorum_write(struct quorum *c, const char *key, const struct slice value[N])
{
    uint64_t grace = MAX(c->ms->grace_ms, (uint64_t)WRITE_GRACE_MS);
    bool written[N];
    unsigned acks = 0;

    for (unsigned i = 0; i < N; i++)
        quorum_command(&c->ask[i], BACKEND_NAMED_PUT, slice_str(key), value[i]);
    exchange_run(c->ask, N, ZSTOR_META_WRITE_QUORUM, grace, NULL);
    for (unsigned i = 0; i < N; i++) {
        written[i] = c->ask[i].op.rc == 0;
        if (!written[i])
            quorum_complain(c, i, "metadata not written");
    }
    drop_failed(c);
    for (unsigned i = 0; i < N; i++)
        quorum_command(&c->ask[i], BACKEND_SYNC, quorum_nothing(), quorum_nothing());
    exchange_run(c->ask, N, ZSTOR_META_WRITE_QUORUM, grace, NULL);
    for (unsigned i = 0; i < N; i++) {
        bool durable = c->ask[i].op.rc == 0;
        if (written[i] && !durable)
            quorum_complain(c, i, "metadata not synced");
        acks += written[i] && durable;
    }
    return acks;
}
