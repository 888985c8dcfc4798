/* redo_seq - replay of data records into the slots of a sequential namespace.  Contract:
 * recovery/redo.h. Ids are record numbers: an insert and the copy that an update appends take one
 * each, in the order of the data records. */
#include "common/log.h"
#include "zdb/recovery/redo.h"

#define GAP_MAX 65536 /* ids between two data records; more is a garbled key */

/* Room for another record in the index file of this segment: the id that it would get. */
static bool has_room(const struct index_redo *d, uint64_t *next, uint64_t *limit)
{
    return index_seq_range(&d->ns->seq, d->s->id, next, limit) && *next < *limit;
}

static int append(struct index_redo *d, struct index_rec *r, uint32_t *off)
{
    struct index_file *f = &d->s->index;
    int ret;

    r->previous = f->last;
    if (f->last == 0 || d->s != ns_active(d->ns))
        d->l->ids_lost = true; /* the chain over the files is mended in the end */
    ret = index_file_append(f, r, off);
    if (ret < 0)
        return ret;
    ns_sync_note(d->ns, d->s);
    index_seq_grow_in(&d->ns->seq, d->s->id);
    return 0;
}

/* Ids below `to` were taken by copies whose slots are rewritten already: nothing of them is needed.
 */
static int take_ids(struct index_redo *d, uint64_t next, uint64_t to)
{
    uint8_t id[INDEX_SEQ_KEY];
    uint32_t off;
    int r = 0;

    for (; r == 0 && next < to; next++) {
        struct index_rec blank = {.flags = INDEX_DELETED, .key = slice_of(id, sizeof id)};
        le64_put(id, next);
        r = append(d, &blank, &off);
    }
    return r;
}

static int insert(struct index_redo *d, const struct data_walk_rec *rec)
{
    struct index_rec r = {.off = (uint32_t)rec->off,
                          .length = rec->head.length,
                          .dataid = d->s->id,
                          .timestamp = rec->head.timestamp,
                          .crc = rec->head.crc,
                          .key = rec->key};
    uint32_t off;
    int ret = append(d, &r, &off);

    if (ret < 0)
        return ret;
    index_known_add(&d->fresh, d->s->id, off, &r);
    index_load_count(d->ns, r.length, INDEX_SEQ_KEY, true);
    index_ids_add(&d->l->touched, le64_get(rec->key.p));
    d->recovered++;
    return 0;
}

static void rewrite(struct index_redo *d, const struct data_walk_rec *rec, uint32_t file,
                    uint32_t off, struct index_rec *slot)
{
    uint8_t bytes[INDEX_REC_MAX];

    slot->off = (uint32_t)rec->off;
    slot->length = rec->head.length;
    slot->crc = rec->head.crc;
    slot->timestamp = rec->head.timestamp;
    slot->dataid = d->s->id;
    slot->flags = 0;
    index_rec_encode(bytes, slot);
    ns_patch_bytes(d->ns, file, off, bytes, INDEX_REC_SIZE);
    index_known_add(&d->fresh, file, off, slot);
    index_ids_add(&d->l->touched, le64_get(rec->key.p));
    d->recovered++;
}

static int update(struct index_redo *d, const struct data_walk_rec *rec, uint32_t file,
                  uint32_t off, struct index_rec *slot)
{
    uint64_t id = le64_get(rec->key.p), next, limit;
    const struct index_copy *there;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec copy = *slot;
    uint32_t copy_off;
    int r;

    if (slot->off < DATA_HEADER_SIZE) { /* hollow: it had no version */
        index_load_count(d->ns, rec->head.length, INDEX_SEQ_KEY, true);
        rewrite(d, rec, file, off, slot);
        return 0;
    }
    d->ns->data_size = d->ns->data_size - slot->length + rec->head.length;
    there = index_copies_find(&d->l->copies, d->s->id, (uint32_t)rec->off);
    if (there && there->id == id &&
        ns_seg_record(d->ns, there->file, there->off, &copy, bytes, NULL) == 0) {
        slot->parent_file = copy.parent_file; /* a version that had been superseded is the newest
                                                 whole one */
        slot->parent_off = copy.parent_off;
        rewrite(d, rec, file, off, slot);
        return 0;
    }
    there = index_copies_find(&d->l->copies, slot->dataid, slot->off);
    if (there && there->id == id) {
        slot->parent_file = there->file;
        slot->parent_off = there->off;
    } else if (!has_room(d, &next, &limit)) {
        slot->parent_file = slot->parent_off = 0; /* no id is free for a copy in this file */
    } else {
        copy.flags |= INDEX_DELETED;
        r = append(d, &copy, &copy_off);
        if (r < 0)
            return r;
        slot->parent_file = d->s->id;
        slot->parent_off = copy_off;
    }
    rewrite(d, rec, file, off, slot);
    return 0;
}

/* Does slot point to a whole record of its key?  A torn rewrite of the slot does not.  A segment
 * that is not here was durable before it went. */
static bool is_right(struct index_redo *d, const struct index_rec *slot)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    struct seg *s = ns_seg_find(d->ns, slot->dataid);
    int r;

    if (!s || slot->off < DATA_HEADER_SIZE)
        return false;
    r = data_read(&s->data, slot->off, slot->key, slot->length, slot->crc, &payload, false);
    return r == 0 || r == -ENOENT;
}

/* The slot of the record's id, if that is its own.  1, 0 none, -errno. */
static int find_slot(struct index_redo *d, const struct data_walk_rec *rec, uint32_t *file,
                     uint32_t *off, struct index_rec *slot, uint8_t bytes[INDEX_REC_MAX])
{
    int r;

    if (rec->key.len != NS_SEQ_KEY_SIZE ||
        !index_seq_find(&d->ns->seq, le64_get(rec->key.p), file, off))
        return 0;
    r = ns_seg_record(d->ns, *file, *off, slot, bytes, NULL);
    if (r < 0)
        return r == -EBADMSG ? 0 : r;
    return slice_eq(slot->key, rec->key);
}

int index_redo_seq_set(struct index_redo *d, const struct data_walk_rec *rec)
{
    const struct index_copy *superseded =
        index_copies_find(&d->l->copies, d->s->id, (uint32_t)rec->off);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec slot;
    uint64_t next, limit, id;
    uint32_t file, off;
    int r;

    if (rec->key.len != NS_SEQ_KEY_SIZE || (superseded && superseded->id != le64_get(rec->key.p))) {
        d->skipped++; /* a garbled key */
        return 0;
    }
    id = le64_get(rec->key.p);
    if (has_room(d, &next, &limit) && id >= next && id < limit) {
        if (id - next > GAP_MAX) {
            d->skipped++;
            return 0;
        }
        r = take_ids(d, next, id);
        return r < 0 ? r : insert(d, rec);
    }
    r = find_slot(d, rec, &file, &off, &slot, bytes);
    if (r <= 0) {
        d->skipped += r == 0;
        return r;
    }
    if ((slot.flags & INDEX_DELETED) ||
        (!index_redo_older(d, slot.dataid, slot.off, rec->off) && is_right(d, &slot)))
        return 0;
    return update(d, rec, file, off, &slot);
}

/* Only what was recovered from the data: any other slot would have been flagged at the same time.
 */
int index_redo_seq_del(struct index_redo *d, const struct data_walk_rec *rec)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec slot;
    uint32_t file, off;
    int r = find_slot(d, rec, &file, &off, &slot, bytes);

    if (r <= 0 || (slot.flags & INDEX_DELETED) || slot.off < DATA_HEADER_SIZE ||
        !index_ids_has(&d->l->touched, le64_get(rec->key.p)) ||
        !index_redo_older(d, slot.dataid, slot.off, rec->off))
        return MIN(r, 0);
    ns_patch_flag(d->ns, file, off);
    index_load_count(d->ns, slot.length, INDEX_SEQ_KEY, false);
    d->healed++;
    return 0;
}

/* The slot gets the newest whole version back that a copy has. */
int index_redo_seq_drop(struct index_redo *d, const struct index_known_rec *m,
                        const struct index_rec *r, bool *restored)
{
    uint8_t bytes[INDEX_REC_MAX], old[INDEX_REC_MAX];
    uint32_t file = r->parent_file, off = r->parent_off;
    struct index_rec copy;

    *restored = false;
    if (r->flags & INDEX_DELETED)
        return 0;
    for (unsigned n = 0; n < GAP_MAX && off >= INDEX_HEADER_SIZE; n++) { /* a garbled chain may be a
                                                                            ring */
        if (ns_seg_record(d->ns, file, off, &copy, bytes, NULL) < 0 || !slice_eq(copy.key, r->key))
            break;
        if (is_right(d, &copy)) {
            d->ns->data_size = d->ns->data_size - r->length + copy.length;
            copy.previous = r->previous;
            copy.flags = 0;
            index_rec_encode(old, &copy);
            ns_patch_bytes(d->ns, m->file, m->off, old, INDEX_REC_SIZE);
            *restored = true;
            return 0;
        }
        file = copy.parent_file;
        off = copy.parent_off;
    }
    index_load_count(d->ns, r->length, INDEX_SEQ_KEY, false);
    return 0;
}

void index_redo_seq_copies(struct index_load *l)
{
    for (size_t i = 0; i < l->copies.n; i++) {
        CLEANUP(buf_fini) struct buf payload = BUF_INIT;
        const struct index_copy *c = &l->copies.copies[i];
        const struct index_found *f = index_load_found(l, c->dataid);
        struct seg *s = ns_seg_find(l->ns, c->dataid);
        uint8_t bytes[INDEX_REC_MAX];
        struct index_rec r;
        int ret;

        if (!f || !s || !f->audit || c->data_off < f->durable || c->data_off < DATA_HEADER_SIZE ||
            ns_seg_record(l->ns, c->file, c->off, &r, bytes, NULL) < 0)
            continue;
        ret = data_read(&s->data, r.off, r.key, r.length, r.crc, &payload, false);
        if (ret == 0 || ret == -ENOENT)
            continue;
        index_load_drop(l,
                        &(struct index_drop){c->file, c->off, r.parent_file, r.parent_off, false});
    }
}
