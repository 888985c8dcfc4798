/* crypt - see format/crypt.h. */
#include "zstor/format/crypt.h"

#include <errno.h>
#include <limits.h>
#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>

struct crypt {
    EVP_CIPHER_CTX *ctx;
    bool encrypt;
    uint64_t done;
};

int crypt_new(struct crypt **out, bool encrypt, const uint8_t key[ZSTOR_KEY_LEN],
              const uint8_t nonce[CRYPT_NONCE_LEN])
{
    struct crypt *c = xcalloc(1, sizeof *c);

    c->encrypt = encrypt;
    c->ctx = EVP_CIPHER_CTX_new();
    if (!c->ctx || EVP_CipherInit_ex(c->ctx, EVP_aes_256_gcm(), NULL, key, nonce, encrypt) != 1) {
        crypt_free(c);
        return -ENOMEM; /* the cipher is part of every OpenSSL 3; only memory can be missing */
    }
    *out = c;
    return 0;
}

void crypt_free(struct crypt *c)
{
    if (!c)
        return;
    EVP_CIPHER_CTX_free(c->ctx); /* wipes the key schedule */
    free(c);
}

int crypt_update(struct crypt *c, uint8_t *p, size_t n)
{
    if (n > CRYPT_MAX_PLAIN - c->done)
        return -EFBIG;
    c->done += n;
    while (n) {
        int part = (int)MIN(n, (size_t)1 << 30), got = 0;
        if (EVP_CipherUpdate(c->ctx, p, &got, p, part) != 1 || got != part)
            return -EIO;
        p += part;
        n -= (size_t)part;
    }
    return 0;
}

int crypt_tag(struct crypt *c, uint8_t tag[CRYPT_TAG_LEN])
{
    uint8_t none[16];
    int got = 0;

    if (EVP_CipherFinal_ex(c->ctx, none, &got) != 1 ||
        EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_GET_TAG, CRYPT_TAG_LEN, tag) != 1)
        return -EIO;
    return 0;
}

int crypt_verify(struct crypt *c, const uint8_t tag[CRYPT_TAG_LEN])
{
    uint8_t copy[CRYPT_TAG_LEN], none[16];
    int got = 0;

    memcpy(copy, tag, sizeof copy);
    if (EVP_CIPHER_CTX_ctrl(c->ctx, EVP_CTRL_AEAD_SET_TAG, CRYPT_TAG_LEN, copy) != 1)
        return -EIO;
    return EVP_CipherFinal_ex(c->ctx, none, &got) == 1 ? 0 : -EBADMSG;
}

int crypt_seal(const uint8_t key[ZSTOR_KEY_LEN], const uint8_t nonce[CRYPT_NONCE_LEN],
               struct slice plain, struct buf *out)
{
    struct crypt *c = NULL;
    uint8_t *to = buf_reserve(out, plain.len + CRYPT_OVERHEAD);
    int r;

    if (!to)
        return -ENOMEM;
    memcpy(to, nonce, CRYPT_NONCE_LEN);
    if (plain.len)
        memcpy(to + CRYPT_NONCE_LEN, plain.p, plain.len);
    r = crypt_new(&c, true, key, nonce);
    if (r == 0)
        r = crypt_update(c, to + CRYPT_NONCE_LEN, plain.len);
    if (r == 0)
        r = crypt_tag(c, to + CRYPT_NONCE_LEN + plain.len);
    if (r == 0)
        buf_commit(out, plain.len + CRYPT_OVERHEAD);
    crypt_free(c);
    return r;
}

int crypt_open(const uint8_t key[ZSTOR_KEY_LEN], struct slice blob, struct buf *out)
{
    struct crypt *c = NULL;
    size_t n;
    uint8_t *to;
    int r;

    if (blob.len < CRYPT_OVERHEAD)
        return -EBADMSG;
    n = blob.len - CRYPT_OVERHEAD;
    to = buf_reserve(out, MAX(n, (size_t)1));
    if (!to)
        return -ENOMEM;
    if (n)
        memcpy(to, blob.p + CRYPT_NONCE_LEN, n);
    r = crypt_new(&c, false, key, blob.p);
    if (r == 0)
        r = crypt_update(c, to, n);
    if (r == 0)
        r = crypt_verify(c, blob.p + CRYPT_NONCE_LEN + n);
    if (r == 0)
        buf_commit(out, n);
    else
        sodium_memzero(to, n);
    crypt_free(c);
    return r;
}
