/* journal - see txn/journal.h. */
#include "zdbfs/txn/journal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "zdbfs/store/lease.h"
#include "zdbfs/txn/apply.h"
#include "zdbfs/txn/foreign.h"

enum { RECORD_OVERHEAD = 100, BATCH = 256 };

struct record {
    uint64_t *key;
    uint32_t nkeys;
};

struct journal {
    struct kv *kv;
    struct lease *lease;
    uint64_t seq;       /* of the next record */
    struct record *rec; /* stored, oldest first; the newest stays when the others are retired */
    unsigned n, cap;
    bool retired;               /* rec[n-1] is one that stays only because it is the newest */
    uint64_t bytes, kept_bytes; /* stored since it was emptied; of them retired */
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

/* ---- retiring ------------------------------------------------------------------------------- */

static int delete_keys(struct journal *j, struct kv_req *q, size_t *n, uint64_t deadline_ms)
{
    int r = *n ? kv_write(j->kv, ROLE_TEMP, q, *n, deadline_ms) : 0;

    *n = 0;
    return r;
}

/* The first ones, oldest first. */
static int delete_records(struct journal *j, unsigned count, uint64_t deadline_ms)
{
    struct kv_req q[BATCH];
    size_t n = 0;
    int r = 0;

    for (unsigned i = 0; i < count && r == 0; i++)
        for (uint32_t k = 0; k < j->rec[i].nkeys && r == 0; k++) {
            q[n++] = (struct kv_req){.op = KV_DEL, .key = j->rec[i].key[k]};
            if (n == BATCH)
                r = delete_keys(j, q, &n, deadline_ms);
        }
    return r < 0 ? r : delete_keys(j, q, &n, deadline_ms);
}

int journal_retire(struct journal *j, uint64_t deadline_ms)
{
    unsigned old = j->n ? j->n - 1 : 0;

    int r = delete_records(j, old, deadline_ms);
    if (r < 0)
        return r;
    for (unsigned i = 0; i < old; i++)
        free(j->rec[i].key);
    if (old)
        j->rec[0] = j->rec[old];
    j->n -= old;
    j->retired = true;
    j->kept_bytes = j->bytes;
    return 0;
}

int journal_catch_up(struct journal *j, uint64_t deadline_ms)
{
    struct buf stream = BUF_INIT;
    struct replay rp;

    int r = replay_read(&rp, j->kv, lease_generation(j->lease), NULL);
    if (r < 0)
        return r;
    r = replay_fold(j->kv, &rp, &stream);
    if (r == 0)
        r = apply_stream(j->kv, buf_slice(&stream), deadline_ms);
    buf_fini(&stream);
    replay_fini(&rp);
    return r < 0 ? r : journal_retire(j, deadline_ms);
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
    j->bytes = j->kept_bytes = 0;
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

uint64_t journal_ahead_bytes(const struct journal *j)
{
    return j->bytes - j->kept_bytes;
}

unsigned journal_records(const struct journal *j)
{
    return j->n - (j->n && j->retired);
}

/* ---- opening -------------------------------------------------------------------------------- */

static int recover_once(struct journal *j, struct replay *rp, struct slice stream)
{
    uint64_t meta = kv_epoch(j->kv, ROLE_META), data = kv_epoch(j->kv, ROLE_DATA);

    int r = apply_stream(j->kv, stream, kv_deadline(j->kv));
    uint64_t deadline = kv_deadline(j->kv);
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
    struct buf stream = BUF_INIT;

    int r = replay_fold(j->kv, rp, &stream);
    if (r == 0)
        do
            r = recover_once(j, rp, buf_slice(&stream));
        while (r == -ESTALE);
    buf_fini(&stream);
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
        r = replay_overlay(kv, &rp);
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
