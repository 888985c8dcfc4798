/* record_value - see format/record_value.h. */
#include "zstor/format/record_value.h"

#include <errno.h>

#include "common/digest.h"
#include "zstor/format/erasure.h"

static const struct geometry geo = {ZSTOR_META_DATA, ZSTOR_META_COPIES - ZSTOR_META_DATA};

int meta_value_encode(const uint8_t key[ZSTOR_KEY_LEN], const uint8_t nonce[CRYPT_NONCE_LEN],
                      struct slice plain, struct buf out[ZSTOR_META_COPIES])
{
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;
    struct erasure *code = NULL;
    const uint8_t *src[ZSTOR_META_DATA];
    uint8_t *dst[ZSTOR_META_COPIES];
    size_t pad, len;
    int r;

    if (plain.len > META_VALUE_MAX * ZSTOR_META_DATA)
        return -EFBIG;
    r = crypt_seal(key, nonce, plain, &blob);
    if (r < 0)
        return r;
    pad = geo.data - blob.len % geo.data;
    len = (blob.len + pad) / geo.data;
    if (1 + len + DIGEST_LEN > META_VALUE_MAX)
        return -EFBIG;
    for (size_t i = 0; i < pad; i++)
        buf_put_u8(&blob, (uint8_t)pad);
    for (unsigned i = 0; i < ZSTOR_META_COPIES; i++) {
        dst[i] = buf_reserve(&out[i], 1 + len + DIGEST_LEN);
        if (!dst[i])
            return -ENOMEM;
        *dst[i]++ = (uint8_t)i;
    }
    for (unsigned i = 0; i < geo.data; i++) {
        src[i] = buf_data(&blob) + i * len;
        memcpy(dst[i], src[i], len);
    }
    r = erasure_new(&code, geo, NULL, NULL, 0);
    if (r < 0)
        return r;
    erasure_apply(code, len, src, dst + geo.data);
    erasure_free(code);
    for (unsigned i = 0; i < ZSTOR_META_COPIES; i++) {
        digest_of(slice_of(dst[i], len), dst[i] + len);
        buf_commit(&out[i], 1 + len + DIGEST_LEN);
    }
    return 0;
}

int meta_value_parse(struct slice v, unsigned *index, struct slice *shard)
{
    uint8_t sum[DIGEST_LEN];
    struct slice body;

    if (v.len < 1 + 1 + DIGEST_LEN || v.len > META_VALUE_MAX || v.p[0] >= ZSTOR_META_COPIES)
        return -EBADMSG;
    body = slice_of(v.p + 1, v.len - 1 - DIGEST_LEN);
    digest_of(body, sum);
    if (memcmp(sum, body.p + body.len, DIGEST_LEN) != 0)
        return -EBADMSG;
    *index = v.p[0];
    *shard = body;
    return 0;
}

int meta_value_decode(const uint8_t key[ZSTOR_KEY_LEN], const unsigned index[2],
                      const struct slice shard[2], struct buf *out)
{
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;
    static const unsigned want[ZSTOR_META_DATA] = {0, 1};
    const uint8_t *src[ZSTOR_META_DATA] = {shard[0].p, shard[1].p};
    struct erasure *code = NULL;
    size_t len = shard[0].len, pad;
    uint8_t *p, *dst[ZSTOR_META_DATA];
    int r;

    if (index[0] == index[1] || len != shard[1].len || len == 0)
        return -EBADMSG;
    p = buf_reserve(&blob, geo.data * len);
    if (!p)
        return -ENOMEM;
    for (unsigned i = 0; i < geo.data; i++)
        dst[i] = p + i * len;
    r = erasure_new(&code, geo, index, want, ZSTOR_META_DATA);
    if (r < 0)
        return -EBADMSG;
    erasure_apply(code, len, src, dst);
    erasure_free(code);
    buf_commit(&blob, geo.data * len);
    pad = p[blob.len - 1];
    if (pad < 1 || pad > geo.data || pad >= blob.len)
        return -EBADMSG;
    for (size_t i = 0; i < pad; i++)
        if (p[blob.len - 1 - i] != pad)
            return -EBADMSG;
    return crypt_open(key, slice_of(p, blob.len - pad), out);
}
