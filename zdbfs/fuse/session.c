/* session - see fuse/session.h. */
#include "zdbfs/fuse/session.h"

enum {
    MAX_WRITE = 1024 * 1024,
    MAX_BACKGROUND = 2000, /* each that waits has a thread */
};

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
    want(conn, FUSE_CAP_EXPORT_SUPPORT, true);   /* keys are never used again: generation 0 */
    want(conn, FUSE_CAP_AUTO_INVAL_DATA, false); /* nobody else changes files */
    want(conn, FUSE_CAP_HANDLE_KILLPRIV, false); /* the second version: fuse/wire.c */
    want(conn, FUSE_CAP_POSIX_ACL, !ops->fs->opt->noacl);
    want(conn, FUSE_CAP_DONT_MASK, true);    /* a default ACL comes in place of the umask */
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
    .setxattr = ops_setxattr,
    .getxattr = ops_getxattr,
    .listxattr = ops_listxattr,
    .removexattr = ops_removexattr,
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
    .copy_file_range = ops_copy_file_range,
};
