/* io - whole reads and writes, EINTR and short counts handled.  0 or -errno; a read that meets the
 * end early is -ENODATA. */
#ifndef COMMON_IO_H
#define COMMON_IO_H

#include "common/bytes.h"
#include <sys/types.h>
#include <sys/uio.h>

int io_read_full(int fd, void *p, size_t n);
int io_pread_full(int fd, void *p, size_t n, uint64_t off);
int io_write_full(int fd, const void *p, size_t n);
int io_pwrite_full(int fd, const void *p, size_t n, uint64_t off);
/* iov is consumed (changed).  On failure the number of bytes that did reach the file is unknown to
 * the caller. */
int io_pwritev_full(int fd, struct iovec *iov, int niov, uint64_t off);
int io_fsync(int fd);
int io_fdatasync(int fd);
int io_nonblock(int fd, bool on);
/* Copy the whole content of src to dst (reflink, then copy_file_range, then read/write); *bytes may
 * be NULL. */
int io_copy(int src_fd, int dst_fd, uint64_t *bytes);

#endif
