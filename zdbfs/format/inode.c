/* inode - see format/inode.h.
 *   0 u32 mode | 4 u64 "ino" | 12 u32 dev 0 | 16 u16 uid | 18 u16 gid | 20 u64 size | 28 u32 links
 * | 32 u32 atime | 36 u32 mtime | 40 u32 ctime | 44 body: file u64 n, n times u32; symlink target
 * NUL 0x42; directory 128 u64 */
#include "zdbfs/format/inode.h"

#include <errno.h>
#include <sys/stat.h>

#include "common/crc.h"
#include "zdbfs/format/xattr.h"

enum {
    COMMON_BYTES = 44,
    TAIL_HEAD = 16,
    TAIL_VERSION = 1,
    FIELD_HEAD = 8,
    FIELD_OWNER = 1,
    FIELD_TIMES = 2,
    FIELD_DEVICE = 3,
    FIELD_SUBDIRS = 4,
    FIELD_XATTRS = 5,
    FIELD_CRITICAL = 0x8000,
    STORED_INO = 1, /* what upstream writes from its cache; ignored on read */
    LINK_FILLER = 0x42,
};

static const char tail_magic[4] = {'Q', 'F', 'S', 'T'};

/* ---- tail ----------------------------------------------------------------------------------- */

struct tail {
    bool there, owner, times, device, subdirs;
    uint32_t uid, gid, major, minor, nsub;
    struct timespec t[4];
    struct slice xattrs;
    struct slice extra; /* the unknown ones: they follow ours */
};

static bool decode_time(struct rd *r, struct timespec *t)
{
    const uint8_t *sec = rd_take(r, 8);
    uint32_t nsec = rd_le32(r);

    if (!sec || nsec >= 1000000000)
        return false;
    *t = (struct timespec){(int64_t)le64_get(sec), nsec};
    return true;
}

static int decode_field(uint16_t type, struct slice v, struct tail *t)
{
    struct rd r = rd_of(v);

    switch (type) {
    case FIELD_OWNER:
        t->owner = true;
        t->uid = rd_le32(&r);
        t->gid = rd_le32(&r);
        break;
    case FIELD_TIMES:
        t->times = true;
        for (int i = 0; i < 4; i++)
            if (!decode_time(&r, &t->t[i]))
                return -EUCLEAN;
        break;
    case FIELD_DEVICE:
        t->device = true;
        t->major = rd_le32(&r);
        t->minor = rd_le32(&r);
        break;
    case FIELD_SUBDIRS:
        t->subdirs = true;
        t->nsub = rd_le32(&r);
        break;
    case FIELD_XATTRS:
        t->xattrs = v;
        return xattr_format_valid(v) ? 0 : -EUCLEAN;
    default:
        return type & FIELD_CRITICAL ? -EUCLEAN : 1;
    }
    return r.bad || rd_left(&r) ? -EUCLEAN : 0;
}

/* Nothing, or bytes that are no tail (upstream ignores them, so do we), or a tail that has to be
 * whole. */
static int decode_tail(struct slice v, struct tail *t)
{
    struct rd r = rd_of(v);
    const uint8_t *head = rd_take(&r, TAIL_HEAD);

    if (!head || memcmp(head, tail_magic, 4) != 0)
        return 0;
    struct slice fields = rd_slice(&r, le32_get(head + 8));
    if (r.bad || head[4] != TAIL_VERSION || head[5] || le16_get(head + 6))
        return -EUCLEAN;
    if (crc_std(crc_std(0, head, 12), fields.p, fields.len) != le32_get(head + 12))
        return -EUCLEAN;
    t->there = true;
    r = rd_of(fields);
    while (rd_left(&r)) {
        const uint8_t *start = r.p;
        uint16_t type = rd_le16(&r), zero = rd_le16(&r);
        struct slice f = rd_slice(&r, rd_le32(&r));
        if (r.bad || zero)
            return -EUCLEAN;
        int n = decode_field(type, f, t);
        if (n < 0)
            return n;
        if (n == 1 && !t->extra.p)
            t->extra.p = start;
        if (n == 1)
            t->extra.len = (size_t)(r.p - t->extra.p);
        else if (t->extra.p)
            return -EUCLEAN; /* ours come first */
    }
    return 0;
}

static void put_field(struct buf *b, uint16_t type, uint32_t len)
{
    buf_put_le16(b, type);
    buf_put_le16(b, 0);
    buf_put_le32(b, len);
}

static void put_time(struct buf *b, struct timespec t)
{
    buf_put_le64(b, (uint64_t)t.tv_sec);
    buf_put_le32(b, (uint32_t)t.tv_nsec);
}

static void encode_tail(struct buf *b, const struct inode_rec *rec)
{
    const struct inode_attr *a = &rec->a;
    size_t start = b->len;

    buf_put(b, tail_magic, 4);
    buf_put_u8(b, TAIL_VERSION);
    buf_put_zero(b, TAIL_HEAD - 5);
    put_field(b, FIELD_OWNER, 8);
    buf_put_le32(b, a->uid);
    buf_put_le32(b, a->gid);
    put_field(b, FIELD_TIMES, 48);
    put_time(b, a->atime);
    put_time(b, a->mtime);
    put_time(b, a->ctime);
    put_time(b, a->btime);
    if (S_ISCHR(a->mode) || S_ISBLK(a->mode)) {
        put_field(b, FIELD_DEVICE, 8);
        buf_put_le32(b, a->rdev_major);
        buf_put_le32(b, a->rdev_minor);
    }
    if (S_ISDIR(a->mode) && a->subdirs_known) {
        put_field(b, FIELD_SUBDIRS, 4);
        buf_put_le32(b, a->subdirs);
    }
    if (rec->xattrs.len) {
        put_field(b, FIELD_XATTRS, (uint32_t)rec->xattrs.len);
        buf_put_slice(b, rec->xattrs);
    }
    buf_put_slice(b, rec->extra);
    uint8_t *head = buf_data(b) + start;
    size_t fields = b->len - start - TAIL_HEAD;
    le32_put(head + 8, (uint32_t)fields);
    le32_put(head + 12, crc_std(crc_std(0, head, 12), head + TAIL_HEAD, fields));
}

/* ---- record --------------------------------------------------------------------------------- */

/* The classic field is the low bits of ours unless upstream rewrote it. */
static struct timespec pick_time(uint32_t classic, const struct timespec *ours)
{
    if (ours && (uint32_t)ours->tv_sec == classic)
        return *ours;
    return (struct timespec){classic, 0};
}

static void merge_tail(struct inode_attr *a, const uint32_t classic[3], const struct tail *t)
{
    if (t->owner && (uint16_t)t->uid == a->uid)
        a->uid = t->uid;
    if (t->owner && (uint16_t)t->gid == a->gid)
        a->gid = t->gid;
    a->atime = pick_time(classic[0], t->times ? &t->t[0] : NULL);
    a->mtime = pick_time(classic[1], t->times ? &t->t[1] : NULL);
    a->ctime = pick_time(classic[2], t->times ? &t->t[2] : NULL);
    a->btime = t->times ? t->t[3] : a->ctime;
    a->rdev_major = t->device ? t->major : 0;
    a->rdev_minor = t->device ? t->minor : 0;
    a->subdirs = t->nsub;
    a->subdirs_known = t->subdirs;
}

static bool known_type(uint32_t mode)
{
    return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) || S_ISCHR(mode) || S_ISBLK(mode) ||
           S_ISFIFO(mode) || S_ISSOCK(mode);
}

static int decode_body(struct rd *r, struct inode_rec *out)
{
    struct inode_attr *a = &out->a;

    if (S_ISDIR(a->mode)) {
        out->lists = rd_slice(r, INODE_LISTS * 8);
    } else if (S_ISLNK(a->mode)) {
        if (a->size == 0 || a->size > INODE_MAX_LINK + 1)
            return -EUCLEAN;
        struct slice text = rd_slice(r, (size_t)a->size);
        if (r->bad)
            return -EUCLEAN;
        out->target = slice_of(text.p, strnlen((const char *)text.p, text.len));
        if (out->target.len == 0)
            return -EUCLEAN;
        a->size = out->target.len;
        if (rd_left(r))
            rd_u8(r); /* the filler */
    } else {
        uint64_t n = rd_le64(r);
        if (n > INODE_MAX_VALUE / 4 || a->size > INT64_MAX)
            return -EUCLEAN;
        out->slots = rd_slice(r, (size_t)n * 4);
    }
    return r->bad ? -EUCLEAN : 0;
}

int inode_format_decode(struct slice v, struct inode_rec *out)
{
    struct rd r = rd_of(v);
    struct inode_attr *a = &out->a;
    struct tail t = {0};

    *out = (struct inode_rec){0};
    a->mode = rd_le32(&r);
    rd_take(&r, 8 + 4);
    a->uid = rd_le16(&r);
    a->gid = rd_le16(&r);
    a->size = rd_le64(&r);
    a->nlink = rd_le32(&r);
    uint32_t classic[3];
    for (int i = 0; i < 3; i++)
        classic[i] = rd_le32(&r);
    if (r.bad || !known_type(a->mode))
        return -EUCLEAN;
    int n = decode_body(&r, out);
    if (n == 0)
        n = decode_tail(slice_of(r.p, rd_left(&r)), &t);
    if (n < 0)
        return n;
    merge_tail(a, classic, &t);
    out->xattrs = t.xattrs;
    out->extra = t.extra;
    out->tail = t.there;
    return 0;
}

void inode_format_encode(struct buf *b, const struct inode_rec *rec)
{
    const struct inode_attr *a = &rec->a;

    buf_put_le32(b, a->mode);
    buf_put_le64(b, STORED_INO);
    buf_put_le32(b, 0);
    buf_put_le16(b, (uint16_t)a->uid);
    buf_put_le16(b, (uint16_t)a->gid);
    buf_put_le64(b, S_ISLNK(a->mode) ? a->size + 1 : a->size);
    buf_put_le32(b, S_ISDIR(a->mode) ? 0 : a->nlink);
    buf_put_le32(b, (uint32_t)a->atime.tv_sec);
    buf_put_le32(b, (uint32_t)a->mtime.tv_sec);
    buf_put_le32(b, (uint32_t)a->ctime.tv_sec);
    if (S_ISDIR(a->mode)) {
        buf_put_slice(b, rec->lists);
    } else if (S_ISLNK(a->mode)) {
        buf_put_slice(b, rec->target);
        buf_put_u8(b, 0);
        buf_put_u8(b, LINK_FILLER);
    } else {
        buf_put_le64(b, rec->slots.len / 4);
        buf_put_slice(b, rec->slots);
    }
    encode_tail(b, rec);
}
