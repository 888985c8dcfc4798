/* index - see the header. */
#include "zdb/file/index.h"
#include "common/io.h"
#include "common/log.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void index_init(struct index *f, struct files *fs, const char *dir, uint32_t id)
{
    *f = (struct index){.fs = fs, .id = id};
    f->path = xasprintf("%s/i%u", dir, id);
}

void index_fini(struct index *f)
{
    tail_fini(&f->tail);
    if (f->fs)
        files_drop(f->fs, &f->file);
    free(f->path);
    free(f->marks);
    *f = (struct index){0};
}

int index_open(struct index *f)
{
    return files_get(f->fs, &f->file, f->path, O_RDWR);
}

static int written(struct index *f, int r, size_t n)
{
    if (r < 0) {
        f->fs->index.write_failed++;
        return r;
    }
    f->unsynced = true;
    f->fs->index.write_bytes += n;
    return 0;
}

/* Write inside the part in use, or at its end. */
static int write_at(struct index *f, const void *p, size_t n, uint64_t off)
{
    uint8_t *unwritten = tail_at(&f->tail, off, n);
    int r;

    if (unwritten) {
        memcpy(unwritten, p, n);
        return written(f, 0, n);
    }
    r = tail_write(&f->tail);
    if (r == 0)
        r = index_open(f);
    if (r == 0 && !f->file->writable)
        r = -EROFS;
    if (r == 0)
        r = io_pwrite_full(f->file->fd, p, n, off);
    return written(f, r, n);
}

int index_write_header(struct index *f, uint8_t mode)
{
    uint8_t h[INDEX_HEADER_SIZE];
    int r;

    index_header_encode(h, f->id, mode);
    r = write_at(f, h, sizeof h, 0);
    if (r < 0)
        return r;
    f->mode = mode;
    f->size = MAX(f->size, (uint64_t)INDEX_HEADER_SIZE);
    return 0;
}

int index_create(struct index *f, uint8_t mode)
{
    int r = files_get(f->fs, &f->file, f->path, O_RDWR | O_CREAT | O_EXCL);

    if (r < 0)
        return r;
    f->size = 0;
    r = index_write_header(f, mode);
    if (r < 0) {
        files_drop(f->fs, &f->file);
        unlink(f->path);
    }
    return r;
}

static void cut_back(struct index *f)
{
    struct stat st;

    if (!f->file || !f->file->writable)
        return;
    if (fstat(f->file->fd, &st) == 0 && (uint64_t)st.st_size <= f->size) /* less: the rest is in the
                                                                            tail */
        return;
    f->reserved = 0; /* goes with the cut */
    if (ftruncate(f->file->fd, (off_t)f->size) < 0)
        log_error("index %s: cannot be cut back to %llu: %s", f->path, (unsigned long long)f->size,
                  strerror(errno));
}

static void appended(struct index *f, size_t n, uint32_t *off)
{
    *off = (uint32_t)f->size;
    f->last = *off;
    index_mark(f, *off);
    f->size += n;
}

void index_accept(struct index *f, const struct index_rec *rec)
{
    uint32_t off;

    appended(f, index_rec_size(rec), &off);
}

int index_append(struct index *f, const struct index_rec *rec, uint32_t *off)
{
    uint8_t bytes[INDEX_REC_MAX];
    size_t n = index_rec_encode(bytes, rec);
    int r;

    if (f->size + n > UINT32_MAX)
        return -EFBIG;
    r = write_at(f, bytes, n, f->size);
    if (r < 0) {
        cut_back(f);
        return r;
    }
    appended(f, n, off);
    return 0;
}

static bool reserve_for(struct index *f, uint64_t end, uint64_t ahead)
{
    uint64_t from = MAX(f->reserved, f->size), step;

    if (end <= f->reserved)
        return true;
    if (ahead == 0 || f->no_reserve || f->size < INDEX_RESERVE_FROM)
        return false;
    step = end - from + MIN(MIN(ahead, f->size), (uint64_t)INDEX_RESERVE_MAX);
    if (fallocate(f->file->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)step) == 0) {
        f->reserved = from + step;
        return true;
    }
    f->no_reserve = errno != ENOSPC && errno != EDQUOT;
    return false;
}

int index_append_later(struct index *f, const struct index_rec *rec, uint64_t ahead, uint32_t *off)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct iovec iov = {bytes, 0};
    int r = index_open(f);

    if (r < 0)
        return written(f, r, 0);
    iov.iov_len = index_rec_encode(bytes, rec);
    if (!f->fs->tails || !f->file->writable || f->size + iov.iov_len > UINT32_MAX ||
        !reserve_for(f, f->size + iov.iov_len, ahead))
        return index_append(f, rec, off);
    r = tail_append(&f->tail, f->fs->tails, f->file, f->size, &iov, 1);
    if (r == 0)
        appended(f, iov.iov_len, off);
    return written(f, r, iov.iov_len);
}

void index_release(struct index *f)
{
    if (tail_write(&f->tail) == 0 && f->reserved > f->size && index_open(f) == 0 &&
        ftruncate(f->file->fd, (off_t)f->size) < 0)
        log_warn("index %s: reserved space is not given back: %s", f->path, strerror(errno));
    f->reserved = 0;
}

static void forget_from(struct index *f, uint64_t size, uint32_t last)
{
    f->size = size;
    f->last = last;
    while (f->nmarks && f->marks[f->nmarks - 1] >= size)
        f->nmarks--;
}

void index_dirty(struct index *f)
{
    f->dirty_at = ++f->fs->rewrites;
}

int index_write(struct index *f, uint64_t off, const void *p, size_t n)
{
    return write_at(f, p, n, off);
}

int index_patch(struct index *f, uint64_t off, const void *p, size_t n)
{
    int r = write_at(f, p, n, off);

    if (r == 0)
        index_dirty(f);
    return r;
}

int index_cut(struct index *f, uint64_t size, uint32_t last)
{
    int r = index_open(f);

    if (r == 0 && !f->file->writable)
        r = -EROFS;
    if (r == 0 && ftruncate(f->file->fd, (off_t)size) < 0)
        r = -errno;
    if (r < 0)
        return r;
    forget_from(f, size, last);
    f->unsynced = true;
    index_dirty(f);
    return 0;
}

int index_rewrite(struct index *f, uint32_t off, const struct index_rec *rec)
{
    uint8_t bytes[INDEX_REC_MAX];

    index_rec_encode(bytes, rec);
    return index_patch(f, off, bytes, INDEX_REC_SIZE);
}

int index_flag(struct index *f, uint32_t off)
{
    static const uint8_t flags = INDEX_DELETED;

    return index_patch(f, (uint64_t)off + INDEX_FLAGS_AT, &flags, 1);
}

ssize_t index_block(struct index *f, uint64_t off, void *p, size_t n, bool nowait)
{
    const uint8_t *unwritten;
    ssize_t got;
    int r;

    if (off >= f->size)
        return 0;
    n = MIN(n, f->size - off);
    unwritten = tail_at(&f->tail, off, n);
    if (unwritten) {
        memcpy(p, unwritten, n);
        return (ssize_t)n;
    }
    r = tail_overlaps(&f->tail, off + n) ? tail_write(&f->tail) : 0;
    if (r == 0)
        r = index_open(f);
    got = r < 0 ? r : files_pread(f->file, p, n, off, nowait);
    if (got < 0) {
        if (got != -EAGAIN)
            f->fs->index.read_failed++;
        return got;
    }
    f->fs->index.read_bytes += (uint64_t)got;
    return got;
}

int index_read(struct index *f, uint32_t off, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX],
               bool nowait)
{
    size_t want = f->mode == INDEX_MODE_SEQ ? INDEX_SEQ_REC : INDEX_REC_MAX;
    ssize_t n;
    struct rd rd;

    if (off < INDEX_HEADER_SIZE)
        return -EBADMSG;
    n = index_block(f, off, bytes, want, nowait);
    if (n < 0)
        return (int)n;
    rd = rd_of(slice_of(bytes, (size_t)n));
    return index_rec_decode(&rd, rec) == 1 ? 0 : -EBADMSG;
}

void index_mark(struct index *f, uint32_t off)
{
    if (f->mode == INDEX_MODE_SEQ || off < f->nmarks * INDEX_MARK_EVERY)
        return;
    if (f->nmarks == f->cap_marks) {
        size_t cap = f->cap_marks ? f->cap_marks * 2 : 1;
        uint32_t *p = xcalloc(cap, sizeof *p);
        if (f->nmarks)
            memcpy(p, f->marks, f->nmarks * sizeof *p);
        free(f->marks);
        f->marks = p;
        f->cap_marks = cap;
    }
    f->marks[f->nmarks++] = off;
}

int index_is_start(struct index *f, uint32_t off, bool nowait)
{
    uint8_t block[INDEX_MARK_EVERY + INDEX_REC_MAX];
    size_t i = off / INDEX_MARK_EVERY;
    uint32_t at;
    struct rd rd;
    ssize_t n;

    if (off >= f->size || f->nmarks == 0)
        return 0;
    i = MIN(i, f->nmarks - 1);
    while (i > 0 && f->marks[i] > off)
        i--;
    at = f->marks[i];
    if (at >= off)
        return at == off;
    n = index_block(f, at, block, MIN((size_t)(off - at), sizeof block), nowait);
    if (n < 0)
        return (int)n;
    rd = rd_of(slice_of(block, (size_t)n));
    for (;;) {
        struct index_rec rec;
        size_t pos = (size_t)(rd.p - block);

        if (at + pos >= off)
            return at + pos == off;
        if (index_rec_decode(&rd, &rec) != 1)
            return 0; /* the block ends at off: a record across it does not start there */
    }
}
