/* xattr - requests about extended attributes.  The kernel has looked at the rights that the kinds
 * of names ask for (xattr(7)), but for which names are listed. */
#include <errno.h>

#include "zdbfs/core/xattr.h"
#include "zdbfs/format/acl.h"
#include "zdbfs/fuse/request.h"

static int allowed_here(const struct ops_req *q, const struct inode *in, const char *name)
{
    fs_lock(q->fs);
    int r = xattr_allowed(q->fs, in, name);
    fs_unlock(q->fs);
    return r;
}

/* Who sets an ACL without being of the file's group takes its set-group-id bit, as at chmod. */
static bool takes_set_group_id(const struct ops_req *q, const struct inode *in, const char *name)
{
    return strcmp(name, ACL_ACCESS) == 0 && q->uid != 0 && !ops_in_group(q, in->a.gid);
}

/* value NULL: it is removed. */
static void change(const struct ops_req *q, fuse_ino_t ino, const char *name,
                   const struct slice *value, int flags)
{
    struct inode *in = NULL;

    int r = fs_throttle(q->fs, q->deadline_ms);
    if (r == 0)
        r = inode_get(q->fs, ino, q->deadline_ms, &in);
    if (r == 0)
        r = ops_claim(q);
    if (r == 0) {
        bool take = value && takes_set_group_id(q, in, name);
        fs_lock(q->fs);
        r = value ? xattr_set(q->fs, in, name, *value, flags) : xattr_remove(q->fs, in, name);
        if (r == 0 && take)
            in->a.mode &= ~(uint32_t)S_ISGID;
        fs_unlock(q->fs);
    }
    inode_put(q->fs, in);
    if (r == 0)
        r = ops_store(q);
    ops_error(q, r);
}

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                  int flags)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct slice v = slice_of(value, size);

    change(&q, ino, name, &v, flags);
}

void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);

    change(&q, ino, name, NULL, 0);
}

/* As much as the caller has room for; size 0 asks how much that would have to be. */
static void reply(const struct ops_req *q, struct slice s, size_t size)
{
    if (size && s.len > size)
        ops_error(q, -ERANGE);
    else if (!ops_answer(q))
        return;
    else if (size == 0)
        fuse_reply_xattr(q->req, s.len);
    else
        fuse_reply_buf(q->req, (const char *)s.p, s.len);
}

void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size)
{
    CLEANUP(buf_fini) struct buf value = BUF_INIT;
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in = NULL;
    struct slice s;

    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0)
        r = allowed_here(&q, in, name);
    if (r == -EACCES) /* a default ACL: there is none */
        r = -ENODATA;
    if (r == 0) {
        fs_lock(q.fs);
        if (xattr_find(in, name, &s))
            buf_put_slice(&value, s);
        else
            r = -ENODATA;
        fs_unlock(q.fs);
    }
    inode_put(q.fs, in);
    if (r < 0)
        ops_error(&q, r);
    else
        reply(&q, buf_slice(&value), size);
}

void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size)
{
    CLEANUP(buf_fini) struct buf names = BUF_INIT;
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in = NULL;

    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r < 0) {
        ops_error(&q, r);
        return;
    }
    fs_lock(q.fs);
    xattr_list(in, q.uid == 0, &names);
    fs_unlock(q.fs);
    inode_put(q.fs, in);
    reply(&q, buf_slice(&names), size);
}
