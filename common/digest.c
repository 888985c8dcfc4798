/* digest - see digest.h.  libsodium wants its state aligned to 64 bytes; an owner on the heap may
 * have less, so the state is kept as bytes and worked on in an aligned copy (384 bytes, nothing
 * beside the hashing of a block). */
#include "common/digest.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "common/parse.h"

#define CHUNK (256 * KIB)

static void sodium_once(void)
{
    if (sodium_init() < 0)
        base_panic("libsodium does not start");
}

void digest_init(struct digest *d)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    crypto_generichash_state st;

    pthread_once(&once, sodium_once);
    crypto_generichash_init(&st, NULL, 0, DIGEST_LEN);
    memcpy(d->st, &st, sizeof st);
}

void digest_update(struct digest *d, const void *p, size_t n)
{
    crypto_generichash_state st;

    if (n == 0)
        return;
    memcpy(&st, d->st, sizeof st);
    crypto_generichash_update(&st, p, n);
    memcpy(d->st, &st, sizeof st);
}

void digest_final(struct digest *d, uint8_t out[DIGEST_LEN])
{
    crypto_generichash_state st;

    memcpy(&st, d->st, sizeof st);
    crypto_generichash_final(&st, out, DIGEST_LEN);
}

void digest_of(struct slice s, uint8_t out[DIGEST_LEN])
{
    struct digest d;

    digest_init(&d);
    digest_update(&d, s.p, s.len);
    digest_final(&d, out);
}

int digest_fd(int fd, const atomic_bool *stop, uint8_t out[DIGEST_LEN])
{
    CLEANUP(base_free) uint8_t *chunk = xcalloc(1, CHUNK);
    struct digest d;

    digest_init(&d);
    for (;;) {
        ssize_t n;

        if (stop && atomic_load(stop))
            return -ECANCELED;
        n = read(fd, chunk, CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        digest_update(&d, chunk, (size_t)n);
    }
    digest_final(&d, out);
    return 0;
}

void digest_sha1_hex(struct slice s, char out[41])
{
    static const uint8_t nothing;
    uint8_t md[EVP_MAX_MD_SIZE];
    unsigned len = 0;

    if (EVP_Digest(s.len ? s.p : &nothing, s.len, md, &len, EVP_sha1(), NULL) != 1 || len != 20)
        base_panic("SHA-1 is not available in libcrypto");
    parse_to_hex(md, len, out);
}

int digest_random(void *p, size_t n)
{
    uint8_t *to = p;

    while (n) {
        ssize_t got = getrandom(to, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return -EIO;
        to += got;
        n -= (size_t)got;
    }
    return 0;
}
