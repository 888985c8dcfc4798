/* redo - see the header: the walk over one data file. */
#include "zdb/recovery/redo.h"
#include "common/crc.h"
#include "common/io.h"
#include "common/log.h"
#include <stdlib.h>
#include <unistd.h>

/* --- records that the index knows ------------------------------------------------------------ */

static int index_record(struct index_redo *d, const struct index_known_rec *m, struct index_rec *r,
                        uint8_t bytes[INDEX_REC_MAX])
{
    return ns_seg_record(d->ns, m->file, m->off, r, bytes, NULL);
}

/* The index record goes in memory now, on disk when the load is over. */
static int drop(struct index_redo *d, const struct index_known_rec *m)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec r;
    bool restored = false;
    int ret = index_record(d, m, &r, bytes);

    if (ret < 0)
        return ret == -EBADMSG ? 0 : ret;
    if (r.off != m->data_off) /* rewritten since: an older version came back, or a later one was
                                 recovered */
        return 0;
    ret = d->ns->mode == NS_SEQ ? index_redo_seq_drop(d, m, &r, &restored)
                                : index_redo_user_drop(d, m, &r);
    if (ret < 0)
        return ret;
    d->dropped++;
    index_load_drop(d->l,
                    &(struct index_drop){m->file, m->off, r.parent_file, r.parent_off, !restored});
    return 0;
}

static bool is_durable(const struct index_redo *d, uint64_t end)
{
    return d->f->durable && end <= d->f->durable;
}

/* From somewhere in the bytes [from, end) of a file to the end of a sector there are only zeros, or
 * the file ends before: a page of it never reached the disk. */
static bool has_lost_sector(struct file *f, uint64_t from, uint64_t end)
{
    uint8_t sector[512];

    for (uint64_t at = from & ~(uint64_t)511; at < end; at += sizeof sector) {
        ssize_t n = files_pread(f, sector, sizeof sector, at, false);
        ssize_t i = at < from ? (ssize_t)(from - at) : 0;

        if (n <= i)
            return true;
        while (i < n && sector[i] == 0)
            i++;
        if (i == n)
            return true;
    }
    return false;
}

/* The index record was being written when the power went: its data record is all there is of it. */
static bool index_is_torn(struct index_redo *d, const struct index_known_rec *m)
{
    struct seg *home = ns_seg_find(d->ns, m->file);

    return index_file_open(&home->index) == 0 &&
           has_lost_sector(home->index.file, m->off, (uint64_t)m->off + INDEX_REC_SIZE + m->keylen);
}

/* The data record is whole and the index knows the place, but with other numbers: the data speaks
 * for itself. */
static int heal_index(struct index_redo *d, const struct index_known_rec *m,
                      const struct data_walk_rec *rec)
{
    struct seg *home = ns_seg_find(d->ns, m->file);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_entry *e;
    struct index_rec r;
    int ret = index_record(d, m, &r, bytes);

    if (ret < 0)
        return ret == -EBADMSG ? 0 : ret;
    if (r.off != m->data_off) /* rewritten since: perhaps to an older version, as this one did not
                                 look whole */
        return d->ns->mode == NS_SEQ && slice_eq(r.key, rec->key) ? index_redo_seq_set(d, rec) : 0;
    if (!slice_eq(r.key, rec->key)) {
        if (d->ns->mode == NS_SEQ || is_durable(d, rec->end) || !index_is_torn(d, m)) {
            d->damaged++; /* whose key is right cannot be told: reading it is an error */
            return 0;
        }
        ret = drop(d, m);
        return ret < 0 ? ret : index_redo_user_set(d, rec);
    }
    if (!(r.flags & INDEX_DELETED))
        d->ns->data_size = d->ns->data_size - r.length + rec->head.length;
    r.length = rec->head.length;
    r.crc = rec->head.crc;
    if (d->ns->mode == NS_SEQ)
        r.timestamp = rec->head.timestamp; /* a torn rewrite of the slot */
    e = d->ns->mode == NS_USER ? index_find(d->ns->keys, rec->key) : NULL;
    if (e && e->file == m->file && e->off == m->off) {
        e->length = r.length;
        e->crc = r.crc;
    }
    d->healed++;
    ns_sync_note(d->ns, home);
    return index_file_rewrite(&home->index, m->off, &r);
}

/* What the index has at m does not decode as such.  Is it there all the same, under a garbled
 * header? */
static bool payload_is_right(struct index_redo *d, const struct index_known_rec *m)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec r;

    return index_known_end(m) <= d->walk.size && index_record(d, m, &r, bytes) == 0 &&
           data_read(&d->s->data, m->data_off, r.key, r.length, r.crc, &payload, false) == 0;
}

/* The index knows better than the header what is there. */
static void pass_over(struct index_redo *d, const struct index_known_rec *m)
{
    d->last_off = m->data_off;
    d->walk.off = index_known_end(m);
}

/* Neither its header nor its payload can be believed. */
static int damaged(struct index_redo *d, struct index_known_rec *m)
{
    uint64_t end = index_known_end(m);

    if (m->judged)
        return 0;
    m->judged = true;
    if (!is_durable(d, end) &&
        (end > d->walk.size || has_lost_sector(d->file, m->data_off, end) || index_is_torn(d, m)))
        return drop(d, m);
    d->damaged++;
    m->kept = end <= d->walk.size;
    return 0;
}

/* Is there a whole record at the place that the index knows? */
static bool is_readable(struct index_redo *d, const struct index_known_rec *m)
{
    struct data_walk_rec rec;
    uint64_t off = d->walk.off;
    bool yes;

    d->walk.off = m->data_off;
    yes = (data_walk_next(&d->walk, &rec) == 1 && rec.crc_ok) || payload_is_right(d, m);
    d->walk.off = off;
    return yes;
}

/* From `from` on nothing can be read, up to the next place that the index knows and that can, or up
 * to a record that names the one here, or the one before, as the one before it.  1, or 0 when there
 * is none, -errno. */
static int resync(struct index_redo *d, uint64_t from)
{
    struct index_known_rec *m = index_known_behind(&d->f->known, from);
    bool readable = false;
    uint64_t off = 0;
    int r;

    for (; m; m = index_known_behind(&d->f->known, m->data_off)) {
        readable = is_readable(d, m);
        r = readable ? 0 : damaged(d, m);
        if (r < 0)
            return r;
        if (readable || m->kept)
            break;
    }
    r = data_walk_find(&d->walk, from + 1, m ? m->data_off : d->walk.size, (uint32_t)from,
                       (uint32_t)(d->last_off ? d->last_off : from), &off);
    d->walk.off = from;
    if (r < 0)
        return r;
    if (r != 1 && !m)
        return 0;
    d->skipped++;
    if (r == 1 || !m)
        d->walk.off = off;
    else if (readable)
        d->walk.off = m->data_off;
    else
        pass_over(d, m); /* nothing of it is right but its place */
    return 1;
}

/* What the index has at m is not there.  1 go on, 0 nothing more can be read. */
static int lost(struct index_redo *d, struct index_known_rec *m)
{
    uint64_t end = index_known_end(m);
    struct index_known_rec *next;
    int r = damaged(d, m);

    if (r < 0)
        return r;
    if (end > d->walk.size)
        return resync(d, m->data_off);
    next = index_known_behind(&d->f->known, m->data_off);
    if (m->kept)
        d->last_off = m->data_off;
    d->walk.off = next && next->data_off < end && is_readable(d, next) ? next->data_off : end;
    return 1;
}

/* The checksum of nothing, or of zeros, says nothing: is this record half in a page that never
 * reached the disk? */
static bool is_weak(struct index_redo *d, const struct data_walk_rec *rec)
{
    return rec->head.crc == 0 && !data_rec_removed(rec->head.flags, rec->head.length) &&
           !is_durable(d, rec->end) && has_lost_sector(d->file, rec->off, rec->end);
}

/* 1, 0, -errno as step. */
static int known(struct index_redo *d, struct index_known_rec *m, const struct data_walk_rec *rec)
{
    bool same = rec->head.length == m->length && rec->head.keylen == m->keylen;
    int r = 0;

    if (!rec->crc_ok || (rec->head.flags & DATA_DELETED) || is_weak(d, rec)) {
        if (!payload_is_right(d, m))
            return lost(d, m);
        pass_over(d, m);
    } else if (!same || rec->head.crc != m->crc ||
               m->key_crc != crc_raw(0, rec->key.p, rec->key.len)) {
        d->last_off = rec->off;
        /* both may make sense: then the index says which key it is */
        if (payload_is_right(d, m))
            pass_over(d, m);
        else
            r = heal_index(d, m, rec);
    } else {
        d->last_off = rec->off;
        r = d->ns->mode == NS_USER ? index_redo_user_after(d, rec) : 0;
    }
    return r < 0 ? r : 1;
}

/* --- the walk -------------------------------------------------------------------------------- */

/* Nothing readable at walk.off.  1 go on, 0 no more can be read, -errno. */
static int unreadable(struct index_redo *d, int why)
{
    struct index_known_rec *m = index_known_at(&d->f->known, d->walk.off);

    if (why != -ENODATA && why != -EBADMSG)
        return why;
    if (!m)
        return resync(d, d->walk.off);
    if (!payload_is_right(d, m))
        return lost(d, m);
    pass_over(d, m);
    return 1;
}

/* Its sum says nothing, and it has a record in it that the index knows: its length is garbled. */
static bool is_too_long(struct index_redo *d, struct data_walk_rec *rec)
{
    const struct index_known_rec *next =
        rec->head.crc == 0 ? index_known_behind(&d->f->known, rec->off) : NULL;

    if (!next || next->data_off >= rec->end)
        return false;
    if (is_readable(d, next))
        return true;
    d->walk.off = rec->off;
    return data_walk_next(&d->walk, rec) != 1; /* its bytes were borrowed */
}

/* Values behind `from`, of which the index knows none: its end is lost. */
static bool index_is_short(struct index_redo *d, uint64_t from)
{
    struct data_walk_rec rec;
    struct data_walk w;

    if (d->index_is_short || d->recovered || data_walk_init(&w, d->walk.fd, from) < 0)
        return d->index_is_short || d->recovered;
    while (!d->index_is_short && data_walk_next(&w, &rec) == 1)
        d->index_is_short = rec.crc_ok && rec.head.crc != 0;
    data_walk_fini(&w);
    return d->index_is_short;
}

/* One bit makes an empty value of a deletion, which the index does not know either.  It is a value
 * when the index is known to lack some, or has no record of the key, or a live one, as a deletion
 * would have flagged that. */
static bool is_deletion(struct index_redo *d, const struct data_walk_rec *rec)
{
    if (d->f->collect || !index_redo_user_seen(d, rec->key))
        return false;
    if (index_known_behind(&d->f->known, rec->off))
        return true;
    return !index_find(d->ns->keys, rec->key) && !index_is_short(d, rec->end);
}

/* 1 go on, 0 the file ends at walk.off, -errno. */
static int step(struct index_redo *d)
{
    struct data_walk_rec rec;
    struct index_known_rec *m;
    bool seq = d->ns->mode == NS_SEQ;
    int r = data_walk_next(&d->walk, &rec);

    if (r < 0)
        return unreadable(d, r);
    if (r == 0)
        return 0;
    m = index_known_at(&d->f->known, rec.off);
    if (m)
        return known(d, m, &rec);
    if (!rec.crc_ok || is_weak(d, &rec) || is_too_long(d, &rec)) {
        d->walk.off = rec.off;
        return unreadable(d, -EBADMSG);
    }
    d->last_off = rec.off;
    if (!seq && data_rec_removed(rec.head.flags, rec.head.length))
        return 1;
    if (rec.head.length == 0 && !seq && !(rec.head.flags & DATA_DELETED) && is_deletion(d, &rec)) {
        d->skipped++;
        return 1;
    }
    if (rec.head.flags & DATA_DELETED)
        r = seq ? index_redo_seq_del(d, &rec) : index_redo_user_after(d, &rec);
    else
        r = seq ? index_redo_seq_set(d, &rec) : index_redo_user_set(d, &rec);
    return r < 0 ? r : 1;
}

static void report(const struct index_redo *d)
{
    const char *path = d->s->data.path;

    if (d->recovered)
        log_warn("data %s: %u records were not in the index, recovered", path, d->recovered);
    if (d->healed)
        log_warn("data %s: %u records or their index set right", path, d->healed);
    if (d->skipped)
        log_warn("data %s: %u places cannot be used, skipped", path, d->skipped);
    if (d->dropped)
        log_warn("data %s: %u records did not reach the disk, taken back", path, d->dropped);
    if (d->damaged)
        log_error("data %s: %u records are damaged and will not be served", path, d->damaged);
}

/* Where the walk begins: behind the last record before known.from, as that is where a record starts
 * for sure. */
static uint64_t first_offset(const struct index_found *f)
{
    return f->known.has_below ? index_known_end(&f->known.below) : DATA_HEADER_SIZE;
}

/* *end: behind the last record that can be read, or that is there in full. */
static int pass(struct index_redo *d, uint64_t *end)
{
    struct index_known *k = &d->f->known;
    int r = data_walk_init(&d->walk, d->file->fd, first_offset(d->f));

    d->last_off = 0;
    if (k->has_below)
        d->last_off = d->f->durable && d->f->mark.last && d->f->durable >= d->walk.off
                          ? d->f->mark.last
                          : k->below.data_off;
    if (r == 0)
        r = 1;
    while (r == 1)
        r = step(d);
    *end = MIN(d->walk.off, d->walk.size);
    for (size_t n = 0; r == 0 && n < k->n; n++) {
        if (k->recs[n].data_off >= d->walk.size)
            r = damaged(d, &k->recs[n]);
    }
    data_walk_fini(&d->walk);
    return r;
}

int index_redo(struct index_load *l, size_t i, struct seg *s)
{
    struct index_redo d = {.l = l, .ns = l->ns, .f = &l->found[i], .s = s};
    struct index_known *k = &d.f->known;
    uint64_t end;
    int r = data_open(&s->data);

    if (r < 0)
        return r;
    d.file = files_ref(s->data.file);
    index_known_sort(k);
    s->loaded_end = s->index.size;
    r = pass(&d, &end);
    if (r == 0 && d.dropped) {
        d.again = true;
        index_known_merge(k, &d.fresh);
        r = pass(&d, &end);
    }
    index_known_reset(&d.fresh, 0);
    files_unref(d.file);
    if (r < 0)
        return r;
    report(&d);
    if (d.recovered || d.healed || d.dropped) {
        l->repaired = true;
        index_load_unmark(l, s->id);
    }
    if (end < d.walk.size && s->data.active)
        index_load_cut(l, end);
    if (s->data.active) {
        s->data.size = end;
        l->ns->last_data = (uint32_t)MIN(d.last_off, (uint64_t)UINT32_MAX);
    }
    return 0;
}
