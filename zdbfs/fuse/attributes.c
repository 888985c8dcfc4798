/* attributes - requests about one inode: lookup, attributes, link targets, free space, ioctl. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "zdbfs/txn/commit.h"
#include "zdbfs/core/directory.h"
#include "zdbfs/core/xattr.h"
#include "zdbfs/format/list.h"
#include "zdbfs/fuse/request.h"
#include "zdbfs/fuse/wire.h"
#include "zdbfs/core/space.h"
#include "zdbfs/core/writeback.h"

#define IOCTL_SNAPSHOT   0x80084500u /* _IOR('E', 0, uint64_t) */
#define IOCTL_STATISTICS 0x80f04501u /* _IOR('E', 1, 240 bytes) */

/* "." of whatever a handle says (NFS, open_by_handle_at): by its number alone. */
static void look_up_self(const struct ops_req *q, fuse_ino_t ino)
{
    struct fuse_entry_param e = {0};
    struct inode *in = NULL;

    int r = inode_get(q->fs, ino, q->deadline_ms, &in);
    if (r == 0)
        r = ops_links(q, in);
    if (r == 0) {
        fs_lock(q->fs);
        if (in->state != INODE_READY || (in->a.nlink == 0 && !in->orphan))
            r = -ENOENT;
        else
            ops_fill_entry(q->fs, in, &e);
        fs_unlock(q->fs);
    }
    inode_put(q->fs, in);
    if (r < 0)
        ops_error(q, r);
    else
        ops_reply_entry(q, &e);
}

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    if (strcmp(name, ".") == 0) {
        look_up_self(&q, parent);
        return;
    }
    struct fuse_entry_param e = {.entry_timeout = OPS_TIMEOUT}; /* ino 0: there is no such name, and
                                                                   that may be kept */
    struct name_ref ref;
    struct name_ref *refs[] = {&ref};

    int r = dir_open_name(q.fs, parent, name, q.deadline_ms, &ref);
    if (r == 0 && ref.child)
        r = ops_links(&q, ref.child);
    if (r == 0 && !ref.child && strlen(name) > LIST_NAME_MAX)
        r = -ENAMETOOLONG; /* longer ones are those of the original that are there */
    if (r == 0)
        r = dir_lock_names(q.fs, refs, 1, q.deadline_ms);
    if (r == 0) {
        if (ref.child)
            ops_fill_entry(q.fs, ref.child, &e);
        bool dir = ref.child && ref.child->dir;
        fs_unlock(q.fs);
        if (dir)
            oplog_learn(q.ops->log, e.ino, parent, name);
    }
    dir_close_name(q.fs, &ref);
    if (r < 0) {
        ops_error(&q, r);
        return;
    }
    if (!e.ino)
        stats_add(&q.fs->stats.errors, 1);
    ops_reply_entry(&q, &e);
}

void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n)
{
    struct ops *ops = fuse_req_userdata(req);

    fs_lock(ops->fs);
    inode_forget(ops->fs, ino, n);
    fs_unlock(ops->fs);
    fuse_reply_none(req);
}

void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f)
{
    struct ops *ops = fuse_req_userdata(req);

    fs_lock(ops->fs);
    for (size_t i = 0; i < count; i++)
        inode_forget(ops->fs, f[i].ino, f[i].nlookup);
    fs_unlock(ops->fs);
    fuse_reply_none(req);
}

static void reply_attr(const struct ops_req *q, struct inode *in)
{
    struct stat st;

    assert(in);
    struct timespec btime = in->a.btime; /* does not change */

    fs_lock(q->fs);
    ops_stat(in, &st);
    fs_unlock(q->fs);
    inode_put(q->fs, in);
    if (!ops_answer(q))
        return;
    if (wire_is_statx())
        wire_reply_statx(q->req, &st, btime, OPS_TIMEOUT);
    else
        fuse_reply_attr(q->req, &st, OPS_TIMEOUT);
}

void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_GETATTR);
    struct inode *in;

    (void)fi;
    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0) {
        r = ops_links(&q, in);
        if (r < 0)
            inode_put(q.fs, in);
    }
    if (r < 0)
        ops_error(&q, r);
    else
        reply_attr(&q, in);
}

/* L */
static void change(struct fs *fs, struct inode *in, const struct stat *st, int to_set)
{
    struct timespec now = fs_now();

    if (to_set & FUSE_SET_ATTR_MODE) {
        in->a.mode = (in->a.mode & S_IFMT) | (st->st_mode & 07777);
        xattr_chmod(fs, in, in->a.mode);
    }
    if (to_set & FUSE_SET_ATTR_UID)
        in->a.uid = st->st_uid;
    if (to_set & FUSE_SET_ATTR_GID)
        in->a.gid = st->st_gid;
    if (to_set & FUSE_SET_ATTR_ATIME)
        in->a.atime = to_set & FUSE_SET_ATTR_ATIME_NOW ? now : st->st_atim;
    if (to_set & FUSE_SET_ATTR_MTIME)
        in->a.mtime = to_set & FUSE_SET_ATTR_MTIME_NOW ? now : st->st_mtim;
    in->a.ctime = to_set & FUSE_SET_ATTR_CTIME ? st->st_ctim : now;
}

static int resize(const struct ops_req *q, struct inode *in, off_t size)
{
    if (in->dir)
        return -EISDIR;
    if (!S_ISREG(in->a.mode) || size < 0)
        return -EINVAL;
    return file_truncate(q->fs, in, (uint64_t)size, q->deadline_ms);
}

/* Also one that names neither user nor group, which is all that asks for nothing. */
static bool is_chown(int to_set)
{
    int what = to_set & ~FUSE_SET_ATTR_CTIME;

    return what == 0 ||
           (what & (FUSE_SET_ATTR_UID | FUSE_SET_ATTR_GID) && !(what & FUSE_SET_ATTR_MODE));
}

void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                 struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_SETATTR);
    struct inode *in = NULL;

    (void)fi;
    int r = fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0)
        r = ops_links(&q, in);
    if (r == 0)
        r = ops_claim(&q);
    if (r == 0 && to_set & FUSE_SET_ATTR_SIZE)
        r = resize(&q, in, st->st_size);
    if (r == 0 && to_set & FUSE_SET_ATTR_SIZE && !(to_set & FUSE_SET_ATTR_MODE))
        ops_drop_privileges(&q, in, PRIV_CONTENT);
    if (r == 0 && is_chown(to_set))
        ops_drop_privileges(&q, in, PRIV_OWNER);
    if (r == 0) {
        fs_lock(q.fs);
        change(q.fs, in, st, to_set);
        inode_dirty(q.fs, in);
        fs_unlock(q.fs);
        r = ops_store(&q);
    }
    if (r < 0) {
        inode_put(q.fs, in);
        ops_error(&q, r);
        return;
    }
    reply_attr(&q, in);
}

void ops_readlink(fuse_req_t req, fuse_ino_t ino)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in;

    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r < 0) {
        ops_error(&q, r);
        return;
    }
    if (!in->target)
        ops_error(&q, -EINVAL);
    else if (ops_answer(&q))
        fuse_reply_readlink(req, in->target); /* does not change while the inode lives */
    inode_put(q.fs, in);
}

void ops_statfs(fuse_req_t req, fuse_ino_t ino)
{
    struct ops_req q = ops_begin(req, CALL_STATFS);
    struct statvfs st;

    (void)ino;
    int r = space_statfs(q.fs, &st);
    if (r < 0)
        ops_error(&q, r);
    else if (ops_answer(&q))
        fuse_reply_statfs(req, &st);
}

/* ---- ioctl ---------------------------------------------------------------------------------- */

static void snapshot(const struct ops_req *q)
{
    uint8_t now[8];

    int r = q->fs->read_only ? 0 : writeback_all(q->fs, q->deadline_ms);
    if (r == 0)
        r = commit_wait(q->fs, q->deadline_ms);
    if (r < 0) {
        ops_error(q, r);
        return;
    }
    inode_evict_all(q->fs);
    le64_put(now, base_wall_s());
    if (ops_answer(q))
        fuse_reply_ioctl(q->req, 0, now, sizeof now);
}

static void point(const struct ops_req *q)
{
    uint8_t answer[POINT_ANSWER_BYTES];
    struct point p;

    int r = q->fs->read_only ? -EROFS : writeback_all(q->fs, q->deadline_ms);
    if (r == 0)
        r = commit_point(q->fs, q->deadline_ms, &p);
    if (r < 0) {
        ops_error(q, r);
        return;
    }
    point_answer_encode(&p, answer);
    if (ops_answer(q))
        fuse_reply_ioctl(q->req, 0, answer, sizeof answer);
}

static void statistics(const struct ops_req *q)
{
    uint8_t record[STATS_BYTES];

    fs_lock(q->fs);
    struct stats_cache c = {q->fs->ninodes, q->fs->ninodes, q->fs->bc.n, q->fs->bc.used_bytes};
    fs_unlock(q->fs);
    stats_encode(&q->fs->stats, &c, record);
    le64_put(record + 8, le64_get(record + 8) - 1); /* this request is not completed yet */
    if (ops_answer(q))
        fuse_reply_ioctl(q->req, 0, record, sizeof record);
}

void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
               struct fuse_file_info *fi, unsigned flags, const void *in_buf, size_t in_bufsz,
               size_t out_bufsz)
{
    struct ops_req q = ops_begin(req, CALL_IOCTL);

    (void)ino;
    (void)arg;
    (void)fi;
    (void)flags;
    (void)in_buf;
    (void)in_bufsz;
    if (cmd == IOCTL_SNAPSHOT && out_bufsz >= 8)
        snapshot(&q);
    else if (cmd == POINT_IOCTL && out_bufsz >= POINT_ANSWER_BYTES)
        point(&q);
    else if (cmd == IOCTL_STATISTICS && out_bufsz >= STATS_BYTES)
        statistics(&q);
    else
        ops_error(&q, -ENOTTY);
}
