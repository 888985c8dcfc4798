/* head - see format/head.h.
 *   0 magic ZDBFSM, ZDBFSD or ZDBFST   6 u16 version 1   8 u16 flags, bit 0 in use   10 u48
 * generation   16 u64 size */
#include "zdbfs/format/head.h"

#include <errno.h>

#include "common/crc.h"

enum {
    VERSION = 1,
    FLAG_IN_USE = 1,
    MIN_BYTES = 8,
    TAIL_HEAD = 16,
    TAIL_VERSION = 1,
    FIELD_FEATURES = 1,
    FIELD_EPOCH = 2,
    FIELD_OWNER = 3,
    FIELD_FLOOR = 4,
    FIELD_POINTS = 5,
    FIELD_AT_POINT = 6,
    FIELD_CRITICAL = 0x8000,
};

static const char magic[ROLE_COUNT][7] = {"ZDBFSM", "ZDBFSD", "ZDBFST"};
static const char tail_magic[4] = {'Q', 'F', 'S', 'H'};

/* ---- tail ----------------------------------------------------------------------------------- */

static void put_field(struct buf *b, uint16_t type, size_t len)
{
    buf_put_le16(b, type);
    buf_put_le16(b, 0);
    buf_put_le32(b, (uint32_t)len);
}

static void put_text(struct buf *b, const char *text)
{
    buf_put_u8(b, (uint8_t)strlen(text));
    buf_put_str(b, text);
}

static void put_number(struct buf *b, uint16_t type, uint64_t value)
{
    put_field(b, type, 8);
    buf_put_le64(b, value);
}

static void encode_tail(struct buf *b, const struct head *h)
{
    const struct head_owner *o = &h->owner;
    size_t start = b->len;

    buf_put(b, tail_magic, 4);
    buf_put_u8(b, TAIL_VERSION);
    buf_put_zero(b, TAIL_HEAD - 5);
    put_number(b, FIELD_FEATURES, h->features);
    put_number(b, FIELD_EPOCH, h->epoch);
    if (h->floor)
        put_number(b, FIELD_FLOOR, h->floor);
    if (h->points_key)
        put_number(b, FIELD_POINTS, h->points_key);
    if (h->at_point)
        put_number(b, FIELD_AT_POINT, h->at_point);
    if (h->owned) {
        put_field(b, FIELD_OWNER,
                  16 + 8 + 8 + 4 + 4 + 8 + 8 + 16 + 16 + 2 + strlen(o->host) + strlen(o->where));
        buf_put(b, o->instance, 16);
        buf_put_le64(b, o->renewals);
        buf_put_le64(b, o->wall_ms);
        buf_put_le32(b, o->ttl_ms);
        buf_put_le32(b, o->pid);
        buf_put_le64(b, o->pid_start);
        buf_put_le64(b, o->pid_ns);
        buf_put(b, o->boot, 16);
        buf_put(b, o->machine, 16);
        put_text(b, o->host);
        put_text(b, o->where);
    }
    uint8_t *head = buf_data(b) + start;
    size_t fields = b->len - start - TAIL_HEAD;
    le32_put(head + 8, (uint32_t)fields);
    le32_put(head + 12, crc_std(crc_std(0, head, 12), head + TAIL_HEAD, fields));
}

static void get_bytes(struct rd *r, uint8_t out[16])
{
    const uint8_t *p = rd_take(r, 16);
    if (p)
        memcpy(out, p, 16);
}

/* Text for messages: what would disturb them is replaced. */
static void get_text(struct rd *r, char *out, size_t size)
{
    struct slice s = rd_slice(r, rd_u8(r));
    size_t n = r->bad ? 0 : MIN(s.len, size - 1);

    for (size_t i = 0; i < n; i++)
        out[i] = s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : (char)s.p[i];
    out[n] = 0;
}

static bool decode_owner(struct rd *r, struct head_owner *o)
{
    get_bytes(r, o->instance);
    o->renewals = rd_le64(r);
    o->wall_ms = rd_le64(r);
    o->ttl_ms = rd_le32(r);
    o->pid = rd_le32(r);
    o->pid_start = rd_le64(r);
    o->pid_ns = rd_le64(r);
    get_bytes(r, o->boot);
    get_bytes(r, o->machine);
    get_text(r, o->host, sizeof o->host);
    get_text(r, o->where, sizeof o->where);
    return !r->bad;
}

static bool decode_field(uint16_t type, struct slice v, struct head *out)
{
    struct rd r = rd_of(v);

    switch (type) {
    case FIELD_FEATURES:
        out->features = rd_le64(&r);
        return !r.bad;
    case FIELD_EPOCH:
        out->epoch = rd_le64(&r);
        return !r.bad;
    case FIELD_FLOOR:
        out->floor = rd_le64(&r);
        return !r.bad;
    case FIELD_POINTS:
        out->points_key = rd_le64(&r);
        return !r.bad;
    case FIELD_AT_POINT:
        out->at_point = rd_le64(&r);
        return !r.bad;
    case FIELD_OWNER:
        out->owned = true;
        return decode_owner(&r, &out->owner);
    default:
        return !(type & FIELD_CRITICAL);
    }
}

/* Nothing, or bytes that are no tail, or one that has to be whole. */
static int decode_tail(struct slice v, struct head *out, struct err *e)
{
    struct rd r = rd_of(v);
    const uint8_t *head = rd_take(&r, TAIL_HEAD);

    if (!head || memcmp(head, tail_magic, 4) != 0)
        return 0;
    if (head[4] != TAIL_VERSION)
        return err_set(e, EUCLEAN, "tail of the header has version %u, this program knows %d",
                       head[4], TAIL_VERSION);
    struct slice fields = rd_slice(&r, le32_get(head + 8));
    bool good = !r.bad && !head[5] && !le16_get(head + 6) &&
                crc_std(crc_std(0, head, 12), fields.p, fields.len) == le32_get(head + 12);
    r = rd_of(good ? fields : slice_of(NULL, 0));
    while (good && rd_left(&r)) {
        uint16_t type = rd_le16(&r), zero = rd_le16(&r);
        struct slice f = rd_slice(&r, rd_le32(&r));
        good = !r.bad && !zero && decode_field(type, f, out);
    }
    if (!good)
        return err_set(e, EUCLEAN, "tail of the header is damaged");
    if (out->features & ~HEAD_FEATURES)
        return err_set(e, EUCLEAN,
                       "volume has features 0x%llx that this program does not know; use a newer "
                       "zdbfs",
                       (unsigned long long)(out->features & ~HEAD_FEATURES));
    out->tail = true;
    return 0;
}

/* ---- header --------------------------------------------------------------------------------- */

void head_format_encode(struct buf *b, enum role role, const struct head *h)
{
    buf_put(b, magic[role], 6);
    buf_put_le16(b, VERSION);
    buf_put_le16(b, h->in_use ? FLAG_IN_USE : 0);
    for (int i = 0; i < 6; i++)
        buf_put_u8(b, (uint8_t)(h->generation >> 8 * i));
    buf_put_le64(b, h->size_bytes);
    if (h->tail)
        encode_tail(b, h);
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
    *out = (struct head){.in_use = flags & FLAG_IN_USE, .generation = generation};
    if (v.len < HEAD_BYTES)
        return 0;
    out->size_bytes = rd_le64(&r);
    return decode_tail(slice_of(r.p, rd_left(&r)), out, e);
}
