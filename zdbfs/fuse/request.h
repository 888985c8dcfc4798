/* request - one FUSE request being served: what all callbacks share, and the callbacks, each of
 * which ends in exactly one reply and stands in the file of its group. */
#ifndef ZDBFS_FUSE_REQUEST_H
#define ZDBFS_FUSE_REQUEST_H

#include "zdbfs/core/file.h"
#include "zdbfs/fuse/interrupt.h"
#include "zdbfs/fuse/operation_log.h"

#include <fuse_lowlevel.h>

#define OPS_TIMEOUT \
    31536000.0 /* names and attributes change only through us: the kernel may keep them */

struct ops { /* userdata of the session */
    struct fs *fs;
    struct readahead *ra;
    struct interrupts *interrupts;
    struct holes *holes; /* NULL: read-only */
    struct oplog *log;
    struct fuse_session *se;
    void (*ready)(void *arg); /* the kernel has answered: requests are served */
    void *ready_arg;
};

struct ops_req { /* one request being served */
    struct ops *ops;
    struct fs *fs;
    fuse_req_t req; /* only after ops_claim or ops_answer: it may have been answered */
    struct waiting *waiting;
    uid_t uid; /* of who asks */
    gid_t gid;
    mode_t umask;
    uint64_t deadline_ms;
};

struct ops_req ops_begin(fuse_req_t req, enum stats_call call);
/* Before a change: 0, or -EINTR: who asked has gone, so nothing may be changed. */
int ops_claim(const struct ops_req *q);
/* Once, at the end: true: reply now; false: it was, with EINTR. */
bool ops_answer(const struct ops_req *q);
void ops_error(const struct ops_req *q, int r); /* replies with -r; 0 is success */
void ops_reply_entry(const struct ops_req *q, const struct fuse_entry_param *e);
/* With fs.lock */
void ops_stat(const struct inode *in, struct stat *st);
void ops_fill_entry(struct fs *fs, struct inode *in, struct fuse_entry_param *e); /* counts the
                                                                                     lookup */
/* After a change, before the reply: with -o nocache it is stored now. */
int ops_store(const struct ops_req *q);
/* A directory of upstream: count its subdirectories, so that its link count is right. */
int ops_links(const struct ops_req *q, struct inode *in);
bool ops_in_group(const struct ops_req *q, gid_t gid); /* who asks; after a claim */
/* What ran with the file's privileges is not what it was: set-id bits go (when the content was
 * changed, only if somebody but root did it), and with the content the capability. */
enum priv_change { PRIV_CONTENT, PRIV_OWNER };
void ops_drop_privileges(const struct ops_req *q, struct inode *in, enum priv_change what);
/* With fs.lock: opened or closed with these flags. */
void ops_writer(struct fs *fs, struct inode *in, int flags, int change);

void ops_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_forget(fuse_req_t req, fuse_ino_t ino, uint64_t n);
void ops_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *f);
void ops_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *st, int to_set,
                 struct fuse_file_info *fi);
void ops_readlink(fuse_req_t req, fuse_ino_t ino);
void ops_statfs(fuse_req_t req, fuse_ino_t ino);
void ops_ioctl(fuse_req_t req, fuse_ino_t ino, unsigned int cmd, void *arg,
               struct fuse_file_info *fi, unsigned flags, const void *in_buf, size_t in_bufsz,
               size_t out_bufsz);

void ops_setxattr(fuse_req_t req, fuse_ino_t ino, const char *name, const char *value, size_t size,
                  int flags);
void ops_getxattr(fuse_req_t req, fuse_ino_t ino, const char *name, size_t size);
void ops_listxattr(fuse_req_t req, fuse_ino_t ino, size_t size);
void ops_removexattr(fuse_req_t req, fuse_ino_t ino, const char *name);

void ops_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode,
                struct fuse_file_info *fi);
void ops_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void ops_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void ops_symlink(fuse_req_t req, const char *target, fuse_ino_t parent, const char *name);
void ops_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t parent, const char *name);
void ops_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void ops_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t newparent,
                const char *newname, unsigned flags);

void ops_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off,
                     struct fuse_file_info *fi);
void ops_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

void ops_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t off, struct fuse_file_info *fi);
void ops_write(fuse_req_t req, fuse_ino_t ino, const char *buf, size_t size, off_t off,
               struct fuse_file_info *fi);
void ops_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void ops_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void ops_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t off, off_t len,
                   struct fuse_file_info *fi);
void ops_copy_file_range(fuse_req_t req, fuse_ino_t ino_in, off_t off_in,
                         struct fuse_file_info *fi_in, fuse_ino_t ino_out, off_t off_out,
                         struct fuse_file_info *fi_out, size_t len, int flags);
void ops_lseek(fuse_req_t req, fuse_ino_t ino, off_t off, int whence, struct fuse_file_info *fi);

#endif
