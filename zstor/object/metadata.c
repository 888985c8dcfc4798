/* metadata - see object/metadata.h. */
#include "zstor/object/metadata.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/log.h"
#include "common/parse.h"
#include "zstor/format/record_bond.h"
#include "zstor/format/record_value.h"

#define N ZSTOR_META_COPIES

struct cluster { /* one round of questions to the four */
    const struct metastore *ms;
    struct pool_ask ask[N];
};

/* force: also those that are marked down */
static void cluster_open(struct cluster *c, const struct metastore *ms, bool force)
{
    const struct backend_addr *addr[N];
    struct pool_conn *conn[N];
    int rc[N];

    *c = (struct cluster){.ms = ms};
    for (unsigned i = 0; i < N; i++)
        addr[i] = &ms->conf->meta[i];
    (force ? pool_get_all : pool_get_many)(ms->pool, addr, N, 0, conn, rc);
    for (unsigned i = 0; i < N; i++)
        c->ask[i].conn = conn[i];
}

static void cluster_close(struct cluster *c)
{
    pool_ask_done(c->ask, N);
}

static void command(struct pool_ask *a, const char *word, struct slice arg1, struct slice arg2)
{
    a->argv[0] = slice_str(word);
    a->argv[1] = arg1;
    a->argv[2] = arg2;
    a->argc = 1 + (arg1.p != NULL) + (arg2.p != NULL);
}

/* --- load ------------------------------------------------------------------------------------ */

struct value { /* what one backend holds */
    bool valid;
    unsigned index;
    struct slice shard; /* into the reply */
};

struct candidate { /* a record that two values agree on */
    struct meta_record record;
    struct buf plain;
    bool member[N]; /* values that belong to it */
    enum record_bond bond;
    uint64_t time_s; /* newest KEYTIME of its values; 0: not asked */
};

struct candidates {
    struct candidate c[N / ZSTOR_META_DATA];
    unsigned n;
    unsigned foreign; /* values of another object's record */
    struct err why;   /* last refusal of a decoded record */
};

static void wipe(struct buf *plain) /* a record has the data key and passwords in it */
{
    if (plain->p)
        sodium_memzero(plain->p, plain->cap);
    buf_fini(plain);
}

static void candidates_fini(struct candidates *cs)
{
    for (unsigned i = 0; i < cs->n; i++) {
        meta_record_fini(&cs->c[i].record);
        wipe(&cs->c[i].plain);
    }
}

static int decode_pair(const struct metastore *ms, const struct value *a, const struct value *b,
                       struct buf *plain)
{
    const unsigned index[2] = {a->index, b->index};
    const struct slice shard[2] = {a->shard, b->shard};
    int r = meta_value_decode(ms->conf->key, index, shard, plain);

    return r == -EBADMSG ? meta_value_decode(ms->conf->meta_key, index, shard, plain) : r;
}

/* Does value v belong to candidate c?  It does when it decodes, together with a known member, to
 * the same plaintext. */
static bool belongs(const struct metastore *ms, const struct candidate *c,
                    const struct value *value, unsigned v)
{
    bool same = false;

    for (unsigned m = 0; m < N && !same; m++) {
        struct buf plain = BUF_INIT;
        if (!c->member[m] || value[m].index == value[v].index)
            continue;
        same = decode_pair(ms, &value[m], &value[v], &plain) == 0 && plain.p &&
               plain.len == c->plain.len &&
               memcmp(buf_data(&plain), buf_data(&c->plain), plain.len) == 0;
        wipe(&plain);
    }
    return same;
}

static bool index_taken(const struct candidate *c, const struct value *value, unsigned index)
{
    for (unsigned m = 0; m < N; m++)
        if (c->member[m] && value[m].index == index)
            return true;
    return false;
}

static unsigned members(const struct candidate *c)
{
    unsigned n = 0;

    for (unsigned i = 0; i < N; i++)
        n += c->member[i];
    return n;
}

/* An intact record of another object: those who answered with it are named, it is no candidate. */
static void refuse_foreign(const struct metastore *ms, const char *key, struct candidate *c,
                           struct candidates *cs)
{
    for (unsigned i = 0; i < N; i++) {
        char name[192];
        if (!c->member[i])
            continue;
        backend_addr_name(&ms->conf->meta[i], name, sizeof name);
        log_warn("backend %s: answers %s with the record of %s", name, key,
                 record_title(&c->record, "another object"));
    }
    cs->foreign += members(c);
    err_set(&cs->why, EBADMSG,
            "metadata: %u of %u backends answer with the record of another object", cs->foreign, N);
    meta_record_fini(&c->record);
    wipe(&c->plain);
}

/* All records that the values can be combined to.  Each value belongs to one at most: every write
 * has its own nonce. */
static void combine(const struct metastore *ms, const char *key, const struct value *value,
                    struct candidates *cs)
{
    bool used[N] = {false};

    for (unsigned a = 0; a < N; a++)
        for (unsigned b = a + 1; b < N && cs->n < ARRAY_LEN(cs->c); b++) {
            struct candidate *c = &cs->c[cs->n];
            if (!value[a].valid || !value[b].valid || used[a] || used[b])
                continue;
            *c = (struct candidate){.plain = BUF_INIT};
            if (decode_pair(ms, &value[a], &value[b], &c->plain) < 0 ||
                meta_format_decode(buf_slice(&c->plain), &c->record, &cs->why) < 0) {
                wipe(&c->plain);
                continue;
            }
            c->member[a] = c->member[b] = used[a] = used[b] = true;
            for (unsigned v = 0; v < N; v++)
                if (value[v].valid && !used[v] && belongs(ms, c, value, v)) {
                    used[v] = true;
                    c->member[v] = !index_taken(c, value, value[v].index); /* a second copy is no
                                                                              help: it counts as
                                                                              lost */
                }
            c->bond = record_bond(&c->record, key, ms->conf->root);
            if (c->bond == BOND_FOREIGN)
                refuse_foreign(ms, key, c, cs);
            else
                cs->n++;
        }
}

static void ask_times(const struct metastore *ms, const char *key, struct candidates *cs)
{
    struct cluster cl;

    cluster_open(&cl, ms, false);
    for (unsigned i = 0; i < N; i++)
        command(&cl.ask[i], "KEYTIME", slice_str(key), slice_of(NULL, 0));
    pool_ask(cl.ask, N, ZSTOR_META_DATA, ms->grace_ms, NULL);
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < cs->n; k++)
            if (cs->c[k].member[i] && cl.ask[i].rc == 0 &&
                cl.ask[i].reply->type == REDIS_REPLY_INTEGER && cl.ask[i].reply->integer > 0)
                cs->c[k].time_s = MAX(cs->c[k].time_s, (uint64_t)cl.ask[i].reply->integer);
    cluster_close(&cl);
}

/* At most two backends lie at a time: what three answer with, at least an honest one has. */
static bool candidate_proved(const struct candidate *c)
{
    return c->bond == BOND_PROVED || members(c) > ZSTOR_META_LIARS;
}

/* What is proved to be of this key before what is not; then the newest. */
static unsigned newest(const struct candidates *cs)
{
    unsigned best = 0;

    for (unsigned k = 1; k < cs->n; k++) {
        const struct candidate *a = &cs->c[best], *b = &cs->c[k];
        bool proved_a = candidate_proved(a), proved_b = candidate_proved(b);
        bool later = proved_a != proved_b ? proved_b
                     : a->record.has_tail && b->record.has_tail
                         ? b->record.generation > a->record.generation
                     : a->time_s != b->time_s ? b->time_s > a->time_s
                                              : b->record.has_tail && !a->record.has_tail;
        if (later)
            best = k;
    }
    return best;
}

static unsigned take_values(const struct cluster *cl, struct value *value, unsigned *nils,
                            unsigned *answers)
{
    unsigned valid = 0;

    *nils = *answers = 0;
    for (unsigned i = 0; i < N; i++) {
        const struct pool_ask *a = &cl->ask[i];
        value[i].valid = false;
        if (a->rc < 0 || zclient_is_error(a->reply))
            continue; /* a namespace that refuses to be read cannot tell what is in it */
        (*answers)++;
        *nils += zclient_is_nil(a->reply);
        if (a->reply->type == REDIS_REPLY_STRING &&
            meta_value_parse(zclient_bulk(a->reply), &value[i].index, &value[i].shard) == 0) {
            value[i].valid = true;
            valid++;
        }
    }
    return valid;
}

static int choose(const struct metastore *ms, const char *key, const struct cluster *cl,
                  struct meta_record *out, struct metastore_state *st, struct err *e)
{
    CLEANUP(candidates_fini) struct candidates cs = {0};
    struct value value[N];
    unsigned nils, answers, valid = take_values(cl, value, &nils, &answers), best;

    *st = (struct metastore_state){.unreachable = N - answers};
    combine(ms, key, value, &cs);
    if (cs.n == 0) {
        if (valid == 0 && nils >= ZSTOR_META_ABSENT_QUORUM)
            return 0;
        if (answers < N)
            return err_set(e, EHOSTUNREACH,
                           "metadata: only %u of %u backends answered, %u with a usable value",
                           answers, N, valid);
        if (cs.why.code)
            return err_set(e, EBADMSG, "%s", cs.why.text);
        return err_set(e, EBADMSG,
                       "metadata is damaged: %u of %u values are intact and no two fit together%s",
                       valid, N, valid >= 2 ? ", or the key is wrong" : "");
    }
    if (cs.n > 1 && !(cs.c[0].record.has_tail && cs.c[1].record.has_tail))
        ask_times(ms, key, &cs);
    best = newest(&cs);
    st->good = members(&cs.c[best]);
    st->lost = answers - st->good;
    st->foreign = cs.foreign;
    st->proved = candidate_proved(&cs.c[best]);
    *out = cs.c[best].record;
    cs.c[best].record = (struct meta_record){0};
    return 1;
}

static int load(const struct metastore *ms, const char *key, bool patient, struct meta_record *out,
                struct metastore_state *st, struct err *e)
{
    struct cluster cl;
    int r;

    cluster_open(&cl, ms, patient);
    for (unsigned i = 0; i < N; i++)
        command(&cl.ask[i], "GET", slice_str(key), slice_of(NULL, 0));
    pool_ask(cl.ask, N, patient ? 0 : ZSTOR_META_DATA, patient ? 0 : ms->grace_ms, NULL);
    r = choose(ms, key, &cl, out, st, e);
    cluster_close(&cl);
    return r;
}

int metastore_load(const struct metastore *ms, const char *key, struct meta_record *out,
                   struct metastore_state *st, struct err *e)
{
    int r = load(ms, key, false, out, st, e);

    /* too few: now those that were slow or are marked down count as well */
    return r == -EHOSTUNREACH ? load(ms, key, true, out, st, e) : r;
}

/* --- save, remove ---------------------------------------------------------------------------- */

/* A 0-db answers SET with the key, or with nil when the same content is there already. */
static bool set_accepted(const struct pool_ask *a)
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

static void complain(const struct cluster *c, const struct pool_ask *a, unsigned i,
                     const char *what)
{
    char name[192], said[200];
    struct slice text = a->rc == 0 ? zclient_bulk(a->reply) : slice_of(NULL, 0);
    struct err e;

    backend_addr_name(&c->ms->conf->meta[i], name, sizeof name);
    err_sys(&e, -a->rc, "no answer");
    log_warn("backend %s: %s: %s", name, what,
             text.len ? backend_text(text, said, sizeof said) : e.text);
}

static void free_replies(struct cluster *c)
{
    for (unsigned i = 0; i < N; i++) {
        if (c->ask[i].reply)
            freeReplyObject(c->ask[i].reply);
        c->ask[i].reply = NULL;
    }
}

/* A connection that failed is given back, so that it is not asked again. */
static void drop_failed(struct cluster *c)
{
    for (unsigned i = 0; i < N; i++)
        if (c->ask[i].conn && c->ask[i].rc < 0) {
            pool_put(c->ask[i].conn, c->ask[i].rc);
            c->ask[i].conn = NULL;
        }
}

static unsigned write_values(struct cluster *c, const char *key, struct buf *value)
{
    bool written[N];
    unsigned acks = 0;

    for (unsigned i = 0; i < N; i++)
        command(&c->ask[i], "SET", slice_str(key), buf_slice(&value[i]));
    pool_ask(c->ask, N, ZSTOR_META_WRITE_QUORUM, MAX(c->ms->grace_ms, (uint64_t)5000), NULL);
    for (unsigned i = 0; i < N; i++) {
        written[i] = set_accepted(&c->ask[i]);
        if (!written[i])
            complain(c, &c->ask[i], i, "metadata not written");
    }
    free_replies(c);
    drop_failed(c);
    for (unsigned i = 0; i < N; i++)
        command(&c->ask[i], "SYNC", slice_of(NULL, 0), slice_of(NULL, 0));
    pool_ask(c->ask, N, 0, 0, NULL);
    for (unsigned i = 0; i < N; i++) {
        bool durable = c->ask[i].conn && sync_accepted(&c->ask[i]);
        if (written[i] && !durable)
            complain(c, &c->ask[i], i, "metadata not synced");
        acks += written[i] && durable;
    }
    return acks;
}

int metastore_save(const struct metastore *ms, const char *key, const struct meta_record *m,
                   unsigned *acks, struct err *e)
{
    struct buf plain = BUF_INIT, value[N] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
    uint8_t nonce[CRYPT_NONCE_LEN];
    struct cluster c;
    int r;

    *acks = 0;
    meta_format_encode(m, &plain);
    r = ms->random(nonce, sizeof nonce);
    if (r == 0)
        r = meta_value_encode(ms->conf->key, nonce, buf_slice(&plain), value);
    if (r < 0) {
        err_sys(e, -r, "metadata record of %zu bytes", plain.len);
    } else {
        cluster_open(&c, ms, false);
        *acks = write_values(&c, key, value);
        cluster_close(&c);
        if (*acks < ZSTOR_META_WRITE_QUORUM)
            r = err_set(e, EHOSTUNREACH,
                        "metadata: written to %u of %u backends only, %d are needed", *acks, N,
                        ZSTOR_META_WRITE_QUORUM);
    }
    wipe(&plain);
    for (unsigned i = 0; i < N; i++)
        buf_fini(&value[i]);
    return r;
}

int metastore_writable(const struct metastore *ms, struct err *e)
{
    const struct backend_addr *addr[N];
    struct backend_info info[N];
    unsigned good = 0;
    int rc[N], why = -EHOSTUNREACH;
    struct err last = {0};

    for (unsigned i = 0; i < N; i++)
        addr[i] = &ms->conf->meta[i];
    pool_info_many(ms->pool, addr, N, false, info, rc);
    for (unsigned i = 0; i < N; i++) {
        struct err own = {0};
        if (rc[i] == 0)
            rc[i] = backend_info_writable(&info[i], BACKEND_USERKEY, 64 * 1024, &own);
        else
            err_set(&own, -rc[i], "does not answer");
        good += rc[i] == 0;
        if (rc[i] < 0) {
            why = rc[i] == -ENOSPC || rc[i] == -EROFS || rc[i] == -EINVAL ? rc[i] : why;
            err_set(&last, -rc[i], "%s: %s", addr[i]->address, own.text);
        }
    }
    if (good >= ZSTOR_META_WRITE_QUORUM)
        return 0;
    return err_set(e, -why, "Metastore is not writable: %u of %u backends are, %d are needed (%s)",
                   good, N, ZSTOR_META_WRITE_QUORUM, last.text);
}

int metastore_remove(const struct metastore *ms, const char *key, struct err *e)
{
    struct cluster c;
    unsigned gone = 0;

    cluster_open(&c, ms, false);
    for (unsigned i = 0; i < N; i++)
        command(&c.ask[i], "DEL", slice_str(key), slice_of(NULL, 0));
    pool_ask(c.ask, N, 0, 0, NULL);
    for (unsigned i = 0; i < N; i++) {
        struct slice text = c.ask[i].rc == 0 ? zclient_bulk(c.ask[i].reply) : slice_of(NULL, 0);
        bool ok =
            c.ask[i].rc == 0 && (zclient_is_ok(c.ask[i].reply) || zclient_is_nil(c.ask[i].reply) ||
                                 (text.len && memmem(text.p, text.len, "not found", 9)));
        if (!ok)
            complain(&c, &c.ask[i], i, "metadata not deleted");
        gone += ok;
    }
    cluster_close(&c);
    if (gone == N)
        return 0;
    return err_set(e, EHOSTUNREACH, "metadata: deleted at %u of %u backends only", gone, N);
}

/* --- scan ------------------------------------------------------------------------------------ */

#define DIGEST_HEX (2 * ZSTOR_DIGEST_LEN)

struct key_set { /* digests of all keys, with duplicates until sorted */
    uint8_t (*key)[ZSTOR_DIGEST_LEN];
    size_t n, cap;
};

static int key_set_add(struct key_set *s, const uint8_t *digest)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 1024;
        void *p = realloc(s->key, cap * sizeof s->key[0]);
        if (!p)
            return -ENOMEM;
        s->key = p;
        s->cap = cap;
    }
    memcpy(s->key[s->n++], digest, ZSTOR_DIGEST_LEN);
    return 0;
}

static int by_bytes(const void *a, const void *b)
{
    return memcmp(a, b, ZSTOR_DIGEST_LEN);
}

static int take_row(const redisReply *row, struct slice prefix, struct key_set *s)
{
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct slice key;

    if (row->type != REDIS_REPLY_ARRAY || row->elements < 1)
        return -EPROTO;
    key = zclient_bulk(row->element[0]);
    if (key.len != prefix.len + DIGEST_HEX || memcmp(key.p, prefix.p, prefix.len) != 0 ||
        parse_hex(slice_of(key.p + prefix.len, DIGEST_HEX), digest, sizeof digest) < 0)
        return 0;
    return key_set_add(s, digest);
}

/* One page; 1: more, cursor filled; 0: the end. */
static int take_page(const redisReply *reply, struct slice prefix, struct key_set *s,
                     struct buf *cursor)
{
    struct slice text = zclient_bulk(reply), next;

    if (zclient_is_error(reply))
        return text.len && memmem(text.p, text.len, "No more data", 12) ? 0 : -EIO;
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[1]->type != REDIS_REPLY_ARRAY)
        return -EPROTO;
    next = zclient_bulk(reply->element[0]);
    if (!next.p || next.len == 0 || next.len > 64 ||
        (cursor->p && slice_eq(next, buf_slice(cursor))))
        return -EPROTO; /* a cursor that stands still would keep us for ever */
    for (size_t i = 0; i < reply->element[1]->elements; i++) {
        int r = take_row(reply->element[1]->element[i], prefix, s);
        if (r < 0)
            return r;
    }
    buf_clear(cursor);
    buf_put_slice(cursor, next);
    return 1;
}

static int scan_backend(const struct metastore *ms, unsigned i, struct slice prefix,
                        struct key_set *s, struct err *e)
{
    CLEANUP(buf_fini) struct buf cursor = BUF_INIT, sent = BUF_INIT;
    size_t before = s->n;
    int r = 1;

    while (r == 1) {
        struct pool_ask ask = {0};
        r = pool_get(ms->pool, &ms->conf->meta[i], &ask.conn, e);
        if (r < 0)
            break;
        buf_clear(&sent);
        buf_put_slice(&sent, buf_slice(&cursor));
        command(&ask, "SCAN", sent.len ? buf_slice(&sent) : slice_of(NULL, 0), slice_of(NULL, 0));
        pool_ask(&ask, 1, 0, 0, NULL);
        r = ask.rc;
        if (r == 0)
            r = take_page(ask.reply, prefix, s, &cursor);
        if (r < 0)
            err_sys(e, -r, "backend %s: SCAN", ms->conf->meta[i].address);
        pool_ask_done(&ask, 1);
    }
    if (r < 0 && r != -ENOMEM) {
        char name[192];
        backend_addr_name(&ms->conf->meta[i], name, sizeof name);
        log_warn("metadata: %s cannot be listed to the end (%zu keys seen)", name, s->n - before);
    }
    return r;
}

int metastore_each(const struct metastore *ms, metastore_key_fn *fn, void *arg, struct err *e)
{
    CLEANUP(base_free) char *prefix = xasprintf("/%s/meta/", ms->conf->prefix);
    struct key_set s = {0};
    unsigned listed = 0;
    int r = 0;

    for (unsigned i = 0; i < N && r != -ENOMEM; i++) {
        r = scan_backend(ms, i, slice_str(prefix), &s, e);
        listed += r == 0;
    }
    if (r != -ENOMEM)
        r = listed >= ZSTOR_META_DATA
                ? 0
                : err_set(e, EHOSTUNREACH, "metadata: only %u of %u backends could be listed",
                          listed, N);
    if (r == 0 && s.n)
        qsort(s.key, s.n, sizeof s.key[0], by_bytes);
    for (size_t i = 0; i < s.n && r == 0; i++) {
        char hex[DIGEST_HEX + 1], *key;
        if (i && by_bytes(s.key[i], s.key[i - 1]) == 0)
            continue;
        parse_to_hex(s.key[i], ZSTOR_DIGEST_LEN, hex);
        key = xasprintf("%s%s", prefix, hex);
        r = fn(arg, key);
        free(key);
    }
    free(s.key);
    return r;
}
