/* index_walk - see the header. */
#include "zdb/file/index_walk.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

int index_walk_init(struct index_walk *w, int fd, uint64_t from)
{
    struct stat st;

    *w = (struct index_walk){.fd = fd, .off = from};
    if (fstat(fd, &st) < 0)
        return -errno;
    w->size = (uint64_t)st.st_size;
    return 0;
}

void index_walk_fini(struct index_walk *w)
{
    buf_fini(&w->block);
}

/* At least one record from w->off on, unless the file ends before. */
static int view(struct index_walk *w, struct slice *out)
{
    uint64_t end = w->block_at + w->block.len;

    if (w->off < w->block_at || (end < w->size && w->off + INDEX_REC_MAX > end)) {
        buf_clear(&w->block);
        w->block_at = w->off;
        while (w->block.len < BLOCK && w->block_at + w->block.len < w->size) {
            size_t want = (size_t)MIN(BLOCK - w->block.len, w->size - w->block_at - w->block.len);
            uint8_t *p = buf_reserve(&w->block, want);
            ssize_t n;

            if (!p)
                return -ENOMEM;
            n = pread(w->fd, p, want, (off_t)(w->block_at + w->block.len));
            if (n < 0 && errno == EINTR)
                continue;
            if (n <= 0)
                return n < 0 ? -errno : -ENODATA; /* became shorter meanwhile */
            buf_commit(&w->block, (size_t)n);
        }
    }
    *out = slice_of(buf_data(&w->block) + (w->off - w->block_at),
                    w->block.len - (size_t)(w->off - w->block_at));
    return 0;
}

int index_walk_next(struct index_walk *w, uint64_t *at, struct index_rec *rec)
{
    struct slice s = {NULL, 0};
    struct rd rd;
    int r;

    if (w->off >= w->size)
        return 0;
    r = view(w, &s);
    if (r < 0)
        return r;
    rd = rd_of(s);
    r = index_rec_decode(&rd, rec);
    if (r <= 0)
        return r == 0 ? -ENODATA : r;
    *at = w->off;
    w->off += index_rec_size(rec);
    return 1;
}
