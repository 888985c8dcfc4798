/* quorum - see object/quorum.h. */
#include "zstor/object/quorum.h"

#include <errno.h>

#include "common/log.h"

#define N ZSTOR_META_COPIES

void quorum_open(struct quorum *c, const struct metastore *ms, bool force)
{
    const struct backend_addr *addr[N];
    struct pool_conn *conn[N];
    int rc[N];

    *c = (struct quorum){.ms = ms};
    for (unsigned i = 0; i < N; i++)
        addr[i] = &ms->conf->meta[i];
    (force ? pool_get_all : pool_get_many)(ms->pool, addr, N, 0, conn, rc);
    for (unsigned i = 0; i < N; i++)
        c->ask[i].conn = conn[i];
}

void quorum_close(struct quorum *c)
{
    pool_ask_done(c->ask, N);
}

void quorum_command(struct pool_ask *a, const char *word, struct slice arg1, struct slice arg2)
{
    a->argv[0] = slice_str(word);
    a->argv[1] = arg1;
    a->argv[2] = arg2;
    a->argc = 1 + (arg1.p != NULL) + (arg2.p != NULL);
}

/* A 0-db answers SET with the key, or with nil when the same content is there already. */
bool quorum_set_accepted(const struct pool_ask *a)
{
    return a->rc == 0 && (a->reply->type == REDIS_REPLY_STRING || zclient_is_nil(a->reply) ||
                          zclient_is_ok(a->reply));
}

static bool sync_accepted(const struct pool_ask *a)
{
    struct slice text = zclient_bulk(a->reply);

    return a->rc == 0 &&
           (zclient_is_ok(a->reply) || (zclient_is_error(a->reply) && text.len &&
                                        memmem(text.p, text.len, "not supported", 13)));
}

void quorum_complain(const struct quorum *c, const struct pool_ask *a, unsigned i, const char *what)
{
    char name[192], said[200];
    struct slice text = a->rc == 0 ? zclient_bulk(a->reply) : slice_of(NULL, 0);
    struct err e;

    backend_addr_name(&c->ms->conf->meta[i], name, sizeof name);
    err_sys(&e, -a->rc, "no answer");
    log_warn("backend %s: %s: %s", name, what,
             text.len ? backend_text(text, said, sizeof said) : e.text);
}

static void free_replies(struct quorum *c)
{
    for (unsigned i = 0; i < N; i++) {
        if (c->ask[i].reply)
            freeReplyObject(c->ask[i].reply);
        c->ask[i].reply = NULL;
    }
}

/* A connection that failed is given back, so that it is not asked again. */
static void drop_failed(struct quorum *c)
{
    for (unsigned i = 0; i < N; i++)
        if (c->ask[i].conn && c->ask[i].rc < 0) {
            pool_put(c->ask[i].conn, c->ask[i].rc);
            c->ask[i].conn = NULL;
        }
}

unsigned quorum_write(struct quorum *c, const char *key, const struct slice value[N])
{
    bool written[N];
    unsigned acks = 0;

    for (unsigned i = 0; i < N; i++)
        quorum_command(&c->ask[i], "SET", slice_str(key), value[i]);
    pool_ask(c->ask, N, ZSTOR_META_WRITE_QUORUM, MAX(c->ms->grace_ms, (uint64_t)5000), NULL);
    for (unsigned i = 0; i < N; i++) {
        written[i] = quorum_set_accepted(&c->ask[i]);
        if (!written[i])
            quorum_complain(c, &c->ask[i], i, "metadata not written");
    }
    free_replies(c);
    drop_failed(c);
    for (unsigned i = 0; i < N; i++)
        quorum_command(&c->ask[i], "SYNC", slice_of(NULL, 0), slice_of(NULL, 0));
    pool_ask(c->ask, N, 0, 0, NULL);
    for (unsigned i = 0; i < N; i++) {
        bool durable = c->ask[i].conn && sync_accepted(&c->ask[i]);
        if (written[i] && !durable)
            quorum_complain(c, &c->ask[i], i, "metadata not synced");
        acks += written[i] && durable;
    }
    return acks;
}
