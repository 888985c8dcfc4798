/* list - one name list of a directory, spec zdbfs-format 7.2: u64 own key | u32 count | u32
 * zero | entries, sorted by name: u16 length | u64 inode | name | NUL.  No state. */
#ifndef ZDBFS_FORMAT_LIST_H
#define ZDBFS_FORMAT_LIST_H

#include "common/buf.h"

#define LIST_HEAD_BYTES 16u
#define LIST_NAME_MAX   255u /* of new names; longer ones (u16) are read */

/* Which of the INODE_LISTS lists holds a name. */
unsigned list_format_bucket(struct slice name);
static inline size_t list_format_entry_bytes(size_t name_len)
{
    return 2 + 8 + name_len + 1;
}

struct list_reader {
    struct rd r;
    uint32_t left;
};

/* 0, or -EUCLEAN when it is no list of this key. */
int list_format_open(struct list_reader *l, struct slice v, uint64_t key);
/* 1: an entry, the name borrowed from the value; 0: the end; -EUCLEAN. */
int list_format_next(struct list_reader *l, struct slice *name, uint64_t *ino);

/* Writing: the head, then `count` entries in order. */
void list_format_put_head(struct buf *b, uint64_t key, uint32_t count);
void list_format_put_entry(struct buf *b, struct slice name, uint64_t ino);

#endif
