/* crypt - AES-256-GCM with a 96-bit nonce and a 128-bit tag, no associated data, over OpenSSL (NIST
 * SP 800-38D, spec zstor-format 4).  Blob: nonce(12) || ciphertext || tag(16).  One object belongs
 * to one thread. */
#ifndef ZSTOR_FORMAT_CRYPT_H
#define ZSTOR_FORMAT_CRYPT_H

#include "common/buf.h"
#include "zstor/format/types.h"

#define CRYPT_NONCE_LEN 12
#define CRYPT_TAG_LEN   16
#define CRYPT_OVERHEAD  (CRYPT_NONCE_LEN + CRYPT_TAG_LEN)
#define CRYPT_MAX_PLAIN (((uint64_t)1 << 36) - 32) /* of one message, by the standard */

struct crypt; /* one running message */

int crypt_new(struct crypt **out, bool encrypt, const uint8_t key[ZSTOR_KEY_LEN],
              const uint8_t nonce[CRYPT_NONCE_LEN]);
void crypt_free(struct crypt *c);
/* In place.  Decrypted bytes must not leave the process before crypt_verify said yes.  -EFBIG past
 * CRYPT_MAX_PLAIN. */
int crypt_update(struct crypt *c, uint8_t *p, size_t n);
int crypt_tag(struct crypt *c, uint8_t tag[CRYPT_TAG_LEN]);          /* end of encryption */
int crypt_verify(struct crypt *c, const uint8_t tag[CRYPT_TAG_LEN]); /* end of decryption: 0 or
                                                                        -EBADMSG */

/* Whole small messages.  seal appends a blob to out; open appends the plaintext: -EBADMSG (also
 * when too short), out untouched. */
int crypt_seal(const uint8_t key[ZSTOR_KEY_LEN], const uint8_t nonce[CRYPT_NONCE_LEN],
               struct slice plain, struct buf *out);
int crypt_open(const uint8_t key[ZSTOR_KEY_LEN], struct slice blob, struct buf *out);

#endif
