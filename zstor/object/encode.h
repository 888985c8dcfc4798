/* encode - file to blob: BLAKE2b-128 of the content, snappy frames, AES-256-GCM, into a spool, in
 * one pass over the file (spec zstor-format 1 to 4).  Memory: one batch.  Thread: the caller's. */
#ifndef ZSTOR_OBJECT_ENCODE_H
#define ZSTOR_OBJECT_ENCODE_H

#include "common/err.h"
#include "zstor/format/crypt.h"
#include "zstor/backend/progress.h"

struct spool;

struct encode_result {
    uint8_t checksum[ZSTOR_DIGEST_LEN]; /* of the file */
    uint64_t size;                      /* of the file */
};

/* Reads fd from its position to its end.  expect: its size by fstat, for progress only.  The blob
 * is appended to out. -errno of read and spool, -EFBIG past the cipher's limit, -ECANCELED. */
int encode_file(int fd, uint64_t expect, const uint8_t key[ZSTOR_KEY_LEN],
                const uint8_t nonce[CRYPT_NONCE_LEN], struct spool *out,
                const struct object_ctl *ctl, struct encode_result *res);

#endif
