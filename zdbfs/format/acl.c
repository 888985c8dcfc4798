/* acl - see format/acl.h. */
#include "zdbfs/format/acl.h"

#include <sys/stat.h>

enum { VERSION = 2, HEAD = 4, ENTRY = 8, PERM = 7 };

enum tag { USER_OBJ = 1, USER = 2, GROUP_OBJ = 4, GROUP = 8, MASK = 0x10, OTHER = 0x20 };

static uint8_t *permissions(uint8_t *entry)
{
    return entry + 2;
}

bool acl_format_valid(struct slice acl)
{
    unsigned seen = 0, last = 0;
    struct rd r = rd_of(acl);

    if (rd_le32(&r) != VERSION || acl.len < HEAD || (acl.len - HEAD) % ENTRY)
        return false;
    while (rd_left(&r)) {
        unsigned tag = rd_le16(&r), perm = rd_le16(&r);
        bool many = tag == USER || tag == GROUP;
        rd_le32(&r);
        if (perm > PERM || tag == 0 || tag > OTHER || tag & (tag - 1))
            return false;
        if (tag < last || (tag == last && !many))
            return false;
        seen |= last = tag;
    }
    return (seen & (USER_OBJ | GROUP_OBJ | OTHER)) == (USER_OBJ | GROUP_OBJ | OTHER) &&
           (!(seen & (USER | GROUP)) || seen & MASK);
}

/* The entry with this tag, or NULL. */
static uint8_t *find(uint8_t *acl, size_t len, enum tag tag)
{
    for (size_t at = HEAD; at + ENTRY <= len; at += ENTRY)
        if (le16_get(acl + at) == tag)
            return acl + at;
    return NULL;
}

/* The entry that the group bits of the mode speak of. */
static uint8_t *group_class(uint8_t *acl, size_t len)
{
    uint8_t *mask = find(acl, len, MASK);

    return mask ? mask : find(acl, len, GROUP_OBJ);
}

/* Three entries: there is no mask and nobody is named. */
static bool minimal(size_t len)
{
    return len == HEAD + 3 * ENTRY;
}

bool acl_format_mode(const uint8_t *acl, size_t len, uint32_t *mode)
{
    uint8_t *a = (uint8_t *)(uintptr_t)acl;
    uint32_t u = le16_get(permissions(find(a, len, USER_OBJ)));
    uint32_t g = le16_get(permissions(group_class(a, len)));
    uint32_t o = le16_get(permissions(find(a, len, OTHER)));

    *mode = (*mode & ~0777u) | u << 6 | g << 3 | o;
    return minimal(len);
}

void acl_format_chmod(uint8_t *acl, size_t len, uint32_t mode)
{
    le16_put(permissions(find(acl, len, USER_OBJ)), mode >> 6 & PERM);
    le16_put(permissions(group_class(acl, len)), mode >> 3 & PERM);
    le16_put(permissions(find(acl, len, OTHER)), mode & PERM);
}

bool acl_format_inherit(uint8_t *acl, size_t len, uint32_t *mode)
{
    uint32_t allowed = 0;

    acl_format_mode(acl, len, &allowed);
    *mode &= ~0777u | allowed;
    acl_format_chmod(acl, len, *mode);
    return minimal(len);
}
