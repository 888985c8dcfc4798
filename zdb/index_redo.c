/* index_redo - see the header: the walk over one data file. */
#include "zdb/index_redo.h"
#include "common/crc.h"
#include "common/io.h"
#include "common/log.h"
#include <stdlib.h>
#include <unistd.h>

/* --- records that the index knows ---- */

static int index_record(struct index_redo *d, const struct index_known_rec *m, struct index_rec *r,
                        uint8_t bytes[INDEX_REC_MAX])
{
    return ns_seg_record(d->ns, m->file, m->off, r, bytes, NULL);
}

/* The data record is whole and the index knows the place, but with other numbers: the data speaks for itself. */
static int heal_index(struct index_redo *d, const struct index_known_rec *m, const struct data_walk_rec *rec)
{
    struct seg *home = ns_seg_find(d->ns, m->file);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_entry *e;
    struct index_rec r;
    int ret = index_record(d, m, &r, bytes);

    if (ret < 0)
        return ret == -EBADMSG ? 0 : ret;
    if (!slice_eq(r.key, rec->key)) { /* whose key is right cannot be told: reading it is an error */
        d->damaged++;
        return 0;
    }
    if (!(r.flags & INDEX_DELETED))
        d->ns->data_size = d->ns->data_size - r.length + rec->head.length;
    r.length = rec->head.length;
    r.crc = rec->head.crc;
    e = d->ns->mode == NS_USER ? index_find(d->ns->keys, rec->key) : NULL;
    if (e && e->file == m->file && e->off == m->off) {
        e->length = r.length;
        e->crc = r.crc;
    }
    d->healed++;
    ns_sync_note(d->ns, home);
    return index_file_rewrite(&home->index, m->off, &r);
}

/* What the index has at m does not decode as such.  Is it there all the same, under a garbled header? */
static bool payload_is_right(struct index_redo *d, const struct index_known_rec *m)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec r;

    return index_known_end(m) <= d->walk.size && index_record(d, m, &r, bytes) == 0 &&
           data_read(&d->s->data, m->data_off, r.key, r.length, r.crc, &payload, false) == 0;
}

static int heal_data(struct index_redo *d, const struct index_known_rec *m)
{
    struct data_rec head = {.keylen = m->keylen, .length = m->length, .crc = m->crc, .timestamp = m->timestamp,
                            .previous = (uint32_t)d->last_off};
    uint8_t bytes[DATA_REC_SIZE];

    d->last_off = m->data_off;
    d->walk.off = index_known_end(m);
    if (!d->s->data.active)
        return 0; /* what is sealed may be in use elsewhere; its payload can be read as it is */
    data_rec_encode(bytes, &head);
    d->healed++;
    d->s->data.unsynced = true;
    ns_sync_note(d->ns, d->s);
    return io_pwrite_full(d->s->data.file->fd, bytes, sizeof bytes, m->data_off);
}

/* A page that never reached the disk reads as zeros, or is behind the end: from somewhere in the record to the end of a
 * sector there are only zeros. */
static bool has_lost_sector(struct index_redo *d, const struct index_known_rec *m)
{
    uint8_t sector[512];
    uint64_t end = index_known_end(m);

    if (end > d->walk.size)
        return true;
    for (uint64_t at = m->data_off & ~(uint64_t)511; at < end; at += sizeof sector) {
        ssize_t n = files_pread(d->s->data.file, sector, sizeof sector, at, false);
        ssize_t i = at < m->data_off ? (ssize_t)(m->data_off - at) : 0;

        if (n <= i)
            return true;
        while (i < n && sector[i] == 0)
            i++;
        if (i == n)
            return true;
    }
    return false;
}

static void drop_later(struct index_load *l, uint32_t file, uint32_t off)
{
    if (l->ndrops == l->cap_drops) {
        size_t cap = l->cap_drops ? l->cap_drops * 2 : 64;
        struct index_place *p = xcalloc(cap, sizeof *p);
        if (l->ndrops)
            memcpy(p, l->drops, l->ndrops * sizeof *p);
        free(l->drops);
        l->drops = p;
        l->cap_drops = cap;
    }
    l->drops[l->ndrops++] = (struct index_place){file, off};
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
    if (r.off != m->data_off) /* rewritten since: an older version came back, or a later one was recovered */
        return 0;
    ret = d->ns->mode == NS_SEQ ? index_redo_seq_drop(d, m, &r, &restored) : index_redo_user_drop(d, m, &r);
    if (ret < 0)
        return ret;
    d->dropped++;
    if (!restored)
        drop_later(d->l, m->file, m->off);
    return 0;
}

/* Neither its header nor its payload can be believed. */
static int damaged(struct index_redo *d, struct index_known_rec *m)
{
    uint64_t end = index_known_end(m);

    if (m->judged)
        return 0;
    m->judged = true;
    if ((d->f->durable == 0 || end > d->f->durable) && has_lost_sector(d, m))
        return drop(d, m);
    d->damaged++;
    d->keep = MAX(d->keep, MIN(end, d->walk.size));
    return 0;
}

static int known(struct index_redo *d, struct index_known_rec *m, const struct data_walk_rec *rec)
{
    if (!rec->crc_ok || (rec->head.flags & DATA_DELETED)) {
        if (payload_is_right(d, m))
            return heal_data(d, m);
        d->walk.off = MIN(index_known_end(m), d->walk.size);
        return damaged(d, m);
    }
    d->last_off = rec->off;
    if (rec->head.length != m->length || rec->head.crc != m->crc || rec->head.keylen != m->keylen) {
        if (payload_is_right(d, m)) /* both make sense: the index says which key it is */
            return heal_data(d, m);
        return heal_index(d, m, rec);
    }
    return d->ns->mode == NS_USER ? index_redo_user_after(d, rec) : 0;
}

/* --- the walk ---- */

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

/* Nothing readable at walk.off.  1 go on, 0 no more can be read, -errno. */
static int unreadable(struct index_redo *d, int why)
{
    struct index_known_rec *m = index_known_at(&d->f->known, d->walk.off);
    int r;

    if (why != -ENODATA && why != -EBADMSG)
        return why;
    if (m && payload_is_right(d, m)) {
        r = heal_data(d, m);
        return r < 0 ? r : 1;
    }
    if (!m)
        m = index_known_behind(&d->f->known, d->walk.off);
    for (; m; m = index_known_behind(&d->f->known, m->data_off)) {
        if (m->data_off > d->walk.off && is_readable(d, m)) {
            d->skipped++;
            d->walk.off = m->data_off;
            return 1;
        }
        r = damaged(d, m);
        if (r < 0)
            return r;
    }
    return 0;
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
    if (m) {
        r = known(d, m, &rec);
        return r < 0 ? r : 1;
    }
    if (!rec.crc_ok) {
        d->walk.off = rec.off;
        return unreadable(d, -EBADMSG);
    }
    d->last_off = rec.off;
    if (rec.head.length == 0 && !seq && !(rec.head.flags & DATA_DELETED) && !d->f->collect &&
        index_redo_user_seen(d, rec.key)) { /* one bit makes this of a deletion */
        d->skipped++;
        return 1;
    }
    if (rec.head.flags & DATA_DELETED)
        r = seq ? index_redo_seq_del(d, &rec) : index_redo_user_after(d, &rec);
    else
        r = seq ? index_redo_seq_set(d, &rec) : index_redo_user_set(d, &rec);
    return r < 0 ? r : 1;
}

static void cut_later(struct index_load *l, uint32_t seg, uint64_t end)
{
    if (l->ncuts == l->cap_cuts) {
        size_t cap = l->cap_cuts ? l->cap_cuts * 2 : 8;
        struct index_cut *p = xcalloc(cap, sizeof *p);
        if (l->ncuts)
            memcpy(p, l->cuts, l->ncuts * sizeof *p);
        free(l->cuts);
        l->cuts = p;
        l->cap_cuts = cap;
    }
    l->cuts[l->ncuts++] = (struct index_cut){seg, end};
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

/* Where the walk begins: behind the last record before known.from, as that is where a record starts for sure. */
static uint64_t first_offset(const struct index_found *f)
{
    return f->known.has_below ? index_known_end(&f->known.below) : DATA_HEADER_SIZE;
}

int index_redo(struct index_load *l, size_t i, struct seg *s)
{
    struct index_redo d = {.l = l, .ns = l->ns, .f = &l->found[i], .s = s};
    struct index_known *k = &d.f->known;
    uint64_t end;
    int r = data_open(&s->data);

    if (r < 0)
        return r;
    index_known_sort(k);
    s->loaded_end = s->index.size;
    r = data_walk_init(&d.walk, s->data.file->fd, first_offset(d.f));
    if (r == 0 && k->has_below)
        d.last_off = d.f->durable_last && d.f->durable >= d.walk.off ? d.f->durable_last : k->below.data_off;
    if (r == 0)
        r = 1;
    while (r == 1)
        r = step(&d);
    end = MAX(MIN(d.walk.off, d.walk.size), d.keep);
    for (size_t n = 0; r == 0 && n < k->n; n++) {
        if (k->recs[n].data_off >= d.walk.size)
            r = damaged(&d, &k->recs[n]);
    }
    data_walk_fini(&d.walk);
    if (r < 0)
        return r;
    report(&d);
    if (end < d.walk.size)
        cut_later(l, s->id, end);
    if (s->data.active) {
        s->data.size = end;
        l->ns->last_data = (uint32_t)MIN(d.last_off, (uint64_t)UINT32_MAX);
    }
    return 0;
}
