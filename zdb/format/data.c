/* data - see the header.  Pure functions. */
#include "zdb/format/data.h"
#include <errno.h>

static const uint8_t magic[4] = {'D', 'A', 'T', '0'};

void data_header_encode(uint8_t out[DATA_HEADER_SIZE], uint32_t fileid)
{
    memset(out, 0, DATA_HEADER_SIZE);
    memcpy(out, magic, sizeof magic);
    le32_put(out + 4, DATA_VERSION);
    le32_put(out + 24, fileid);
}

int data_header_decode(struct slice in, struct data_header *out)
{
    if (in.len < DATA_HEADER_SIZE)
        return -ENODATA;
    if (memcmp(in.p, magic, sizeof magic) != 0)
        return -EBADMSG;
    if (le32_get(in.p + 4) != DATA_VERSION)
        return -EPROTONOSUPPORT;
    out->created = le64_get(in.p + 8);
    out->opened = le64_get(in.p + 16);
    out->fileid = le32_get(in.p + 24);
    return 0;
}

void data_rec_encode(uint8_t out[DATA_REC_SIZE], const struct data_rec *r)
{
    out[0] = r->keylen;
    le32_put(out + 1, r->length);
    le32_put(out + 5, r->previous);
    le32_put(out + 9, r->crc);
    out[13] = r->flags;
    le32_put(out + 14, r->timestamp);
}

int data_rec_decode(struct rd *in, struct data_rec *out)
{
    out->keylen = rd_u8(in);
    out->length = rd_le32(in);
    out->previous = rd_le32(in);
    out->crc = rd_le32(in);
    out->flags = rd_u8(in);
    out->timestamp = rd_le32(in);
    if (in->bad)
        return 0;
    if (out->keylen == 0 || out->length > DATA_VALUE_MAX ||
        (out->flags & ~(DATA_DELETED | DATA_TRUNCATED)))
        return -EBADMSG;
    if ((out->flags & DATA_DELETED) && (out->length != 0 || out->crc != 0))
        return -EBADMSG;
    return 1;
}
