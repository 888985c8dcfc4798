/* types - numbers and limits that all of zstor shares.  No state, no functions but inline
 * arithmetic. */
#ifndef ZSTOR_FORMAT_TYPES_H
#define ZSTOR_FORMAT_TYPES_H

#include "common/base.h"

#define ZSTOR_KEY_LEN      32  /* AES-256 */
#define ZSTOR_DIGEST_LEN   16  /* BLAKE2b-128, spec zstor-format 2 */
#define ZSTOR_INSTANCE_LEN 16  /* identity of one zstor and its state_dir, random */
#define ZSTOR_MAX_SHARDS   256 /* data + parity, the field has no more points */
#define ZSTOR_META_COPIES  4   /* metadata backends; spec section 10 */
#define ZSTOR_META_DATA    2   /* values that are enough to read a record */
/* Values that must be acknowledged before a metadata write counts.  3 of 4, because then (a) any
 * two values that are read later contain at least one of this write, and two values of an older
 * write can no longer be found in two different backends, so that whatever decodes is the newest;
 * (b) a nil from three backends proves that nothing acknowledged is there; (c) one more backend can
 * be lost at once and the record still decodes.  With 2 of 4 both (a) and (c) are gone; with 4 of
 * 4, as the original has it, one dead backend stops every store.  With two a store goes on, but is
 * not done: its job stays queued until a third has the record. */
#define ZSTOR_META_WRITE_QUORUM  3
#define ZSTOR_META_LIARS         2 /* metadata backends that may lie at the same time */
#define ZSTOR_META_ABSENT_QUORUM 3 /* nils (and no valid value) that mean "not there" */

#define ZSTOR_MAX_VALUE ((size_t)2 * 1024 * 1024) /* bytes of one shard value that we write */
#define ZSTOR_MAX_REPLY \
    ((size_t)8 * 1024 * 1024 + 4096) /* what a 0-db can hold in one value, and its header */

/* Geometry of one object: data shards (k) and parity shards (m). */
struct geometry {
    unsigned data, parity;
};

static inline unsigned geometry_total(struct geometry g)
{
    return g.data + g.parity;
}

/* spec section 5: 1 <= data <= 255, parity >= 1, sum <= 256 */
static inline bool geometry_valid(uint64_t data, uint64_t parity)
{
    return data >= 1 && data <= 255 && parity >= 1 && parity <= 255 &&
           data + parity <= ZSTOR_MAX_SHARDS;
}

/* spec section 5: padding is 1..data bytes, never none */
static inline uint64_t geometry_shard_len(struct geometry g, uint64_t blob_len)
{
    return blob_len / g.data + 1;
}

#endif
