/* replay - recovery/witness.h: the walk over one data file, and what to do where it meets no
 * record. */
#include "zdb/recovery/witness.h"
#include "common/log.h"
#include <stdlib.h>
#include <sys/stat.h>

/* From the beginning of some sector in the bytes [from, end) there are only zeros, up to its end or
 * that of the file: perhaps a page of it never reached the disk. */
static bool has_lost_sector(struct file *f, uint64_t from, uint64_t end)
{
    uint8_t sector[512];

    for (uint64_t at = from & ~(uint64_t)511; at < end; at += sizeof sector) {
        ssize_t n = files_pread(f, sector, sizeof sector, at, false);
        ssize_t i = at < from ? (ssize_t)(from - at) : 0;

        while (i < n && sector[i] == 0)
            i++;
        if (i >= n)
            return true;
    }
    return false;
}

/* --- no record ------------------------------------------------------------------------------- */

/* The next whole record that names the one that is not whole, or the one before it. */
static int find_next(struct replay *p, uint64_t *to)
{
    uint64_t off = p->walk.off;
    int r = data_walk_find(&p->walk, off + 1, p->walk.size, (uint32_t)off, p->ns->last_data, to);

    p->walk.off = off;
    return r;
}

/* A process was killed while it wrote this record, and another one, the original, went on behind
 * it: the index does so, too.  A page that a power cut has lost is something else: then the index
 * has a record of it. */
static int step_over_torn(struct replay *p)
{
    uint8_t first = 0;
    uint64_t to = 0;
    int r = 0;

    if (files_pread(p->file, &first, 1, p->walk.off, false) == 1 && first)
        r = replay_goes_on(p, &to);
    if (r <= 0)
        return r;
    log_warn("data %s: torn record at %llu, others were written behind it: %llu bytes skipped",
             p->s->data.path, (unsigned long long)p->walk.off,
             (unsigned long long)(to - p->walk.off));
    p->walk.off = to;
    return 1;
}

/* The record counts with the sum that it has: reading it will be an error. */
static bool is_framed(struct replay *p, struct data_walk_rec *rec)
{
    uint64_t off = rec->off;
    struct data_walk_rec next;

    return rec->end == p->walk.size || (replay_peek(p, rec->end, &next) == 1 &&
                                        next.head.previous == off && replay_peek(p, off, rec) == 1);
}

static int step_over_damage(struct replay *p)
{
    uint64_t to;
    int r = find_next(p, &to);

    if (r < 0)
        return r;
    if (r == 0 && p->s->data.active)
        return 0;
    if (r == 0)
        to = p->walk.size;
    p->l->skipped += to - p->walk.off;
    log_error("data %s: no record at %llu, %llu bytes skipped", p->s->data.path,
              (unsigned long long)p->walk.off, (unsigned long long)(to - p->walk.off));
    p->walk.off = to;
    return 1;
}

/* --- one record ------------------------------------------------------------------------------ */

/* The end of what a record without payload says: an id cannot be above the next one, so its last
 * bytes are zeros in any case. */
static uint64_t said_until(const struct replay *p, const struct data_walk_rec *rec)
{
    size_t n = 0;

    if (p->ns->mode != NS_SEQ || rec->head.length > 0 || rec->key.len != NS_SEQ_KEY_SIZE)
        return rec->end;
    for (uint64_t id = ids_next(&p->ns->seq); id; id >>= 8)
        n++;
    return rec->end - NS_SEQ_KEY_SIZE + n;
}

/* A value whose sum says nothing about its key, which lies across a sector border: what is there
 * behind the border may be anything, unless what comes next in that sector is whole. */
static bool is_unsure(struct replay *p, struct data_walk_rec *rec)
{
    uint64_t off = rec->off, end = off + DATA_REC_SIZE + rec->key.len;
    struct data_walk_rec next;
    bool sure;

    if (p->l->foreign || (rec->head.flags & DATA_DELETED) || off / 512 == (end - 1) / 512)
        return false;
    if (rec->head.length > 0)
        return end % 512 == 0;
    sure = end % 512 && replay_peek(p, end, &next) == 1 && next.crc_ok && next.head.previous == off;
    return replay_peek(p, off, rec) != 1 || !sure;
}

/* Foreign files: is there a value behind rec whose sum can be checked?  Then the index is short,
 * and rec is what it looks like. */
static bool is_vouched_for(struct replay *p, struct data_walk_rec *rec)
{
    struct data_walk_rec next;

    for (uint64_t at = rec->end; replay_peek(p, at, &next) == 1; at = next.end) {
        if (next.crc_ok && next.head.crc != 0)
            return replay_peek(p, rec->off, rec) == 1;
    }
    return false;
}

/* Foreign files, behind what their index says: a deletion was in the index at the same time, unless
 * it is of a record that was not; a value that has no sum may be a damaged deletion. */
static bool is_believed(struct replay *p, struct data_walk_rec *rec)
{
    const struct keys_entry *e;
    uint32_t file, off;

    if (!p->l->foreign || rec->head.crc != 0)
        return true;
    if (p->ns->mode == NS_SEQ) {
        if (rec->key.len == NS_SEQ_KEY_SIZE && le64_get(rec->key.p) == ids_next(&p->ns->seq) &&
            !(rec->head.flags & DATA_DELETED))
            return true;
        if (!(rec->head.flags & DATA_DELETED))
            return is_vouched_for(p, rec);
        return rec->key.len == NS_SEQ_KEY_SIZE &&
               ids_find(&p->ns->seq, le64_get(rec->key.p), &file, &off) &&
               rewrite_queued(p->ns, file, off);
    }
    if (!(rec->head.flags & DATA_DELETED))
        return is_vouched_for(p, rec);
    e = keys_find(p->ns->keys, rec->key);
    return e && e->file == p->s->id && e->data_off >= p->begin;
}

/* 1 a whole record was played, 0 history ends at walk.off, -errno. */
static int step(struct replay *p)
{
    struct data_walk_rec rec;
    uint64_t off = p->walk.off;
    bool safe = off < p->safe;
    int r = data_walk_next(&p->walk, &rec);
    bool framed = r == 1;

    if (r == 0 || (r < 0 && r != -ENODATA && r != -EBADMSG))
        return r;
    p->walk.off = off;
    if (framed && data_rec_removed(rec.head.flags, rec.head.length))
        rec.crc_ok = true; /* the sum is that of the value that a compaction removed */
    if (framed && rec.end > UINT32_MAX + (uint64_t)DATA_VALUE_MAX)
        return 0;
    if (safe && framed && !rec.crc_ok && !is_framed(p, &rec))
        framed = false;
    if (!framed || (!rec.crc_ok && !safe))
        return safe ? step_over_damage(p) : step_over_torn(p);
    p->weak = !safe && rec.head.crc == 0 &&
              (has_lost_sector(p->file, rec.off, said_until(p, &rec)) || is_unsure(p, &rec));
    r = !is_believed(p, &rec)   ? REPLAY_SKIP
        : p->ns->mode == NS_SEQ ? replay_seq(p, &rec)
                                : replay_user(p, &rec);
    if (r <= 0)
        return r == 0 && safe ? step_over_damage(p) : r;
    p->walk.off = rec.end;
    p->records += r == 1;
    p->s->data.size = rec.end;
    p->ns->last_data = (uint32_t)rec.off;
    return 1;
}

/* The file begins with a record that names the last one before it, unless it was empty at a start
 * of the original. */
static bool follows(struct replay *p)
{
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;

    return !p->ns->last_data ||
           data_record(&p->s->data, DATA_HEADER_SIZE, &head, key, NULL, false) < 0 ||
           head.previous == 0 || head.previous == p->ns->last_data;
}

/* A file whose header did not reach the disk has nothing that did. */
static bool has_header(struct replay *p)
{
    int r = data_check_header(&p->s->data);

    return r == 0 || p->safe > DATA_HEADER_SIZE;
}

/* *ends: no record of it counts. */
static int walk(struct replay *p, uint64_t at, bool *ends)
{
    int r = data_walk_init(&p->walk, p->file->fd, at);

    p->s->data.size = at;
    if (r == 0)
        r = at > DATA_HEADER_SIZE || at < p->safe || p->l->foreign || (has_header(p) && follows(p));
    *ends = r == 0;
    while (r == 1)
        r = step(p);
    return r;
}

/* The next segment is not there, or its data file never got its name: nothing of it was durable. */
static bool is_last(const struct load *l, size_t i)
{
    const struct load_seg *next = &l->found[i + 1];

    return i + 1 < l->n && (next->id != next[-1].id + 1 || !next->data) &&
           next->id > l->mark.safe_segment && !l->foreign;
}

static uint64_t safe_of(const struct load *l, uint32_t id, uint64_t at)
{
    const struct watermark *m = &l->mark;

    if (l->foreign || id > m->safe_segment)
        return 0;
    return id < m->safe_segment ? UINT64_MAX : MAX(m->safe_size, at);
}

int load_replay(struct load *l, size_t i, struct seg *s, uint64_t at)
{
    struct replay p = {.l = l, .ns = l->ns, .s = s, .begin = at};
    struct stat st;
    uint64_t data_size;
    bool ends;
    int r = index_open(&s->index);

    if (r < 0)
        return r;
    if (fstat(s->index.file->fd, &st) < 0)
        return -errno;
    p.index_size = (uint64_t)st.st_size;
    p.safe = safe_of(l, s->id, at);
    r = data_open(&s->data);
    if (r < 0)
        return r;
    p.file = files_ref(s->data.file);
    r = walk(&p, at, &ends);
    data_size = p.walk.size;
    ends |= p.walk.off < data_size || s->index.size < p.index_size || is_last(l, i);
    data_walk_fini(&p.walk);
    files_unref(p.file);
    if (r < 0)
        return r;
    if (p.records) {
        log_info("data %s: %llu records played again, %llu of them were not in the index",
                 s->data.path, (unsigned long long)p.records, (unsigned long long)p.missing);
        s->data.unsynced = s->index.unsynced = l->replayed = true;
        ns_sync_note_quiet(l->ns, s);
    }
    if (p.missing || s->data.size < data_size || s->index.size < p.index_size)
        l->changed = true; /* not to be decided again, with other records behind */
    if (!ends)
        return 1;
    l->replayed = true;
    if (s->data.size >= data_size && i + 1 < l->n && s->id < l->mark.safe_segment)
        return load_cut_index(l, s); /* the index says more than the data: no more */
    r = load_end(l, i, s, data_size, p.index_size);
    return r < 0 ? r : 0;
}
