/* index - see the header.  Pure functions. */
#include "zdb/format/index.h"
#include <assert.h>
#include <errno.h>

static const uint8_t magic[4] = {'I', 'D', 'X', '0'};

void index_header_encode(uint8_t out[INDEX_HEADER_SIZE], uint32_t fileid, uint8_t mode)
{
    memset(out, 0, INDEX_HEADER_SIZE); /* created and opened stay 0: replicas have equal checksums
                                        */
    memcpy(out, magic, sizeof magic);
    le32_put(out + 4, INDEX_VERSION);
    le32_put(out + 24, fileid);
    out[INDEX_MODE_AT] = mode;
}

int index_header_decode(struct slice in, struct index_header *out)
{
    if (in.len < INDEX_HEADER_SIZE)
        return -ENODATA;
    if (memcmp(in.p, magic, sizeof magic) != 0)
        return -EBADMSG;
    if (le32_get(in.p + 4) != INDEX_VERSION)
        return -EPROTONOSUPPORT;
    if (in.p[INDEX_MODE_AT] > INDEX_MODE_SEQ)
        return -EBADMSG;
    out->created = le64_get(in.p + 8);
    out->opened = le64_get(in.p + 16);
    out->fileid = le32_get(in.p + 24);
    out->mode = in.p[INDEX_MODE_AT];
    return 0;
}

size_t index_rec_encode(uint8_t out[INDEX_REC_MAX], const struct index_rec *r)
{
    assert(r->key.len >= 1 && r->key.len <= INDEX_KEY_MAX);
    out[0] = (uint8_t)r->key.len;
    le32_put(out + 1, r->off);
    le32_put(out + 5, r->length);
    le32_put(out + 9, r->previous);
    out[INDEX_FLAGS_AT] = r->flags;
    le32_put(out + 14, r->dataid);
    le32_put(out + 18, r->timestamp);
    le32_put(out + 22, r->crc);
    le32_put(out + 26, r->parent_file);
    le32_put(out + 30, r->parent_off);
    memcpy(out + INDEX_REC_SIZE, r->key.p, r->key.len);
    return INDEX_REC_SIZE + r->key.len;
}

int index_rec_decode(struct rd *in, struct index_rec *out)
{
    uint8_t n = rd_u8(in);

    out->off = rd_le32(in);
    out->length = rd_le32(in);
    out->previous = rd_le32(in);
    out->flags = rd_u8(in);
    out->dataid = rd_le32(in);
    out->timestamp = rd_le32(in);
    out->crc = rd_le32(in);
    out->parent_file = rd_le32(in);
    out->parent_off = rd_le32(in);
    out->key = rd_slice(in, n);
    if (in->bad)
        return 0;
    return n == 0 || (out->flags & ~INDEX_DELETED) ? -EBADMSG : 1;
}
