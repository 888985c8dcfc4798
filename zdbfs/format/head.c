/* head - see format/head.h.
 *   0 magic ZDBFSM, ZDBFSD or ZDBFST   6 u16 version 1   8 u16 flags, bit 0 in use   10 u48
 * generation   16 u64 size */
#include "zdbfs/format/head.h"

#include <errno.h>

enum { VERSION = 1, FLAG_IN_USE = 1, MIN_BYTES = 8 };

static const char magic[ROLE_COUNT][7] = {"ZDBFSM", "ZDBFSD", "ZDBFST"};

void head_format_encode(struct buf *b, enum role role, const struct head *h)
{
    buf_put(b, magic[role], 6);
    buf_put_le16(b, VERSION);
    buf_put_le16(b, h->in_use ? FLAG_IN_USE : 0);
    for (int i = 0; i < 6; i++)
        buf_put_u8(b, (uint8_t)(h->generation >> 8 * i));
    buf_put_le64(b, h->size_bytes);
}

int head_format_decode(struct slice v, enum role role, struct head *out, struct err *e)
{
    struct rd r = rd_of(v);

    if (v.len < MIN_BYTES)
        return err_set(e, EUCLEAN, "header has %zu bytes, at least %d are needed", v.len,
                       MIN_BYTES);
    const uint8_t *m = rd_take(&r, 6);
    uint16_t version = rd_le16(&r);
    uint16_t flags = v.len >= 10 ? rd_le16(&r) : 0;
    if (memcmp(m, magic[role], 6) != 0)
        return err_set(e, EUCLEAN,
                       "header does not begin with %s: not a zdbfs volume, or another role",
                       magic[role]);
    if (version != VERSION)
        return err_set(e, EUCLEAN, "header has version %u, this program knows version %d", version,
                       VERSION);
    if (flags & ~FLAG_IN_USE)
        return err_set(e, EUCLEAN, "header has unknown flags 0x%x", flags);
    const uint8_t *g = rd_take(&r, 6);
    uint64_t generation = 0;
    for (int i = 0; g && i < 6; i++)
        generation |= (uint64_t)g[i] << 8 * i;
    *out = (struct head){flags & FLAG_IN_USE, generation, v.len >= HEAD_BYTES ? rd_le64(&r) : 0};
    return 0;
}
