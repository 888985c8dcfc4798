/* decode - blob to file: AES-256-GCM, snappy frames, BLAKE2b-128 of the content, in one pass (spec
 * zstor-format 1 to 4). The output gets bytes before the tag is verified, so the caller must not
 * publish it before decode_blob returned 0. */
#ifndef ZSTOR_OBJECT_DECODE_H
#define ZSTOR_OBJECT_DECODE_H

#include "common/err.h"
#include "zstor/format/crypt.h"
#include "zstor/backend/progress.h"

/* Bytes [off, off+n) of the blob; 0 or -errno. */
typedef int decode_read_fn(void *arg, uint64_t off, uint8_t *p, size_t n);

struct decode_result {
    uint8_t checksum[ZSTOR_DIGEST_LEN]; /* of what was written */
    uint64_t size;
};

/* Writes to fd from its position.  -EBADMSG: the tag or the stream is wrong; -errno of read and
 * write; -ECANCELED. */
int decode_blob(decode_read_fn *read, void *arg, uint64_t blob_len,
                const uint8_t key[ZSTOR_KEY_LEN], int fd, const struct object_ctl *ctl,
                struct decode_result *res);

#endif
