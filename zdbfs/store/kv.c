/* kv - see store/kv.h. */
#include "zdbfs/store/kv.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "common/log.h"
#include "common/parse.h"

enum {
    WINDOW_REQS = 128, /* requests under way on one connection */
    WINDOW_BYTES = 2 * 1024 * 1024,
    LOCKED_RETRY_MS = 100,             /* a locked namespace: spec zdbfs-behaviour 7 */
    DISK_LOW_BYTES = 16 * 1024 * 1024, /* below this "Cannot write" means that the disk is full */
    CURSOR_BYTES = 17,
    INFO_TIMEOUT_MS = 10000,
    FENCE_MS = 500, /* from being allowed to write to sending */
};

struct overlay {
    uint64_t key;
    bool deleted;
    size_t len;
    UT_hash_handle hh;
    uint8_t value[];
};

struct kv {
    const struct kv_conf *conf;
    struct conn_pool *pool[ROLE_COUNT];
    bool has_sync;
    atomic_bool disk_low;
    atomic_uint complaints; /* error replies logged */
    struct overlay *overlay;
    kv_fence_fn *fence;
    void *fence_arg;
    atomic_bool lost;
};

static const unsigned pool_max[ROLE_COUNT] = {12, 32, 4};

uint64_t kv_deadline(const struct kv *kv)
{
    return base_now_ms() + kv->conf->timeout_ms;
}

bool kv_has_sync(const struct kv *kv)
{
    return kv->has_sync;
}

bool kv_up(const struct kv *kv)
{
    return conn_up(kv->pool[ROLE_META]) && conn_up(kv->pool[ROLE_DATA]);
}

bool kv_read_only(const struct kv *kv)
{
    return kv->conf->read_only;
}

void kv_val_free_reply(void *reply)
{
    if (reply)
        freeReplyObject(reply);
}

void kv_val_fini(struct kv_val *v)
{
    kv_val_free_reply(v->reply);
    *v = (struct kv_val){0};
}

static void free_reply(redisReply **r)
{
    kv_val_free_reply(*r);
}

/* ---- what replies mean ---------------------------------------------------------------------- */

static bool starts(const redisReply *r, const char *text)
{
    size_t n = strlen(text);
    return r->len >= n && memcmp(r->str, text, n) == 0;
}

/* An error reply as a code; -EAGAIN: try again a little later. */
static int refusal(struct kv *kv, enum role role, const redisReply *r)
{
    if (starts(r, "No space left") || starts(r, "Namespace definitely full"))
        return -ENOSPC;
    if (starts(r, "Namespace is temporarily"))
        return -EAGAIN;
    if (starts(r, "Namespace is in read-only"))
        return -EROFS;
    if (starts(r, "Invalid key, only update"))
        return -ENOENT;
    int code = starts(r, "Cannot ") && atomic_load(&kv->disk_low) ? -ENOSPC : -EIO;
    unsigned n = atomic_fetch_add(&kv->complaints, 1);
    if (n < 20 || n % 1000 == 0)
        log_error("zdb %s: %.*s", kv->conf->addr[role].ns, (int)MIN(r->len, (size_t)200), r->str);
    return code;
}

static int read_key(const redisReply *r, uint64_t *key)
{
    struct slice s = zclient_bulk(r);

    if (r->type != REDIS_REPLY_STRING || s.len != 8)
        return -EIO;
    *key = le64_get(s.p);
    return 0;
}

static int write_result(struct kv *kv, enum role role, struct kv_req *q, const redisReply *r)
{
    if (zclient_is_error(r)) {
        if (q->op == KV_DEL && starts(r, "Key not found"))
            return 0;
        return refusal(kv, role, r);
    }
    if (q->op == KV_INSERT)
        return read_key(r, &q->key);
    if (q->op == KV_SET && zclient_is_nil(r))
        return 0; /* unchanged */
    return r->type == REDIS_REPLY_STRING || r->type == REDIS_REPLY_STATUS ? 0 : -EIO;
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Next reply of c within the time.  -errno: the connection is of no use any more. */
static int next_reply(struct zclient *c, uint64_t deadline_ms, redisReply **out, struct err *e)
{
    zclient_drive(&c, 1, true, deadline_ms);
    int r = zclient_status(c);
    if (r == 0)
        return -ETIMEDOUT;
    if (r < 0 && r != 1) {
        struct err own = {0};
        int n = zclient_pull(c, out, e ? e : &own); /* fills in the text */
        return n < 0 ? n : 0;
    }
    return zclient_pull(c, out, e);
}

/* After a failure of a connection: may the rest be asked again? */
static int try_again(int r, uint64_t deadline_ms)
{
    return r == -ETIMEDOUT || base_now_ms() >= deadline_ms ? -EIO : 0;
}

/* epoch: of the connection that answered; may be NULL. */
static int call(struct kv *kv, enum role role, uint64_t deadline_ms, unsigned argc,
                const struct slice *argv, redisReply **out, uint64_t *epoch)
{
    struct err e = {0};

    for (;;) {
        struct conn c;
        int r = conn_get(kv->pool[role], deadline_ms, &c, &e);
        if (r < 0)
            return -EIO;
        redisReply *reply = NULL;
        r = zclient_push(c.c, argc, argv);
        if (r == 0)
            r = next_reply(c.c, deadline_ms, &reply, &e);
        if (r == 0 && c.epoch != conn_epoch(kv->pool[role])) {
            freeReplyObject(reply);
            r = -ECONNRESET; /* of a server that has ended since */
        }
        if (epoch)
            *epoch = c.epoch;
        conn_put(kv->pool[role], &c, r < 0);
        if (r < 0) {
            r = try_again(r, deadline_ms);
            if (r < 0)
                return r;
            continue;
        }
        *out = reply;
        return 0;
    }
}

/* call(), and again while the namespace is locked; error replies become codes. */
static int call_ok(struct kv *kv, enum role role, uint64_t deadline_ms, unsigned argc,
                   const struct slice *argv, redisReply **out, uint64_t *epoch)
{
    for (;;) {
        redisReply *reply = NULL;
        int r = call(kv, role, deadline_ms, argc, argv, &reply, epoch);
        if (r < 0)
            return r;
        if (!zclient_is_error(reply)) {
            *out = reply;
            return 0;
        }
        r = refusal(kv, role, reply);
        freeReplyObject(reply);
        if (r != -EAGAIN)
            return r;
        if (base_now_ms() + LOCKED_RETRY_MS >= deadline_ms)
            return -EIO;
        usleep(LOCKED_RETRY_MS * 1000);
    }
}

static void key_bytes(uint64_t key, uint8_t out[8])
{
    le64_put(out, key);
}

/* ---- reading -------------------------------------------------------------------------------- */

static bool from_overlay(struct kv *kv, enum role role, uint64_t key, struct kv_val *out)
{
    struct overlay *o = NULL;

    if (role != ROLE_META || !kv->overlay)
        return false;
    HASH_FIND(hh, kv->overlay, &key, sizeof key, o);
    if (!o)
        return false;
    *out = (struct kv_val){!o->deleted, slice_of(o->value, o->len), NULL};
    return true;
}

static int get_result(struct kv *kv, enum role role, redisReply *r, struct kv_val *out)
{
    if (zclient_is_error(r)) {
        int code = refusal(kv, role, r);
        return code == -EAGAIN ? -EAGAIN : -EIO;
    }
    if (!zclient_is_nil(r) && r->type != REDIS_REPLY_STRING)
        return -EIO;
    *out = (struct kv_val){!zclient_is_nil(r), zclient_bulk(r), r};
    return 0;
}

/* Ask for keys[from..n) and take answers until one fails; *from is moved on. */
static int get_some(struct kv *kv, enum role role, struct zclient *c, const uint64_t *keys,
                    size_t n, size_t *from, uint64_t deadline_ms, struct kv_val *out)
{
    size_t asked = *from;

    while (*from < n) {
        for (; asked < n && asked - *from < WINDOW_REQS; asked++) {
            uint8_t key[8];
            key_bytes(keys[asked], key);
            const struct slice argv[] = {slice_str("GET"), slice_of(key, 8)};
            int r = zclient_push(c, 2, argv); /* short arguments are copied */
            if (r < 0)
                return r;
        }
        redisReply *reply = NULL;
        int r = next_reply(c, deadline_ms, &reply, NULL);
        if (r < 0)
            return r;
        r = get_result(kv, role, reply, &out[*from]);
        if (r < 0) {
            freeReplyObject(reply);
            return r == -EAGAIN ? -EAGAIN : -EBADMSG;
        }
        (*from)++;
    }
    return 0;
}

int kv_get_many(struct kv *kv, enum role role, const uint64_t *keys, size_t n, uint64_t deadline_ms,
                struct kv_val *out)
{
    size_t done = 0;
    int r = 0;

    for (size_t i = 0; i < n; i++)
        out[i] = (struct kv_val){0};
    if (role == ROLE_META && kv->overlay) { /* rare: one at a time */
        for (size_t i = 0; i < n && r == 0; i++)
            r = kv_get(kv, role, keys[i], deadline_ms, &out[i]);
        done = r == 0 ? n : 0;
    }
    while (r == 0 && done < n) {
        struct conn c;
        r = conn_get(kv->pool[role], deadline_ms, &c, NULL);
        if (r < 0) {
            r = -EIO;
            break;
        }
        r = get_some(kv, role, c.c, keys, n, &done, deadline_ms, out);
        conn_put(kv->pool[role], &c, r < 0);
        if (r == -EBADMSG) {
            r = -EIO;
        } else if (r == -EAGAIN) {
            r = base_now_ms() + LOCKED_RETRY_MS >= deadline_ms ? -EIO : 0;
            usleep(LOCKED_RETRY_MS * 1000);
        } else if (r < 0) {
            r = try_again(r, deadline_ms);
        }
    }
    if (r < 0)
        for (size_t i = 0; i < n; i++)
            kv_val_fini(&out[i]);
    return r;
}

int kv_get(struct kv *kv, enum role role, uint64_t key, uint64_t deadline_ms, struct kv_val *out)
{
    uint8_t k[8];
    const struct slice argv[] = {slice_str("GET"), slice_of(k, 8)};
    redisReply *reply = NULL;

    *out = (struct kv_val){0};
    if (from_overlay(kv, role, key, out))
        return 0;
    key_bytes(key, k);
    int r = call_ok(kv, role, deadline_ms, 2, argv, &reply, NULL);
    if (r == 0)
        r = get_result(kv, role, reply, out);
    if (r < 0)
        kv_val_free_reply(reply);
    return r < 0 ? -EIO : 0;
}

static int lengths_once(struct zclient *c, const uint64_t *keys, size_t n, uint64_t deadline_ms,
                        uint64_t *out)
{
    for (size_t i = 0; i < n; i++) {
        uint8_t key[8];
        key_bytes(keys[i], key);
        const struct slice argv[] = {slice_str("LENGTH"), slice_of(key, 8)};
        int r = zclient_push(c, 2, argv);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < n; i++) {
        CLEANUP(free_reply) redisReply *reply = NULL;
        int r = next_reply(c, deadline_ms, &reply, NULL);
        if (r < 0)
            return r;
        if (!zclient_is_nil(reply) && reply->type != REDIS_REPLY_INTEGER)
            return -EBADMSG;
        out[i] = zclient_is_nil(reply) ? UINT64_MAX : (uint64_t)reply->integer;
    }
    return 0;
}

int kv_len_many(struct kv *kv, enum role role, const uint64_t *keys, size_t n, uint64_t deadline_ms,
                uint64_t *out)
{
    for (size_t done = 0; done < n;) {
        size_t part = MIN(n - done, (size_t)WINDOW_REQS);
        struct conn c;
        int r = conn_get(kv->pool[role], deadline_ms, &c, NULL);
        if (r == 0) {
            r = lengths_once(c.c, keys + done, part, deadline_ms, out + done);
            conn_put(kv->pool[role], &c, r < 0);
        }
        if (r < 0 && (r == -EBADMSG || try_again(r, deadline_ms) < 0))
            return -EIO;
        if (r == 0)
            done += part;
    }
    return 0;
}

/* ---- writing -------------------------------------------------------------------------------- */

static int push_write(struct zclient *c, const struct kv_req *q)
{
    uint8_t k[8];
    const struct slice sync[] = {slice_str("SYNC")};
    if (q->op == KV_SYNC)
        return zclient_push(c, 1, sync);
    key_bytes(q->key, k);
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
        while (w.asked < n && under_way < WINDOW_REQS &&
               (under_way == 0 || w.bytes + reqs[w.asked].value.len <= WINDOW_BYTES)) {
            int r = push_write(c->c, &reqs[w.asked]);
            if (r < 0)
                return r;
            w.bytes += reqs[w.asked].value.len;
            under_way++;
            w.asked = skip_done(reqs, n, w.asked + 1);
        }
        CLEANUP(free_reply) redisReply *reply = NULL;
        int r = next_reply(c->c, deadline_ms, &reply, NULL);
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

void kv_fence(struct kv *kv, kv_fence_fn *fn, void *arg)
{
    kv->fence = fn;
    kv->fence_arg = arg;
}

void kv_lose(struct kv *kv)
{
    atomic_store(&kv->lost, true);
}

bool kv_lost(const struct kv *kv)
{
    return atomic_load(&kv->lost);
}

static int may_write(struct kv *kv, uint64_t deadline_ms)
{
    if (kv->conf->read_only || kv_lost(kv))
        return -EROFS;
    return kv->fence ? kv->fence(kv->fence_arg, deadline_ms) : 0;
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
        int r = fenced ? may_write(kv, deadline_ms) : 0;
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
            r = try_again(r, deadline_ms);
            if (r < 0)
                return r;
        } else if (!locked) {
            return sort_out(kv, role, reqs, n, deadline_ms);
        } else if (base_now_ms() + LOCKED_RETRY_MS >= deadline_ms) {
            return -EIO;
        } else {
            usleep(LOCKED_RETRY_MS * 1000);
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

uint64_t kv_epoch(struct kv *kv, enum role role)
{
    return conn_epoch(kv->pool[role]);
}

int kv_sync(struct kv *kv, enum role role, uint64_t deadline_ms, uint64_t *epoch)
{
    const struct slice argv[] = {slice_str(kv->has_sync ? "SYNC" : "PING")};
    redisReply *reply = NULL;

    if (kv->conf->read_only) {
        *epoch = conn_epoch(kv->pool[role]);
        return 0;
    }
    int r = call_ok(kv, role, deadline_ms, 1, argv, &reply, epoch);
    kv_val_free_reply(reply);
    return r;
}

int kv_sync_since(struct kv *kv, enum role role, uint64_t since, uint64_t deadline_ms)
{
    uint64_t epoch = 0;

    int r = kv_sync(kv, role, deadline_ms, &epoch);
    return r < 0 ? r : epoch == since ? 0 : -ESTALE;
}

/* ---- whole namespaces ----------------------------------------------------------------------- */

/* Entries of one page of SCAN; *cursor is moved on. */
static int scan_page(const redisReply *r, uint8_t cursor[CURSOR_BYTES], kv_scan_fn *fn, void *arg)
{
    if (r->type != REDIS_REPLY_ARRAY || r->elements != 2 ||
        zclient_bulk(r->element[0]).len != CURSOR_BYTES || r->element[1]->type != REDIS_REPLY_ARRAY)
        return -EIO;
    memcpy(cursor, r->element[0]->str, CURSOR_BYTES);
    const redisReply *list = r->element[1];
    for (size_t i = 0; i < list->elements; i++) {
        const redisReply *it = list->element[i];
        uint64_t key;
        if (it->type != REDIS_REPLY_ARRAY || it->elements != 3 ||
            read_key(it->element[0], &key) < 0 || it->element[1]->type != REDIS_REPLY_INTEGER)
            return -EIO;
        int n = fn(key, (uint64_t)it->element[1]->integer, arg);
        if (n != 0)
            return n;
    }
    return 0;
}

static int scan(struct kv *kv, enum role role, const char *word, uint64_t deadline_ms,
                kv_scan_fn *fn, void *arg)
{
    uint8_t cursor[CURSOR_BYTES];
    struct slice argv[2] = {slice_str(word), slice_of(cursor, sizeof cursor)};

    for (unsigned argc = 1;; argc = 2) {
        CLEANUP(free_reply) redisReply *reply = NULL;
        int r = call(kv, role, deadline_ms, argc, argv, &reply, NULL);
        if (r < 0)
            return r;
        if (zclient_is_error(reply))
            return starts(reply, "No more data") ? 0 : -EIO;
        r = scan_page(reply, cursor, fn, arg);
        if (r != 0)
            return r;
    }
}

int kv_scan(struct kv *kv, enum role role, uint64_t deadline_ms, kv_scan_fn *fn, void *arg)
{
    return scan(kv, role, "SCAN", deadline_ms, fn, arg);
}

int kv_rscan(struct kv *kv, enum role role, uint64_t deadline_ms, kv_scan_fn *fn, void *arg)
{
    return scan(kv, role, "RSCAN", deadline_ms, fn, arg);
}

/* A word that zdb may refuse. */
static int command(struct kv *kv, enum role role, const char *word, uint64_t deadline_ms)
{
    const struct slice argv[] = {slice_str(word)};
    redisReply *reply = NULL;

    int r = may_write(kv, deadline_ms);
    if (r == 0)
        r = call(kv, role, deadline_ms, 1, argv, &reply, NULL);
    if (r == 0 && zclient_is_error(reply))
        r = -EPERM;
    kv_val_free_reply(reply);
    return r;
}

int kv_flush(struct kv *kv, enum role role, uint64_t deadline_ms)
{
    return command(kv, role, "FLUSH", deadline_ms);
}

int kv_jump(struct kv *kv, enum role role, uint64_t deadline_ms)
{
    return command(kv, role, "NSJUMP", deadline_ms);
}

/* "name: value" lines */
static bool field(struct slice text, const char *name, struct slice *out)
{
    size_t n = strlen(name);

    while (text.len) {
        const uint8_t *nl = memchr(text.p, '\n', text.len);
        size_t len = nl ? (size_t)(nl - text.p) : text.len;
        if (len > n + 2 && memcmp(text.p, name, n) == 0 && text.p[n] == ':' &&
            text.p[n + 1] == ' ') {
            *out = slice_of(text.p + n + 2, len - n - 2);
            return true;
        }
        text = slice_of(text.p + len + (nl != NULL), text.len - len - (nl != NULL));
    }
    return false;
}

static uint64_t number(struct slice text, const char *name, uint64_t missing)
{
    struct slice v;
    uint64_t n;

    return field(text, name, &v) && parse_u64_slice(v, 0, UINT64_MAX, &n) == 0 ? n : missing;
}

static bool is(struct slice text, const char *name, const char *value)
{
    struct slice v;
    return field(text, name, &v) && slice_eq_str(v, value);
}

/* "0x" and the hexadecimal digits of the key as it is stored, without leading zeros (spec
 * zdbfs-format 1.2). */
static uint64_t next_key(struct slice text)
{
    struct slice v;
    uint64_t n = 0;

    if (!field(text, "next_internal_id", &v) || v.len < 3 || v.len > 18 || v.p[0] != '0' ||
        v.p[1] != 'x')
        return 0;
    for (size_t i = 2; i < v.len; i++) {
        const char *digits = "0123456789abcdef", *at = strchr(digits, v.p[i]);
        if (!v.p[i] || !at)
            return 0;
        n = n << 4 | (uint64_t)(at - digits);
    }
    return __builtin_bswap64(n);
}

void kv_parse_info(struct slice text, struct kv_info *out)
{
    uint64_t segment = number(text, "data_current_id", UINT64_MAX);
    *out = (struct kv_info){
        .segment_known = segment <= UINT32_MAX,
        .segment = (uint32_t)segment,
        .segment_bytes = number(text, "data_current_offset", 0),
        .entries = number(text, "entries", 0),
        .next_key = next_key(text),
        .data_bytes = number(text, "data_size_bytes", 0),
        .limit_bytes = number(text, "data_limits_bytes", 0),
        .free_bytes = MIN(number(text, "data_disk_freespace_bytes", UINT64_MAX),
                          number(text, "index_disk_freespace_bytes", UINT64_MAX)),
        .password = is(text, "password", "yes"),
        .is_public = is(text, "public", "yes"),
        .sequential = is(text, "mode", "sequential"),
    };
}

int kv_info(struct kv *kv, enum role role, uint64_t deadline_ms, struct kv_info *out)
{
    const struct slice argv[] = {slice_str("NSINFO"), slice_str(kv->conf->addr[role].ns)};
    redisReply *reply = NULL;

    int r = call_ok(kv, role, deadline_ms, 2, argv, &reply, NULL);
    if (r == 0) {
        kv_parse_info(zclient_bulk(reply), out);
        if (role != ROLE_TEMP)
            atomic_store(&kv->disk_low, out->free_bytes < DISK_LOW_BYTES);
    }
    kv_val_free_reply(reply);
    return r;
}

/* ---- overlay -------------------------------------------------------------------------------- */

static void overlay_put(struct kv *kv, uint64_t key, bool deleted, struct slice value)
{
    struct overlay *o = NULL, *fresh = xcalloc(1, sizeof *fresh + value.len);

    HASH_FIND(hh, kv->overlay, &key, sizeof key, o);
    if (o) {
        HASH_DEL(kv->overlay, o);
        free(o);
    }
    fresh->key = key;
    fresh->deleted = deleted;
    fresh->len = value.len;
    if (value.len)
        memcpy(fresh->value, value.p, value.len);
    HASH_ADD(hh, kv->overlay, key, sizeof fresh->key, fresh);
}

void kv_overlay_set(struct kv *kv, uint64_t key, struct slice value)
{
    overlay_put(kv, key, false, value);
}

void kv_overlay_del(struct kv *kv, uint64_t key)
{
    overlay_put(kv, key, true, slice_of(NULL, 0));
}

/* ---- opening -------------------------------------------------------------------------------- */

/* INFO has to say what keys are like; the first connection of each role, in order. */
static int connect_all(struct kv *kv, struct err *e)
{
    for (int role = 0; role < (kv->conf->only_meta ? 1 : ROLE_COUNT); role++) {
        struct conn c;
        int r =
            conn_get(kv->pool[role],
                     base_now_ms() + MIN(kv->conf->timeout_ms, (uint64_t)INFO_TIMEOUT_MS), &c, e);
        if (r < 0)
            return r;
        conn_put(kv->pool[role], &c, false);
    }
    return 0;
}

static int check_server(struct kv *kv, struct err *e)
{
    const struct slice info[] = {slice_str("INFO")}, sync[] = {slice_str("SYNC")};
    CLEANUP(free_reply) redisReply *reply = NULL, *answer = NULL;
    struct slice v;
    char where[256];

    conn_where(&kv->conf->addr[ROLE_META], where, sizeof where);
    uint64_t deadline = base_now_ms() + MIN(kv->conf->timeout_ms, (uint64_t)INFO_TIMEOUT_MS);
    int r = call(kv, ROLE_META, deadline, 1, info, &reply, NULL);
    if (r < 0)
        return err_sys(e, -r, "zdb %s: INFO", where);
    if (!field(zclient_bulk(reply), "sequential_key_size", &v) || !slice_eq_str(v, "8"))
        return err_set(
            e, EPROTO,
            "zdb %s: keys of 8 bytes are needed (INFO says no \"sequential_key_size: 8\")", where);
    if (kv->conf->read_only)
        return 0;
    r = call(kv, ROLE_META, deadline, 1, sync, &answer, NULL);
    if (r < 0)
        return err_sys(e, -r, "zdb %s: SYNC", where);
    kv->has_sync = !zclient_is_error(answer) || !strstr(answer->str, "not supported");
    if (!kv->has_sync)
        log_warn("zdb %s: has no SYNC command; fsync waits for zdb, but not for its disk", where);
    return 0;
}

int kv_open(struct kv **out, const struct kv_conf *conf, struct err *e)
{
    struct kv *kv = xcalloc(1, sizeof *kv);

    kv->conf = conf;
    for (int role = 0; role < ROLE_COUNT; role++)
        kv->pool[role] = conn_pool_new(&conf->addr[role], pool_max[role]);
    int r = connect_all(kv, e);
    if (r == 0)
        r = check_server(kv, e);
    if (r < 0) {
        kv_close(kv);
        return r;
    }
    *out = kv;
    return 0;
}

void kv_close(struct kv *kv)
{
    struct overlay *o, *next;

    if (!kv)
        return;
    for (int role = 0; role < ROLE_COUNT; role++)
        conn_pool_free(kv->pool[role]);
    HASH_ITER(hh, kv->overlay, o, next)
    {
        HASH_DEL(kv->overlay, o);
        free(o);
    }
    free(kv);
}
