/* redo_user - replay of data records into the key table and the index file.  Contract:
 * recovery/redo.h. */
#include "zdb/recovery/redo.h"

static bool recovered(const struct index_redo *d, const struct index_entry *e)
{
    const struct seg *s = ns_seg_find(d->ns, e->file);

    return s && e->off >= s->loaded_end;
}

static void set_entry(struct index_redo *d, struct slice key, uint32_t file, uint32_t off,
                      const struct index_rec *r)
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
    struct index_rec r = {.off = (uint32_t)rec->off,
                          .length = rec->head.length,
                          .previous = ns->last_index,
                          .timestamp = rec->head.timestamp,
                          .crc = rec->head.crc,
                          .key = rec->key};
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
    index_known_add(&d->fresh, d->s->id, off, &r);
    ns->last_index = off;
    ns->next_id++;
    d->recovered++;
    if (e) {
        index_load_replaced(d->l, d->s->id, off, e->file, e->off);
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

/* The version before the record at (file, off): the one that it replaced when it was loaded or
 * recovered, or the one that it names.  false when there is none, or none of this key. */
static bool version_before(struct index_redo *d, const struct index_rec *r, uint32_t file,
                           uint32_t off, uint32_t *to_file, uint32_t *to_off, struct index_rec *to,
                           uint8_t bytes[INDEX_REC_MAX])
{
    const struct index_replaced *was = index_load_was(d->l, file, off);
    struct seg *home;

    *to_file = was ? was->old_file : r->parent_file;
    *to_off = was ? was->old_off : r->parent_off;
    home = ns_seg_find(d->ns, *to_file);
    return *to_off >= INDEX_HEADER_SIZE && home &&
           (*to_file < file || (*to_file == file && *to_off < off)) &&
           index_file_read(&home->index, *to_off, to, bytes, false) == 0;
}

/* The newest whole version before comes back. */
int index_redo_user_drop(struct index_redo *d, const struct index_known_rec *m,
                         const struct index_rec *lost)
{
    struct ns *ns = d->ns;
    struct index_entry *e = index_find(ns->keys, lost->key);
    uint32_t file = m->file, off = m->off;
    uint8_t bytes[2][INDEX_REC_MAX];
    struct index_rec r = *lost, before;
    int ret;

    if (!e || e->file != m->file || e->off != m->off)
        return 0;
    index_load_count(ns, e->length, e->keylen, false);
    index_remove(ns->keys, lost->key);
    for (unsigned i = 0;; i++) {
        uint32_t to_file, to_off;
        if (!version_before(d, &r, file, off, &to_file, &to_off, &before, bytes[i % 2]) ||
            !slice_eq(before.key, lost->key))
            return 0;
        r = before;
        file = to_file;
        off = to_off;
        if (is_whole(d, file, &r))
            break;
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
