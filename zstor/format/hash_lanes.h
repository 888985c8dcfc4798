/* hash_lanes - BLAKE2b-128 of several shards that grow at the same pace, one digest each (spec
 * zstor-format 2). */
#ifndef ZSTOR_FORMAT_HASH_LANES_H
#define ZSTOR_FORMAT_HASH_LANES_H

#include "common/bytes.h"
#include "zstor/format/types.h"

struct shardsum;

struct shardsum *shardsum_new(unsigned n); /* 1..ZSTOR_MAX_SHARDS streams */
void shardsum_free(struct shardsum *s);
void shardsum_update(struct shardsum *s, const uint8_t *const *p, size_t len); /* p[i]: next len
                                                                                  bytes of stream i
                                                                                */
void shardsum_final(struct shardsum *s, unsigned i, uint8_t out[ZSTOR_DIGEST_LEN]); /* no update
                                                                                       afterwards */

#endif
