/* replay - what a mount finds in the temp namespace: unfinished redo records, reserved keys,
 * orphans. */
#ifndef ZDBFS_TXN_REPLAY_H
#define ZDBFS_TXN_REPLAY_H

#include "zdbfs/store/kv.h"
#include "zdbfs/format/redo.h"

struct key_set {
    uint64_t *key;
    size_t n, cap;
};

void replay_key_add(struct key_set *s, uint64_t key);

struct replay_record {
    uint64_t seq;
    struct buf stream;
};

struct replay {
    struct replay_record *rec; /* to be carried out, in order */
    size_t n;
    struct key_set reserved; /* meta keys of notes */
    uint64_t max_seq;        /* of any record */
    size_t keys;             /* in the namespace, without the header */
};

int replay_read(struct replay *out, struct kv *kv, uint64_t generation, struct err *e);
void replay_fini(struct replay *rp);
void replay_drop(struct replay *rp); /* its records; the reserved keys stay */
/* What its records come to, as a stream (txn/fold). */
int replay_fold(struct kv *kv, const struct replay *rp, struct buf *out);
int replay_overlay(struct kv *kv, const struct replay *rp);
/* Delete reserved keys whose value says that nobody used them. */
int replay_give_back(struct kv *kv, const struct replay *rp, uint64_t deadline_ms);
/* Delete the inodes that had no name at the last commit, with their blocks and lists. */
int replay_delete_orphan(struct kv *kv, uint64_t ino, uint64_t deadline_ms);
int replay_orphans(struct kv *kv, const struct replay *rp, uint64_t deadline_ms);

#endif
