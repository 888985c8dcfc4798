/* reserved - see store/reserved.h. */
#include "zdbfs/store/reserved.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "zdbfs/format/redo.h"

enum {
    BATCH_MIN = 64,
    BATCH_MAX = 4096,
    NOTE_MAX = 100000, /* keys in a note: it is one value */
    QUICK_MS = 2000,   /* a batch used up faster than this: the next one is larger */
    RETRY_MS = 500,
};

struct ids {
    struct kv *kv;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    uint64_t *id; /* taken from id[head] on */
    size_t head, n, cap;
    size_t batch;
    uint64_t filled_ms;
    int error;                /* of the last refill */
    uint64_t attempt, failed; /* refills begun so far; the last that failed */
    unsigned waiting;
    bool stop;
    pthread_mutex_t note_lock; /* the note in the temp namespace; taken outside of lock */
    uint64_t note_seq, note_key;
    bool noted;
};

struct ids *ids_new(struct kv *kv)
{
    struct ids *s = xcalloc(1, sizeof *s);
    pthread_condattr_t attr;

    s->kv = kv;
    s->batch = BATCH_MIN;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->note_lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->changed, &attr);
    pthread_condattr_destroy(&attr);
    return s;
}

void ids_free(struct ids *s)
{
    if (!s)
        return;
    pthread_cond_destroy(&s->changed);
    pthread_mutex_destroy(&s->lock);
    pthread_mutex_destroy(&s->note_lock);
    free(s->id);
    free(s);
}

/* Under the lock. */
static void append(struct ids *s, const uint64_t *id, size_t n)
{
    if (s->head + s->n + n > s->cap) {
        size_t cap = MAX(2 * s->cap, s->n + n + BATCH_MIN);
        uint64_t *fresh = xcalloc(cap, sizeof *fresh);
        if (s->n)
            memcpy(fresh, s->id + s->head, s->n * sizeof *fresh);
        free(s->id);
        s->id = fresh;
        s->cap = cap;
        s->head = 0;
    }
    memcpy(s->id + s->head + s->n, id, n * sizeof *id);
    s->n += n;
}

int ids_take(struct ids *s, unsigned n, uint64_t *out, uint64_t deadline_ms)
{
    struct timespec ts = {(time_t)(deadline_ms / 1000), (long)(deadline_ms % 1000) * 1000000};
    int r = 0;

    pthread_mutex_lock(&s->lock);
    uint64_t seen = s->attempt;
    while (s->n < n && r == 0) {
        if (s->stop) {
            r = -EIO;
            break;
        }
        s->waiting += n;
        pthread_cond_broadcast(&s->changed);
        int t = pthread_cond_timedwait(&s->changed, &s->lock, &ts);
        s->waiting -= n;
        if (s->n >= n)
            break;
        if (t == ETIMEDOUT || s->stop)
            r = -EIO;
        else if (s->failed > seen)
            r = s->error;
    }
    if (r == 0) {
        memcpy(out, s->id + s->head, n * sizeof *out);
        s->head += n;
        s->n -= n;
        if (s->n < s->batch / 2)
            pthread_cond_broadcast(&s->changed);
    }
    pthread_mutex_unlock(&s->lock);
    return r;
}

void ids_give(struct ids *s, const uint64_t *ids, unsigned n)
{
    pthread_mutex_lock(&s->lock);
    append(s, ids, n);
    pthread_mutex_unlock(&s->lock);
}

/* Into the temp namespace: what to give back after a crash; the former note goes.  Losing one costs
 * a few unused keys, so nobody waits for the disk. */
static int note(struct ids *s, const uint64_t *id, size_t n, uint64_t deadline_ms)
{
    struct buf stream = BUF_INIT, chunk = BUF_INIT;
    uint64_t key = 0;

    for (size_t i = 0; i < n; i++)
        buf_put_le64(&stream, id[i]);
    int r = redo_format_encode_chunk(&chunk, REDO_IDS, 0, ++s->note_seq, buf_slice(&stream), 0);
    if (r == 0)
        r = kv_insert(s->kv, ROLE_TEMP, buf_slice(&chunk), deadline_ms, &key);
    buf_fini(&stream);
    buf_fini(&chunk);
    if (r < 0)
        return r;
    struct kv_req old = {.op = KV_DEL, .key = s->note_key};
    if (s->noted)
        r = kv_write(s->kv, ROLE_TEMP, &old, 1, deadline_ms);
    s->note_key = key;
    s->noted = true;
    return r;
}

/* The stock and the n keys behind it, which are not in it yet. */
static int note_stock(struct ids *s, const uint64_t *more, size_t n, uint64_t deadline_ms)
{
    pthread_mutex_lock(&s->lock);
    size_t have = s->n;
    uint64_t *all = xcalloc(have + n + 1, sizeof *all);
    if (have)
        memcpy(all, s->id + s->head, have * sizeof *all);
    pthread_mutex_unlock(&s->lock);
    if (n)
        memcpy(all + have, more, n * sizeof *all);
    int r = note(s, all, MIN(have + n, (size_t)NOTE_MAX), deadline_ms);
    free(all);
    return r;
}

static int reserve(struct ids *s, size_t n)
{
    struct kv_req *q = xcalloc(n, sizeof *q);
    uint64_t *id = xcalloc(n, sizeof *id), deadline = kv_deadline(s->kv);
    uint64_t epoch = kv_epoch(s->kv, ROLE_META);
    size_t got = 0;

    for (size_t i = 0; i < n; i++)
        q[i] = (struct kv_req){.op = KV_INSERT, .value = slice_str("X")};
    int r = kv_write(s->kv, ROLE_META, q, n, deadline);
    for (size_t i = 0; i < n; i++)
        if (q[i].result == 0)
            id[got++] = q[i].key;
    if (got) {
        pthread_mutex_lock(&s->note_lock);
        r = note_stock(s, id, got, deadline);
        pthread_mutex_unlock(&s->note_lock);
    }
    if (got && r == 0)
        r = kv_sync_since(s->kv, ROLE_META, epoch, deadline); /* -ESTALE: lost, or of no use */
    pthread_mutex_lock(&s->lock);
    if (got && r == 0)
        append(s, id, got);
    s->error = r;
    if (r < 0)
        s->failed = s->attempt;
    s->filled_ms = base_now_ms();
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    free(q);
    free(id);
    return r;
}

void ids_refill_loop(struct ids *s)
{
    pthread_mutex_lock(&s->lock);
    while (!s->stop) {
        if (s->n >= MAX(s->batch / 2, (size_t)s->waiting)) {
            pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        if (s->filled_ms && base_now_ms() - s->filled_ms < QUICK_MS)
            s->batch = MIN(s->batch * 2, (size_t)BATCH_MAX);
        else if (s->batch > BATCH_MIN)
            s->batch /= 2;
        size_t n = MAX(s->batch, (size_t)s->waiting);
        s->attempt++;
        pthread_mutex_unlock(&s->lock);
        int r = reserve(s, n);
        pthread_mutex_lock(&s->lock);
        if (r < 0 && !s->stop) {
            uint64_t until = base_now_ms() + RETRY_MS;
            struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
            while (!s->stop && base_now_ms() < until)
                pthread_cond_timedwait(&s->changed, &s->lock, &ts);
        }
    }
    pthread_mutex_unlock(&s->lock);
}

void ids_stop(struct ids *s)
{
    pthread_mutex_lock(&s->lock);
    s->stop = true;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

int ids_release(struct ids *s, uint64_t deadline_ms)
{
    if (s->n == 0)
        return 0;
    struct kv_req *q = xcalloc(s->n, sizeof *q);
    for (size_t i = 0; i < s->n; i++)
        q[i] = (struct kv_req){.op = KV_DEL, .key = s->id[s->head + i]};
    int r = kv_write(s->kv, ROLE_META, q, s->n, deadline_ms);
    free(q);
    if (r == 0)
        s->n = 0;
    return r;
}

void ids_hold(struct ids *s)
{
    pthread_mutex_lock(&s->note_lock);
}

void ids_unhold(struct ids *s, bool emptied, uint64_t deadline_ms)
{
    if (emptied) {
        s->noted = false;
        note_stock(s, NULL, 0, deadline_ms); /* a lost note costs nothing but a few keys */
    }
    pthread_mutex_unlock(&s->note_lock);
}
