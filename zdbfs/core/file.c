/* file - see core/file.h. */
#include "zdbfs/core/file.h"

#include <errno.h>
#include <unistd.h>

#include "zdbfs/core/block.h"
#include "zdbfs/core/space.h"
#include "zdbfs/core/writeback.h"

enum { BS = INODE_BLOCK };

static const uint8_t zeros[BS];

/* ---- read ----------------------------------------------------------------------------------- */

static void add_iov(struct file_read *out, const uint8_t *p, size_t n)
{
    if (n == 0)
        return;
    out->iov[out->niov++] = (struct iovec){(uint8_t *)(uintptr_t)p, n};
    out->bytes += n;
}

/* L: n bytes of the block from `from` on. */
static void add_block(struct file_read *out, struct block *b, uint32_t from, uint32_t n)
{
    uint32_t have = b->buf && from < b->len ? MIN(n, b->len - from) : 0;

    if (have) {
        bcache_buf_ref(b->buf);
        out->buf[out->nbuf++] = b->buf;
        add_iov(out, b->buf->data + from, have);
    }
    add_iov(out, zeros, n - have);
}

int file_read(struct fs *fs, struct readahead *ra, struct inode *in, uint64_t off, size_t size,
              uint64_t deadline_ms, struct file_read *out)
{
    int r = 0;

    out->niov = out->nbuf = 0;
    out->bytes = 0;
    size = MIN(size, (size_t)FILE_READ_MAX);
    fs_lock(fs);
    if (off >= in->a.size || size == 0) {
        fs_unlock(fs);
        return 0;
    }
    uint64_t end = MIN(off + size, in->a.size);
    if (ra)
        readahead_note(ra, in, off, end);
    block_fetch(fs, in, (uint32_t)(off / BS), (uint32_t)((end + BS - 1) / BS), deadline_ms);
    for (uint64_t pos = off; pos < end && r == 0;) {
        uint32_t idx = (uint32_t)(pos / BS), from = (uint32_t)(pos % BS);
        uint32_t n = (uint32_t)MIN((uint64_t)(BS - from), end - pos);
        struct block *b = bcache_find(&fs->bc, in->ino, idx);
        if (!b && inode_slot(in, idx) == 0) {
            add_iov(out, zeros, n);
        } else if ((r = block_get(fs, in, idx, deadline_ms, &b)) == 0) {
            add_block(out, b, from, n);
            bcache_unpin(&fs->bc, b);
        }
        pos += n;
    }
    fs_unlock(fs);
    if (r < 0)
        file_read_done(fs, out);
    return r;
}

void file_read_done(struct fs *fs, struct file_read *r)
{
    if (r->nbuf == 0)
        return;
    fs_lock(fs);
    for (unsigned i = 0; i < r->nbuf; i++)
        bcache_buf_unref(&fs->bc, r->buf[i]);
    fs_unlock(fs);
    r->nbuf = 0;
}

/* ---- write ---------------------------------------------------------------------------------- */

static int write_lock(struct fs *fs, struct inode *in, uint64_t deadline_ms)
{
    int r = 0;

    fs_lock(fs);
    in->write_waiting++;
    while (in->write_busy && r == 0)
        r = fs_wait(fs, deadline_ms);
    in->write_waiting--;
    if (r == 0)
        in->write_busy = true;
    fs_unlock(fs);
    return r;
}

static void write_unlock(struct fs *fs, struct inode *in)
{
    fs_lock(fs);
    in->write_busy = false;
    if (in->write_waiting)
        fs_changed(fs);
    fs_unlock(fs);
}

/* L, released meanwhile; before the file grows: nothing behind its end may come to light (spec
 * zdbfs-format 5.2). */
static int trim_tail(struct fs *fs, struct inode *in, uint64_t deadline_ms)
{
    uint32_t idx = (uint32_t)(in->a.size / BS), pos = (uint32_t)(in->a.size % BS);
    struct block *b;

    /* slots behind the end: upstream leaves them when it truncates */
    for (uint32_t i = idx + (pos != 0); i < in->nslots; i++) {
        if ((b = bcache_find(&fs->bc, in->ino, i)))
            inode_drop_block(fs, b);
        if (in->slot[i]) {
            fs_key_push(&fs->del_data, in->slot[i]);
            inode_set_slot(fs, in, i, 0);
        }
    }
    if (pos == 0 || (!inode_slot(in, idx) && !bcache_find(&fs->bc, in->ino, idx)))
        return 0;
    int r = block_get(fs, in, idx, deadline_ms, &b);
    if (r < 0)
        return r;
    bcache_cut(&fs->bc, b, pos);
    bcache_unpin(&fs->bc, b);
    return 0;
}

/* Copy n bytes into one block. */
static int write_piece(struct fs *fs, struct inode *in, uint32_t idx, uint32_t from,
                       const uint8_t *data, uint32_t n, uint64_t deadline_ms)
{
    struct block *b;

    fs_lock(fs);
    int r = writeback_throttle(fs, deadline_ms);
    if (r < 0) {
        fs_unlock(fs);
        return r;
    }
    bool covers = from == 0 && n >= block_extent(in, idx);
    b = bcache_find(&fs->bc, in->ino, idx);
    if (!b && covers) {
        uint32_t old = inode_slot(in, idx) ? block_extent(in, idx) : 0;
        b = bcache_add(&fs->bc, &in->blocks, in->ino, idx);
        bcache_pin(&fs->bc, b);
        bcache_loaded(&fs->bc, b, NULL, 0, 0);
        b->stored.len = old;
    } else {
        r = block_get(fs, in, idx, deadline_ms, &b);
        if (r < 0) {
            fs_unlock(fs);
            return r;
        }
    }
    bcache_make_room(&fs->bc, n);
    bcache_own_buffer(&fs->bc, b, from + n);
    b->modifying = true;
    uint8_t *p = b->buf->data;
    uint32_t len = b->len;
    fs_unlock(fs);
    if (from > len)
        memset(p + len, 0, from - len);
    memcpy(p + from, data, n);
    fs_lock(fs);
    b->modifying = false;
    bool whole = from + n == BS && (from == 0 || len <= from);
    b->len = MAX(b->len, from + n);
    bcache_mark_dirty(&fs->bc, b, whole);
    if (whole)
        pthread_cond_signal(&fs->write_work);
    fs_changed(fs);
    bcache_unpin(&fs->bc, b);
    fs_unlock(fs);
    return 0;
}

static int write_admitted(struct fs *fs, struct inode *in, uint64_t off, const void *data, size_t n,
                          bool keep_times, uint64_t deadline_ms, size_t *done)
{
    int r = write_lock(fs, in, deadline_ms);
    if (r < 0)
        return r;
    fs_lock(fs);
    if (off + n > in->a.size)
        r = trim_tail(fs, in, deadline_ms);
    fs_unlock(fs);
    while (r == 0 && *done < n) {
        uint64_t pos = off + *done;
        uint32_t part = (uint32_t)MIN(BS - pos % BS, n - *done);
        r = write_piece(fs, in, (uint32_t)(pos / BS), (uint32_t)(pos % BS),
                        (const uint8_t *)data + *done, part, deadline_ms);
        if (r == 0)
            *done += part;
    }
    if (*done) {
        fs_lock(fs);
        in->a.size = MAX(in->a.size, off + *done);
        if (!keep_times)
            in->a.mtime = in->a.ctime = fs_now();
        inode_dirty(fs, in);
        fs_unlock(fs);
    }
    write_unlock(fs, in);
    return r;
}

int file_write(struct fs *fs, struct inode *in, uint64_t off, const void *data, size_t n,
               bool keep_times, uint64_t deadline_ms, size_t *done)
{
    *done = 0;
    if (off >= INODE_MAX_SIZE || n > INODE_MAX_SIZE - off)
        return -EFBIG;
    int r = space_admit(fs, in, off, n, deadline_ms);
    if (r < 0)
        return r;
    r = write_admitted(fs, in, off, data, n, keep_times, deadline_ms, done);
    space_admitted(fs, n);
    return r;
}

/* ---- truncate, holes ------------------------------------------------------------------------ */

/* L: blocks from..to-1 become holes. */
static void free_blocks(struct fs *fs, struct inode *in, uint32_t from, uint32_t to)
{
    struct block *b, *next;

    for (b = TAILQ_FIRST(&in->blocks.blocks); b; b = next) {
        next = TAILQ_NEXT(b, in_file);
        if (b->idx >= from && b->idx < to)
            inode_drop_block(fs, b);
    }
    for (uint32_t i = from; i < to && i < in->nslots; i++) {
        if (!in->slot[i])
            continue;
        fs_key_push(&fs->del_data, in->slot[i]);
        inode_set_slot(fs, in, i, 0);
    }
    if (to >= in->nslots && from < in->nslots)
        in->nslots = from;
    fs_changed(fs);
}

/* L, released meanwhile. */
static int shrink(struct fs *fs, struct inode *in, uint64_t size, uint64_t deadline_ms)
{
    uint32_t idx = (uint32_t)(size / BS), pos = (uint32_t)(size % BS);
    struct block *b = NULL;

    if (pos && (inode_slot(in, idx) || bcache_find(&fs->bc, in->ino, idx))) {
        int r = block_get(fs, in, idx, deadline_ms, &b);
        if (r < 0)
            return r;
    }
    free_blocks(fs, in, idx + (pos != 0), UINT32_MAX);
    in->a.size = size;
    in->stable_size = MIN(in->stable_size, size);
    in->promised_size = MIN(in->promised_size, size);
    in->cuts++;
    inode_unbook(fs, in);
    if (b) {
        bcache_cut(&fs->bc, b, pos);
        bcache_unpin(&fs->bc, b);
    }
    return 0;
}

int file_truncate(struct fs *fs, struct inode *in, uint64_t size, uint64_t deadline_ms)
{
    if (size > INODE_MAX_SIZE)
        return -EFBIG;
    int r = write_lock(fs, in, deadline_ms);
    if (r < 0)
        return r;
    fs_lock(fs);
    if (size < in->a.size)
        r = shrink(fs, in, size, deadline_ms);
    else if (size > in->a.size)
        r = trim_tail(fs, in, deadline_ms);
    if (r == 0) {
        in->a.size = size;
        in->a.mtime = in->a.ctime = fs_now();
        inode_dirty(fs, in);
    }
    fs_unlock(fs);
    write_unlock(fs, in);
    return r;
}

/* L, released meanwhile: zeros in part of one block, where it has content. */
static int zero_piece(struct fs *fs, struct inode *in, uint32_t idx, uint32_t from, uint32_t to,
                      uint64_t deadline_ms)
{
    struct block *b;

    if (!inode_slot(in, idx) && !bcache_find(&fs->bc, in->ino, idx))
        return 0;
    int r = block_get(fs, in, idx, deadline_ms, &b);
    if (r < 0)
        return r;
    if (from < b->len) {
        bcache_own_buffer(&fs->bc, b, b->len);
        memset(b->buf->data + from, 0, MIN(to, b->len) - from);
        bcache_mark_dirty(&fs->bc, b, false);
    }
    bcache_unpin(&fs->bc, b);
    return 0;
}

int file_zero(struct fs *fs, struct inode *in, uint64_t off, uint64_t len, bool grow,
              uint64_t deadline_ms)
{
    if (off > INODE_MAX_SIZE || len > INODE_MAX_SIZE - off)
        return -EFBIG;
    uint64_t end = off + len;
    int r = write_lock(fs, in, deadline_ms);
    if (r < 0)
        return r;
    fs_lock(fs);
    if (grow && end > in->a.size) {
        r = trim_tail(fs, in, deadline_ms);
        if (r == 0)
            in->a.size = end;
    }
    uint64_t stop = MIN(end, in->a.size);
    if (end >= in->a.size && stop > off)
        stop = (stop + BS - 1) / BS * BS; /* up to the end of the file: the whole last block */
    for (uint64_t pos = off; pos < stop && r == 0;) {
        uint32_t idx = (uint32_t)(pos / BS), from = (uint32_t)(pos % BS);
        uint32_t n = (uint32_t)MIN(BS - from, stop - pos);
        if (from == 0 && n == BS) {
            uint32_t to = (uint32_t)(stop / BS);
            free_blocks(fs, in, idx, to);
            pos = (uint64_t)to * BS;
            continue;
        }
        r = zero_piece(fs, in, idx, from, from + n, deadline_ms);
        pos += n;
    }
    if (r == 0) {
        in->a.mtime = in->a.ctime = fs_now();
        inode_dirty(fs, in);
    }
    fs_unlock(fs);
    write_unlock(fs, in);
    return r;
}

/* L */
static bool has_data(struct fs *fs, const struct inode *in, uint32_t idx)
{
    const struct block *b;

    if (inode_slot(in, idx))
        return true;
    b = in->blocks.nunsettled ? bcache_find(&fs->bc, in->ino, idx) : NULL;
    return b && bcache_unsettled(b);
}

int file_seek(struct fs *fs, struct inode *in, uint64_t off, int whence, uint64_t *out)
{
    int r = 0;

    fs_lock(fs);
    uint64_t size = in->a.size, pos = off;
    if (off >= size) {
        fs_unlock(fs);
        return -ENXIO;
    }
    while (pos < size && has_data(fs, in, (uint32_t)(pos / BS)) != (whence == SEEK_DATA)) {
        if (pos / BS >= in->nslots && in->blocks.nunsettled == 0) {
            pos = size; /* nothing but a hole behind */
            break;
        }
        pos = (pos / BS + 1) * BS;
    }
    if (pos >= size && whence == SEEK_DATA)
        r = -ENXIO;
    *out = MIN(pos, size);
    fs_unlock(fs);
    return r;
}

uint64_t file_allocated(const struct inode *in)
{
    uint64_t bytes = (uint64_t)in->nused * BS;
    const struct block *b;

    if (in->nused && in->a.size % BS && inode_slot(in, (uint32_t)(in->a.size / BS)))
        bytes -= BS - in->a.size % BS;
    if (in->blocks.nunsettled == 0)
        return bytes;
    TAILQ_FOREACH(b, &in->blocks.blocks, in_file)
    {
        if (bcache_unsettled(b) && !inode_slot(in, b->idx))
            bytes += b->len;
    }
    return bytes;
}
