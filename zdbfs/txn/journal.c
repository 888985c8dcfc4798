/* journal - see txn/journal.h. */
#include "zdbfs/txn/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "zdbfs/store/lease.h"
#include "zdbfs/txn/foreign.h"

enum { RECORD_OVERHEAD = 100, WINDOW = 256 };

struct record {
    uint64_t *key;
    uint32_t nkeys;
    uint64_t meta_epoch, data_epoch; /* of the servers when it was applied; 0: not yet */
    bool kept;                       /* what it did is on stable storage */
};

struct journal {
    struct kv *kv;
    struct lease *lease;
    uint64_t seq;       /* of the next record */
    struct record *rec; /* stored, oldest first; the newest stays when the others are retired */
    unsigned n, cap;
    bool retired; /* rec[n-1] is one that stays only because it is the newest */
    uint64_t bytes;
    size_t replayed;
    bool no_flush; /* zdb does not empty a namespace */
};

/* ---- appending ------------------------------------------------------------------------------ */

static void push_record(struct journal *j, struct record rec)
{
    if (j->n == j->cap) {
        unsigned cap = j->cap ? 2 * j->cap : 16;
        struct record *fresh = xcalloc(cap, sizeof *fresh);
        if (j->n)
            memcpy(fresh, j->rec, j->n * sizeof *fresh);
        free(j->rec);
        j->rec = fresh;
        j->cap = cap;
    }
    j->rec[j->n++] = rec;
    j->retired = false;
}

static int append_once(struct journal *j, struct slice stream, uint64_t deadline_ms)
{
    uint32_t nchunks = redo_format_chunks(stream.len);
    uint64_t generation = lease_generation(j->lease), epoch = kv_epoch(j->kv, ROLE_TEMP);
    struct record rec = {.key = xcalloc(nchunks, sizeof(uint64_t))};
    struct buf chunk = BUF_INIT;
    int r = 0;

    for (uint32_t i = 0; i < nchunks && r == 0; i++) {
        r = redo_format_encode_chunk(&chunk, REDO_COMMIT, generation, j->seq, stream, i);
        struct kv_req q[] = {{.op = KV_INSERT, .value = buf_slice(&chunk)}, {.op = KV_SYNC}};
        bool last = i + 1 == nchunks && kv_has_sync(j->kv);
        if (r == 0) /* the SYNC travels with the last one: one round trip */
            r = kv_write(j->kv, ROLE_TEMP, q, last ? 2 : 1, deadline_ms);
        if (r == 0)
            rec.key[rec.nkeys++] = q[0].key;
        if (r == 0 && last && q[1].epoch != epoch)
            r = -ESTALE;
        j->bytes += chunk.len + RECORD_OVERHEAD;
    }
    buf_fini(&chunk);
    if (r == 0 && kv_epoch(j->kv, ROLE_TEMP) != epoch && !kv_has_sync(j->kv))
        r = -ESTALE;
    if (r < 0) {
        /* its chunks are left: the next attempt writes the same ones, and whole or not they are
         * known by their number */
        free(rec.key);
        return r;
    }
    j->seq++;
    push_record(j, rec);
    return 0;
}

int journal_append(struct journal *j, struct slice stream, uint64_t deadline_ms)
{
    int r;

    do
        r = append_once(j, stream, deadline_ms);
    while (r == -ESTALE && base_now_ms() < deadline_ms);
    return r == -ESTALE ? -EIO : r;
}

/* ---- applying ------------------------------------------------------------------------------- */

struct window {
    struct kv *kv;
    struct kv_req meta[WINDOW], data[WINDOW];
    size_t nmeta, ndata;
    uint64_t deadline_ms;
};

/* A key that has to be there is not: its reservation was lost with the disk's cache.  Insert until
 * it comes up. */
static int make_key(struct kv *kv, struct kv_req *q, uint64_t deadline_ms)
{
    uint64_t key = 0;

    do {
        int r = kv_insert(kv, ROLE_META, slice_str("X"), deadline_ms, &key);
        if (r < 0)
            return r;
    } while (key < q->key);
    if (key > q->key) {
        struct kv_req undo = {.op = KV_DEL, .key = key};
        kv_write(kv, ROLE_META, &undo, 1, deadline_ms);
        log_error("meta key %" PRIu64 " is lost: it cannot be made again", q->key);
        return 0;
    }
    return kv_set(kv, ROLE_META, q->key, q->value, deadline_ms);
}

static int run(struct window *w, enum role role)
{
    struct kv_req *q = role == ROLE_META ? w->meta : w->data;
    size_t *n = role == ROLE_META ? &w->nmeta : &w->ndata;

    if (*n == 0)
        return 0;
    int r = kv_write(w->kv, role, q, *n, w->deadline_ms);
    for (size_t i = 0; r == -ENOENT && i < *n; i++) {
        if (q[i].result == -ENOENT)
            q[i].result = make_key(w->kv, &q[i], w->deadline_ms);
        if (q[i].result < 0)
            return q[i].result;
    }
    *n = 0;
    return r == -ENOENT ? 0 : r;
}

static int put(struct window *w, enum role role, struct kv_req q)
{
    if (role == ROLE_META)
        w->meta[w->nmeta++] = q;
    else
        w->data[w->ndata++] = q;
    return (role == ROLE_META ? w->nmeta : w->ndata) == WINDOW ? run(w, role) : 0;
}

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static bool contains(const struct key_set *s, uint64_t key)
{
    return s && s->n && bsearch(&key, s->key, s->n, sizeof key, by_key);
}

int journal_apply(struct kv *kv, struct slice stream, const struct key_set *deleted,
                  uint64_t deadline_ms)
{
    struct window *w = xcalloc(1, sizeof *w);
    struct rd rd = rd_of(stream);
    struct redo_item it;
    int r = 0;

    w->kv = kv;
    w->deadline_ms = deadline_ms;
    while (r == 0 && redo_format_next(&rd, &it) == 1) {
        if (it.op == REDO_SET && !contains(deleted, it.key))
            r = put(w, ROLE_META, (struct kv_req){.op = KV_SET, .key = it.key, .value = it.value});
        else if (it.op == REDO_DEL_META || it.op == REDO_DEL_DATA)
            for (uint32_t i = 0; i < redo_format_count(&it) && r == 0; i++)
                r = put(w, it.op == REDO_DEL_META ? ROLE_META : ROLE_DATA,
                        (struct kv_req){.op = KV_DEL, .key = redo_format_key(&it, i)});
    }
    if (r == 0)
        r = run(w, ROLE_META);
    if (r == 0)
        r = run(w, ROLE_DATA);
    free(w);
    return r;
}

/* ---- retiring ------------------------------------------------------------------------------- */

int journal_apply_newest(struct journal *j, struct slice stream, uint64_t deadline_ms)
{
    struct record *rec = &j->rec[j->n - 1];
    uint64_t meta = kv_epoch(j->kv, ROLE_META), data = kv_epoch(j->kv, ROLE_DATA);

    int r = journal_apply(j->kv, stream, NULL, deadline_ms);
    if (r == 0) {
        rec->meta_epoch = meta;
        rec->data_epoch = data;
    }
    return r;
}

static int read_stream(struct journal *j, const struct record *rec, struct buf *out,
                       uint64_t deadline_ms)
{
    int r = 0;

    buf_clear(out);
    for (uint32_t i = 0; i < rec->nkeys && r == 0; i++) {
        struct kv_val v;
        struct redo_chunk chunk;
        r = kv_get(j->kv, ROLE_TEMP, rec->key[i], deadline_ms, &v);
        if (r == 0 && (!v.found || redo_format_decode_chunk(v.v, &chunk) < 0)) {
            log_error("journal: key %" PRIu64 " of the temp namespace is %s", rec->key[i],
                      v.found ? "damaged" : "missing");
            r = -EIO;
        }
        if (r == 0 && !buf_reserve(out, chunk.payload.len))
            r = -ENOMEM;
        if (r == 0)
            buf_put_slice(out, chunk.payload);
        kv_val_fini(&v);
    }
    return r;
}

/* Meta keys that the stream deletes. */
static void add_deleted(struct slice stream, struct key_set *out)
{
    struct rd rd = rd_of(stream);
    struct redo_item it;

    while (redo_format_next(&rd, &it) == 1)
        for (uint32_t k = 0; it.op == REDO_DEL_META && k < redo_format_count(&it); k++)
            replay_key_add(out, redo_format_key(&it, k));
}

static void sort_keys(struct key_set *s)
{
    if (s->n)
        qsort(s->key, s->n, sizeof *s->key, by_key);
}

/* Records from `first` on are applied once more. */
static int apply_again(struct journal *j, unsigned first, uint64_t meta, uint64_t data,
                       uint64_t deadline_ms)
{
    struct key_set deleted = {0};
    struct buf stream = BUF_INIT;
    int r = 0;

    log_info("journal: %u records are carried out again for a zdb that was started again",
             j->n - first);
    for (unsigned i = first; i < j->n && r == 0; i++) {
        r = read_stream(j, &j->rec[i], &stream, deadline_ms);
        if (r == 0)
            add_deleted(buf_slice(&stream), &deleted);
    }
    sort_keys(&deleted);
    for (unsigned i = first; i < j->n && r == 0; i++) {
        r = read_stream(j, &j->rec[i], &stream, deadline_ms);
        if (r == 0)
            r = journal_apply(j->kv, buf_slice(&stream), &deleted, deadline_ms);
        if (r == 0) {
            j->rec[i].meta_epoch = meta;
            j->rec[i].data_epoch = data;
        }
    }
    buf_fini(&stream);
    free(deleted.key);
    return r;
}

/* Those whose changes were acknowledged by another server than the present ones, and those behind
 * them. */
static int apply_lost(struct journal *j, uint64_t meta, uint64_t data, uint64_t deadline_ms)
{
    unsigned first = 0;

    while (first < j->n && (j->rec[first].kept ||
                            (j->rec[first].meta_epoch == meta && j->rec[first].data_epoch == data)))
        first++;
    return first < j->n ? apply_again(j, first, meta, data, deadline_ms) : 0;
}

/* Everything that was applied is on stable storage. */
static int sync_both(struct journal *j, uint64_t deadline_ms)
{
    int r;

    do {
        uint64_t meta = kv_epoch(j->kv, ROLE_META), data = kv_epoch(j->kv, ROLE_DATA);
        r = apply_lost(j, meta, data, deadline_ms);
        if (r == 0)
            r = kv_sync_since(j->kv, ROLE_META, meta, deadline_ms);
        if (r == 0)
            r = kv_sync_since(j->kv, ROLE_DATA, data, deadline_ms);
    } while (r == -ESTALE && base_now_ms() < deadline_ms);
    return r == -ESTALE ? -EIO : r;
}

static int delete_record(struct journal *j, const struct record *rec, uint64_t deadline_ms)
{
    struct kv_req *q = xcalloc(rec->nkeys, sizeof *q);

    for (uint32_t i = 0; i < rec->nkeys; i++)
        q[i] = (struct kv_req){.op = KV_DEL, .key = rec->key[i]};
    int r = kv_write(j->kv, ROLE_TEMP, q, rec->nkeys, deadline_ms);
    free(q);
    return r;
}

int journal_retire(struct journal *j, uint64_t deadline_ms)
{
    if (j->n == 0 || (j->n == 1 && j->retired))
        return 0;
    int r = sync_both(j, deadline_ms);
    if (r < 0)
        return r;
    j->retired = true;
    j->rec[j->n - 1].kept = true;
    while (j->n > 1) {
        r = delete_record(j, &j->rec[0], deadline_ms);
        if (r < 0)
            return r;
        free(j->rec[0].key);
        memmove(j->rec, j->rec + 1, --j->n * sizeof *j->rec);
    }
    return 0;
}

static int store_temp_head(struct journal *j, uint64_t deadline_ms)
{
    struct head h = {.size_bytes = lease_size_bytes(j->lease)};
    struct buf b = BUF_INIT;
    uint64_t key = 0;

    head_format_encode(&b, ROLE_TEMP, &h);
    int r = kv_insert(j->kv, ROLE_TEMP, buf_slice(&b), deadline_ms, &key);
    buf_fini(&b);
    if (r == 0 && key != 0) {
        log_error("temp namespace: key of its header is %" PRIu64 ", must be 0", key);
        r = -EIO;
    }
    return r;
}

/* From now on no record of before counts. */
static int new_generation(struct journal *j, uint64_t deadline_ms)
{
    uint64_t g = lease_generation(j->lease);

    g = g >= HEAD_MAX_GENERATION ? 1 : g + 1;
    int r;
    do {
        uint64_t epoch = kv_epoch(j->kv, ROLE_META);
        r = lease_set_generation(j->lease, g, deadline_ms);
        if (r == 0)
            r = kv_sync_since(j->kv, ROLE_META, epoch, deadline_ms);
    } while (r == -ESTALE && base_now_ms() < deadline_ms);
    return r == -ESTALE ? -EIO : r;
}

static void forget_records(struct journal *j)
{
    for (unsigned i = 0; i < j->n; i++)
        free(j->rec[i].key);
    j->n = 0;
    j->bytes = 0;
}

static int delete_key(uint64_t key, uint64_t len, void *arg)
{
    struct key_set *s = arg;

    (void)len;
    if (key != 0)
        replay_key_add(s, key);
    return 0;
}

/* Where FLUSH does not work, or is refused. */
static int delete_all(struct journal *j, uint64_t deadline_ms)
{
    struct key_set keys = {0};

    int r = kv_scan(j->kv, ROLE_TEMP, deadline_ms, delete_key, &keys);
    for (size_t i = 0; i < keys.n && r == 0; i++) {
        struct kv_req q = {.op = KV_DEL, .key = keys.key[i]};
        r = kv_write(j->kv, ROLE_TEMP, &q, 1, deadline_ms);
    }
    free(keys.key);
    return r;
}

int journal_empty(struct journal *j, uint64_t deadline_ms)
{
    struct kv_val v = {0};

    int r = new_generation(j, deadline_ms);
    if (r < 0)
        return r;
    forget_records(j);
    int flushed = j->no_flush ? 0 : kv_flush(j->kv, ROLE_TEMP, deadline_ms);
    if (flushed < 0 && flushed != -EPERM)
        return flushed;
    r = flushed;
    if (r == 0)
        r = kv_get(j->kv, ROLE_TEMP, 0, deadline_ms, &v);
    bool kept = v.found;
    kv_val_fini(&v);
    if (r == 0 && !kept) {
        r = store_temp_head(j, deadline_ms);
        return r < 0 ? r : 1;
    }
    if (!j->no_flush && flushed == -EPERM)
        log_warn("temp namespace: zdb refuses to empty it (FLUSH), its keys are deleted one by "
                 "one; give it a password and public 0");
    else if (!j->no_flush)
        log_info("temp namespace: this zdb says OK to FLUSH and deletes nothing, as the original "
                 "does: its keys are deleted one by one");
    j->no_flush = true;
    r = delete_all(j, deadline_ms);
    return r < 0 ? r : 1;
}

size_t journal_replayed(const struct journal *j)
{
    return j->replayed;
}

uint64_t journal_bytes(const struct journal *j)
{
    return j->no_flush ? 0 : j->bytes;
}

unsigned journal_records(const struct journal *j)
{
    return j->n - (j->n && j->retired);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int recover_once(struct journal *j, struct replay *rp, const struct key_set *deleted)
{
    uint64_t meta = kv_epoch(j->kv, ROLE_META), data = kv_epoch(j->kv, ROLE_DATA),
             deadline = kv_deadline(j->kv);
    int r = 0;

    for (size_t i = 0; i < rp->n && r == 0; i++)
        r = journal_apply(j->kv, buf_slice(&rp->rec[i].stream), deleted, kv_deadline(j->kv));
    if (r == 0)
        r = replay_give_back(j->kv, rp, deadline);
    if (r == 0)
        r = replay_orphans(j->kv, rp, deadline);
    if (r == 0)
        r = kv_sync_since(j->kv, ROLE_META, meta, deadline);
    if (r == 0)
        r = kv_sync_since(j->kv, ROLE_DATA, data, deadline);
    return r;
}

static int recover(struct journal *j, struct replay *rp, struct err *e)
{
    struct key_set deleted = {0};
    int r;

    for (size_t i = 0; i < rp->n; i++)
        add_deleted(buf_slice(&rp->rec[i].stream), &deleted);
    sort_keys(&deleted);
    do
        r = recover_once(j, rp, &deleted);
    while (r == -ESTALE);
    free(deleted.key);
    if (r == 0 && rp->keys)
        r = journal_empty(j, kv_deadline(j->kv));
    return r < 0 ? err_sys(e, -r, "journal") : 0;
}

/* Records that are older than the volume do not count: they are forgotten. */
static int check_foreign(const struct lease *lease, struct kv *kv, struct replay *rp, struct err *e)
{
    uint64_t key = 0;

    if (rp->n == 0)
        return 0;
    int r = lease_journal_counts(lease) ? foreign_find(kv, rp, &key) : 1;
    if (r < 0)
        return err_sys(e, -r, "journal: reading the meta namespace");
    if (r == 0)
        return 0;
    if (key)
        log_error("journal: meta key %" PRIu64 " was changed by another program after the crash: "
                  "%zu records are older and not carried out again",
                  key, rp->n);
    else
        log_warn("journal: the volume was unmounted cleanly by another program after the crash: "
                 "%zu records are older and not carried out again",
                 rp->n);
    replay_drop(rp);
    return 0;
}

int journal_open(struct journal **out, struct kv *kv, struct lease *lease, struct err *e)
{
    struct journal *j = xcalloc(1, sizeof *j);
    struct replay rp;

    j->kv = kv;
    j->lease = lease;
    int r = replay_read(&rp, kv, lease_generation(lease), e);
    if (r < 0) {
        free(j);
        return r;
    }
    j->seq = rp.max_seq + 1;
    r = check_foreign(lease, kv, &rp, e);
    if (r < 0) {
        replay_fini(&rp);
        journal_free(j);
        return r;
    }
    j->replayed = rp.n;
    if (rp.n)
        log_info("journal: %zu records are carried out again", rp.n);
    if (kv_read_only(kv))
        replay_overlay(kv, &rp);
    else
        r = recover(j, &rp, e);
    replay_fini(&rp);
    if (r < 0) {
        journal_free(j);
        return r;
    }
    *out = j;
    return 0;
}

void journal_free(struct journal *j)
{
    if (!j)
        return;
    forget_records(j);
    free(j->rec);
    free(j);
}
