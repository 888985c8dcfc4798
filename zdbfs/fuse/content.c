/* content - content of files: open, read, write, fsync, holes. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <unistd.h>

#include "zdbfs/txn/commit.h"
#include "zdbfs/fuse/holes.h"
#include "zdbfs/fuse/request.h"
#include "zdbfs/core/space.h"
#include "zdbfs/core/writeback.h"

enum {
    STORE_TRIES = 4,
    COPY_STEP = 1024 * 1024,
    COPY_AT_ONCE = 16 * 1024 * 1024,
};

/* A regular file, pinned. */
static int get_file(const struct ops_req *q, fuse_ino_t ino, struct inode **out)
{
    int r = inode_get(q->fs, ino, q->deadline_ms, out);

    if (r < 0 || S_ISREG((*out)->a.mode))
        return r;
    r = (*out)->dir ? -EISDIR : -EINVAL;
    inode_put(q->fs, *out);
    *out = NULL;
    return r;
}

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OPEN);
    struct inode *in = NULL;

    oplog_write(q.ops->log, "open", "inode %llu", (unsigned long long)ino);
    int r = get_file(&q, ino, &in);
    if (r == 0 && fi->flags & O_TRUNC) {
        r = fs_throttle(q.fs, q.deadline_ms);
        if (r == 0)
            r = ops_claim(&q);
        if (r == 0)
            r = file_truncate(q.fs, in, 0, q.deadline_ms);
        if (r == 0)
            ops_drop_privileges(&q, in, PRIV_CONTENT);
        if (r == 0)
            r = ops_store(&q);
    }
    if (r == 0) {
        fs_lock(q.fs);
        ops_writer(q.fs, in, fi->flags, +1);
        fs_unlock(q.fs);
    }
    inode_put(q.fs, in);
    if (r < 0) {
        ops_error(&q, r == -ENOENT ? -ESTALE : r); /* looked up, then removed: the kernel looks
                                                      again */
        return;
    }
    fi->keep_cache = 1;
    fi->fh = (fi->flags & O_ACCMODE) != O_RDONLY; /* all that close needs to know */
    if (!(ops_answer(&q) && fuse_reply_open(req, fi) == 0) && fi->fh) { /* the kernel did not take
                                                                           it and will not close it
                                                                         */
        fs_lock(q.fs);
        if ((in = inode_peek(q.fs, ino)))
            ops_writer(q.fs, in, fi->flags, -1);
        fs_unlock(q.fs);
    }
}

/* ---- reading and writing ------------------------------------------------------------------ */

void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_READ);
    struct inode *in = NULL;
    struct file_read rd = {.niov = 0};

    (void)fi;
    int r = get_file(&q, ino, &in);
    if (r == 0)
        r = file_read(q.fs, q.ops->ra, in, (uint64_t)off, size, q.deadline_ms, &rd);
    if (r < 0) {
        ops_error(&q, r);
    } else {
        stats_add(&q.fs->stats.read_bytes, rd.bytes);
        if (ops_answer(&q)) {
            if (rd.niov)
                fuse_reply_iov(req, rd.iov, (int)rd.niov);
            else
                fuse_reply_buf(req, NULL, 0);
        }
        file_read_done(q.fs, &rd);
    }
    inode_put(q.fs, in);
}

/* writepage: pages of the kernel's cache: it has looked at times and set-id bits. */
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
               struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_WRITE);
    struct inode *in = NULL;
    size_t done = 0;

    int r = fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = get_file(&q, ino, &in);
    if (r == 0)
        r = ops_claim(&q);
    if (r == 0)
        r = file_write(q.fs, in, (uint64_t)off, buf, size, fi->writepage, q.deadline_ms, &done);
    if (done > 0 && !fi->writepage)
        ops_drop_privileges(&q, in, PRIV_CONTENT);
    inode_put(q.fs, in);
    if (r == 0)
        r = ops_store(&q);
    if (r < 0 && done == 0) {
        ops_error(&q, r);
        return;
    }
    stats_add(&q.fs->stats.write_bytes, done);
    if (ops_answer(&q))
        fuse_reply_write(req, done);
}

/* At most n bytes; *done: 0 at the end of what there is. */
static int copy_some(const struct ops_req *q, struct inode *from, uint64_t off, struct inode *to,
                     uint64_t at, size_t n, size_t *done)
{
    struct file_read rd = {.niov = 0};

    *done = 0;
    int r = file_read(q->fs, q->ops->ra, from, off, n, q->deadline_ms, &rd);
    if (r < 0)
        return r;
    r = ops_claim(q);
    for (unsigned i = 0; i < rd.niov && r == 0; i++) {
        size_t part = 0;
        r = file_write(q->fs, to, at + *done, rd.iov[i].iov_base, rd.iov[i].iov_len, false,
                       q->deadline_ms, &part);
        *done += part;
    }
    file_read_done(q->fs, &rd);
    return r;
}

/* As much as one answer may take; who wants more asks again. */
void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                         struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                         struct fuse_file_info *fi_out, size_t len, int flags)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *from = NULL, *to = NULL;
    size_t total = 0, part = 1;

    (void)fi_in;
    (void)fi_out;
    int r = flags || off_in < 0 || off_out < 0 ? -EINVAL : fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = get_file(&q, ino_in, &from);
    if (r == 0)
        r = get_file(&q, ino_out, &to);
    while (r == 0 && part && total < len && total < COPY_AT_ONCE) {
        r = copy_some(&q, from, (uint64_t)off_in + total, to, (uint64_t)off_out + total,
                      MIN(len - total, (size_t)COPY_STEP), &part);
        total += part;
    }
    if (total)
        ops_drop_privileges(&q, to, PRIV_CONTENT);
    inode_put(q.fs, from);
    inode_put(q.fs, to);
    if (r == 0)
        r = ops_store(&q);
    if (r < 0 && total == 0)
        ops_error(&q, r);
    else if (ops_answer(&q))
        fuse_reply_write(req, total);
}

/* Everything of the file has been acknowledged: whatever happens to its blocks from now on, its
 * size is as it was.  Unless it was made shorter meanwhile: then again, a few times. */
static int store_file(const struct ops_req *q, struct inode *in)
{
    for (int i = 0;; i++) {
        fs_lock(q->fs);
        uint64_t size = in->a.size;
        unsigned cuts = in->cuts;
        fs_unlock(q->fs);
        int r = writeback_file(q->fs, in, q->deadline_ms);
        if (r < 0)
            return r;
        fs_lock(q->fs);
        bool same = in->cuts == cuts;
        if (same && size > in->stable_size) {
            in->promised_size = MAX(in->promised_size, size);
            in->promised_seq = q->fs->bc.acked_seq;
            inode_dirty(q->fs, in);
        }
        fs_unlock(q->fs);
        if (same || i == STORE_TRIES)
            return 0;
    }
}

/* All of the file, and every change of metadata before. */
static int sync_file(const struct ops_req *q, struct inode *in)
{
    if (q->fs->read_only)
        return 0;
    int r = store_file(q, in);
    if (r == 0)
        r = commit_wait(q->fs, q->deadline_ms);
    if (r == 0) {
        fs_lock(q->fs);
        in->write_error = 0;
        fs_unlock(q->fs);
    }
    return r;
}

/* close() of a writer: what could not be stored so far is said here; it stays in memory and is
 * tried again. */
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in = NULL;

    if (!fi->fh || q.fs->read_only) {
        ops_error(&q, 0);
        return;
    }
    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0 && q.fs->opt->sync_close)
        r = sync_file(&q, in);
    if (r == 0) {
        fs_lock(q.fs);
        bool failing = in->blocks.ndirty && (in->write_error || q.fs->data_full);
        if (in->blocks.ndirty == 0)
            in->write_error = 0;
        fs_unlock(q.fs);
        if (failing)
            r = writeback_file(q.fs, in, q.deadline_ms);
    }
    inode_put(q.fs, in);
    ops_error(&q, r);
}

void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);

    fs_lock(q.fs);
    struct inode *in = inode_peek(q.fs, ino); /* it is in memory as long as it is open for writing
                                               */
    if (in)
        ops_writer(q.fs, in, fi->flags, -1);
    fs_unlock(q.fs);
    ops_error(&q, 0);
}

void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in = NULL;

    (void)datasync;
    (void)fi;
    int r = inode_get(q.fs, ino, q.deadline_ms, &in);
    if (r == 0)
        r = sync_file(&q, in);
    inode_put(q.fs, in);
    ops_error(&q, r);
}

static int reserve(const struct ops_req *q, struct inode *in, uint64_t off, uint64_t len,
                   bool keep_size)
{
    int r = space_book(q->fs, in, off, len, q->deadline_ms);

    fs_lock(q->fs);
    uint64_t size = in->a.size;
    fs_unlock(q->fs);
    return r == 0 && !keep_size && off + len > size
               ? file_truncate(q->fs, in, off + len, q->deadline_ms)
               : r;
}

void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                   struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in = NULL;
    bool keep = mode & FALLOC_FL_KEEP_SIZE;
    int what = mode & ~FALLOC_FL_KEEP_SIZE;

    (void)fi;
    int r = fs_throttle(q.fs, q.deadline_ms);
    if (r == 0)
        r = get_file(&q, ino, &in);
    if (r == 0)
        r = ops_claim(&q);
    if (r == 0 && (off < 0 || len <= 0))
        r = -EINVAL;
    else if (r == 0 &&
             ((uint64_t)off > INODE_MAX_SIZE || (uint64_t)len > INODE_MAX_SIZE - (uint64_t)off))
        r = -EFBIG;
    else if (r == 0 && what == 0)
        r = reserve(&q, in, (uint64_t)off, (uint64_t)len, keep);
    else if (r == 0 && ((what == FALLOC_FL_PUNCH_HOLE && keep) || what == FALLOC_FL_ZERO_RANGE)) {
        if (what == FALLOC_FL_PUNCH_HOLE)
            space_unbook(q.fs, in, (uint64_t)off, (uint64_t)len);
        r = file_zero(q.fs, in, (uint64_t)off, (uint64_t)len, !keep, q.deadline_ms);
    } else if (r == 0)
        r = -EOPNOTSUPP;
    if (r == 0)
        ops_drop_privileges(&q, in, PRIV_CONTENT);
    inode_put(q.fs, in);
    if (r == 0)
        r = ops_store(&q);
    ops_error(&q, r);
}

void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi)
{
    struct ops_req q = ops_begin(req, CALL_OTHER);
    struct inode *in = NULL;
    uint64_t pos = 0;

    (void)fi;
    int r = get_file(&q, ino, &in);
    if (r == 0)
        r = off < 0 ? -ENXIO : whence != SEEK_DATA && whence != SEEK_HOLE ? -EINVAL : 0;
    if (r == 0) {
        fs_lock(q.fs);
        bool more = in->writers > 0 && q.ops->holes;
        fs_unlock(q.fs);
        if (more) { /* the kernel may have more than we have */
            holes_ask(q.ops->holes, &q, in, (uint64_t)off, whence);
            return;
        }
        r = file_seek(q.fs, in, (uint64_t)off, whence, &pos);
    }
    inode_put(q.fs, in);
    if (r < 0)
        ops_error(&q, r);
    else if (ops_answer(&q))
        fuse_reply_lseek(req, (off_t)pos);
}
