/* namespace - see the header.  Pure functions. */
#include "zdb/format/namespace.h"
#include <assert.h>
#include <errno.h>

#define FLAG_PUBLIC   1u
#define FLAG_WORM     2u
#define FLAG_EXTENDED 4u /* always set when written */

void ns_format_encode(struct buf *out, const struct ns_format *f)
{
    assert(f->name.len <= NS_FORMAT_NAME_MAX && f->password.len <= NS_FORMAT_PASSWORD_MAX);
    buf_put_le32(out, NS_FORMAT_VERSION);
    buf_put_u8(out, (uint8_t)f->name.len);
    buf_put_u8(out, (uint8_t)f->password.len);
    buf_put_le64(out, f->max_size);
    buf_put_u8(out, (uint8_t)(FLAG_EXTENDED | (f->is_public ? FLAG_PUBLIC : 0) |
                              (f->worm ? FLAG_WORM : 0)));
    buf_put_slice(out, f->name);
    buf_put_slice(out, f->password);
}

int ns_format_decode(struct slice in, struct ns_format *out)
{
    struct rd r = rd_of(in);
    uint32_t version = rd_le32(&r);
    uint8_t name_len = rd_u8(&r), password_len = rd_u8(&r), flags;

    out->max_size = rd_le64(&r);
    flags = rd_u8(&r);
    if (r.bad)
        return -ENODATA;
    if (version != NS_FORMAT_VERSION)
        return -EPROTONOSUPPORT;
    if (flags & ~(FLAG_PUBLIC | FLAG_WORM | FLAG_EXTENDED))
        return -EBADMSG;
    out->name = rd_slice(&r, name_len);
    out->password = rd_slice(&r, password_len);
    if (r.bad)
        return -ENODATA;
    out->is_public = flags & FLAG_PUBLIC;
    out->worm = flags & FLAG_WORM;
    return 0;
}
