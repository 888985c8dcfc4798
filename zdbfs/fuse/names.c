/* names - requests that change names: create, mkdir, symlink, mknod, link, unlink, rmdir,
 * rename.  Each is made under fs.lock as a whole, so a commit holds all of it or nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "zdbfs/core/directory.h"
#include "zdbfs/core/xattr.h"
#include "zdbfs/core/space.h"
#include "zdbfs/format/list.h"
#include "zdbfs/fuse/request.h"
#include "zdbfs/fuse/wire.h"
#include "zdbfs/core/writeback.h"

/* ---- new inodes ----------------------------------------------------------------------------- */

static struct inode_attr new_attr(const struct ops_req *q, const struct inode *dir, mode_t mode,
                                  dev_t rdev, const char *target)
{
    struct timespec now = fs_now();
    struct inode_attr a = {
        .mode = mode,
        .uid = q->uid,
        .gid = q->gid,
        .size = target ? strlen(target) : 0,
        .nlink = 1,
        .rdev_major = major(rdev),
        .rdev_minor = minor(rdev),
        .atime = now,
        .mtime = now,
        .ctime = now,
        .btime = now,
        .subdirs_known = true,
    };

    if (dir->a.mode & S_ISGID) {
        a.gid = dir->a.gid;
        if (S_ISDIR(mode))
            a.mode |= S_ISGID;
    }
    return a;
}

/* A new inode under a new name, opened with these flags.  0: *e is filled in. */
static int make(const struct ops_req *q, fuse_ino_t parent, const char *name, mode_t mode,
                dev_t rdev, const char *target, int open_flags, struct fuse_entry_param *e)
{
    struct fs *fs = q->fs;
    struct name_ref ref = {0};
    struct name_ref *refs[] = {&ref};
    uint64_t id[3] = {0};
    unsigned nid = S_ISDIR(mode) ? 3 : 1; /* the inode; the lists of "." and ".." */

    if (strlen(name) > LIST_NAME_MAX)
        return -ENAMETOOLONG;
    int r = fs_throttle(fs, q->deadline_ms);
    if (r == 0)
        r = space_admit_name(fs, q->deadline_ms);
    if (r == 0)
        r = dir_open_name(fs, parent, name, q->deadline_ms, &ref);
    if (r == 0)
        r = ref.child ? -EEXIST : dir_prepare_insert(fs, &ref, q->deadline_ms);
    if (r == 0)
        r = ids_take(fs->ids, nid, id, q->deadline_ms);
    if (r < 0) {
        dir_close_name(fs, &ref);
        return r;
    }
    r = dir_lock_names(fs, refs, 1, q->deadline_ms);
    if (r == 0 && (ref.child || (r = ops_claim(q)) < 0)) {
        fs_unlock(fs);
        r = ref.child ? -EEXIST : r;
    }
    if (r < 0) {
        ids_give(fs->ids, id, nid);
        dir_close_name(fs, &ref);
        return r;
    }
    struct inode_attr a = new_attr(q, ref.dir, mode, rdev, target);
    CLEANUP(buf_fini) struct buf xattrs = BUF_INIT;
    xattr_inherit(fs, ref.dir, q->umask, &a.mode, &xattrs);
    struct inode *in = inode_create(fs, id[0], &a, target);
    if (xattrs.len)
        inode_set_xattrs(fs, in, buf_slice(&xattrs));
    dir_add(fs, &ref, in);
    if (in->dir) {
        dir_make_dots(fs, in, parent, id + 1);
        dir_subdirs(fs, ref.dir, +1);
    }
    ops_fill_entry(fs, in, e);
    ops_writer(fs, in, open_flags, +1);
    inode_unpin(fs, in);
    fs_unlock(fs);
    dir_close_name(fs, &ref);
    return ops_store(q);
}

/* A file without a name (O_TMPFILE), opened with these flags: it goes with the last close, unless
 * it is given a name before. */
static int make_nameless(const struct ops_req *q, fuse_ino_t parent, mode_t mode, int open_flags,
                         struct fuse_entry_param *e)
{
    CLEANUP(buf_fini) struct buf xattrs = BUF_INIT;
    struct fs *fs = q->fs;
    struct inode *dir = NULL;
    uint64_t id = 0;

    int r = fs_throttle(fs, q->deadline_ms);
    if (r == 0)
        r = space_admit_name(fs, q->deadline_ms);
    if (r == 0)
        r = inode_get(fs, parent, q->deadline_ms, &dir);
    if (r == 0 && !dir->dir)
        r = -ENOTDIR;
    if (r == 0)
        r = ids_take(fs->ids, 1, &id, q->deadline_ms);
    if (r != 0) {
        inode_put(fs, dir);
        return r;
    }
    fs_lock(fs);
    r = dir->state != INODE_READY || dir->a.nlink == 0 ? -ENOENT : ops_claim(q);
    if (r == 0) {
        struct inode_attr a = new_attr(q, dir, mode, 0, NULL);
        a.nlink = 0;
        xattr_inherit(fs, dir, q->umask, &a.mode, &xattrs);
        struct inode *in = inode_create(fs, id, &a, NULL);
        if (xattrs.len)
            inode_set_xattrs(fs, in, buf_slice(&xattrs));
        ops_fill_entry(fs, in, e);
        in->linkable = true;
        inode_unlinked(fs, in);
        ops_writer(fs, in, open_flags, +1);
        inode_unpin(fs, in);
    } else {
        ids_give(fs->ids, &id, 1);
    }
    fs_unlock(fs);
    inode_put(fs, dir);
    return r != 0 ? r : ops_store(q);
}

static void make_and_reply(const struct ops_req *q, fuse_ino_t parent, const char *name,
                           mode_t mode, dev_t rdev, const char *target)
{
    struct fuse_entry_param e;

    int r = make(q, parent, name, mode, rdev, target, O_RDONLY, &e);
    if (r < 0)
        ops_error(q, r);
    else
        ops_reply_entry(q, &e);
}

static void log_made(const struct ops_req *q, const char *op, fuse_ino_t parent, const char *name,
                     mode_t mode)
{
    char suffix[32];

    if (!q->ops->log)
        return;
    snprintf(suffix, sizeof suffix, " [mode %o]", (unsigned)mode);
    oplog_path(q->ops->log, op, parent, name, suffix);
}

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_CREATE);
    struct fuse_entry_param e;

    bool nameless = wire_is_tmpfile();

    log_made(&q, "create", parent, nameless ? "(without a name)" : name, mode);
    mode = S_IFREG | (mode & 07777);
    int r = nameless ? make_nameless(&q, parent, mode, fi->flags, &e)
                     : make(&q, parent, name, mode, 0, NULL, fi->flags, &e);
    if (r != 0) {
        ops_error(&q, r);
        return;
    }
    fi->keep_cache = 1;
    fi->fh = (fi->flags & O_ACCMODE) != O_RDONLY;
    if (!ops_answer(&q) || fuse_reply_create(req, &e, fi) < 0) {
        struct inode *in;
        fs_lock(q.fs);
        if ((in = inode_peek(q.fs, e.ino)))
            ops_writer(q.fs, in, fi->flags, -1);
        inode_forget(q.fs, e.ino, 1);
        fs_unlock(q.fs);
    }
}

void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev)
{
    struct ops_req q = ops_begin(req, CALL_CREATE);
    bool device = S_ISCHR(mode) || S_ISBLK(mode);

    log_made(&q, "create", parent, name, mode);
    if (device || S_ISREG(mode) || S_ISFIFO(mode) || S_ISSOCK(mode))
        make_and_reply(&q, parent, name, mode, device ? rdev : 0, NULL);
    else
        ops_error(&q, -EINVAL);
}

void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
    struct ops_req q = ops_begin(req, CALL_MKDIR);
    struct fuse_entry_param e;

    log_made(&q, "mkdir", parent, name, mode);
    int r = make(&q, parent, name, S_IFDIR | (mode & 07777), 0, NULL, O_RDONLY, &e);
    if (r < 0) {
        ops_error(&q, r);
        return;
    }
    oplog_learn(q.ops->log, e.ino, parent, name);
    ops_reply_entry(&q, &e);
}

void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name)
{
    struct ops_req q = ops_begin(req, CALL_SYMLINK);
    size_t len = strlen(target);

    if (q.ops->log) {
        char *suffix = xasprintf(" -> %s", target);
        oplog_path(q.ops->log, "symlink", parent, name, suffix);
        free(suffix);
    }
    if (len == 0)
        ops_error(&q, -ENOENT);
    else if (len > INODE_MAX_LINK)
        ops_error(&q, -ENAMETOOLONG);
    else
        make_and_reply(&q, parent, name, S_IFLNK | 0777, 0, target);
}

void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name)
{
    struct ops_req q = ops_begin(req, CALL_LINK);
    struct name_ref ref = {0};
    struct name_ref *refs[] = {&ref};
    struct fuse_entry_param e;
    struct inode *in = NULL;

    if (q.ops->log) {
        char *suffix = xasprintf(" (inode %llu)", (unsigned long long)ino);
        oplog_path(q.ops->log, "link", parent, name, suffix);
        free(suffix);
    }
    int r = strlen(name) > LIST_NAME_MAX ? -ENAMETOOLONG : fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = space_admit_name(q.fs, q.deadline_ms);
    if (r == 0)
        r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0 && in->dir)
        r = -EPERM;
    if (r == 0)
        r = dir_open_name(q.fs, parent, name, q.deadline_ms, &ref);
    if (r == 0)
        r = ref.child ? -EEXIST : dir_prepare_insert(q.fs, &ref, q.deadline_ms);
    if (r == 0)
        r = dir_lock_names(q.fs, refs, 1, q.deadline_ms);
    if (r == 0) {
        if (ref.child)
            r = -EEXIST;
        else if (in->state != INODE_READY || (in->a.nlink == 0 && !in->linkable))
            r = -ENOENT;
        else
            r = ops_claim(&q);
        if (r == 0) {
            dir_add(q.fs, &ref, in);
            inode_linked(q.fs, in);
            in->a.nlink++;
            in->a.ctime = fs_now();
            inode_dirty(q.fs, in);
            ops_fill_entry(q.fs, in, &e);
        }
        fs_unlock(q.fs);
    }
    dir_close_name(q.fs, &ref);
    inode_put(q.fs, in);
    if (r == 0)
        r = ops_store(&q);
    if (r < 0)
        ops_error(&q, r);
    else
        ops_reply_entry(&q, &e);
}

/* ---- removing ------------------------------------------------------------------------------- */

/* L: a name of it is gone. */
static void lost_name(struct fs *fs, struct inode *in)
{
    if (in->dir) {
        in->a.nlink = 0;
        in->a.subdirs = 0;
        in->a.size = 0;
    } else if (in->a.nlink) {
        in->a.nlink--;
    }
    in->a.ctime = fs_now();
    inode_dirty(fs, in);
    if (in->a.nlink == 0)
        inode_unlinked(fs, in);
}

void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ops_req q = ops_begin(req, CALL_UNLINK);
    struct name_ref ref = {0};
    struct name_ref *refs[] = {&ref};

    oplog_path(q.ops->log, "unlink", parent, name, "");
    int r = fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = dir_open_name(q.fs, parent, name, q.deadline_ms, &ref);
    if (r == 0)
        r = dir_lock_names(q.fs, refs, 1, q.deadline_ms);
    if (r == 0) {
        if (!ref.child)
            r = -ENOENT;
        else if (ref.child->dir)
            r = -EISDIR;
        else
            r = ops_claim(&q);
        if (r == 0) {
            dir_remove(q.fs, &ref);
            lost_name(q.fs, ref.child);
        }
        fs_unlock(q.fs);
    }
    dir_close_name(q.fs, &ref);
    if (r == 0)
        r = ops_store(&q);
    ops_error(&q, r);
}

/* With the names locked: 0; -EAGAIN: entries came meanwhile. */
static int remove_dir(struct fs *fs, struct name_ref *ref, uint32_t version,
                      const struct inode *was)
{
    if (!ref->child)
        return -ENOENT;
    if (ref->child != was || !dir_still(was, version))
        return -EAGAIN;
    dir_remove(fs, ref);
    dir_subdirs(fs, ref->dir, -1);
    lost_name(fs, ref->child);
    return 0;
}

void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
    struct ops_req q = ops_begin(req, CALL_RMDIR);
    struct name_ref ref = {0};
    struct name_ref *refs[] = {&ref};
    uint64_t gone = 0;

    oplog_path(q.ops->log, "rmdir", parent, name, "");
    int r = fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = dir_open_name(q.fs, parent, name, q.deadline_ms, &ref);
    do {
        uint32_t version = 0;
        const struct inode *child = ref.child;
        if (r == 0 || r == -EAGAIN)
            r = !child        ? -ENOENT
                : !child->dir ? -ENOTDIR
                              : dir_check_empty(q.fs, ref.child, q.deadline_ms, &version);
        if (r == 0)
            r = dir_lock_names(q.fs, refs, 1, q.deadline_ms);
        if (r == 0) {
            gone = child->ino;
            r = ops_claim(&q);
            if (r == 0)
                r = remove_dir(q.fs, &ref, version, child);
            fs_unlock(q.fs);
        }
    } while (r == -EAGAIN && base_now_ms() < q.deadline_ms);
    dir_close_name(q.fs, &ref);
    if (r == 0)
        oplog_forget(q.ops->log, gone);
    if (r == 0)
        r = ops_store(&q);
    ops_error(&q, r == -EAGAIN ? -EIO : r);
}

/* ---- rename --------------------------------------------------------------------------------- */

struct move {
    struct name_ref from, to;
    struct dirlist *dots[2][2]; /* of a moved directory, and of the one it is exchanged with */
    unsigned flags;
    uint64_t whiteout; /* key of what is left under the old name; 0: none */
    uint32_t version;  /* of a replaced directory, seen empty */
    const struct inode *empty;
};

/* What both names are decides, before anything is changed and again under the lock. */
static int check_move(const struct move *m)
{
    const struct inode *from = m->from.child, *to = m->to.child;

    if (!from)
        return -ENOENT;
    if (m->flags & RENAME_EXCHANGE)
        return to ? 0 : -ENOENT;
    if (to && m->flags & RENAME_NOREPLACE)
        return -EEXIST;
    if (to && to != from && to->dir && !from->dir)
        return -EISDIR;
    if (to && to != from && !to->dir && from->dir)
        return -ENOTDIR;
    return 0;
}

/* Fetch what the change needs. */
static int prepare_move(const struct ops_req *q, struct move *m)
{
    struct inode *from = m->from.child, *to = m->to.child;
    bool exchange = m->flags & RENAME_EXCHANGE;
    bool other_dir = m->from.dir != m->to.dir;

    int r = check_move(m);
    if (r == 0)
        r = dir_prepare_insert(q->fs, &m->to, q->deadline_ms);
    if (r == 0 && m->flags & RENAME_WHITEOUT)
        r = ids_take(q->fs->ids, 1, &m->whiteout, q->deadline_ms);
    if (r == 0 && from->dir && other_dir)
        r = dir_open_dots(q->fs, from, q->deadline_ms, m->dots[0]);
    if (r == 0 && exchange && to->dir && other_dir)
        r = dir_open_dots(q->fs, to, q->deadline_ms, m->dots[1]);
    if (r < 0 || exchange || !to || to == from)
        return r;
    if (to->dir) {
        m->empty = to;
        return dir_check_empty(q->fs, to, q->deadline_ms, &m->version);
    }
    /* the new content is stored before the old one goes, as programs expect that write a file anew
     * and rename it */
    return S_ISREG(from->a.mode) && from->blocks.ndirty
               ? writeback_file(q->fs, from, q->deadline_ms)
               : 0;
}

/* L */
static void moved(struct fs *fs, struct inode *in, struct inode *from, struct inode *to)
{
    in->a.ctime = fs_now();
    inode_dirty(fs, in);
    if (!in->dir || from == to)
        return;
    dir_subdirs(fs, from, -1);
    dir_subdirs(fs, to, +1);
    dir_set_parent(fs, in, to->ino);
}

/* L: a character device 0:0 under the old name, as overlayfs wants it. */
static void leave_whiteout(const struct ops_req *q, struct move *m)
{
    struct inode_attr a = new_attr(q, m->from.dir, S_IFCHR, 0, NULL);
    struct inode *in = inode_create(q->fs, m->whiteout, &a, NULL);

    m->whiteout = 0;
    dir_replace(q->fs, &m->from, in);
    inode_unpin(q->fs, in);
}

/* L: 0; -EAGAIN: things have changed since they were fetched. */
static int do_move(const struct ops_req *q, struct move *m)
{
    struct fs *fs = q->fs;
    struct inode *from = m->from.child, *to = m->to.child;

    int r = check_move(m);
    if (r < 0 || from == to)
        return r; /* two names of one file: nothing is done */
    bool other_dir = m->from.dir != m->to.dir;
    if (other_dir && ((from->dir && !m->dots[0][1]) ||
                      (m->flags & RENAME_EXCHANGE && to->dir && !m->dots[1][1])))
        return -EAGAIN;
    if (m->flags & RENAME_EXCHANGE) {
        dir_replace(fs, &m->to, from);
        dir_replace(fs, &m->from, to);
        moved(fs, from, m->from.dir, m->to.dir);
        moved(fs, to, m->to.dir, m->from.dir);
        return 0;
    }
    if (to && to->dir && (m->empty != to || !dir_still(to, m->version)))
        return -EAGAIN;
    if (to && from->blocks.nunsettled)
        fs->order_seq = fs->bc.acked_seq; /* its data, stored by prepare, before its name */
    if (m->whiteout)
        leave_whiteout(q, m);
    else
        dir_remove(fs, &m->from);
    if (to)
        dir_replace(fs, &m->to, from);
    else
        dir_add(fs, &m->to, from);
    moved(fs, from, m->from.dir, m->to.dir);
    if (to) {
        if (to->dir)
            dir_subdirs(fs, m->to.dir, -1);
        lost_name(fs, to);
    }
    return 0;
}

static int rename_once(const struct ops_req *q, struct move *m, fuse_ino_t parent, const char *name,
                       fuse_ino_t newparent, const char *newname)
{
    struct name_ref *refs[] = {&m->from, &m->to};

    int r = dir_open_name(q->fs, parent, name, q->deadline_ms, &m->from);
    if (r == 0)
        r = dir_open_name(q->fs, newparent, newname, q->deadline_ms, &m->to);
    if (r == 0)
        r = prepare_move(q, m);
    if (r == 0)
        r = dir_lock_names(q->fs, refs, 2, q->deadline_ms);
    if (r == 0) {
        r = ops_claim(q);
        if (r == 0)
            r = do_move(q, m);
        struct inode *dir[2] = {m->from.child && m->from.child->dir ? m->from.child : NULL,
                                m->to.child && m->to.child->dir ? m->to.child : NULL};
        fs_unlock(q->fs);
        if (r == 0 && dir[0])
            oplog_learn(q->ops->log, dir[0]->ino, newparent, newname);
        if (r == 0 && dir[1] && m->flags & RENAME_EXCHANGE)
            oplog_learn(q->ops->log, dir[1]->ino, parent, name);
    }
    if (m->whiteout)
        ids_give(q->fs->ids, &m->whiteout, 1);
    dir_close_lists(q->fs, &m->dots[0][0], 4);
    dir_close_name(q->fs, &m->from);
    dir_close_name(q->fs, &m->to);
    return r;
}

void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                const char *newname, unsigned flags)
{
    struct ops_req q = ops_begin(req, CALL_RENAME);
    int r = 0;

    oplog_rename(q.ops->log, parent, name, newparent, newname);
    if (flags & ~(unsigned)(RENAME_EXCHANGE | RENAME_NOREPLACE | RENAME_WHITEOUT) ||
        (flags & RENAME_EXCHANGE && flags != RENAME_EXCHANGE))
        r = -EINVAL;
    else if (strlen(newname) > LIST_NAME_MAX)
        r = -ENAMETOOLONG;
    else
        r = fs_throttle(q.fs, q.deadline_ms);
    while (r == 0) {
        struct move m = {.flags = flags};
        r = rename_once(&q, &m, parent, name, newparent, newname);
        if (r != -EAGAIN || base_now_ms() >= q.deadline_ms)
            break;
        r = 0;
    }
    if (r == 0)
        r = ops_store(&q);
    ops_error(&q, r == -EAGAIN ? -EIO : r);
}
