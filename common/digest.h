/* digest - BLAKE2b with a 16-byte digest (RFC 7693, digest length in the parameter block; = b2sum
 * -l 128) over libsodium, and SHA-1 (zdb's SECURE challenge only) over OpenSSL. */
#ifndef COMMON_DIGEST_H
#define COMMON_DIGEST_H

#include "common/bytes.h"
#include <sodium.h>
#include <stdatomic.h>

#define DIGEST_LEN 16

struct digest { /* embedded, no heap, any alignment, may be copied; private */
    uint8_t st[sizeof(crypto_generichash_state)];
};

void digest_init(struct digest *d);
void digest_update(struct digest *d, const void *p, size_t n);
void digest_final(struct digest *d, uint8_t out[DIGEST_LEN]);
void digest_of(struct slice s, uint8_t out[DIGEST_LEN]);
/* From where fd stands to the end.  0, -errno, or -ECANCELED when *stop (may be NULL) is set. */
int digest_fd(int fd, const atomic_bool *stop, uint8_t out[DIGEST_LEN]);
void digest_sha1_hex(struct slice s, char out[41]); /* lower case and a NUL */
int digest_random(void *p, size_t n);               /* cryptographic random bytes; 0 or -EIO */

#endif
