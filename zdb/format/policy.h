/* policy - bytes of the policy of a namespace, `zdb-policy` in its index directory (ours; the
 * original does not look at it): may a segment go whose records are dead?  No file: keep.
 *
 * 0 "ZPL1" | 4 u32 version = 1 | 8 u8 kind, 0 keep, 1 reclaim | 9 u8 percent | 10 u16 0 |
 * 12 u32 crc0 of the 12 bytes before.  Little-endian. */
#ifndef ZDB_FORMAT_POLICY_H
#define ZDB_FORMAT_POLICY_H

#include "common/bytes.h"

#define POLICY_FILE "zdb-policy"
#define POLICY_SIZE 16

struct policy {
    bool reclaim;    /* else every value that was ever set stays: the original's promise */
    uint8_t percent; /* 1..99: a segment is cleaned when less of it than this is live; keep: 0 */
};

void policy_encode(uint8_t out[POLICY_SIZE], const struct policy *p);
/* 0, -ENODATA (too short), -EPROTONOSUPPORT (version or kind), -EBADMSG (magic, sum, percent). */
int policy_decode(struct slice in, struct policy *out);

#endif
