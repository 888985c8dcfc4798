/* index_redo_user - replay of data records into the key table and the index file.  Contract: index_redo.h. */
#include "zdb/index_redo.h"

static bool recovered(const struct index_redo *d, const struct index_entry *e)
{
    const struct seg *s = ns_seg_find(d->ns, e->file);

    return s && e->off >= s->loaded_end;
}

static void set_entry(struct index_redo *d, struct slice key, uint32_t file, uint32_t off, const struct index_rec *r)
{
    bool added;
    struct index_entry *e = index_put(d->ns->keys, key, &added);

    e->file = file;
    e->off = off;
    e->data_off = r->off;
    e->length = r->length;
    e->crc = r->crc;
    e->timestamp = r->timestamp;
    index_load_count(d->ns, r->length, key.len, true);
}

int index_redo_user_set(struct index_redo *d, const struct data_walk_rec *rec)
{
    struct ns *ns = d->ns;
    struct index_entry *e = index_find(ns->keys, rec->key);
    struct index_rec r = {.off = (uint32_t)rec->off, .length = rec->head.length, .previous = ns->last_index,
                          .timestamp = rec->head.timestamp, .crc = rec->head.crc, .key = rec->key};
    uint32_t off;
    int ret;

    if (e && !index_redo_older(d, e->file, e->data_off, rec->off))
        return 0;
    if (e) {
        r.dataid = d->s->id;
        r.parent_file = e->file;
        r.parent_off = e->off;
    }
    ret = index_file_append(&d->s->index, &r, &off);
    if (ret < 0)
        return ret;
    ns_sync_note(ns, d->s);
    ns->last_index = off;
    ns->next_id++;
    d->recovered++;
    if (e) {
        ns_patch_flag(ns, e->file, e->off);
        index_load_count(ns, e->length, e->keylen, false);
    }
    set_entry(d, rec->key, d->s->id, off, &r);
    return 0;
}

bool index_redo_user_seen(struct index_redo *d, struct slice key)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;

    for (size_t i = 0; i < d->ns->nsegs; i++) {
        struct index_file *f = &d->ns->segs[i]->index;
        for (uint64_t off = INDEX_HEADER_SIZE; off < f->size; off += index_rec_size(&rec)) {
            if (index_file_read(f, (uint32_t)off, &rec, bytes, false) < 0)
                break;
            if (slice_eq(rec.key, key))
                return true;
        }
    }
    return false;
}

/* A version or a deletion later than one that was recovered: that one was superseded before. */
int index_redo_user_after(struct index_redo *d, const struct data_walk_rec *rec)
{
    struct index_entry *e = index_find(d->ns->keys, rec->key);

    if (!e || !index_redo_older(d, e->file, e->data_off, rec->off) || !recovered(d, e))
        return 0;
    ns_patch_flag(d->ns, e->file, e->off);
    index_load_count(d->ns, e->length, e->keylen, false);
    index_remove(d->ns->keys, rec->key);
    d->healed++;
    return 0;
}

/* Can this version be served?  A segment that is not here was durable before it went. */
static bool is_whole(struct index_redo *d, uint32_t seg, const struct index_rec *r)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    struct seg *s = ns_seg_find(d->ns, seg);
    int ret;

    if (!s || r->off < DATA_HEADER_SIZE)
        return false;
    ret = data_read(&s->data, r->off, r->key, r->length, r->crc, &payload, false);
    return ret == 0 || ret == -ENOENT;
}

/* The newest whole version before comes back, if the lost one names it. */
int index_redo_user_drop(struct index_redo *d, const struct index_known_rec *m, const struct index_rec *lost)
{
    struct ns *ns = d->ns;
    struct index_entry *e = index_find(ns->keys, lost->key);
    uint32_t file = lost->parent_file, off = lost->parent_off;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec r;
    int ret;

    if (!e || e->file != m->file || e->off != m->off)
        return 0;
    index_load_count(ns, e->length, e->keylen, false);
    index_remove(ns->keys, lost->key);
    for (uint32_t below_file = m->file, below_off = m->off;;) {
        struct seg *home = ns_seg_find(ns, file);
        if (off < INDEX_HEADER_SIZE || !home || file > below_file || (file == below_file && off >= below_off) ||
            index_file_read(&home->index, off, &r, bytes, false) < 0 || !slice_eq(r.key, lost->key))
            return 0;
        if (is_whole(d, file, &r))
            break;
        below_file = file;
        below_off = off;
        file = r.parent_file;
        off = r.parent_off;
    }
    ns_patch_forget(ns, file, off);
    if (r.flags) {
        r.flags = 0;
        ret = index_file_rewrite(&ns_seg_find(ns, file)->index, off, &r);
        if (ret < 0)
            return ret;
        ns_sync_note(ns, ns_seg_find(ns, file));
    }
    set_entry(d, r.key, file, off, &r);
    return 0;
}
