/* metadata - see object/metadata.h. */
#include "zstor/object/metadata.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/log.h"
#include "zstor/format/record_bond.h"
#include "zstor/format/record_value.h"
#include "zstor/object/changes.h"
#include "zstor/object/volume.h"

#define N ZSTOR_META_COPIES

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
    bool fallback_key;
    uint64_t time_s; /* newest KEYTIME of its values; 0: not asked */
};

struct candidates {
    struct candidate c[N / ZSTOR_META_DATA];
    unsigned n;
    unsigned foreign; /* values of another object's record */
    unsigned stale;   /* values of a record that is older than the one we know of */
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
                       struct buf *plain, bool *fallback)
{
    const unsigned index[2] = {a->index, b->index};
    const struct slice shard[2] = {a->shard, b->shard};
    int r = meta_value_decode(ms->conf->key, index, shard, plain);

    *fallback = r == -EBADMSG;
    return r == -EBADMSG ? meta_value_decode(ms->conf->meta_key, index, shard, plain) : r;
}

/* Does value v belong to candidate c?  It does when it decodes, together with a known member, to
 * the same plaintext. */
static bool belongs(const struct metastore *ms, const struct candidate *c,
                    const struct value *value, unsigned v)
{
    bool same = false, fallback;

    for (unsigned m = 0; m < N && !same; m++) {
        struct buf plain = BUF_INIT;
        if (!c->member[m] || value[m].index == value[v].index)
            continue;
        same = decode_pair(ms, &value[m], &value[v], &plain, &fallback) == 0 && plain.p &&
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

/* An old record that is shown again.  One without a generation is the original's: it counts when
 * more than can lie have it, then the original has rewritten the object. */
static bool is_stale(const struct candidate *c, uint64_t known, bool deleted)
{
    if (!c->record.has_tail)
        return known && members(c) <= ZSTOR_META_LIARS;
    return c->record.generation < known || (deleted && c->record.generation == known);
}

static void refuse_stale(struct candidate *c, uint64_t known, bool deleted, struct candidates *cs)
{
    cs->stale += members(c);
    if (!deleted)
        err_set(&cs->why, EBADMSG,
                "metadata: %u of %u backends answer with generation %" PRIu64 ", but %" PRIu64
                " is the newest that this machine knows of",
                cs->stale, N, c->record.generation, known);
    meta_record_fini(&c->record);
    wipe(&c->plain);
}

/* All records that the values can be combined to.  Each value belongs to one at most: every write
 * has its own nonce. */
static void combine(const struct metastore *ms, const char *key, const struct value *value,
                    struct candidates *cs)
{
    bool used[N] = {false}, deleted = false;
    uint64_t known = ms->volume ? volume_generation(ms->volume, key, &deleted) : 0;

    for (unsigned a = 0; a < N; a++)
        for (unsigned b = a + 1; b < N && cs->n < ARRAY_LEN(cs->c); b++) {
            struct candidate *c = &cs->c[cs->n];
            if (!value[a].valid || !value[b].valid || used[a] || used[b])
                continue;
            *c = (struct candidate){.plain = BUF_INIT};
            if (decode_pair(ms, &value[a], &value[b], &c->plain, &c->fallback_key) < 0 ||
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
            else if (is_stale(c, known, deleted))
                refuse_stale(c, known, deleted, cs);
            else
                cs->n++;
        }
}

static void ask_times(const struct metastore *ms, const char *key, struct candidates *cs)
{
    struct quorum cl;

    quorum_open(&cl, ms, HEALTH_READ, false);
    for (unsigned i = 0; i < N; i++)
        quorum_command(&cl.ask[i], BACKEND_TIME, slice_str(key), quorum_nothing());
    exchange_run(cl.ask, N, ZSTOR_META_DATA, ms->grace_ms, NULL);
    for (unsigned i = 0; i < N; i++)
        for (unsigned k = 0; k < cs->n; k++)
            if (cs->c[k].member[i] && cl.ask[i].op.rc == 0)
                cs->c[k].time_s = MAX(cs->c[k].time_s, cl.ask[i].op.time_s);
    quorum_close(&cl);
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

static unsigned take_values(const struct quorum *cl, struct value *value, unsigned *nils,
                            unsigned *answers)
{
    unsigned valid = 0;

    *nils = *answers = 0;
    for (unsigned i = 0; i < N; i++) {
        const struct backend_op *op = &cl->ask[i].op;
        value[i].valid = false;
        if (!op->answered || (op->rc < 0 && op->rc != -ENOENT && op->rc != -EPROTO))
            continue; /* a namespace that refuses to be read cannot tell what is in it */
        (*answers)++;
        *nils += op->rc == -ENOENT;
        if (op->rc == 0 && meta_value_parse(op->out, &value[i].index, &value[i].shard) == 0) {
            value[i].valid = true;
            valid++;
        }
    }
    return valid;
}

/* Remember what is proved to be there; say when the newest is not proved. */
static void learn(const struct metastore *ms, const char *key, const struct candidate *c,
                  struct metastore_state *st)
{
    const struct meta_record *m = &c->record;
    bool deleted;
    uint64_t known = ms->volume ? volume_generation(ms->volume, key, &deleted) : 0;

    st->unproved_newest =
        st->good + st->lost - st->stale - st->foreign < ZSTOR_META_ABSENT_QUORUM &&
        !(m->has_tail && known >= m->generation);
    if (ms->volume && m->has_tail && known < m->generation && st->good > ZSTOR_META_LIARS)
        volume_learn(ms->volume, key, m->generation, false, false);
}

static int choose(const struct metastore *ms, const char *key, const struct quorum *cl,
                  struct meta_record *out, struct metastore_state *st, struct err *e)
{
    CLEANUP(candidates_fini) struct candidates cs = {0};
    struct value value[N];
    unsigned nils, answers, valid = take_values(cl, value, &nils, &answers), best;

    *st = (struct metastore_state){.unreachable = N - answers, .nils = nils};
    combine(ms, key, value, &cs);
    st->stale = cs.stale;
    st->foreign = cs.foreign;
    if (cs.n == 0) {
        if (valid == cs.stale && nils + cs.stale >= ZSTOR_META_ABSENT_QUORUM && !cs.why.code)
            return 0; /* nothing, or what we have deleted */
        if (answers < N)
            return err_set(e, EHOSTUNREACH,
                           "metadata: only %u of %u backends answered, %u with a usable value",
                           answers, N, valid);
        st->sealed = valid >= ZSTOR_META_DATA && !cs.why.code ? valid : 0;
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
    st->fallback_key = cs.c[best].fallback_key;
    st->proved = candidate_proved(&cs.c[best]);
    learn(ms, key, &cs.c[best], st);
    *out = cs.c[best].record;
    cs.c[best].record = (struct meta_record){0};
    return 1;
}

static int load(const struct metastore *ms, const char *key, bool patient, struct meta_record *out,
                struct metastore_state *st, struct err *e)
{
    struct quorum cl;
    int r;

    quorum_open(&cl, ms, HEALTH_READ, patient);
    for (unsigned i = 0; i < N; i++)
        quorum_command(&cl.ask[i], BACKEND_NAMED_GET, slice_str(key), quorum_nothing());
    exchange_run(cl.ask, N, patient ? 0 : ZSTOR_META_DATA, patient ? 0 : ms->grace_ms, NULL);
    r = choose(ms, key, &cl, out, st, e);
    quorum_close(&cl);
    return r;
}

/* Of a shard that is not on a 0-db a record has a number only: which backend is it? */
static void find_backends(const struct zstor_conf *conf, struct meta_record *m)
{
    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        struct backend_addr *a = &m->shards[i].addr;
        const struct backend_addr *known =
            a->place == BACKEND_ELSEWHERE ? zstor_conf_find(conf, a) : NULL;
        if (known) {
            backend_addr_fini(a);
            backend_addr_copy(a, known);
        }
    }
}

int metastore_load(const struct metastore *ms, const char *key, struct meta_record *out,
                   struct metastore_state *st, struct err *e)
{
    int r = load(ms, key, false, out, st, e);

    /* too few: now those that were slow or are marked down count as well */
    if (r == -EHOSTUNREACH)
        r = load(ms, key, true, out, st, e);
    if (r == 1)
        find_backends(ms->conf, out);
    return r;
}

/* --- save, remove ---------------------------------------------------------------------------- */

static int save(const struct metastore *ms, const char *key, const struct meta_record *m,
                unsigned *acks, struct err *e)
{
    struct buf plain = BUF_INIT, value[N] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
    uint8_t nonce[CRYPT_NONCE_LEN];
    struct slice bytes[N];
    struct quorum c;
    int r;

    *acks = 0;
    r = ms->volume ? volume_writable(ms->volume, volume_lease_ms(ms->volume) / 8, e) : 0;
    if (r < 0)
        return r == -EAGAIN ? err_set(e, EHOSTUNREACH, "metadata: the lease of the volume ran out")
                            : r;
    meta_format_encode(m, &plain);
    r = ms->random(nonce, sizeof nonce);
    if (r == 0)
        r = meta_value_encode(ms->conf->key, nonce, buf_slice(&plain), value);
    if (r < 0) {
        err_sys(e, -r, "metadata record of %zu bytes", plain.len);
    } else {
        quorum_open(&c, ms, HEALTH_WRITE, false);
        for (unsigned i = 0; i < N; i++)
            bytes[i] = buf_slice(&value[i]);
        *acks = quorum_write(&c, key, bytes);
        quorum_close(&c);
        if (*acks >= ZSTOR_META_DATA && ms->volume)
            volume_learn(ms->volume, key, m->generation, false, true);
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

/* The metadata log hears of a change before it is begun, and when it has ended, whatever came of
 * it. */
static int announce(const struct metastore *ms, const char *key, struct err *e)
{
    int r = ms->changes ? changes_before(ms->changes, key) : 0;

    return r < 0 ? err_sys(e, -r, "state_dir: a change for the metadata log cannot be noted") : 0;
}

static void announce_end(const struct metastore *ms, const char *key)
{
    if (ms->changes)
        changes_after(ms->changes, key);
}

int metastore_save(const struct metastore *ms, const char *key, const struct meta_record *m,
                   unsigned *acks, struct err *e)
{
    int r = announce(ms, key, e);

    *acks = 0;
    if (r < 0)
        return r;
    r = save(ms, key, m, acks, e);
    announce_end(ms, key);
    return r;
}

int metastore_writable(const struct metastore *ms, unsigned need, struct err *e)
{
    const struct backend_addr *addr[N];
    struct backend_info info[N];
    unsigned good = 0;
    int rc[N], why = -EHOSTUNREACH;
    struct err last = {0};

    for (unsigned i = 0; i < N; i++)
        addr[i] = &ms->conf->meta[i];
    exchange_info(ms->pool, addr, N, false, NULL, info, rc);
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
    if (good >= need)
        return 0;
    return err_set(e, -why, "Metastore is not writable: %u of %u backends are, %u are needed (%s)",
                   good, N, need, last.text);
}

static int remove_all(const struct metastore *ms, const char *key, struct err *e)
{
    struct quorum c;
    unsigned gone = 0;

    quorum_open(&c, ms, HEALTH_WRITE, false);
    for (unsigned i = 0; i < N; i++)
        quorum_command(&c.ask[i], BACKEND_NAMED_DEL, slice_str(key), quorum_nothing());
    exchange_run(c.ask, N, 0, 0, NULL);
    for (unsigned i = 0; i < N; i++) {
        if (c.ask[i].op.rc < 0)
            quorum_complain(&c, i, "metadata not deleted");
        gone += c.ask[i].op.rc == 0;
    }
    quorum_close(&c);
    if (gone == N) {
        bool was;
        uint64_t known = ms->volume ? volume_generation(ms->volume, key, &was) : 0;

        return known ? volume_learn(ms->volume, key, known, true, true) : 0;
    }
    return err_set(e, EHOSTUNREACH, "metadata: deleted at %u of %u backends only", gone, N);
}

int metastore_remove(const struct metastore *ms, const char *key, struct err *e)
{
    int r = announce(ms, key, e);

    if (r < 0)
        return r;
    r = remove_all(ms, key, e);
    announce_end(ms, key);
    return r;
}
