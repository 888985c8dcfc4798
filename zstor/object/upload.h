/* upload - shards to backends: computes them window by window from data-many sources, hashes them,
 * cuts them in values, and writes all of them in parallel from the calling thread; then SYNC, so
 * that a shard that is done is on stable storage (a server that does not know SYNC is taken as it
 * is).  A backend that is far behind the others, when those are enough to read the object, is given
 * up: its shard fails.  Spec zstor-format 5 to 7.
 *
 * Values are at most ZSTOR_MAX_VALUE bytes, less when there are many shards, so that two windows of
 * all of them (one on the wire, one in the making) stay below UPLOAD_MEMORY. */
#ifndef ZSTOR_OBJECT_UPLOAD_H
#define ZSTOR_OBJECT_UPLOAD_H

#include "common/err.h"
#include "zstor/backend/progress.h"
#include "zstor/format/record.h"
#include "zstor/backend/pool.h"

#define UPLOAD_MEMORY ((size_t)32 * 1024 * 1024)

struct upload_source {
    struct geometry geo;
    uint64_t shard_len;
    const unsigned *have; /* geo.data different shard indexes; NULL: the data shards */
    /* Bytes [off, off+n) of shard have[j]; 0 or -errno */
    int (*read)(void *arg, unsigned j, uint64_t off, uint8_t *p, size_t n);
    void *arg;
};

struct upload_target {
    unsigned index;                   /* shard */
    const struct backend_addr *addr;  /* NULL: only the digest is wanted */
    uint8_t digest[ZSTOR_DIGEST_LEN]; /* out */
    struct meta_key *keys; /* out, given (free), also when rc < 0: values that were written */
    size_t nkeys;
    uint64_t born; /* out: when the last one was written, by the backend's clock; 0: it does not
                      tell */
    int rc;        /* out: 0 stored, or -errno of this shard; -EHOSTDOWN etc. */
};

/* 0: every target has its digest, and its rc tells the rest; or -errno of the source, -ECANCELED
 * (rc of targets: also set). base: bytes of progress already told, total likewise. */
int upload_run(struct pool *p, const struct upload_source *src, struct upload_target *t,
               unsigned nt, const struct object_ctl *ctl, uint64_t base, uint64_t total);

/* How many values a shard of this length is cut into when nt shards are written. */
uint64_t upload_values(struct geometry geo, unsigned nt, uint64_t shard_len);

#endif
