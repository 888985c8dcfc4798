/* decode - see object/decode.h. */
#include "zstor/object/decode.h"

#include <errno.h>
#include <stdlib.h>

#include "common/digest.h"
#include "common/io.h"
#include "zstor/format/snappy.h"

#define BATCH     ((size_t)512 * 1024)
#define OUT_BATCH ((size_t)512 * 1024)

struct decoder {
    struct crypt *crypt;
    struct snappy_unframe *frames;
    struct digest digest;
    uint8_t *in, *out;
    size_t used; /* of out */
    int fd;
    uint64_t size;
};

static void decoder_fini(struct decoder *d)
{
    crypt_free(d->crypt);
    snappy_unframe_free(d->frames);
    free(d->in);
    free(d->out);
}

static int flush(struct decoder *d)
{
    int r;

    digest_update(&d->digest, d->out, d->used);
    r = io_write_full(d->fd, d->out, d->used);
    d->used = 0;
    return r;
}

static int take_block(void *arg, const uint8_t *p, size_t n)
{
    struct decoder *d = arg;

    if (d->used + n > OUT_BATCH) {
        int r = flush(d);
        if (r < 0)
            return r;
    }
    memcpy(d->out + d->used, p, n);
    d->used += n;
    d->size += n;
    return 0;
}

static int decode(struct decoder *d, decode_read_fn *read, void *arg, uint64_t blob_len,
                  const struct object_ctl *ctl)
{
    uint64_t end = blob_len - CRYPT_TAG_LEN;
    uint8_t tag[CRYPT_TAG_LEN];
    int r, frames = 0;

    for (uint64_t off = CRYPT_NONCE_LEN; off < end;) {
        size_t n = (size_t)MIN((uint64_t)BATCH, end - off);
        if (ctl_stopped(ctl))
            return -ECANCELED;
        r = read(arg, off, d->in, n);
        if (r == 0)
            r = crypt_update(d->crypt, d->in, n);
        if (r < 0)
            return r;
        if (frames == 0)
            frames = snappy_unframe_feed(d->frames, d->in, n);
        if (frames < 0 && frames != -EBADMSG)
            return frames;
        off += n;
        ctl_progress(ctl, blob_len + off, blob_len * 2); /* the first half was the download */
    }
    r = read(arg, end, tag, sizeof tag);
    if (r == 0)
        r = crypt_verify(d->crypt, tag);
    if (r == 0)
        r = frames ? frames : snappy_unframe_end(d->frames);
    return r ? r : flush(d);
}

int decode_blob(decode_read_fn *read, void *arg, uint64_t blob_len,
                const uint8_t key[ZSTOR_KEY_LEN], int fd, const struct object_ctl *ctl,
                struct decode_result *res)
{
    CLEANUP(decoder_fini) struct decoder d = {.fd = fd};
    uint8_t nonce[CRYPT_NONCE_LEN];
    int r;

    if (blob_len < CRYPT_OVERHEAD || blob_len - CRYPT_OVERHEAD > CRYPT_MAX_PLAIN)
        return -EBADMSG;
    d.frames = snappy_unframe_new(take_block, &d);
    d.in = malloc(BATCH);
    d.out = malloc(OUT_BATCH);
    if (!d.frames || !d.in || !d.out)
        return -ENOMEM;
    r = read(arg, 0, nonce, sizeof nonce);
    if (r == 0)
        r = crypt_new(&d.crypt, false, key, nonce);
    if (r < 0)
        return r;
    digest_init(&d.digest);
    r = decode(&d, read, arg, blob_len, ctl);
    if (r < 0)
        return r;
    digest_final(&d.digest, res->checksum);
    res->size = d.size;
    return 0;
}
