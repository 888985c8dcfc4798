/* spool - see object/spool.h. */
#include "zstor/object/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"

struct spool {
    char *dir;
    uint8_t *heap; /* the content while fd < 0 */
    size_t heap_cap;
    int fd;
    bool in_memory; /* fd is a memfd */
    uint64_t len;
};

struct spool *spool_new(const char *dir)
{
    struct spool *s = xcalloc(1, sizeof *s);

    s->dir = xstrdup(dir);
    s->fd = -1;
    return s;
}

void spool_free(struct spool *s)
{
    if (!s)
        return;
    base_close(&s->fd);
    free(s->heap);
    free(s->dir);
    free(s);
}

static int open_in_dir(const char *dir)
{
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) { /* a file system
                                                                                    without it */
        char *name = xasprintf("%s/.spool.XXXXXX", dir);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0)
            unlink(name);
        free(name);
    }
    return fd < 0 ? -errno : fd;
}

/* The content so far goes to fd, which is taken on success only. */
static int move_to(struct spool *s, int fd)
{
    uint8_t chunk[16384];
    uint64_t off = 0;
    int r = 0;

    if (s->fd < 0) {
        r = io_pwrite_full(fd, s->heap, s->len, 0);
        off = s->len;
    }
    for (size_t n; r == 0 && off < s->len; off += n) {
        n = (size_t)MIN(s->len - off, (uint64_t)sizeof chunk);
        r = io_pread_full(s->fd, chunk, n, off);
        if (r == 0)
            r = io_pwrite_full(fd, chunk, n, off);
    }
    if (r < 0)
        return r;
    base_close(&s->fd);
    s->fd = fd;
    free(s->heap);
    s->heap = NULL;
    s->heap_cap = 0;
    return 0;
}

static int to_memfd(struct spool *s)
{
    int fd = memfd_create("zstor-spool", MFD_CLOEXEC), r;

    if (fd < 0)
        return -errno;
    r = move_to(s, fd);
    if (r < 0) {
        close(fd);
        return r;
    }
    s->in_memory = true;
    log_debug("spool: no room in %s, in memory now", s->dir);
    return 0;
}

static bool no_room(int r)
{
    return r == -ENOSPC || r == -EDQUOT;
}

static bool no_dir(int r) /* a command run by somebody who may not write there */
{
    return r == -ENOENT || r == -EACCES || r == -EPERM || r == -EROFS || r == -ENOTDIR;
}

static int to_file(struct spool *s)
{
    int fd = open_in_dir(s->dir), r;

    if (fd < 0)
        return no_room(fd) || no_dir(fd) ? to_memfd(s) : fd;
    r = move_to(s, fd);
    if (r < 0)
        close(fd);
    return no_room(r) ? to_memfd(s) : r;
}

static int append_heap(struct spool *s, const void *p, size_t n)
{
    size_t need = (size_t)s->len + n;

    if (need > s->heap_cap) {
        size_t cap = MIN(MAX(need, s->heap_cap * 2), SPOOL_HEAP_MAX);
        uint8_t *heap = realloc(s->heap, cap);
        if (!heap)
            return -ENOMEM;
        s->heap = heap;
        s->heap_cap = cap;
    }
    memcpy(s->heap + s->len, p, n);
    s->len += n;
    return 0;
}

int spool_append(struct spool *s, const void *p, size_t n)
{
    int r;

    if (n == 0)
        return 0;
    if (s->fd < 0 && s->len + n <= SPOOL_HEAP_MAX)
        return append_heap(s, p, n);
    r = s->fd < 0 ? to_file(s) : 0;
    if (r == 0)
        r = s->in_memory && s->len + n > SPOOL_MEMFD_MAX ? -ENOSPC
                                                         : io_pwrite_full(s->fd, p, n, s->len);
    if (no_room(r) && !s->in_memory) {
        r = to_memfd(s);
        if (r == 0)
            return spool_append(s, p, n);
    }
    if (r == 0)
        s->len += n;
    return r;
}

int spool_read(const struct spool *s, uint64_t off, void *p, size_t n)
{
    uint64_t end;

    if (add_ovf(off, (uint64_t)n, &end) || end > s->len)
        return -ENODATA;
    if (n == 0)
        return 0;
    if (s->fd >= 0)
        return io_pread_full(s->fd, p, n, off);
    memcpy(p, s->heap + off, n);
    return 0;
}

uint64_t spool_len(const struct spool *s)
{
    return s->len;
}
