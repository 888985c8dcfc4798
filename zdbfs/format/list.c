/* list - see format/list.h. */
#include "zdbfs/format/list.h"

#include <errno.h>

#include "zdbfs/format/inode.h"

unsigned list_format_bucket(struct slice name)
{
    unsigned sum = 0;

    for (size_t i = 0; i < name.len; i++)
        sum += name.p[i];
    return sum % INODE_LISTS;
}

int list_format_open(struct list_reader *l, struct slice v, uint64_t key)
{
    l->r = rd_of(v);
    uint64_t own = rd_le64(&l->r);
    l->left = rd_le32(&l->r);
    rd_le32(&l->r); /* garbage */
    return l->r.bad || own != key ? -EUCLEAN : 0;
}

int list_format_next(struct list_reader *l, struct slice *name, uint64_t *ino)
{
    if (l->left == 0)
        return 0;
    l->left--;
    size_t len = rd_le16(&l->r);
    *ino = rd_le64(&l->r);
    *name = rd_slice(&l->r, len);
    uint8_t nul = rd_u8(&l->r);
    if (l->r.bad || nul != 0 || len == 0 || memchr(name->p, 0, len) || memchr(name->p, '/', len))
        return -EUCLEAN;
    return 1;
}

void list_format_put_head(struct buf *b, uint64_t key, uint32_t count)
{
    buf_put_le64(b, key);
    buf_put_le32(b, count);
    buf_put_le32(b, 0);
}

void list_format_put_entry(struct buf *b, struct slice name, uint64_t ino)
{
    buf_put_le16(b, (uint16_t)name.len);
    buf_put_le64(b, ino);
    buf_put_slice(b, name);
    buf_put_u8(b, 0);
}
