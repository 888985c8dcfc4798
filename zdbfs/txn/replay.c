/* replay - see txn/replay.h. */
#include "zdbfs/txn/replay.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/log.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/txn/fold.h"

enum { BATCH = 128 };

void replay_key_add(struct key_set *s, uint64_t key)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 64;
        uint64_t *fresh = xcalloc(cap, sizeof *fresh);
        if (s->n)
            memcpy(fresh, s->key, s->n * sizeof *fresh);
        free(s->key);
        s->key = fresh;
        s->cap = cap;
    }
    s->key[s->n++] = key;
}

/* ---- reading -------------------------------------------------------------------------------- */

struct chunk {
    uint64_t seq;
    uint32_t index;
    bool last;
    struct buf payload;
};

struct chunks {
    struct chunk *c;
    size_t n, cap;
};

static int note_key(uint64_t key, uint64_t len, void *arg)
{
    (void)len;
    if (key != 0)
        replay_key_add(arg, key);
    return 0;
}

static void add_chunk(struct chunks *cs, const struct redo_chunk *rc)
{
    if (cs->n == cs->cap) {
        size_t cap = cs->cap ? 2 * cs->cap : 16;
        struct chunk *fresh = xcalloc(cap, sizeof *fresh);
        if (cs->n)
            memcpy(fresh, cs->c, cs->n * sizeof *fresh);
        free(cs->c);
        cs->c = fresh;
        cs->cap = cap;
    }
    struct chunk *c = &cs->c[cs->n++];
    *c = (struct chunk){.seq = rc->seq, .index = rc->index, .last = rc->last};
    buf_put_slice(&c->payload, rc->payload);
}

static void read_ids(struct replay *rp, struct slice payload)
{
    for (size_t i = 0; i + 8 <= payload.len; i += 8)
        replay_key_add(&rp->reserved, le64_get(payload.p + i));
}

static int read_values(struct replay *rp, struct kv *kv, uint64_t generation,
                       const struct key_set *keys, struct chunks *cs)
{
    for (size_t i = 0; i < keys->n; i++) {
        struct kv_val v;
        struct redo_chunk rc;
        int r = kv_get(kv, ROLE_TEMP, keys->key[i], kv_deadline(kv), &v);
        if (r < 0)
            return r;
        r = v.found ? redo_format_decode_chunk(v.v, &rc) : -ENOMSG;
        if (r == 0 && rc.kind == REDO_IDS) {
            read_ids(rp, rc.payload);
        } else if (r == 0) {
            rp->max_seq = MAX(rp->max_seq, rc.seq);
            if (rc.generation == generation)
                add_chunk(cs, &rc);
        } else if (r == -EUCLEAN) {
            log_warn("journal: key %" PRIu64 " of the temp namespace is damaged, ignored",
                     keys->key[i]);
        }
        kv_val_fini(&v);
    }
    return 0;
}

static int by_seq(const void *a, const void *b)
{
    const struct chunk *x = a, *y = b;
    if (x->seq != y->seq)
        return x->seq < y->seq ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

/* Chunks of one record, sorted: its stream when all are there (a chunk may be there twice). */
static bool join(struct chunk *c, size_t n, struct buf *out)
{
    uint32_t next = 0;

    for (size_t i = 0; i < n; i++) {
        if (c[i].index + 1 == next)
            continue;
        if (c[i].index != next)
            return false;
        next++;
        buf_put_slice(out, buf_slice(&c[i].payload));
        if (c[i].last)
            return true;
    }
    return false;
}

/* The newest whole record and the unbroken run before it. */
static void pick(struct replay *rp, struct chunks *cs)
{
    if (cs->n)
        qsort(cs->c, cs->n, sizeof *cs->c, by_seq);
    rp->rec = xcalloc(cs->n + 1, sizeof *rp->rec);
    for (size_t i = 0, n; i < cs->n; i += n) {
        struct buf stream = BUF_INIT;
        for (n = 1; i + n < cs->n && cs->c[i + n].seq == cs->c[i].seq; n++)
            ;
        if (!join(cs->c + i, n, &stream)) {
            log_warn("journal: record %" PRIu64 " is not whole, ignored", cs->c[i].seq);
            buf_fini(&stream);
            continue;
        }
        if (rp->n && rp->rec[rp->n - 1].seq + 1 != cs->c[i].seq) /* what is before a gap was
                                                                    finished long ago */
            while (rp->n)
                buf_fini(&rp->rec[--rp->n].stream);
        rp->rec[rp->n++] = (struct replay_record){cs->c[i].seq, stream};
    }
}

/* Whole and unharmed, but with operations that we do not know: of a newer program.  Nothing of it
 * may be done then. */
static int check_operations(const struct replay *rp, struct err *e)
{
    for (size_t i = 0; i < rp->n; i++) {
        struct rd rd = rd_of(buf_slice(&rp->rec[i].stream));
        struct redo_item it;
        int r;
        while ((r = redo_format_next(&rd, &it)) == 1)
            ;
        if (r < 0)
            return err_set(
                e, EUCLEAN,
                "journal: record %" PRIu64
                " has operations that this program does not know; mount with a newer one",
                rp->rec[i].seq);
    }
    return 0;
}

int replay_read(struct replay *out, struct kv *kv, uint64_t generation, struct err *e)
{
    struct key_set keys = {0};
    struct chunks cs = {0};

    *out = (struct replay){0};
    int r = kv_scan(kv, ROLE_TEMP, kv_deadline(kv), note_key, &keys);
    if (r == 0)
        r = read_values(out, kv, generation, &keys, &cs);
    out->keys = keys.n;
    if (r == 0)
        pick(out, &cs);
    for (size_t i = 0; i < cs.n; i++)
        buf_fini(&cs.c[i].payload);
    free(cs.c);
    free(keys.key);
    if (r < 0)
        err_sys(e, -r, "journal: reading the temp namespace");
    else
        r = check_operations(out, e);
    if (r < 0)
        replay_fini(out);
    return r;
}

void replay_drop(struct replay *rp)
{
    for (size_t i = 0; i < rp->n; i++)
        buf_fini(&rp->rec[i].stream);
    rp->n = 0;
}

void replay_fini(struct replay *rp)
{
    replay_drop(rp);
    free(rp->rec);
    free(rp->reserved.key);
    *rp = (struct replay){0};
}

int replay_fold(struct kv *kv, const struct replay *rp, struct buf *out)
{
    struct fold *f = fold_new(kv);
    int r = 0;

    for (size_t i = 0; i < rp->n && r == 0; i++)
        r = fold_add(f, buf_slice(&rp->rec[i].stream));
    if (r == 0)
        r = fold_put(f, out);
    fold_free(f);
    return r;
}

int replay_overlay(struct kv *kv, const struct replay *rp)
{
    struct buf stream = BUF_INIT;
    struct redo_item it;

    int r = replay_fold(kv, rp, &stream);
    struct rd rd = rd_of(buf_slice(&stream));
    while (r == 0 && redo_format_next(&rd, &it) == 1) {
        if (it.op == REDO_SET)
            kv_overlay_set(kv, it.key, it.value);
        for (uint32_t k = 0; it.op == REDO_DEL_META && k < redo_format_count(&it); k++)
            kv_overlay_del(kv, redo_format_key(&it, k));
    }
    buf_fini(&stream);
    return r;
}

/* ---- giving back ---------------------------------------------------------------------------- */

int replay_give_back(struct kv *kv, const struct replay *rp, uint64_t deadline_ms)
{
    struct kv_val val[BATCH];
    struct kv_req q[BATCH];

    for (size_t i = 0; i < rp->reserved.n; i += BATCH) {
        size_t n = MIN(rp->reserved.n - i, (size_t)BATCH), nreq = 0;
        int r = kv_get_many(kv, ROLE_META, rp->reserved.key + i, n, deadline_ms, val);
        if (r < 0)
            return r;
        for (size_t k = 0; k < n; k++) {
            if (val[k].found && slice_eq_str(val[k].v, "X"))
                q[nreq++] = (struct kv_req){.op = KV_DEL, .key = rp->reserved.key[i + k]};
            kv_val_fini(&val[k]);
        }
        r = nreq ? kv_write(kv, ROLE_META, q, nreq, deadline_ms) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int delete_keys(struct kv *kv, enum role role, struct slice packed, size_t width,
                       uint64_t none, uint64_t deadline_ms)
{
    struct kv_req q[BATCH];
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; i < packed.len && r == 0; i += width) {
        uint64_t key = width == 4 ? le32_get(packed.p + i) : le64_get(packed.p + i);
        if (key != none)
            q[n++] = (struct kv_req){.op = KV_DEL, .key = key};
        if (n == BATCH || (n && i + width >= packed.len)) {
            r = kv_write(kv, role, q, n, deadline_ms);
            n = 0;
        }
    }
    return r;
}

/* Blocks and lists first, so that an interrupted deletion is found again. */
int replay_delete_orphan(struct kv *kv, uint64_t ino, uint64_t deadline_ms)
{
    struct kv_val v;
    struct inode_rec rec;
    struct kv_req q = {.op = KV_DEL, .key = ino};

    int r = kv_get(kv, ROLE_META, ino, deadline_ms, &v);
    if (r < 0 || !v.found)
        return r;
    if (inode_format_decode(v.v, &rec) == 0) {
        r = delete_keys(kv, ROLE_DATA, rec.slots, 4, 0, deadline_ms);
        if (r == 0)
            r = delete_keys(kv, ROLE_META, rec.lists, 8, INODE_NO_LIST, deadline_ms);
    }
    kv_val_fini(&v);
    return r < 0 ? r : kv_write(kv, ROLE_META, &q, 1, deadline_ms);
}

int replay_orphans(struct kv *kv, const struct replay *rp, uint64_t deadline_ms)
{
    if (rp->n == 0)
        return 0;
    struct rd rd = rd_of(buf_slice(&rp->rec[rp->n - 1].stream));
    struct redo_item it;
    int r = 0;

    while (r == 0 && redo_format_next(&rd, &it) == 1)
        for (uint32_t i = 0; it.op == REDO_ORPHANS && i < redo_format_count(&it) && r == 0; i++)
            r = replay_delete_orphan(kv, redo_format_key(&it, i), deadline_ms);
    return r;
}
