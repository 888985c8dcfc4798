/* anchor - see format/anchor.h. */
#include "zstor/format/anchor.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/digest.h"

#define HEAD    12u
#define VERSION 1u

static const uint8_t magic[4] = {'Q', 'Z', 'A', 1};

static void wipe(struct buf *b) /* records have data keys in them */
{
    if (b->p)
        sodium_memzero(b->p, b->cap);
    buf_fini(b);
}

void anchor_fini(struct anchor *a)
{
    for (size_t i = 0; i < a->n; i++) {
        free(a->part[i].key);
        wipe(&a->part[i].record);
    }
    *a = (struct anchor){0};
}

bool anchor_newer(const struct anchor *a, const struct anchor *b)
{
    return a->epoch != b->epoch ? a->epoch > b->epoch : a->sequence > b->sequence;
}

static void encode(const struct anchor *a, const char *prefix, struct buf *out)
{
    buf_put_le16(out, (uint16_t)strlen(prefix));
    buf_put_str(out, prefix);
    buf_put(out, a->volume, sizeof a->volume);
    buf_put(out, a->instance, sizeof a->instance);
    buf_put_le64(out, a->epoch);
    buf_put_le64(out, a->sequence);
    buf_put_le64(out, a->time_ns);
    buf_put_le32(out, (uint32_t)a->n);
    for (size_t i = 0; i < a->n; i++) {
        const struct anchor_part *p = &a->part[i];

        buf_put_u8(out, p->whole);
        buf_put_le64(out, p->sequence);
        buf_put_le64(out, p->records);
        buf_put_le16(out, (uint16_t)strlen(p->key));
        buf_put_str(out, p->key);
        buf_put_le32(out, (uint32_t)p->record.len);
        buf_put_slice(out, buf_slice(&p->record));
    }
}

int anchor_seal(const struct anchor *a, const char *prefix, const uint8_t key[ZSTOR_KEY_LEN],
                const uint8_t nonce[CRYPT_NONCE_LEN], struct buf *out)
{
    CLEANUP(wipe) struct buf plain = BUF_INIT;
    CLEANUP(buf_fini) struct buf blob = BUF_INIT;
    uint8_t sum[DIGEST_LEN];
    size_t start = out->len;
    int r;

    encode(a, prefix, &plain);
    r = crypt_seal(key, nonce, buf_slice(&plain), &blob);
    if (r < 0)
        return r;
    if (HEAD + blob.len + DIGEST_LEN > ANCHOR_MAX)
        return -EFBIG;
    buf_put(out, magic, sizeof magic);
    buf_put_le16(out, VERSION);
    buf_put_le16(out, 0);
    buf_put_le32(out, (uint32_t)blob.len);
    buf_put_slice(out, buf_slice(&blob));
    digest_of(slice_of(buf_data(out) + start, out->len - start), sum);
    buf_put(out, sum, sizeof sum);
    return 0;
}

bool anchor_is_one(struct slice bytes)
{
    uint8_t sum[DIGEST_LEN];

    if (bytes.len < HEAD + DIGEST_LEN || bytes.len > ANCHOR_MAX ||
        memcmp(bytes.p, magic, sizeof magic) != 0 || le16_get(bytes.p + 4) != VERSION ||
        le16_get(bytes.p + 6) != 0 || le32_get(bytes.p + 8) != bytes.len - HEAD - DIGEST_LEN)
        return false;
    digest_of(slice_of(bytes.p, bytes.len - DIGEST_LEN), sum);
    return memcmp(sum, bytes.p + bytes.len - DIGEST_LEN, DIGEST_LEN) == 0;
}

static bool take_part(struct rd *r, struct anchor_part *p)
{
    struct slice key, record;
    uint8_t whole = rd_u8(r);

    p->whole = whole == 1;
    p->sequence = rd_le64(r);
    p->records = rd_le64(r);
    key = rd_slice(r, rd_le16(r));
    record = rd_slice(r, rd_le32(r));
    if (r->bad || whole > 1 || key.len == 0 || memchr(key.p, 0, key.len))
        return false;
    p->key = xasprintf("%.*s", (int)key.len, (const char *)key.p);
    buf_put_slice(&p->record, record);
    return true;
}

static int decode(struct slice body, const char *prefix, struct anchor *out)
{
    struct rd r = rd_of(body);
    struct slice name = rd_slice(&r, rd_le16(&r));
    const uint8_t *volume = rd_take(&r, ZSTOR_INSTANCE_LEN);
    const uint8_t *instance = rd_take(&r, ZSTOR_INSTANCE_LEN);
    uint32_t n;

    if (r.bad)
        return -EBADMSG;
    if (!slice_eq_str(name, prefix))
        return -ESRCH;
    memcpy(out->volume, volume, sizeof out->volume);
    memcpy(out->instance, instance, sizeof out->instance);
    out->epoch = rd_le64(&r);
    out->sequence = rd_le64(&r);
    out->time_ns = rd_le64(&r);
    n = rd_le32(&r);
    if (r.bad || n > ANCHOR_MAX_PARTS)
        return -EBADMSG;
    for (uint32_t i = 0; i < n; i++) {
        if (!take_part(&r, &out->part[i]))
            return -EBADMSG;
        out->n++;
    }
    return rd_left(&r) == 0 && (n == 0 || out->part[0].whole) ? 0 : -EBADMSG;
}

int anchor_open(struct slice bytes, const char *prefix, const uint8_t key[ZSTOR_KEY_LEN],
                struct anchor *out)
{
    CLEANUP(wipe) struct buf plain = BUF_INIT;
    int r;

    *out = (struct anchor){0};
    if (!anchor_is_one(bytes))
        return -EBADMSG;
    if (crypt_open(key, slice_of(bytes.p + HEAD, bytes.len - HEAD - DIGEST_LEN), &plain) < 0)
        return -EKEYREJECTED;
    r = decode(buf_slice(&plain), prefix, out);
    if (r < 0)
        anchor_fini(out);
    return r;
}
