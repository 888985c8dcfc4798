/* file - content of regular files over blocks: read, write, truncate, holes.  No lock is held by
 * the caller; several threads may work on one file. */
#ifndef ZDBFS_CORE_FILE_H
#define ZDBFS_CORE_FILE_H

#include "zdbfs/core/read_ahead.h"

#include <sys/uio.h>

#define FILE_READ_MAX (2u * 1024 * 1024) /* bytes of one read */
#define FILE_READ_IOV (2 * (FILE_READ_MAX / INODE_BLOCK + 2))

struct file_read {
    struct iovec iov[FILE_READ_IOV]; /* into cached blocks and zeros; valid until file_read_done */
    unsigned niov;
    size_t bytes;
    struct bbuf *buf[FILE_READ_MAX / INODE_BLOCK + 2];
    unsigned nbuf;
};

/* What is there of size bytes at off (fewer at the end of the file).  ra may be NULL: nothing is
 * fetched ahead. */
int file_read(struct fs *fs, struct readahead *ra, struct inode *in, uint64_t off, size_t size,
              uint64_t deadline_ms, struct file_read *out);
void file_read_done(struct fs *fs, struct file_read *r);

/* keep_times: the kernel keeps them and sends them itself.  *done: bytes that were taken; fewer
 * than n only with an error. */
int file_write(struct fs *fs, struct inode *in, uint64_t off, const void *data, size_t n,
               bool keep_times, uint64_t deadline_ms, size_t *done);
/* New size; times become now. */
int file_truncate(struct fs *fs, struct inode *in, uint64_t size, uint64_t deadline_ms);
/* Zeros in [off, off+len); with grow the file becomes at least that long. */
int file_zero(struct fs *fs, struct inode *in, uint64_t off, uint64_t len, bool grow,
              uint64_t deadline_ms);
/* SEEK_DATA or SEEK_HOLE; -ENXIO. */
int file_seek(struct fs *fs, struct inode *in, uint64_t off, int whence, uint64_t *out);
uint64_t file_allocated(const struct inode *in); /* with fs.lock: bytes that are not holes */

#endif
