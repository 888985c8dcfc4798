/* writes - writing of kv: see store/kv.h. */
#include "zdbfs/store/kv_impl.h"

#include <errno.h>
#include <unistd.h>

enum {
    WINDOW_BYTES = 2 * 1024 * 1024,
    FENCE_MS = 500, /* from being allowed to write to sending */
};

static int write_result(struct kv *kv, enum role role, struct kv_req *q, const redisReply *r)
{
    if (zclient_is_error(r)) {
        if (q->op == KV_DEL && kv_reply_starts(r, "Key not found"))
            return 0;
        return kv_refusal(kv, role, r);
    }
    if (q->op == KV_INSERT)
        return kv_read_key(r, &q->key);
    if (q->op == KV_SET && zclient_is_nil(r))
        return 0; /* unchanged */
    return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS ? 0 : -EIO;
}

static int push_write(struct zclient *c, const struct kv_req *q)
{
    uint8_t k[8];
    const struct slice sync[] = {slice_str("SYNC")};
    if (q->op == KV_SYNC)
        return zclient_push(c, 1, sync);
    kv_key_bytes(q->key, k);
    struct slice key = slice_of(k, q->op == KV_INSERT ? 0 : 8);
    struct slice argv[3] = {slice_str(q->op == KV_DEL ? "DEL" : "SET"), key, q->value};
    return zclient_push(c, q->op == KV_DEL ? 2 : 3, argv);
}

struct write_pass {
    size_t asked, done; /* positions; those with a result are skipped */
    size_t bytes;       /* under way */
    bool locked;
};

static size_t skip_done(const struct kv_req *reqs, size_t n, size_t i)
{
    while (i < n && reqs[i].result != -ECANCELED)
        i++;
    return i;
}

/* What was meant for the server of another epoch is not sent: its key may be another's now. */
static void refuse_stale(struct kv_req *reqs, size_t n, uint64_t epoch)
{
    for (size_t i = 0; i < n; i++)
        if (reqs[i].result == -ECANCELED && reqs[i].only_epoch && reqs[i].only_epoch != epoch)
            reqs[i].result = -ESTALE;
}

/* Answers count only when they are of the server of now: results of this pass are taken back. */
static void take_back(struct kv_req *reqs, size_t n, const struct conn *c)
{
    for (size_t i = 0; i < n; i++)
        if (reqs[i].result != -ECANCELED && reqs[i].epoch == c->epoch && reqs[i].result != -ESTALE)
            reqs[i].result = -ECANCELED;
}

/* All that have no result yet, through one connection.  -errno: the connection is broken. */
static int write_pass(struct kv *kv, enum role role, struct conn *c, struct kv_req *reqs, size_t n,
                      uint64_t deadline_ms, bool *locked)
{
    struct write_pass w = {0};
    unsigned under_way = 0;

    refuse_stale(reqs, n, c->epoch);
    w.asked = w.done = skip_done(reqs, n, 0);
    while (w.done < n) {
        while (w.asked < n && under_way < KV_WINDOW_REQS &&
               (under_way == 0 || w.bytes + reqs[w.asked].value.len <= WINDOW_BYTES)) {
            int r = push_write(c->c, &reqs[w.asked]);
            if (r < 0)
                return r;
            w.bytes += reqs[w.asked].value.len;
            under_way++;
            w.asked = skip_done(reqs, n, w.asked + 1);
        }
        CLEANUP(kv_reply_free) redisReply *reply = NULL;
        int r = kv_next_reply(c->c, deadline_ms, &reply, NULL);
        if (r < 0)
            return r;
        struct kv_req *q = &reqs[w.done];
        w.bytes -= q->value.len;
        under_way--;
        w.done = skip_done(reqs, n, w.done + 1);
        r = write_result(kv, role, q, reply);
        q->epoch = c->epoch;
        if (r == -EAGAIN)
            *locked = true;
        else
            q->result = r;
    }
    return 0;
}

static int first_failure(const struct kv_req *reqs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (reqs[i].result < 0)
            return reqs[i].result;
    return 0;
}

/* All have a result.  "Cannot write" does not say why: a full disk is told from a broken one by
 * asking how full it is. */
static int sort_out(struct kv *kv, enum role role, struct kv_req *reqs, size_t n,
                    uint64_t deadline_ms)
{
    struct kv_info info;

    int r = first_failure(reqs, n);
    if (r != -EIO || kv_info(kv, role == ROLE_TEMP ? ROLE_META : role, deadline_ms, &info) < 0 ||
        !atomic_load(&kv->disk_low))
        return r;
    for (size_t i = 0; i < n; i++)
        if (reqs[i].result == -EIO)
            reqs[i].result = -ENOSPC;
    return first_failure(reqs, n);
}

static int write_reqs(struct kv *kv, enum role role, struct kv_req *reqs, size_t n,
                      uint64_t deadline_ms, bool fenced)
{
    for (size_t i = 0; i < n; i++) {
        reqs[i].result = -ECANCELED;
        reqs[i].epoch = 0;
    }
    for (;;) {
        struct conn c;
        bool locked = false;
        uint64_t asked = base_now_ms();
        int r = fenced ? kv_may_write(kv, deadline_ms) : 0;
        if (r < 0)
            return r;
        r = conn_get(kv->pool[role], deadline_ms, &c, NULL);
        if (r < 0)
            return -EIO;
        if (fenced && kv->fence && base_now_ms() > asked + FENCE_MS) {
            conn_put(kv->pool[role], &c, false); /* waiting took long: ask again */
            continue;
        }
        r = write_pass(kv, role, &c, reqs, n, deadline_ms, &locked);
        if (c.epoch != conn_epoch(kv->pool[role])) {
            take_back(reqs, n, &c);
            r = -ECONNRESET;
        }
        conn_put(kv->pool[role], &c, r < 0);
        if (r < 0) {
            r = kv_try_again(r, deadline_ms);
            if (r < 0)
                return r;
        } else if (!locked) {
            return sort_out(kv, role, reqs, n, deadline_ms);
        } else if (base_now_ms() + KV_LOCKED_RETRY_MS >= deadline_ms) {
            return -EIO;
        } else {
            usleep(KV_LOCKED_RETRY_MS * 1000);
        }
    }
}

int kv_write(struct kv *kv, enum role role, struct kv_req *reqs, size_t n, uint64_t deadline_ms)
{
    return write_reqs(kv, role, reqs, n, deadline_ms, true);
}

int kv_set_head(struct kv *kv, struct slice value, uint64_t deadline_ms)
{
    struct kv_req q = {.op = KV_SET, .value = value};
    return kv->conf->read_only ? -EROFS : write_reqs(kv, ROLE_META, &q, 1, deadline_ms, false);
}

int kv_insert(struct kv *kv, enum role role, struct slice value, uint64_t deadline_ms,
              uint64_t *key)
{
    struct kv_req q = {.op = KV_INSERT, .value = value};
    int r = kv_write(kv, role, &q, 1, deadline_ms);

    if (r == 0)
        *key = q.key;
    return r;
}

int kv_set(struct kv *kv, enum role role, uint64_t key, struct slice value, uint64_t deadline_ms)
{
    struct kv_req q = {.op = KV_SET, .key = key, .value = value};
    return kv_write(kv, role, &q, 1, deadline_ms);
}
