/* xattr - see format/xattr.h. */
#include "zdbfs/format/xattr.h"

static int compare(struct slice a, struct slice b)
{
    int c = memcmp(a.p, b.p, a.len < b.len ? a.len : b.len);

    return c ? c : (a.len > b.len) - (a.len < b.len);
}

static bool take(struct rd *r, struct slice *name, struct slice *value)
{
    uint16_t n = rd_le16(r), zero = rd_le16(r);
    uint32_t len = rd_le32(r);

    *name = rd_slice(r, n);
    *value = rd_slice(r, len);
    return !r->bad && zero == 0 && n > 0 && n <= XATTR_NAME_BYTES && len <= XATTR_VALUE_BYTES &&
           !memchr(name->p, 0, n);
}

bool xattr_format_valid(struct slice all)
{
    struct rd r = rd_of(all);
    struct slice last = {0}, name, value;

    if (all.len > XATTR_ALL_BYTES)
        return false;
    for (; rd_left(&r); last = name)
        if (!take(&r, &name, &value) || (last.p && compare(last, name) >= 0))
            return false;
    return true;
}

bool xattr_format_next(struct slice *rest, struct slice *name, struct slice *value)
{
    struct rd r = rd_of(*rest);

    if (rest->len == 0 || !take(&r, name, value))
        return false;
    *rest = slice_of(r.p, rd_left(&r));
    return true;
}

bool xattr_format_find(struct slice all, struct slice name, struct slice *value)
{
    struct slice n;

    while (xattr_format_next(&all, &n, value))
        if (slice_eq(n, name))
            return true;
    return false;
}

static void put(struct buf *b, struct slice name, struct slice value)
{
    buf_put_le16(b, (uint16_t)name.len);
    buf_put_le16(b, 0);
    buf_put_le32(b, (uint32_t)value.len);
    buf_put_slice(b, name);
    buf_put_slice(b, value);
}

void xattr_format_change(struct buf *b, struct slice all, struct slice name,
                         const struct slice *value)
{
    struct slice n, v;
    bool placed = false;

    while (xattr_format_next(&all, &n, &v)) {
        int c = compare(n, name);
        if (c >= 0 && !placed && value)
            put(b, name, *value);
        placed |= c >= 0;
        if (c != 0)
            put(b, n, v);
    }
    if (!placed && value)
        put(b, name, *value);
}
