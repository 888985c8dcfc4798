/* index_heal - see the header. */
#include "zdb/file/index_heal.h"
#include "common/log.h"
#include "zdb/format/data.h"
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK     ((size_t)1 << 20)
#define LOOKAHEAD ((size_t)4 * INDEX_REC_MAX)

int index_heal_init(struct index_heal *w, struct index *f, index_heal_verify *verify, void *arg)
{
    struct stat st;
    int r = index_open(f);

    *w = (struct index_heal){.f = f, .pos = INDEX_HEADER_SIZE, .verify = verify, .arg = arg};
    if (r < 0)
        return r;
    if (fstat(f->file->fd, &st) < 0)
        return -errno;
    w->file = files_ref(f->file);
    w->size = w->full = MIN((uint64_t)st.st_size, (uint64_t)UINT32_MAX);
    return 0;
}

void index_heal_fini(struct index_heal *w)
{
    buf_fini(&w->block);
    if (w->file)
        files_unref(w->file);
    w->file = NULL;
}

/* The bytes from off on, at least `need` of them unless the file ends before. */
static int view(struct index_heal *w, uint64_t off, size_t need, struct slice *out)
{
    uint64_t end = w->block_at + w->block.len;

    if (off >= w->size) {
        *out = slice_of(NULL, 0);
        return 0;
    }
    if (off < w->block_at || (end < w->size && off + need > end)) {
        uint8_t *p;
        buf_clear(&w->block);
        w->block_at = off;
        while (w->block.len < BLOCK && w->block_at + w->block.len < w->size) {
            size_t want = (size_t)MIN(BLOCK - w->block.len, w->size - w->block_at - w->block.len);
            ssize_t n;
            p = buf_reserve(&w->block, want);
            if (!p)
                return -ENOMEM;
            n = files_pread(w->file, p, want, w->block_at + w->block.len, false);
            if (n <= 0)
                return n < 0 ? (int)n : -EIO;
            buf_commit(&w->block, (size_t)n);
        }
    }
    *out = slice_of(buf_data(&w->block) + (off - w->block_at),
                    w->block.len - (size_t)(off - w->block_at));
    return 0;
}

/* As index_rec_decode, at off; *end is behind it. */
static int decode(struct index_heal *w, uint64_t off, struct index_rec *rec, uint64_t *end)
{
    struct slice s;
    struct rd rd;
    int r = view(w, off, INDEX_REC_MAX, &s);

    if (r < 0)
        return r;
    rd = rd_of(s);
    r = index_rec_decode(&rd, rec);
    if (r != 1)
        return r;
    if (rec->off < DATA_HEADER_SIZE && !(rec->flags & INDEX_DELETED))
        return -EBADMSG; /* no live record points there */
    *end = off + index_rec_size(rec);
    return 1;
}

/* Set bytes right on disk and in the block. */
static int patch(struct index_heal *w, uint64_t off, const void *p, size_t n)
{
    const uint8_t *from = p;
    int r;

    if (w->strict)
        return -EUCLEAN;
    r = w->read_only ? 0 : index_patch(w->f, off, p, n);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) { /* the block may hold a part only */
        if (off + i >= w->block_at && off + i < w->block_at + w->block.len)
            buf_data(&w->block)[off + i - w->block_at] = from[i];
    }
    return 0;
}

/* Does the chain hold at off: a record there that names before, and a successor (or the end) behind
 * it? */
static bool chain_holds(struct index_heal *w, uint64_t off, uint64_t before)
{
    struct index_rec rec, next;
    uint64_t end, end2;

    if (decode(w, off, &rec, &end) != 1 || rec.previous != before)
        return false;
    return end == w->size || (decode(w, end, &next, &end2) == 1 && next.previous == off);
}

static int patch_previous(struct index_heal *w, uint64_t off, uint32_t previous)
{
    uint8_t b[4];

    le32_put(b, previous);
    return patch(w, off + 9, b, sizeof b);
}

/* The record at pos has another size than its length byte says: a later one names it. */
static uint64_t true_end(struct index_heal *w, uint64_t pos)
{
    for (uint64_t p = pos + INDEX_REC_SIZE + 1; p <= pos + INDEX_REC_MAX && p < w->size; p++) {
        struct index_rec rec;
        uint64_t end;
        if (decode(w, p, &rec, &end) == 1 && rec.previous == pos && chain_holds(w, p, pos))
            return p;
    }
    return 0;
}

/* First place behind pos where the chain holds by itself, or 0. */
static uint64_t resync(struct index_heal *w, uint64_t pos)
{
    for (uint64_t p = pos + INDEX_REC_SIZE + 1; p + INDEX_REC_SIZE < w->size; p++) {
        struct index_rec rec, next;
        uint64_t end, end2;
        if (decode(w, p, &rec, &end) != 1 || rec.previous < pos || rec.previous >= p ||
            rec.off < 28)
            continue;
        if (end == w->size || (decode(w, end, &next, &end2) == 1 && next.previous == p))
            return p;
    }
    return 0;
}

/* Deleted records without data from pos to end, so that every reader gets over the hole. */
static int fill_hole(struct index_heal *w, uint64_t pos, uint64_t end)
{
    static const uint8_t zero[INDEX_KEY_MAX];
    uint32_t last = w->last;

    while (pos < end) {
        uint8_t bytes[INDEX_REC_MAX];
        uint64_t left = end - pos;
        size_t n = (size_t)MIN(left, (uint64_t)INDEX_REC_MAX);
        struct index_rec rec = {.previous = last, .flags = INDEX_DELETED};
        int r;

        if (left > n && left - n <= INDEX_REC_SIZE)
            n -= INDEX_REC_SIZE + 1;
        rec.key = slice_of(zero, n - INDEX_REC_SIZE);
        index_rec_encode(bytes, &rec);
        r = patch(w, pos, bytes, n);
        if (r < 0)
            return r;
        last = (uint32_t)pos;
        pos += n;
    }
    return patch_previous(w, end, last);
}

static int heal_hole(struct index_heal *w)
{
    uint64_t end;
    int r;

    if (w->strict)
        return -EUCLEAN;
    end = resync(w, w->pos);

    if (!end || w->read_only) {
        log_warn("index %s: no record at %llu, cut (%llu bytes)", w->f->path,
                 (unsigned long long)w->pos, (unsigned long long)(w->size - w->pos));
        w->lost_bytes += w->size - w->pos;
        w->size = w->pos;
        return 0;
    }
    log_warn("index %s: no record at %llu, %llu bytes skipped", w->f->path,
             (unsigned long long)w->pos, (unsigned long long)(end - w->pos));
    r = fill_hole(w, w->pos, end);
    w->lost_bytes += end - w->pos;
    return r < 0 ? r : 1;
}

static int heal_field(struct index_heal *w, const char *what, uint64_t at, int r)
{
    if (r == -EUCLEAN)
        return r;
    w->healed++;
    log_warn("index %s: wrong %s at %llu set right", w->f->path, what, (unsigned long long)at);
    return r < 0 ? r : 1;
}

/* Something is wrong at w->pos or right behind.  1: look again; 2: take the record as it is; 0: cut
 * here; -errno. */
static int heal(struct index_heal *w, int decoded, const struct index_rec *rec, uint64_t end)
{
    uint64_t p;
    uint8_t b;
    struct slice s;
    int r;

    if (w->strict && w->newest && decoded == 0) { /* the file ends in it */
        log_warn("index %s: torn record at %llu", w->f->path, (unsigned long long)w->pos);
        w->size = w->pos;
        return 0;
    }
    if (w->strict)
        return -EUCLEAN;
    p = true_end(w, w->pos);
    if (p && !(decoded == 1 && end == p)) {
        b = (uint8_t)(p - w->pos - INDEX_REC_SIZE);
        r = patch(w, w->pos, &b, 1);
        if (r < 0)
            return r;
        r = view(w, w->pos, INDEX_REC_MAX, &s);
        if (r < 0)
            return r;
        if (!s.p || s.len <= INDEX_FLAGS_AT)
            return -EIO;
        b = s.p[INDEX_FLAGS_AT] & INDEX_DELETED;
        return heal_field(w, "length or flag", w->pos, patch(w, w->pos + INDEX_FLAGS_AT, &b, 1));
    }
    if (decoded == 1 && end < w->size) {
        struct index_rec next;
        uint64_t end2;
        if (decode(w, end, &next, &end2) == 1 &&
            (chain_holds(w, end2, end) || (end2 == w->size && next.off > rec->off)))
            return heal_field(w, "previous", end, patch_previous(w, end, (uint32_t)w->pos));
        r = w->verify ? w->verify(w->arg, rec) : -1;
        if (r < 0 && rec->key.p[rec->key.len - 1] == 0)
            r = 0; /* its key may run into a page that never reached the disk */
        if (r == 1 || (r < 0 && (w->last == 0 || rec->previous == w->last)))
            return 2; /* whole itself; what is behind it comes next */
    }
    return heal_hole(w);
}

/* The last record has no successor to vouch for it: its data record does, if that can be read. */
static bool is_whole(struct index_heal *w, const struct index_rec *rec, uint64_t end)
{
    struct index_rec next;
    uint64_t end2;

    if (end == w->size)
        return !w->verify || w->verify(w->arg, rec) != 0;
    return decode(w, end, &next, &end2) == 1 && next.previous == w->pos;
}

int index_heal_next(struct index_heal *w, uint32_t *off, struct index_rec *rec)
{
    unsigned tries = 0;

    while (w->pos < w->size) {
        struct slice ahead; /* the records behind it come with it, or each block is read twice */
        uint64_t end = 0;
        int decoded = view(w, w->pos, LOOKAHEAD, &ahead), r = 2;

        if (decoded == 0)
            decoded = decode(w, w->pos, rec, &end);

        if (decoded < 0 && decoded != -EBADMSG)
            return decoded;
        if (decoded != 1 || !is_whole(w, rec, end))
            r = ++tries > 3 ? heal_hole(w) : heal(w, decoded, rec, end);
        if (r < 0)
            return r;
        if (r < 2)
            continue;                           /* healed, or cut here */
        decoded = decode(w, w->pos, rec, &end); /* what looked ahead may have moved the block */
        if (decoded != 1)
            return decoded < 0 ? decoded : -EIO;
        if ((w->last || w->has_before) && rec->previous != (w->last ? w->last : w->before)) {
            r = heal_field(w, "previous", w->pos,
                           patch_previous(w, w->pos, w->last ? w->last : w->before));
            if (r < 0)
                return r;
        }
        *off = (uint32_t)w->pos;
        w->last = (uint32_t)w->pos;
        w->pos = end;
        return 1;
    }
    return 0;
}
