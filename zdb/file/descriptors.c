/* descriptors - see the header. */
#include "zdb/file/descriptors.h"
#include "zdb/file/values.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define VALUE_CACHE (16 * MIB)

void files_init(struct files *fs, unsigned max)
{
    TAILQ_INIT(&fs->lru);
    fs->cache = vcache_new(VALUE_CACHE);
    fs->tails = NULL;
    fs->open = 0;
    fs->max = MAX(max, (unsigned)FILES_MIN);
}

void files_fini(struct files *fs)
{
    struct file *f;

    while ((f = TAILQ_FIRST(&fs->lru)))
        files_drop(fs, f->slot);
    vcache_free(fs->cache);
    fs->cache = NULL;
}

void files_drop(struct files *fs, struct file **slot)
{
    struct file *f = *slot;

    if (!f)
        return;
    *slot = NULL;
    TAILQ_REMOVE(&fs->lru, f, lru);
    fs->open--;
    f->slot = NULL;
    f->refs++;
    files_unref(f);
}

void files_unref(struct file *f)
{
    assert(f->refs > 0);
    if (--f->refs > 0 || f->slot)
        return;
    close(f->fd);
    free(f);
}

/* Close the least recently used file without references; false when there is none. */
static bool close_oldest(struct files *fs)
{
    struct file *f;

    TAILQ_FOREACH(f, &fs->lru, lru)
    {
        if (f->refs == 0) {
            files_drop(fs, f->slot);
            return true;
        }
    }
    return false;
}

/* Others put files here (hooks): what is not a regular file must not hold us up, and is no segment.
 */
static int only_regular(int fd)
{
    struct stat st;
    int r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EMEDIUMTYPE;

    if (r == 0)
        return fd;
    close(fd);
    return r;
}

static int open_file(struct files *fs, const char *path, int *flags)
{
    for (;;) {
        int fd = open(path, *flags | O_CLOEXEC | O_NONBLOCK | O_NOCTTY, 0600);
        if (fd >= 0)
            return only_regular(fd);
        if ((errno == EMFILE || errno == ENFILE) && close_oldest(fs))
            continue;
        if ((errno == EROFS || errno == EACCES) && (*flags & O_ACCMODE) == O_RDWR &&
            !(*flags & O_CREAT)) {
            *flags = (*flags & ~O_ACCMODE) | O_RDONLY;
            continue;
        }
        return -errno;
    }
}

int files_get(struct files *fs, struct file **slot, const char *path, int flags)
{
    struct file *f = *slot;
    int fd;

    if (f) {
        if (TAILQ_NEXT(f, lru)) {
            TAILQ_REMOVE(&fs->lru, f, lru);
            TAILQ_INSERT_TAIL(&fs->lru, f, lru);
        }
        return 0;
    }
    while (fs->open >= fs->max && close_oldest(fs))
        ;
    fd = open_file(fs, path, &flags);
    if (fd < 0)
        return fd;
    f = xcalloc(1, sizeof *f);
    f->fd = fd;
    f->writable = (flags & O_ACCMODE) != O_RDONLY;
    f->slot = slot;
    TAILQ_INSERT_TAIL(&fs->lru, f, lru);
    fs->open++;
    *slot = f;
    return 0;
}

bool files_unlinked(const struct file *f)
{
    struct stat st;

    return fstat(f->fd, &st) == 0 && st.st_nlink == 0;
}

static ssize_t read_some(struct file *f, struct iovec *iov, int niov, uint64_t off, bool nowait)
{
    for (;;) {
        ssize_t n = preadv2(f->fd, iov, niov, (off_t)off, nowait ? RWF_NOWAIT : 0);
        if (n >= 0)
            return n;
        if (errno == EINTR)
            continue;
        if (nowait && (errno == EOPNOTSUPP || errno == ENOSYS || errno == EINVAL)) {
            nowait = false;
            continue;
        }
        return -errno;
    }
}

int files_preadv(struct file *f, struct iovec *iov, int niov, uint64_t off, bool nowait)
{
    while (niov > 0) {
        ssize_t n;

        if (iov->iov_len == 0) {
            iov++;
            niov--;
            continue;
        }
        n = read_some(f, iov, niov, off, nowait);
        if (n < 0)
            return (int)n;
        if (n == 0)
            return -ENODATA;
        off += (uint64_t)n;
        while (niov > 0 && (size_t)n >= iov->iov_len) {
            n -= (ssize_t)iov->iov_len;
            iov++;
            niov--;
        }
        if (n > 0) {
            iov->iov_base = (uint8_t *)iov->iov_base + n;
            iov->iov_len -= (size_t)n;
        }
    }
    return 0;
}

ssize_t files_pread(struct file *f, void *p, size_t n, uint64_t off, bool nowait)
{
    size_t done = 0;

    while (done < n) {
        struct iovec iov = {(uint8_t *)p + done, n - done};
        ssize_t k = read_some(f, &iov, 1, off + done, nowait);
        if (k < 0)
            return k;
        if (k == 0)
            break;
        done += (size_t)k;
    }
    return (ssize_t)done;
}
