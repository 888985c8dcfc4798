/* note - see format/note.h. */
#include "zstor/format/note.h"

#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "common/digest.h"

#define HEAD     12u
#define VERSION  1u
#define BLOB_MAX 4096u

static const uint8_t magic[4] = {'Q', 'Z', 'N', 1};

char *note_name(const char *prefix, enum note_kind kind)
{
    return xasprintf("/%s/zstor/%s", prefix, kind == NOTE_KEY ? "key" : "lease");
}

int note_seal(enum note_kind kind, const uint8_t key[ZSTOR_KEY_LEN],
              const uint8_t nonce[CRYPT_NONCE_LEN], struct slice body, struct buf *out)
{
    CLEANUP(buf_fini) struct buf plain = BUF_INIT, blob = BUF_INIT;
    uint8_t sum[DIGEST_LEN];
    size_t start = out->len;
    int r;

    buf_put_le16(&plain, (uint16_t)kind);
    buf_put_slice(&plain, body);
    r = crypt_seal(key, nonce, buf_slice(&plain), &blob);
    if (r < 0)
        return r;
    if (blob.len > BLOB_MAX)
        return -EFBIG;
    buf_put(out, magic, sizeof magic);
    buf_put_le16(out, VERSION);
    buf_put_le16(out, (uint16_t)kind);
    buf_put_le32(out, (uint32_t)blob.len);
    buf_put_slice(out, buf_slice(&blob));
    digest_of(slice_of(buf_data(out) + start, out->len - start), sum);
    buf_put(out, sum, sizeof sum);
    return 0;
}

int note_open(enum note_kind kind, const uint8_t key[ZSTOR_KEY_LEN], struct slice bytes,
              struct buf *out)
{
    CLEANUP(buf_fini) struct buf plain = BUF_INIT;
    uint8_t sum[DIGEST_LEN];
    uint32_t n;

    if (bytes.len < HEAD + DIGEST_LEN || memcmp(bytes.p, magic, sizeof magic) != 0)
        return -EBADMSG;
    n = le32_get(bytes.p + 8);
    if (le16_get(bytes.p + 4) != VERSION || le16_get(bytes.p + 6) != kind || n > BLOB_MAX ||
        bytes.len != HEAD + n + DIGEST_LEN)
        return -EBADMSG;
    digest_of(slice_of(bytes.p, HEAD + n), sum);
    if (memcmp(sum, bytes.p + HEAD + n, DIGEST_LEN) != 0)
        return -EBADMSG;
    if (crypt_open(key, slice_of(bytes.p + HEAD, n), &plain) < 0)
        return -EKEYREJECTED;
    if (plain.len < 2 || le16_get(buf_data(&plain)) != kind)
        return -EBADMSG;
    buf_put(out, buf_data(&plain) + 2, plain.len - 2);
    return 0;
}

void note_lease_encode(const struct note_lease *l, struct buf *out)
{
    size_t host = strnlen(l->host, NOTE_HOST_MAX);

    buf_put(out, l->instance, sizeof l->instance);
    buf_put_le64(out, l->epoch);
    buf_put_le64(out, l->serial);
    buf_put_le64(out, l->expiry_ns);
    buf_put_u8(out, l->held);
    buf_put_le16(out, (uint16_t)host);
    buf_put(out, l->host, host);
}

int note_lease_decode(struct slice body, struct note_lease *out)
{
    struct rd r = rd_of(body);
    const uint8_t *instance = rd_take(&r, ZSTOR_INSTANCE_LEN);
    struct slice host;
    uint8_t held;

    *out = (struct note_lease){0};
    out->epoch = rd_le64(&r);
    out->serial = rd_le64(&r);
    out->expiry_ns = rd_le64(&r);
    held = rd_u8(&r);
    host = rd_slice(&r, rd_le16(&r));
    if (r.bad || held > 1 || host.len > NOTE_HOST_MAX)
        return -EBADMSG;
    memcpy(out->instance, instance, ZSTOR_INSTANCE_LEN);
    out->held = held;
    for (size_t i = 0; i < host.len; i++) /* it is shown to people */
        out->host[i] = host.p[i] > ' ' && host.p[i] < 0x7f ? (char)host.p[i] : '?';
    return 0;
}
