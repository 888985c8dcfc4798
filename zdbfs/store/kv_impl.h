/* kv_impl - what the files of kv share: kv.c asks and opens, values.c reads, writes.c writes,
 * namespaces.c does what concerns whole namespaces. */
#ifndef ZDBFS_STORE_KV_IMPL_H
#define ZDBFS_STORE_KV_IMPL_H

#include "zdbfs/store/kv.h"

#include <stdatomic.h>

enum {
    KV_WINDOW_REQS = 128,     /* requests under way on one connection */
    KV_LOCKED_RETRY_MS = 100, /* a locked namespace: spec zdbfs-behaviour 7 */
};

struct overlay;

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

void kv_reply_free(redisReply **r); /* CLEANUP */
bool kv_reply_starts(const redisReply *r, const char *text);
/* An error reply as a code; -EAGAIN: try again a little later. */
int kv_refusal(struct kv *kv, enum role role, const redisReply *r);
int kv_read_key(const redisReply *r, uint64_t *key);
void kv_key_bytes(uint64_t key, uint8_t out[8]);
/* Next reply of c within the time.  -errno: the connection is of no use any more. */
int kv_next_reply(struct zclient *c, uint64_t deadline_ms, redisReply **out, struct err *e);
/* After a failure of a connection: may the rest be asked again? */
int kv_try_again(int r, uint64_t deadline_ms);
/* One request.  epoch: of the connection that answered; may be NULL. */
int kv_call(struct kv *kv, enum role role, uint64_t deadline_ms, unsigned argc,
            const struct slice *argv, redisReply **out, uint64_t *epoch);
/* And again while the namespace is locked; error replies become codes. */
int kv_call_ok(struct kv *kv, enum role role, uint64_t deadline_ms, unsigned argc,
               const struct slice *argv, redisReply **out, uint64_t *epoch);
/* 0, or why nothing may be written (read-only, lost, fence). */
int kv_may_write(struct kv *kv, uint64_t deadline_ms);
bool kv_from_overlay(struct kv *kv, enum role role, uint64_t key, struct kv_val *out);

#endif
