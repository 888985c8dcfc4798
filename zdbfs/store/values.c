/* values - reading of kv: see store/kv.h. */
#include "zdbfs/store/kv_impl.h"

#include <errno.h>
#include <unistd.h>

static int get_result(struct kv *kv, enum role role, redisReply *r, struct kv_val *out)
{
    if (zclient_is_error(r)) {
        int code = kv_refusal(kv, role, r);
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
        for (; asked < n && asked - *from < KV_WINDOW_REQS; asked++) {
            uint8_t key[8];
            kv_key_bytes(keys[asked], key);
            const struct slice argv[] = {slice_str("GET"), slice_of(key, 8)};
            int r = zclient_push(c, 2, argv); /* short arguments are copied */
            if (r < 0)
                return r;
        }
        redisReply *reply = NULL;
        int r = kv_next_reply(c, deadline_ms, &reply, NULL);
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
            r = base_now_ms() + KV_LOCKED_RETRY_MS >= deadline_ms ? -EIO : 0;
            usleep(KV_LOCKED_RETRY_MS * 1000);
        } else if (r < 0) {
            r = kv_try_again(r, deadline_ms);
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
    if (kv_from_overlay(kv, role, key, out))
        return 0;
    kv_key_bytes(key, k);
    int r = kv_call_ok(kv, role, deadline_ms, 2, argv, &reply, NULL);
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
        kv_key_bytes(keys[i], key);
        const struct slice argv[] = {slice_str("LENGTH"), slice_of(key, 8)};
        int r = zclient_push(c, 2, argv);
        if (r < 0)
            return r;
    }
    for (size_t i = 0; i < n; i++) {
        CLEANUP(kv_reply_free) redisReply *reply = NULL;
        int r = kv_next_reply(c, deadline_ms, &reply, NULL);
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
        size_t part = MIN(n - done, (size_t)KV_WINDOW_REQS);
        struct conn c;
        int r = conn_get(kv->pool[role], deadline_ms, &c, NULL);
        if (r == 0) {
            r = lengths_once(c.c, keys + done, part, deadline_ms, out + done);
            conn_put(kv->pool[role], &c, r < 0);
        }
        if (r < 0 && (r == -EBADMSG || kv_try_again(r, deadline_ms) < 0))
            return -EIO;
        if (r == 0)
            done += part;
    }
    return 0;
}
