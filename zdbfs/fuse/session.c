/* session - see fuse/session.h.  Here: the table, what the session agrees on with the kernel,
 * replies. */
#include "zdbfs/fuse/session.h"

#include <errno.h>
#include <sys/sysmacros.h>

#include "zdbfs/txn/commit.h"
#include "zdbfs/core/directory.h"
#include "zdbfs/core/writeback.h"

enum {
    MAX_WRITE = 1024 * 1024,
    MAX_BACKGROUND = 2000, /* they wait in threads of their own: fuse/parking.h */
};

struct ops_req ops_begin(fuse_req_t req, enum stats_call call)
{
    struct ops *ops = fuse_req_userdata(req);

    if (call < CALL_COUNTED)
        stats_add(&ops->fs->stats.call[call], 1);
    stats_add(&ops->fs->stats.requests, 1);
    return (struct ops_req){ops, ops->fs, req, kv_deadline(ops->fs->kv)};
}

void ops_error(const struct ops_req *q, int r)
{
    if (r < 0)
        stats_add(&q->fs->stats.errors, 1);
    fuse_reply_err(q->req, -r);
}

void ops_stat(const struct inode *in, struct stat *st)
{
    const struct inode_attr *a = &in->a;

    *st = (struct stat){
        .st_ino = in->ino,
        .st_mode = a->mode,
        .st_nlink = a->nlink,
        .st_uid = a->uid,
        .st_gid = a->gid,
        .st_size = (off_t)a->size,
        .st_blksize = INODE_BLOCK,
        .st_blocks = (blkcnt_t)((file_allocated(in) + in->booked + 511) / 512),
        .st_rdev = makedev(a->rdev_major, a->rdev_minor),
        .st_atim = a->atime,
        .st_mtim = a->mtime,
        .st_ctim = a->ctime,
    };
    if (in->dir && a->nlink)
        st->st_nlink = a->subdirs_known ? 2 + (nlink_t)a->subdirs : 1; /* 1: not known, as elsewhere
                                                                        */
}

void ops_fill_entry(struct fs *fs, struct inode *in, struct fuse_entry_param *e)
{
    *e = (struct fuse_entry_param){.ino = in->ino,
                                   .attr_timeout = OPS_TIMEOUT,
                                   .entry_timeout = OPS_TIMEOUT};
    ops_stat(in, &e->attr);
    refs_add(fs->refs, in->ino, 1);
}

void ops_reply_entry(const struct ops_req *q, const struct fuse_entry_param *e)
{
    if (fuse_reply_entry(q->req, e) == 0 || e->ino == 0)
        return;
    fs_lock(q->fs); /* the kernel did not take it */
    inode_forget(q->fs, e->ino, 1);
    fs_unlock(q->fs);
}

int ops_store(const struct ops_req *q)
{
    if (!q->fs->opt->nocache)
        return 0;
    int r = writeback_all(q->fs, q->deadline_ms);
    return r < 0 ? r : commit_wait(q->fs, q->deadline_ms);
}

int ops_links(const struct ops_req *q, struct inode *in)
{
    return in->dir && !in->a.subdirs_known ? dir_count_subdirs(q->fs, in, q->deadline_ms) : 0;
}

static void want(struct fuse_conn_info *conn, unsigned flag, bool on)
{
    if (on && conn->capable & flag)
        conn->want |= flag;
    else
        conn->want &= ~flag;
}

static void init(void *userdata, struct fuse_conn_info *conn)
{
    struct ops *ops = userdata;

    conn->max_write = MAX_WRITE;
    conn->max_readahead = MAX_WRITE;
    conn->max_background = MAX_BACKGROUND;
    conn->congestion_threshold = MAX_BACKGROUND * 3 / 4;
    conn->time_gran = 1;
    want(conn, FUSE_CAP_WRITEBACK_CACHE, !ops->fs->opt->nocache && !ops->fs->read_only);
    want(conn, FUSE_CAP_READDIRPLUS, true);
    want(conn, FUSE_CAP_READDIRPLUS_AUTO, true);
    want(conn, FUSE_CAP_PARALLEL_DIROPS, true);
    want(conn, FUSE_CAP_ASYNC_READ, true);
    want(conn, FUSE_CAP_ASYNC_DIO, true);
    want(conn, FUSE_CAP_ATOMIC_O_TRUNC, true);
    want(conn, FUSE_CAP_CACHE_SYMLINKS, true);
    want(conn, FUSE_CAP_IOCTL_DIR, true);
    want(conn, FUSE_CAP_EXPORT_SUPPORT, false);
    want(conn, FUSE_CAP_AUTO_INVAL_DATA, false); /* nobody else changes files */
    /* the kernel clears suid and sgid bits itself, in its own attributes too; ours would be seen
     * only when they expire */
    want(conn, FUSE_CAP_HANDLE_KILLPRIV, false);
    want(conn, FUSE_CAP_SPLICE_READ, false); /* requests are copied once, into their blocks */
    want(conn, FUSE_CAP_SPLICE_WRITE, false);
    want(conn, FUSE_CAP_SPLICE_MOVE, false);
    if (ops->ready)
        ops->ready(ops->ready_arg);
}

const struct fuse_lowlevel_ops ops_table = {
    .init = init,
    .lookup = ops_lookup,
    .forget = ops_forget,
    .forget_multi = ops_forget_multi,
    .getattr = ops_getattr,
    .setattr = ops_setattr,
    .readlink = ops_readlink,
    .statfs = ops_statfs,
    .ioctl = ops_ioctl,
    .create = ops_create,
    .mknod = ops_mknod,
    .mkdir = ops_mkdir,
    .symlink = ops_symlink,
    .link = ops_link,
    .unlink = ops_unlink,
    .rmdir = ops_rmdir,
    .rename = ops_rename,
    .opendir = ops_opendir,
    .readdir = ops_readdir,
    .readdirplus = ops_readdirplus,
    .fsyncdir = ops_fsyncdir,
    .open = ops_open,
    .read = ops_read,
    .write = ops_write,
    .flush = ops_flush,
    .release = ops_release,
    .fsync = ops_fsync,
    .fallocate = ops_fallocate,
    .lseek = ops_lseek,
};
