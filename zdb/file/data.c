/* data - see the header. */
#include "zdb/file/data.h"
#include "zdb/file/values.h"
#include "common/crc.h"
#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define ATIME_EVERY_MS 5000

void data_init(struct data *d, struct files *fs, const char *dir, uint32_t id)
{
    *d = (struct data){.fs = fs, .id = id};
    d->path = xasprintf("%s/d%u", dir, id);
    d->owner = vcache_owner(fs->cache);
}

void data_fini(struct data *d)
{
    tail_fini(&d->tail);
    if (d->fs)
        files_drop(d->fs, &d->file);
    free(d->path);
    *d = (struct data){0};
}

int data_open(struct data *d)
{
    return files_get(d->fs, &d->file, d->path, d->active ? O_RDWR : O_RDONLY);
}

int data_write_header(struct data *d)
{
    uint8_t h[DATA_HEADER_SIZE];
    int r = data_open(d);

    if (r < 0)
        return r;
    data_header_encode(h, d->id);
    r = io_pwrite_full(d->file->fd, h, sizeof h, 0);
    if (r < 0)
        return r;
    d->unsynced = true;
    d->fs->data.write_bytes += sizeof h;
    d->size = MAX(d->size, (uint64_t)DATA_HEADER_SIZE);
    return 0;
}

int data_create(struct data *d)
{
    int r = files_get(d->fs, &d->file, d->path, O_RDWR | O_CREAT | O_EXCL);

    if (r < 0)
        return r;
    d->active = true;
    d->size = 0;
    r = data_write_header(d);
    if (r < 0) {
        d->fs->data.write_failed++;
        d->active = false;
        files_drop(d->fs, &d->file);
        unlink(d->path);
    }
    return r;
}

int data_check_header(struct data *d)
{
    uint8_t h[DATA_HEADER_SIZE];
    struct data_header head;
    struct iovec iov = {h, sizeof h};
    int r = data_open(d);

    if (r == 0)
        r = files_preadv(d->file, &iov, 1, 0, false);
    if (r == 0)
        r = data_header_decode(slice_of(h, sizeof h), &head);
    if (r == 0 && head.fileid != d->id)
        r = -EINVAL;
    return r;
}

/* Keep disk space ahead of the end.  The steps grow with the file, so small files reserve nothing
 * and many of them cost nothing.  true: the value of a SET may be written. */
static bool reserve_for(struct data *d, uint64_t end, uint64_t ahead, bool deletion)
{
    uint64_t from, step;

    if (ahead == 0 || d->no_reserve || d->size < DATA_RESERVE_FROM)
        return true;
    if (end + DATA_DEL_MARGIN <= d->reserved || (deletion && end <= d->reserved))
        return true;
    from = MAX(d->reserved, d->size);
    step = end + DATA_DEL_MARGIN - from + MIN(ahead, d->size);
    if (fallocate(d->file->fd, FALLOC_FL_KEEP_SIZE, (off_t)from, (off_t)step) == 0) {
        d->reserved = from + step;
        d->failed_at = 0;
        return true;
    }
    if (errno != ENOSPC && errno != EDQUOT) {
        log_warn("data %s: disk space cannot be reserved: %s", d->path, strerror(errno));
        d->no_reserve = true;
        return true;
    }
    if (d->failed_at == 0)
        log_warn("data %s: disk full, %llu bytes left for deletions", d->path,
                 (unsigned long long)(d->reserved > d->size ? d->reserved - d->size : 0));
    d->failed_at = d->size;
    return deletion || d->reserved <= d->size; /* without a reserve there is nothing to keep: let
                                                  the write decide */
}

static void cut_back(struct data *d, uint64_t to)
{
    struct stat st;

    if (fstat(d->file->fd, &st) == 0 && (uint64_t)st.st_size <= to) /* less: the rest is in the tail
                                                                     */
        return;
    if (ftruncate(d->file->fd, (off_t)to) < 0)
        log_error("data %s: cannot be cut back to %llu: %s", d->path, (unsigned long long)to,
                  strerror(errno));
    d->reserved = 0; /* went with the cut */
}

void data_undo(struct data *d, uint32_t off)
{
    bool in_file = d->tail.failed; /* some of it may be */

    d->size = off;
    d->owner = vcache_owner(d->fs->cache); /* other bytes may come there */
    if (!tail_cut(&d->tail, off))
        in_file = true;
    if (in_file && data_open(d) == 0)
        cut_back(d, off);
}

/* In memory first, when its space on the disk is certain: then only a failing disk can refuse it
 * later. */
static int write_record(struct data *d, const struct iovec *iov, int niov, uint64_t end)
{
    bool certain = d->fs->tails && end <= d->reserved;
    uint64_t from;
    int r;

    if (certain && iov[niov - 1].iov_len <= TAIL_PIECE)
        return tail_append(&d->tail, d->fs->tails, d->file, d->size, iov, niov);
    if (!certain) { /* alone: its failure must not touch the others */
        r = tail_write(&d->tail);
        if (r < 0)
            return r;
    }
    r = tail_append_now(&d->tail, d->file, d->size, iov, niov, &from);
    if (r < 0)
        cut_back(d, from);
    return r;
}

int data_append(struct data *d, struct data_rec *rec, struct slice key, struct slice val,
                uint64_t reserve, uint32_t *off)
{
    uint8_t head[DATA_REC_SIZE + DATA_KEY_MAX];
    struct iovec iov[2];
    uint64_t end;
    int r;

    if (key.len > DATA_KEY_MAX || val.len > DATA_VALUE_MAX)
        return -EMSGSIZE;
    if (d->size > UINT32_MAX)
        return -EFBIG;
    r = data_open(d);
    if (r == 0 && !d->file->writable)
        r = -EROFS;
    if (r < 0)
        goto failed;
    rec->keylen = (uint8_t)key.len;
    rec->length = (uint32_t)val.len;
    end = d->size + data_rec_size(rec);
    r = -ENOSPC;
    if (!reserve_for(d, end, reserve, rec->flags & DATA_DELETED))
        goto failed;
    data_rec_encode(head, rec);
    memcpy(head + DATA_REC_SIZE, key.p, key.len);
    iov[0] = (struct iovec){head, DATA_REC_SIZE + key.len};
    iov[1] = (struct iovec){(void *)(uintptr_t)val.p, val.len};
    r = write_record(d, iov, val.len ? 2 : 1, end);
    if (r < 0)
        goto failed;
    *off = (uint32_t)d->size;
    d->size = end;
    d->unsynced = true;
    d->fs->data.write_bytes += data_rec_size(rec);
    return 0;
failed:
    d->fs->data.write_failed++;
    return r;
}

void data_release(struct data *d)
{
    /* a cut to the present length gives back what fallocate took behind it */
    if (tail_write(&d->tail) == 0 && d->active && d->reserved > d->size && data_open(d) == 0 &&
        ftruncate(d->file->fd, (off_t)d->size) < 0)
        log_warn("data %s: reserved space is not given back: %s", d->path, strerror(errno));
    d->reserved = 0;
}

void data_seal(struct data *d)
{
    data_release(d);
    d->active = false;
}

void data_touch(struct data *d)
{
    static const struct timespec times[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_OMIT}};
    uint64_t now = base_now_ms();

    if (d->active || !d->file ||
        (d->file->touched_ms && now - d->file->touched_ms < ATIME_EVERY_MS))
        return;
    d->file->touched_ms = now;
    (void)!futimens(d->file->fd, times); /* not ours, or read-only: the evictor then sees older
                                            times */
}

static int read_failed(struct data *d, int r)
{
    if (r != -EAGAIN)
        d->fs->data.read_failed++;
    return r;
}

static bool is_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && *p == 0) {
        p++;
        n--;
    }
    return n == 0;
}

/* A record that is not written yet: nobody else has touched it, but a wrong offset may lead here.
 */
static int read_tail(struct data *d, uint32_t off, struct slice key, uint32_t length, uint32_t crc,
                     struct buf *out)
{
    const uint8_t *p = tail_at(&d->tail, off, DATA_REC_SIZE + key.len + length);

    if (!p || !slice_eq(slice_of(p + DATA_REC_SIZE, key.len), key) ||
        crc_raw(0, p + DATA_REC_SIZE + key.len, length) != crc)
        return read_failed(d, -EBADMSG);
    buf_put(out, p + DATA_REC_SIZE + key.len, length);
    return 0;
}

int data_read(struct data *d, uint32_t off, struct slice key, uint32_t length, uint32_t crc,
              struct buf *out, bool nowait)
{
    uint8_t head[DATA_REC_SIZE + DATA_KEY_MAX], *p;
    struct iovec iov[2];
    struct slice cached;
    int r;

    if (length > DATA_VALUE_MAX || key.len > DATA_KEY_MAX)
        return read_failed(d, -EBADMSG);
    if (vcache_get(d->fs->cache, d->owner, d->id, off, &cached) && cached.len == length &&
        crc_raw(0, cached.p, cached.len) == crc) {
        buf_put_slice(out, cached);
        return 0;
    }
    if (tail_at(&d->tail, off, 0))
        return read_tail(d, off, key, length, crc, out);
    r = data_open(d);
    if (r < 0)
        return read_failed(d, r);
    p = buf_reserve(out, length);
    if (!p && length)
        return -ENOMEM;
    iov[0] = (struct iovec){head, DATA_REC_SIZE + key.len};
    iov[1] = (struct iovec){p, length};
    r = files_preadv(d->file, iov, 2, off, nowait);
    if (r < 0)
        return read_failed(d, r);
    if (data_rec_removed(head[DATA_FLAGS_AT], length))
        return read_failed(d, -EBADMSG);
    /* Key and checksum say it all; a header that is garbled elsewhere does no harm.  But a page
     * that never reached the disk agrees with an index record that did not either: nothing but
     * zeros is no record. */
    if (is_zero(head, DATA_REC_SIZE) || !slice_eq(slice_of(head + DATA_REC_SIZE, key.len), key) ||
        crc_raw(0, p, length) != crc) {
        log_error("data %s: record at %u does not match its index", d->path, off);
        return read_failed(d, -EBADMSG);
    }
    vcache_put(d->fs->cache, d->owner, d->id, off, slice_of(p, length));
    buf_commit(out, length);
    d->fs->data.read_bytes += DATA_REC_SIZE + key.len + length;
    return 0;
}

void data_hint(const struct data *d, uint32_t off, int step)
{
    if (step == 0)
        vcache_hint_slot(d->fs->cache, d->owner, d->id, off);
    else
        vcache_hint(d->fs->cache, d->owner, d->id, off);
}

int data_record(struct data *d, uint32_t off, struct data_rec *rec, uint8_t *key, struct buf *out,
                bool nowait)
{
    uint8_t head[DATA_REC_SIZE + DATA_KEY_MAX], *p;
    struct iovec iov;
    struct rd rd;
    ssize_t n;
    int r;

    r = tail_write(&d->tail);
    if (r == 0)
        r = data_open(d);
    if (r < 0)
        return read_failed(d, r);
    if (off < DATA_HEADER_SIZE)
        return -EBADMSG;
    n = files_pread(d->file, head, sizeof head, off, nowait);
    if (n < 0)
        return read_failed(d, (int)n);
    if (n == 0)
        return -ENODATA;
    rd = rd_of(slice_of(head, (size_t)n));
    if (data_rec_decode(&rd, rec) != 1 || (size_t)n < DATA_REC_SIZE + (size_t)rec->keylen)
        return read_failed(d, -EBADMSG);
    memcpy(key, head + DATA_REC_SIZE, rec->keylen);
    if (out && rec->length) {
        p = buf_reserve(out, rec->length);
        if (!p)
            return -ENOMEM;
        iov = (struct iovec){p, rec->length};
        r = files_preadv(d->file, &iov, 1, (uint64_t)off + DATA_REC_SIZE + rec->keylen, nowait);
        if (r < 0)
            return read_failed(d, r == -ENODATA ? -EBADMSG : r);
        buf_commit(out, rec->length);
    }
    d->fs->data.read_bytes += data_rec_size(rec);
    return 0;
}
