/* xattr - see core/xattr.h. */
#include "zdbfs/core/xattr.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "zdbfs/format/acl.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/xattr.h"

static struct slice all(const struct inode *in)
{
    return slice_of(in->xattrs, in->xattrs_len);
}

static const char *const kinds[] = {"user.", "trusted.", "security."};

static bool is_acl(const char *name)
{
    return strcmp(name, ACL_ACCESS) == 0 || strcmp(name, ACL_DEFAULT) == 0;
}

int xattr_allowed(const struct fs *fs, const struct inode *in, const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i]);
        if (strncmp(name, kinds[i], n) == 0)
            return name[n] ? 0 : -EINVAL;
    }
    if (!is_acl(name) || fs->opt->noacl || S_ISLNK(in->a.mode))
        return -EOPNOTSUPP;
    return strcmp(name, ACL_DEFAULT) == 0 && !in->dir ? -EACCES : 0;
}

bool xattr_find(const struct inode *in, const char *name, struct slice *value)
{
    return in->xattrs_len && xattr_format_find(all(in), slice_str(name), value);
}

static void changed(struct fs *fs, struct inode *in, struct slice now)
{
    inode_set_xattrs(fs, in, now);
    in->a.ctime = fs_now();
}

/* An ACL for the mode alone: the mode is set, none is kept. */
static void only_mode(struct fs *fs, struct inode *in, struct slice name)
{
    CLEANUP(buf_fini) struct buf now = BUF_INIT;

    xattr_format_change(&now, all(in), name, NULL);
    changed(fs, in, buf_slice(&now));
}

int xattr_set(struct fs *fs, struct inode *in, const char *name, struct slice value, int flags)
{
    CLEANUP(buf_fini) struct buf now = BUF_INIT;
    uint32_t mode = in->a.mode;
    struct slice old, n = slice_str(name);
    bool have = xattr_find(in, name, &old);
    int r = xattr_allowed(fs, in, name);

    if (r < 0)
        return r;
    if (n.len > XATTR_NAME_BYTES)
        return -ERANGE;
    if (value.len > XATTR_VALUE_BYTES)
        return -E2BIG;
    if (have && flags & XATTR_CREATE)
        return -EEXIST;
    if (!have && flags & XATTR_REPLACE)
        return -ENODATA;
    if (is_acl(name) && !acl_format_valid(value))
        return -EINVAL;
    if (strcmp(name, ACL_ACCESS) == 0 && acl_format_mode(value.p, value.len, &mode)) {
        only_mode(fs, in, n);
        in->a.mode = mode;
        return 0;
    }
    xattr_format_change(&now, all(in), n, &value);
    if (now.len > XATTR_ALL_BYTES || now.len + in->extra_len > INODE_REST - INODE_REST / 4 ||
        4 * (uint64_t)in->nslots + INODE_REST > INODE_MAX_VALUE)
        return -ENOSPC;
    changed(fs, in, buf_slice(&now));
    in->a.mode = mode;
    return 0;
}

int xattr_remove(struct fs *fs, struct inode *in, const char *name)
{
    struct slice old;
    int r = xattr_allowed(fs, in, name);

    if (r < 0)
        return r;
    if (!xattr_find(in, name, &old))
        return is_acl(name) ? 0 : -ENODATA; /* one that says what the mode says is there always */
    only_mode(fs, in, slice_str(name));
    return 0;
}

void xattr_list(const struct inode *in, bool trusted, struct buf *out)
{
    struct slice rest = all(in), name, value;

    while (xattr_format_next(&rest, &name, &value)) {
        if (!trusted && name.len > 8 && memcmp(name.p, "trusted.", 8) == 0)
            continue;
        buf_put_slice(out, name);
        buf_put_u8(out, 0);
    }
}

/* ---- ACLs ----------------------------------------------------------------------------------- */

void xattr_chmod(struct fs *fs, struct inode *in, uint32_t mode)
{
    CLEANUP(buf_fini) struct buf acl = BUF_INIT, now = BUF_INIT;
    struct slice old;

    if (!xattr_find(in, ACL_ACCESS, &old) || !acl_format_valid(old))
        return;
    buf_put_slice(&acl, old);
    acl_format_chmod(buf_data(&acl), acl.len, mode);
    old = buf_slice(&acl);
    xattr_format_change(&now, all(in), slice_str(ACL_ACCESS), &old);
    inode_set_xattrs(fs, in, buf_slice(&now));
}

void xattr_inherit(const struct fs *fs, const struct inode *dir, uint32_t umask, uint32_t *mode,
                   struct buf *out)
{
    CLEANUP(buf_fini) struct buf access = BUF_INIT, both = BUF_INIT;
    struct slice def, acl;

    if (S_ISLNK(*mode))
        return;
    if (fs->opt->noacl || !xattr_find(dir, ACL_DEFAULT, &def) || !acl_format_valid(def)) {
        *mode &= ~(umask & 0777);
        return;
    }
    buf_put_slice(&access, def);
    bool said = acl_format_inherit(buf_data(&access), access.len, mode);
    acl = buf_slice(&access);
    if (!said)
        xattr_format_change(&both, slice_of(NULL, 0), slice_str(ACL_ACCESS), &acl);
    if (S_ISDIR(*mode))
        xattr_format_change(out, buf_slice(&both), slice_str(ACL_DEFAULT), &def);
    else
        buf_put_slice(out, buf_slice(&both));
}
