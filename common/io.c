/* io - see io.h. */
#include "common/io.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COPY_CHUNK = 1 << 20 };

int io_read_full(int fd, void *p, size_t n)
{
    uint8_t *to = p;

    while (n) {
        ssize_t got = read(fd, to, n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ENODATA;
        to += got;
        n -= (size_t)got;
    }
    return 0;
}

int io_pread_full(int fd, void *p, size_t n, uint64_t off)
{
    uint8_t *to = p;

    if (off > INT64_MAX || n > INT64_MAX - off)
        return -EINVAL;
    while (n) {
        ssize_t got = pread(fd, to, n, (off_t)off);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got < 0 ? -errno : -ENODATA;
        to += got;
        off += (uint64_t)got;
        n -= (size_t)got;
    }
    return 0;
}

int io_write_full(int fd, const void *p, size_t n)
{
    const uint8_t *from = p;

    while (n) {
        ssize_t put = write(fd, from, n);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        from += put;
        n -= (size_t)put;
    }
    return 0;
}

int io_pwrite_full(int fd, const void *p, size_t n, uint64_t off)
{
    const uint8_t *from = p;

    if (off > INT64_MAX || n > INT64_MAX - off)
        return -EFBIG;
    while (n) {
        ssize_t put = pwrite(fd, from, n, (off_t)off);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        from += put;
        off += (uint64_t)put;
        n -= (size_t)put;
    }
    return 0;
}

int io_pwritev_full(int fd, struct iovec *iov, int niov, uint64_t off)
{
    for (;;) {
        while (niov > 0 && iov->iov_len == 0) {
            iov++;
            niov--;
        }
        if (niov <= 0)
            return 0;
        if (off > INT64_MAX)
            return -EFBIG;
        ssize_t put = pwritev(fd, iov, MIN(niov, IOV_MAX), (off_t)off);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0)
            return put < 0 ? -errno : -EIO;
        off += (uint64_t)put;
        for (size_t left = (size_t)put; left;) {
            if (iov->iov_len <= left) {
                left -= iov->iov_len;
                iov++;
                niov--;
            } else {
                iov->iov_base = (uint8_t *)iov->iov_base + left;
                iov->iov_len -= left;
                left = 0;
            }
        }
    }
}

/* EINTR of fsync leaves everything as it was, so asking again is right. */
int io_fsync(int fd)
{
    int r;

    do
        r = fsync(fd);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int io_fdatasync(int fd)
{
    int r;

    do
        r = fdatasync(fd);
    while (r < 0 && errno == EINTR);
    return r < 0 ? -errno : 0;
}

int io_nonblock(int fd, bool on)
{
    int flags = fcntl(fd, F_GETFL);

    if (flags < 0)
        return -errno;
    int want = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
    if (want != flags && fcntl(fd, F_SETFL, want) < 0)
        return -errno;
    return 0;
}

/* From *off to the end of src with copy_file_range.  -EXDEV and kin when the pair of files cannot
 * do it. */
static int copy_in_kernel(int src_fd, int dst_fd, uint64_t *off)
{
    for (;;) {
        off_t in = (off_t)*off, out = (off_t)*off;
        ssize_t n = copy_file_range(src_fd, &in, dst_fd, &out, 1 << 30, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        *off += (uint64_t)n;
    }
}

static int copy_by_hand(int src_fd, int dst_fd, uint64_t *off)
{
    CLEANUP(base_free) uint8_t *chunk = malloc(COPY_CHUNK);

    if (!chunk)
        return -ENOMEM;
    for (;;) {
        ssize_t n = pread(src_fd, chunk, COPY_CHUNK, (off_t)*off);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        int r = io_pwrite_full(dst_fd, chunk, (size_t)n, *off);
        if (r < 0)
            return r;
        *off += (uint64_t)n;
    }
}

int io_copy(int src_fd, int dst_fd, uint64_t *bytes)
{
    uint64_t off = 0;
    int r;

    if (ftruncate(dst_fd, 0) < 0)
        return -errno;
    if (ioctl(dst_fd, FICLONE, src_fd) == 0) {
        off_t end = lseek(dst_fd, 0, SEEK_END);
        if (end < 0)
            return -errno;
        if (bytes)
            *bytes = (uint64_t)end;
        return 0;
    }
    r = copy_in_kernel(src_fd, dst_fd, &off);
    /* Also after success: some kernels answer 0 at once for files whose size they do not know
     * (procfs). */
    if (r == 0 || r == -EXDEV || r == -EINVAL || r == -ENOSYS || r == -EOPNOTSUPP || r == -EPERM)
        r = copy_by_hand(src_fd, dst_fd, &off);
    if (r == 0 && bytes)
        *bytes = off;
    return r;
}
