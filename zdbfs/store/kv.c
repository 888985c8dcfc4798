/* kv - see store/kv.h: connections, single requests, what may be written, the overlay. */
#include "zdbfs/store/kv_impl.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "common/log.h"
#include "zdbfs/store/info_text.h"

enum {
    INFO_TIMEOUT_MS = 10000,
};

struct overlay {
    uint64_t key;
    bool deleted;
    size_t len;
    UT_hash_handle hh;
    uint8_t value[];
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

void kv_reply_free(redisReply **r)
{
    kv_val_free_reply(*r);
}

/* ---- what replies mean ---------------------------------------------------------------------- */

bool kv_reply_starts(const redisReply *r, const char *text)
{
    size_t n = strlen(text);
    return r->len >= n && memcmp(r->str, text, n) == 0;
}

/* An error reply as a code; -EAGAIN: try again a little later. */
int kv_refusal(struct kv *kv, enum role role, const redisReply *r)
{
    if (kv_reply_starts(r, "No space left") || kv_reply_starts(r, "Namespace definitely full"))
        return -ENOSPC;
    if (kv_reply_starts(r, "Namespace is temporarily"))
        return -EAGAIN;
    if (kv_reply_starts(r, "Namespace is in read-only"))
        return -EROFS;
    if (kv_reply_starts(r, "Invalid key, only update"))
        return -ENOENT;
    int code = kv_reply_starts(r, "Cannot ") && atomic_load(&kv->disk_low) ? -ENOSPC : -EIO;
    unsigned n = atomic_fetch_add(&kv->complaints, 1);
    if (n < 20 || n % 1000 == 0)
        log_error("zdb %s: %.*s", kv->conf->addr[role].ns, (int)MIN(r->len, (size_t)200), r->str);
    return code;
}

int kv_read_key(const redisReply *r, uint64_t *key)
{
    struct slice s = zclient_bulk(r);

    if (r->type != REDIS_REPLY_STRING || s.len != 8)
        return -EIO;
    *key = le64_get(s.p);
    return 0;
}

void kv_key_bytes(uint64_t key, uint8_t out[8])
{
    le64_put(out, key);
}

/* ---- requests ------------------------------------------------------------------------------- */

/* Next reply of c within the time.  -errno: the connection is of no use any more. */
int kv_next_reply(struct zclient *c, uint64_t deadline_ms, redisReply **out, struct err *e)
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
int kv_try_again(int r, uint64_t deadline_ms)
{
    return r == -ETIMEDOUT || base_now_ms() >= deadline_ms ? -EIO : 0;
}

/* epoch: of the connection that answered; may be NULL. */
int kv_call(struct kv *kv, enum role role, uint64_t deadline_ms, unsigned argc,
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
            r = kv_next_reply(c.c, deadline_ms, &reply, &e);
        if (r == 0 && c.epoch != conn_epoch(kv->pool[role])) {
            freeReplyObject(reply);
            r = -ECONNRESET; /* of a server that has ended since */
        }
        if (epoch)
            *epoch = c.epoch;
        conn_put(kv->pool[role], &c, r < 0);
        if (r < 0) {
            r = kv_try_again(r, deadline_ms);
            if (r < 0)
                return r;
            continue;
        }
        *out = reply;
        return 0;
    }
}

/* kv_call(), and again while the namespace is locked; error replies become codes. */
int kv_call_ok(struct kv *kv, enum role role, uint64_t deadline_ms, unsigned argc,
               const struct slice *argv, redisReply **out, uint64_t *epoch)
{
    for (;;) {
        redisReply *reply = NULL;
        int r = kv_call(kv, role, deadline_ms, argc, argv, &reply, epoch);
        if (r < 0)
            return r;
        if (!zclient_is_error(reply)) {
            *out = reply;
            return 0;
        }
        r = kv_refusal(kv, role, reply);
        freeReplyObject(reply);
        if (r != -EAGAIN)
            return r;
        if (base_now_ms() + KV_LOCKED_RETRY_MS >= deadline_ms)
            return -EIO;
        usleep(KV_LOCKED_RETRY_MS * 1000);
    }
}

/* ---- who may write ----------------------------------------------------------------------------
 */

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

int kv_may_write(struct kv *kv, uint64_t deadline_ms)
{
    if (kv->conf->read_only || kv_lost(kv))
        return -EROFS;
    return kv->fence ? kv->fence(kv->fence_arg, deadline_ms) : 0;
}

/* ---- stable storage -------------------------------------------------------------------------- */

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
    int r = kv_call_ok(kv, role, deadline_ms, 1, argv, &reply, epoch);
    kv_val_free_reply(reply);
    return r;
}

int kv_sync_since(struct kv *kv, enum role role, uint64_t since, uint64_t deadline_ms)
{
    uint64_t epoch = 0;

    int r = kv_sync(kv, role, deadline_ms, &epoch);
    return r < 0 ? r : epoch == since ? 0 : -ESTALE;
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

bool kv_from_overlay(struct kv *kv, enum role role, uint64_t key, struct kv_val *out)
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
    CLEANUP(kv_reply_free) redisReply *reply = NULL, *answer = NULL;
    struct slice v;
    char where[256];

    conn_where(&kv->conf->addr[ROLE_META], where, sizeof where);
    uint64_t deadline = base_now_ms() + MIN(kv->conf->timeout_ms, (uint64_t)INFO_TIMEOUT_MS);
    int r = kv_call(kv, ROLE_META, deadline, 1, info, &reply, NULL);
    if (r < 0)
        return err_sys(e, -r, "zdb %s: INFO", where);
    if (!info_text_field(zclient_bulk(reply), "sequential_key_size", &v) || !slice_eq_str(v, "8"))
        return err_set(
            e, EPROTO,
            "zdb %s: keys of 8 bytes are needed (INFO says no \"sequential_key_size: 8\")", where);
    if (kv->conf->read_only)
        return 0;
    r = kv_call(kv, ROLE_META, deadline, 1, sync, &answer, NULL);
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
