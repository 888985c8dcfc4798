/* data_walk - see the header. */
#include "zdb/file/data_walk.h"
#include "common/crc.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)
#define FIND_MAX                                                                              \
    ((uint64_t)1 << 30) /* bytes of payload that a search sums up: values may be made of what \
                           looks like records */

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

/* Is there a whole record at off?  1, 0, -errno. */
static int is_record(struct data_walk *w, uint64_t off, uint64_t *budget)
{
    struct data_walk_rec rec, next;
    int r;

    w->off = off;
    r = data_walk_next(w, &rec);
    if (r == -ENODATA || r == -EBADMSG)
        return 0;
    if (r <= 0)
        return r;
    *budget -= MIN(*budget, rec.end - rec.off);
    if (!rec.crc_ok)
        return 0;
    if (rec.head.crc != 0 || rec.end == w->size)
        return 1;
    r = data_walk_next(w, &next);
    if (r <= 0)
        return r == -ENODATA || r == -EBADMSG ? 0 : r;
    return next.head.previous == off;
}

int data_walk_find(struct data_walk *w, uint64_t from, uint64_t end, uint32_t before,
                   uint32_t before2, uint64_t *off)
{
    uint64_t budget = FIND_MAX;

    end = MIN(end, w->size);
    while (from < end && budget > 0) {
        struct slice s = {NULL, 0};
        uint64_t at = from;
        size_t i, n;
        int r;

        w->off = from;
        r = view(w, BLOCK, &s);
        if (r < 0)
            return r == -ENODATA ? 0 : r;
        if (!s.p || s.len < DATA_REC_SIZE + 1)
            return 0;
        n = (size_t)MIN((uint64_t)(s.len - DATA_REC_SIZE), end - from);
        for (i = 0; i < n; i++) {
            uint32_t previous = le32_get(s.p + i + 5);
            if ((previous == before || previous == before2) && previous < from + i)
                break;
        }
        from += i;
        if (i == n)
            continue;
        at += i;
        r = is_record(w, at, &budget);
        if (r == 1)
            *off = at;
        if (r != 0)
            return r;
        from = at + 1;
    }
    return 0;
}
