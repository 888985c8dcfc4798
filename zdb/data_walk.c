/* data_walk - see the header. */
#include "zdb/data_walk.h"
#include "common/crc.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

int data_walk_init(struct data_walk *w, int fd, uint64_t from)
{
    struct stat st;

    *w = (struct data_walk){.fd = fd, .off = from};
    if (fstat(fd, &st) < 0)
        return -errno;
    w->size = (uint64_t)st.st_size;
    return 0;
}

void data_walk_fini(struct data_walk *w)
{
    buf_fini(&w->block);
}

/* At least n bytes from w->off on (less only at the end of the file) in *out. */
static int view(struct data_walk *w, size_t n, struct slice *out)
{
    uint64_t have_end = w->block_at + w->block.len;

    if (w->off < w->block_at || w->off > have_end) {
        buf_clear(&w->block);
        w->block_at = w->off;
    } else {
        buf_consume(&w->block, (size_t)(w->off - w->block_at));
        w->block_at = w->off;
    }
    n = (size_t)MIN(n, w->size - w->off);
    while (w->block.len < n) {
        size_t want = MAX(n - w->block.len, BLOCK);
        uint8_t *p = buf_reserve(&w->block, want);
        ssize_t got;

        if (!p)
            return -ENOMEM;
        got = pread(w->fd, p, want, (off_t)(w->block_at + w->block.len));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -errno;
        if (got == 0)
            return -ENODATA; /* became shorter meanwhile */
        buf_commit(&w->block, (size_t)got);
    }
    *out = slice_of(buf_data(&w->block), (size_t)MIN(w->block.len, w->size - w->off));
    return 0;
}

int data_walk_next(struct data_walk *w, struct data_walk_rec *out)
{
    struct slice s = {NULL, 0};
    struct rd rd;
    uint64_t size;
    int r;

    if (w->off >= w->size)
        return 0;
    r = view(w, DATA_REC_SIZE + DATA_KEY_MAX, &s);
    if (r < 0)
        return r;
    rd = rd_of(s);
    r = data_rec_decode(&rd, &out->head);
    if (r <= 0)
        return r == 0 ? -ENODATA : r;
    size = data_rec_size(&out->head);
    if (size > w->size - w->off)
        return -ENODATA;
    r = view(w, (size_t)size, &s);
    if (r < 0)
        return r;
    out->off = w->off;
    out->end = w->off + size;
    out->key = slice_of(s.p + DATA_REC_SIZE, out->head.keylen);
    out->payload = slice_of(s.p + DATA_REC_SIZE + out->head.keylen, out->head.length);
    out->crc_ok = crc_raw(0, out->payload.p, out->payload.len) == out->head.crc;
    w->off = out->end;
    return 1;
}
