/* encode - see object/encode.h. */
#include "zstor/object/encode.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/digest.h"
#include "zstor/format/snappy.h"
#include "zstor/object/spool.h"

#define BATCH_BLOCKS 8 /* 512 KiB: stays in the second-level cache from the read to the spool */

struct encoder {
    struct crypt *crypt;
    struct digest digest;
    uint8_t *in, *out;
    size_t used; /* of out */
};

static void encoder_fini(struct encoder *c)
{
    crypt_free(c->crypt);
    free(c->in);
    free(c->out);
}

/* As much as fits, less only at the end of the file. */
static int read_batch(int fd, uint8_t *p, size_t want, size_t *got)
{
    *got = 0;
    while (*got < want) {
        ssize_t n = read(fd, p + *got, want - *got);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    return 0;
}

/* What is in out: encrypted, to the spool. */
static int flush(struct encoder *c, struct spool *out)
{
    int r = crypt_update(c->crypt, c->out, c->used);

    if (r == 0)
        r = spool_append(out, c->out, c->used);
    c->used = 0;
    return r;
}

static void pack(struct encoder *c, size_t n)
{
    for (size_t off = 0; off < n; off += SNAPPY_BLOCK)
        c->used += snappy_frame(c->in + off, MIN(n - off, (size_t)SNAPPY_BLOCK), c->out + c->used);
}

static int encode(struct encoder *c, int fd, uint64_t expect, struct spool *out,
                  const struct object_ctl *ctl, struct encode_result *res)
{
    const size_t batch = BATCH_BLOCKS * SNAPPY_BLOCK;
    uint8_t tag[CRYPT_TAG_LEN];
    size_t n;
    int r;

    do {
        if (ctl_stopped(ctl))
            return -ECANCELED;
        r = read_batch(fd, c->in, batch, &n);
        if (r < 0)
            return r;
        if (n && res->size == 0) { /* an empty file has an empty stream */
            memcpy(c->out, snappy_frame_id, SNAPPY_ID_LEN);
            c->used = SNAPPY_ID_LEN;
        }
        digest_update(&c->digest, c->in, n);
        res->size += n;
        pack(c, n);
        r = flush(c, out);
        if (r < 0)
            return r;
        ctl_progress(ctl, res->size, MAX(expect, res->size) * 2); /* the second half is the upload
                                                                   */
    } while (n == batch);
    digest_final(&c->digest, res->checksum);
    r = crypt_tag(c->crypt, tag);
    return r < 0 ? r : spool_append(out, tag, sizeof tag);
}

int encode_file(int fd, uint64_t expect, const uint8_t key[ZSTOR_KEY_LEN],
                const uint8_t nonce[CRYPT_NONCE_LEN], struct spool *out,
                const struct object_ctl *ctl, struct encode_result *res)
{
    CLEANUP(encoder_fini) struct encoder c = {0};
    int r = crypt_new(&c.crypt, true, key, nonce);

    *res = (struct encode_result){0};
    c.in = malloc(BATCH_BLOCKS * SNAPPY_BLOCK);
    c.out = malloc(SNAPPY_ID_LEN + BATCH_BLOCKS * (size_t)SNAPPY_FRAME_ROOM);
    if (!c.in || !c.out)
        return -ENOMEM;
    digest_init(&c.digest);
    if (r == 0)
        r = spool_append(out, nonce, CRYPT_NONCE_LEN);
    return r < 0 ? r : encode(&c, fd, expect, out, ctl, res);
}
