/* zreply - hiredis' reply reader with limits that hold against a hostile server: no reply longer
 * than max bytes, no allocation for elements that could not fit in max bytes, no line without end.
 * No I/O.  Part of zclient; apart so that it can be tested and fuzzed with bytes. */
#ifndef COMMON_ZREPLY_H
#define COMMON_ZREPLY_H

#include "common/bytes.h"
#include <hiredis/hiredis.h>

#define ZREPLY_MAX_LINE 65536 /* of a header, status, error or integer */

struct zreply { /* embedded; must not move while in use */
    redisReader *r;
    redisReplyObjectFunctions fn; /* hiredis' own, behind ours */
    size_t max, keep;
    size_t used, promised; /* of the reply in progress: least bytes of what is built; elements still
                              to come */
    bool too_big;
};

/* max: bytes of one reply; keep: an empty buffer larger than this is given back.  0 or -ENOMEM. */
int zreply_init(struct zreply *z, size_t max, size_t keep);
void zreply_fini(struct zreply *z);

/* Room for n received bytes (NULL: out of memory), then how many there were. */
uint8_t *zreply_reserve(struct zreply *z, size_t n);
void zreply_commit(struct zreply *z, size_t n);
/* 1: *out is a whole reply, given (freeReplyObject).  0: more bytes are needed.  -EPROTO,
 * -EMSGSIZE, -ENOMEM: unusable. */
int zreply_next(struct zreply *z, redisReply **out);
size_t zreply_want(const struct zreply *z); /* bytes that are missing at the least, 0 when not known
                                             */
size_t zreply_left(const struct zreply *z); /* received bytes that no reply has taken yet */

#endif
