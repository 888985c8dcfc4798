/* request - see fuse/request.h. */
#include "zdbfs/fuse/request.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "zdbfs/core/directory.h"
#include "zdbfs/core/writeback.h"
#include "zdbfs/core/xattr.h"
#include "zdbfs/txn/commit.h"

struct ops_req ops_begin(fuse_req_t req, enum stats_call call)
{
    struct ops *ops = fuse_req_userdata(req);

    if (call < CALL_COUNTED)
        stats_add(&ops->fs->stats.call[call], 1);
    stats_add(&ops->fs->stats.requests, 1);
    const struct fuse_ctx *ctx = fuse_req_ctx(req);
    struct ops_req q = {.ops = ops,
                        .fs = ops->fs,
                        .req = req,
                        .uid = ctx->uid,
                        .gid = ctx->gid,
                        .umask = ctx->umask,
                        .deadline_ms = kv_deadline(ops->fs->kv)};
    q.waiting = interrupt_begin(ops->interrupts, req);
    return q;
}

int ops_claim(const struct ops_req *q)
{
    return interrupt_claim(q->waiting) ? 0 : -EINTR;
}

bool ops_answer(const struct ops_req *q)
{
    return interrupt_answer(q->waiting);
}

void ops_error(const struct ops_req *q, int r)
{
    if (r < 0)
        stats_add(&q->fs->stats.errors, 1);
    if (ops_answer(q))
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
    if ((ops_answer(q) && fuse_reply_entry(q->req, e) == 0) || e->ino == 0)
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

bool ops_in_group(const struct ops_req *q, gid_t gid)
{
    gid_t list[256];

    int n = fuse_req_getgroups(q->req, (int)ARRAY_LEN(list), list);
    for (int i = 0; i < MIN(n, (int)ARRAY_LEN(list)); i++)
        if (list[i] == gid)
            return true;
    return q->gid == gid;
}

void ops_drop_privileges(const struct ops_req *q, struct inode *in, enum priv_change what)
{
    bool root = q->uid == 0;

    fs_lock(q->fs);
    uint32_t mode = in->a.mode, bits = 0;
    gid_t gid = in->a.gid;
    if (what == PRIV_CONTENT)
        xattr_remove(q->fs, in, XATTR_CAPABILITY); /* -ENODATA: there is none */
    fs_unlock(q->fs);
    if (!(mode & (S_ISUID | S_ISGID)) || S_ISDIR(mode) || (root && what == PRIV_CONTENT))
        return;
    bits = S_ISUID | (mode & S_IXGRP || (!root && !ops_in_group(q, gid)) ? S_ISGID : 0);
    fs_lock(q->fs);
    bool told = (in->a.mode & bits) != 0;
    if (told) {
        in->a.mode &= ~bits;
        inode_dirty(q->fs, in);
    }
    fs_unlock(q->fs);
    if (told) /* the kernel does not expect it */
        fuse_lowlevel_notify_inval_inode(q->ops->se, in->ino, -1, 0);
}

void ops_writer(struct fs *fs, struct inode *in, int flags, int change)
{
    if ((flags & O_ACCMODE) == O_RDONLY || (change < 0 && in->writers == 0))
        return;
    in->writers += (unsigned)change;
    fs->writers += (unsigned)change;
    if (change > 0 && fs->writers == 1)
        pthread_cond_signal(&fs->flush_work);
}
