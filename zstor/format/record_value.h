/* record_value - a metadata record on its way to and from the four metadata namespaces: sealed,
 * padded, cut in 2+2 shards, each with its index in front and its digest behind (spec zstor-format
 * 10, "Value").  No I/O; any thread. */
#ifndef ZSTOR_FORMAT_RECORD_VALUE_H
#define ZSTOR_FORMAT_RECORD_VALUE_H

#include "common/buf.h"
#include "zstor/format/crypt.h"

#define META_VALUE_MAX \
    ((size_t)8 * 1024 * 1024 - 1) /* bytes of one value; the original dies of more */

/* The four values of `plain`; out[i] are empty bufs before.  -EFBIG: too large. */
int meta_value_encode(const uint8_t key[ZSTOR_KEY_LEN], const uint8_t nonce[CRYPT_NONCE_LEN],
                      struct slice plain, struct buf out[ZSTOR_META_COPIES]);

/* Bytes from a backend: 0 and index and shard (borrowed from v), or -EBADMSG (short, index,
 * digest). */
int meta_value_parse(struct slice v, unsigned *index, struct slice *shard);

/* Plaintext from two shards with different indexes, appended to out.  -EBADMSG: not of the same
 * record, or not with this key. */
int meta_value_decode(const uint8_t key[ZSTOR_KEY_LEN], const unsigned index[2],
                      const struct slice shard[2], struct buf *out);

#endif
