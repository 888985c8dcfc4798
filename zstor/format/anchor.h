/* anchor - where the parts of the metadata log are: one small sealed value at every data backend
 * (docs/zstor-metadata-log.md). Bytes in, struct out and back; no I/O.
 *
 *   0  "QZA\1"   magic
 *   4  u16 version (1), u16 0
 *   8  u32 n     bytes of the blob
 *  12  blob      nonce || AES-256-GCM(body) || tag, with the top-level key
 * 12+n b2 over bytes 0..12+n
 * body: u16 length, prefix | 16 bytes volume | 16 bytes instance | u64 epoch | u64 sequence | u64
 * time (unix ns) | u32 parts, each u8 whole | u64 sequence | u64 records | u16 length, metadata key
 * | u32 length, record */
#ifndef ZSTOR_FORMAT_ANCHOR_H
#define ZSTOR_FORMAT_ANCHOR_H

#include "common/buf.h"
#include "zstor/format/crypt.h"

#define ANCHOR_MAX_PARTS 64u
#define ANCHOR_MAX       ((size_t)1024 * 1024) /* bytes of one, sealed */

struct anchor_part {
    bool whole;        /* has all records; those before it are of no use */
    uint64_t sequence; /* part of its name */
    uint64_t records;  /* in it */
    char *key;         /* metadata key, owned */
    struct buf record; /* encoded; wiped with the anchor */
};

struct anchor {
    uint8_t volume[ZSTOR_INSTANCE_LEN], instance[ZSTOR_INSTANCE_LEN];
    uint64_t epoch, sequence, time_ns;
    size_t n; /* parts, oldest first; the first one is whole */
    struct anchor_part part[ANCHOR_MAX_PARTS];
};

void anchor_fini(struct anchor *a); /* a is then empty */
/* Does a come after b? */
bool anchor_newer(const struct anchor *a, const struct anchor *b);
/* -EFBIG. */
int anchor_seal(const struct anchor *a, const char *prefix, const uint8_t key[ZSTOR_KEY_LEN],
                const uint8_t nonce[CRYPT_NONCE_LEN], struct buf *out);
bool anchor_is_one(struct slice bytes); /* intact, of whatever key */
/* -EBADMSG: none, or damaged; -EKEYREJECTED: of another key; -ESRCH: of another prefix.  *out is
 * empty then. */
int anchor_open(struct slice bytes, const char *prefix, const uint8_t key[ZSTOR_KEY_LEN],
                struct anchor *out);

#endif
