/* redo - see format/redo.h. */
#include "zdbfs/format/redo.h"

#include <errno.h>

#include "common/crc.h"
#include "zdbfs/format/inode.h"

enum { FLAG_LAST = 1 };

static const char magic[8] = {'Q', 'F', 'S', 'R', 'E', 'D', 'O', '1'};

static uint32_t checksum(const uint8_t *head, struct slice payload)
{
    return crc_std(crc_std(0, head, 36), payload.p, payload.len);
}

int redo_format_decode_chunk(struct slice v, struct redo_chunk *out)
{
    if (v.len < sizeof magic || memcmp(v.p, magic, sizeof magic) != 0)
        return -ENOMSG;
    if (v.len < REDO_HEAD || v.len > REDO_MAX_CHUNK)
        return -EUCLEAN;
    uint8_t kind = v.p[8], flags = v.p[9];
    *out = (struct redo_chunk){(enum redo_kind)kind, flags & FLAG_LAST,
                               le32_get(v.p + 12),   le64_get(v.p + 16),
                               le64_get(v.p + 24),   slice_of(v.p + REDO_HEAD, v.len - REDO_HEAD)};
    if ((kind != REDO_COMMIT && kind != REDO_IDS) || flags & ~FLAG_LAST || le16_get(v.p + 10))
        return -EUCLEAN;
    if (le32_get(v.p + 32) != out->payload.len || le32_get(v.p + 36) != checksum(v.p, out->payload))
        return -EUCLEAN;
    return 0;
}

uint32_t redo_format_chunks(size_t stream_len)
{
    size_t max = REDO_MAX_CHUNK - REDO_HEAD;
    return stream_len == 0 ? 1 : (uint32_t)((stream_len + max - 1) / max);
}

int redo_format_encode_chunk(struct buf *b, enum redo_kind kind, uint64_t generation, uint64_t seq,
                             struct slice stream, uint32_t index)
{
    size_t max = REDO_MAX_CHUNK - REDO_HEAD, from = (size_t)index * max;
    struct slice part = slice_of(stream.p ? stream.p + from : NULL, MIN(stream.len - from, max));
    uint8_t head[REDO_HEAD] = {0};

    buf_clear(b);
    if (!buf_reserve(b, REDO_HEAD + part.len))
        return -ENOMEM;
    memcpy(head, magic, sizeof magic);
    head[8] = (uint8_t)kind;
    head[9] = from + part.len == stream.len ? FLAG_LAST : 0;
    le32_put(head + 12, index);
    le64_put(head + 16, seq);
    le64_put(head + 24, generation);
    le32_put(head + 32, (uint32_t)part.len);
    le32_put(head + 36, checksum(head, part));
    buf_put(b, head, REDO_HEAD);
    buf_put_slice(b, part);
    return 0;
}

int redo_format_put_set(struct buf *stream, uint64_t key, struct slice value)
{
    if (!buf_reserve(stream, 13 + value.len))
        return -ENOMEM;
    buf_put_u8(stream, REDO_SET);
    buf_put_le64(stream, key);
    buf_put_le32(stream, (uint32_t)value.len);
    buf_put_slice(stream, value);
    return 0;
}

int redo_format_put_inode(struct buf *stream, uint64_t key, struct slice inode, uint32_t nslots,
                          const uint32_t *pairs, uint32_t n)
{
    if (!buf_reserve(stream, 21 + inode.len + 8 * (size_t)n))
        return -ENOMEM;
    buf_put_u8(stream, REDO_INODE);
    buf_put_le64(stream, key);
    buf_put_le32(stream, (uint32_t)inode.len);
    buf_put_slice(stream, inode);
    buf_put_le32(stream, nslots);
    buf_put_le32(stream, n);
    for (uint32_t i = 0; i < 2 * n; i++)
        buf_put_le32(stream, pairs[i]);
    return 0;
}

int redo_format_put_entry(struct buf *stream, uint64_t key, struct slice name, uint64_t ino)
{
    if (!buf_reserve(stream, 19 + name.len))
        return -ENOMEM;
    buf_put_u8(stream, REDO_ENTRY);
    buf_put_le64(stream, key);
    buf_put_le64(stream, ino);
    buf_put_le16(stream, (uint16_t)name.len);
    buf_put_slice(stream, name);
    return 0;
}

static size_t key_bytes(enum redo_op op)
{
    return op == REDO_DEL_DATA ? 4 : op == REDO_WAS ? 12 : 8;
}

int redo_format_put_keys(struct buf *stream, enum redo_op op, const uint64_t *keys, uint32_t n)
{
    if (!buf_reserve(stream, 5 + n * key_bytes(op)))
        return -ENOMEM;
    buf_put_u8(stream, (uint8_t)op);
    buf_put_le32(stream, n);
    for (uint32_t i = 0; i < n; i++) {
        if (op == REDO_DEL_DATA)
            buf_put_le32(stream, (uint32_t)keys[i]);
        else
            buf_put_le64(stream, keys[i]);
    }
    return 0;
}

int redo_format_put_was(struct buf *stream, const uint64_t *pairs, uint32_t n)
{
    if (!buf_reserve(stream, 5 + n * key_bytes(REDO_WAS)))
        return -ENOMEM;
    buf_put_u8(stream, REDO_WAS);
    buf_put_le32(stream, n);
    for (uint32_t i = 0; i < n; i++) {
        buf_put_le64(stream, pairs[2 * i]);
        buf_put_le32(stream, (uint32_t)pairs[2 * i + 1]);
    }
    return 0;
}

static bool pairs_fit(const struct redo_item *it)
{
    if (it->nslots > INODE_MAX_VALUE / 4)
        return false;
    for (size_t i = 0; i < it->pairs.len; i += 8)
        if (le32_get(it->pairs.p + i) >= it->nslots)
            return false;
    return true;
}

int redo_format_next(struct rd *r, struct redo_item *out)
{
    if (r->bad)
        return -EUCLEAN;
    if (rd_left(r) == 0)
        return 0;
    out->op = (enum redo_op)rd_u8(r);
    out->key = out->ino = out->nslots = 0;
    out->pairs = slice_of(NULL, 0);
    switch (out->op) {
    case REDO_SET:
        out->key = rd_le64(r);
        out->value = rd_slice(r, rd_le32(r));
        break;
    case REDO_INODE: {
        size_t bytes;
        out->key = rd_le64(r);
        out->value = rd_slice(r, rd_le32(r));
        out->nslots = rd_le32(r);
        if (mul_ovf((size_t)rd_le32(r), (size_t)8, &bytes))
            return -EUCLEAN;
        out->pairs = rd_slice(r, bytes);
        if (!r->bad && !pairs_fit(out))
            return -EUCLEAN;
        break;
    }
    case REDO_ENTRY:
        out->key = rd_le64(r);
        out->ino = rd_le64(r);
        out->value = rd_slice(r, rd_le16(r));
        if (!r->bad && out->value.len == 0)
            return -EUCLEAN;
        break;
    case REDO_DEL_META:
    case REDO_DEL_DATA:
    case REDO_ORPHANS:
    case REDO_WAS: {
        size_t bytes;
        if (mul_ovf((size_t)rd_le32(r), key_bytes(out->op), &bytes))
            return -EUCLEAN;
        out->value = rd_slice(r, bytes);
        break;
    }
    default:
        return -EUCLEAN;
    }
    return r->bad ? -EUCLEAN : 1;
}

uint32_t redo_format_count(const struct redo_item *it)
{
    return (uint32_t)(it->value.len / key_bytes(it->op));
}

uint64_t redo_format_key(const struct redo_item *it, uint32_t i)
{
    const uint8_t *p = it->value.p + (size_t)i * key_bytes(it->op);
    return it->op == REDO_DEL_DATA ? le32_get(p) : le64_get(p);
}

uint32_t redo_format_was(const struct redo_item *it, uint32_t i)
{
    return le32_get(it->value.p + (size_t)i * key_bytes(it->op) + 8);
}
