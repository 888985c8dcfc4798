/* compaction - see the header.  Pure functions. */
#include "zdb/format/compaction.h"
#include "common/crc.h"
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#define MAGIC      "ZDBCMPCT"
#define MAGIC_SIZE 8
#define HEAD_SIZE  16
#define ENTRY_SIZE 13

void compact_list_fini(struct compact_list *l)
{
    free(l->entries);
    *l = (struct compact_list){0};
}

void compact_list_add(struct compact_list *l, char kind, uint32_t id, uint64_t size)
{
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct compact_entry *p = xcalloc(cap, sizeof *p);
        if (l->n)
            memcpy(p, l->entries, l->n * sizeof *p);
        free(l->entries);
        l->entries = p;
        l->cap = cap;
    }
    l->entries[l->n++] = (struct compact_entry){kind, id, size};
}

void compact_format_encode(struct buf *out, const struct compact_list *l)
{
    size_t from = out->len;

    assert(l->n <= COMPACT_FORMAT_MAX);
    buf_put(out, MAGIC, MAGIC_SIZE);
    buf_put_le16(out, COMPACT_FORMAT_VERSION);
    buf_put_le16(out, 0);
    buf_put_le32(out, (uint32_t)l->n);
    for (size_t i = 0; i < l->n; i++) {
        buf_put_u8(out, (uint8_t)l->entries[i].kind);
        buf_put_le32(out, l->entries[i].id);
        buf_put_le64(out, l->entries[i].size);
    }
    buf_put_le32(out, crc_std(0, buf_data(out) + from, out->len - from));
}

int compact_format_decode(struct slice in, struct compact_list *out)
{
    struct rd r = rd_of(in);
    struct slice magic = rd_slice(&r, MAGIC_SIZE);
    uint16_t version = rd_le16(&r), flags = rd_le16(&r);
    uint32_t n = rd_le32(&r);

    if (r.bad)
        return -ENODATA;
    if (memcmp(magic.p, MAGIC, MAGIC_SIZE) != 0)
        return -EBADMSG;
    if (version != COMPACT_FORMAT_VERSION || flags)
        return -EPROTONOSUPPORT;
    if (n > COMPACT_FORMAT_MAX)
        return -EBADMSG;
    if (in.len < HEAD_SIZE + (size_t)n * ENTRY_SIZE + 4)
        return -ENODATA;
    if (in.len > HEAD_SIZE + (size_t)n * ENTRY_SIZE + 4 ||
        crc_std(0, in.p, in.len - 4) != le32_get(in.p + in.len - 4))
        return -EBADMSG;
    *out = (struct compact_list){0};
    while (n-- > 0) {
        uint8_t kind = rd_u8(&r);
        uint32_t id = rd_le32(&r);
        compact_list_add(out, (char)kind, id, rd_le64(&r));
        if (kind != 'i' && kind != 'd') {
            compact_list_fini(out);
            return -EBADMSG;
        }
    }
    return 0;
}
