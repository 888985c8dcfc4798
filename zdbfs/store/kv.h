/* kv - the three namespaces of a volume as typed stores.  Any thread.  Every call has a deadline
 * (base_now_ms clock) and is done or has failed when that has passed; lost connections are replaced
 * and what had no answer is asked again, so a request may be carried out twice: keys are written
 * whole, an insert that is repeated leaves one unused key behind. Errors: -ENOSPC namespace or disk
 * full, -EROFS, -EACCES, -ETIMEDOUT, -EIO. */
#ifndef ZDBFS_STORE_KV_H
#define ZDBFS_STORE_KV_H

#include "zdbfs/store/connection.h"
#include "zdbfs/format/head.h"

struct kv_conf {
    struct conn_addr addr[ROLE_COUNT];
    uint64_t timeout_ms; /* of one request; kv_deadline() */
    bool read_only;      /* nothing is ever written: writing calls are -EROFS */
    bool only_meta;      /* the other namespaces are not asked, and may not be there */
};

struct kv;

/* Connects to all three, checks INFO, looks for SYNC.  conf is borrowed until kv_close. */
int kv_open(struct kv **out, const struct kv_conf *conf, struct err *e);
void kv_close(struct kv *kv);
uint64_t kv_deadline(const struct kv *kv); /* now + timeout */
bool kv_has_sync(const struct kv *kv);
bool kv_up(const struct kv *kv);
bool kv_read_only(const struct kv *kv);

struct kv_val {
    bool found;
    struct slice v; /* into reply */
    void *reply;
};

void kv_val_fini(struct kv_val *v);
void kv_val_free_reply(void *reply); /* for who keeps the reply longer */

int kv_get(struct kv *kv, enum role role, uint64_t key, uint64_t deadline_ms,
           struct kv_val *out); /* 0; absence is found = false */
/* All or nothing.  Pipelined in one connection. */
int kv_get_many(struct kv *kv, enum role role, const uint64_t *keys, size_t n, uint64_t deadline_ms,
                struct kv_val *out);

/* Lengths of values without fetching them; UINT64_MAX: no such key. */
int kv_len_many(struct kv *kv, enum role role, const uint64_t *keys, size_t n, uint64_t deadline_ms,
                uint64_t *out);

enum kv_op { KV_INSERT, KV_SET, KV_DEL, KV_SYNC /* where kv_has_sync */ };

struct kv_req {
    enum kv_op op;
    uint64_t key;        /* KV_INSERT: filled in */
    struct slice value;  /* borrowed until the call returns */
    uint64_t only_epoch; /* 0: any; else -ESTALE when the server has become another one */
    int result;     /* 0; -ENOENT: KV_SET of a key that is not there; DEL of an absent key is 0 */
    uint64_t epoch; /* of the server that answered */
};

/* Pipelined, in order.  0, or the first failure; each request has its own result (-ECANCELED: not
 * known to be done). */
int kv_write(struct kv *kv, enum role role, struct kv_req *reqs, size_t n, uint64_t deadline_ms);
int kv_insert(struct kv *kv, enum role role, struct slice value, uint64_t deadline_ms,
              uint64_t *key);
int kv_set(struct kv *kv, enum role role, uint64_t key, struct slice value, uint64_t deadline_ms);

/* Asked before anything is written, and before it is sent again: 0, or why it may not be (lease).
 * NULL: always allowed.  Before other threads run. */
typedef int kv_fence_fn(void *arg, uint64_t deadline_ms);
void kv_fence(struct kv *kv, kv_fence_fn *fn, void *arg);
/* The header of the meta namespace; for who stands behind the fence. */
int kv_set_head(struct kv *kv, struct slice value, uint64_t deadline_ms);
/* The volume belongs to somebody else now: from here on every write is -EROFS. */
void kv_lose(struct kv *kv);
bool kv_lost(const struct kv *kv);

/* Epochs (store/connection.h) tell what is on stable storage: what was acknowledged in an epoch is
 * there after a SYNC of the same epoch, and may be lost after one of a later epoch.  A caller notes
 * kv_epoch before its writes and calls kv_sync_since with it: 0 means that all of them are there,
 * -ESTALE that they have to be made again. */
uint64_t kv_epoch(struct kv *kv, enum role role);
/* Without SYNC in zdb only its answer is waited for. */
int kv_sync(struct kv *kv, enum role role, uint64_t deadline_ms, uint64_t *epoch);
int kv_sync_since(struct kv *kv, enum role role, uint64_t since, uint64_t deadline_ms);

/* fn for each key of the namespace, in order; stops when fn does not return 0 and returns that. */
typedef int kv_scan_fn(uint64_t key, uint64_t len, void *arg);
int kv_scan(struct kv *kv, enum role role, uint64_t deadline_ms, kv_scan_fn *fn, void *arg);
/* The same from the newest to the oldest; 1 when fn ended it. */
int kv_rscan(struct kv *kv, enum role role, uint64_t deadline_ms, kv_scan_fn *fn, void *arg);
int kv_flush(struct kv *kv, enum role role, uint64_t deadline_ms); /* FLUSH: every key is gone, ids
                                                                      start at 0.
                                                                      -EPERM: refused */

/* NSJUMP: what comes next is in a new segment.  -EPERM: refused. */
int kv_jump(struct kv *kv, enum role role, uint64_t deadline_ms);

enum { KV_EMPTY_SEGMENT = 28 }; /* bytes of one without records */

struct kv_info {                               /* NSINFO */
    uint64_t entries, data_bytes, limit_bytes; /* limit 0: none */
    uint64_t next_key;   /* of sequential namespaces; 0 when it does not say */
    uint64_t free_bytes; /* on the server's disk; UINT64_MAX when it does not say */
    bool segment_known;  /* only admins are told */
    uint32_t segment;    /* the one that is written to */
    uint64_t segment_bytes;
    bool password, is_public, sequential;
};

int kv_info(struct kv *kv, enum role role, uint64_t deadline_ms, struct kv_info *out);
void kv_parse_info(struct slice text, struct kv_info *out);

/* Read-only mounts of a volume with an unfinished journal: meta keys as they will be.  Before other
 * threads run. */
void kv_overlay_set(struct kv *kv, uint64_t key, struct slice value);
void kv_overlay_del(struct kv *kv, uint64_t key);

#endif
