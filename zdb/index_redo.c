/* index_redo - see the header.  Every step is a no-op when it was done before: the walk may start anywhere at or before the
 * first record that is in doubt, and may itself be interrupted. */
#include "zdb/index_redo.h"
#include "common/crc.h"
#include "common/io.h"
#include "common/log.h"
#include "zdb/data_walk.h"
#include <stdlib.h>
#include <unistd.h>

struct redo {
    struct ns *ns;
    struct seg *s;
    struct index_known *k;
    struct data_walk walk;
    bool newest;
    unsigned recovered, healed, damaged, skipped;
    size_t bad_run;      /* first of the damaged known records with no good one behind, SIZE_MAX = none */
    uint64_t last_off;   /* of the last whole record, 0 = none */
};

/* --- what the index knows ---- */

void index_known_init(struct index_known *k, uint32_t seg, uint64_t from)
{
    *k = (struct index_known){.seg = seg, .from = from};
}

void index_known_fini(struct index_known *k)
{
    free(k->recs);
    k->recs = NULL;
}

void index_known_add(struct index_known *k, const struct ns *ns, uint32_t file, uint32_t off, const struct index_rec *rec)
{
    struct index_known_rec one = {rec->off, rec->length, rec->crc, rec->timestamp, file, off, (uint8_t)rec->key.len,
                                  rec->flags & INDEX_DELETED};

    if ((ns->mode == NS_SEQ ? rec->dataid : file) != k->seg || rec->off < DATA_HEADER_SIZE)
        return;
    if (rec->off < k->from) {
        if (!k->has_below || k->below.data_off <= rec->off)
            k->below = one;
        k->has_below = true;
        return;
    }
    if (k->n == k->cap) {
        size_t cap = k->cap ? k->cap * 2 : 64;
        struct index_known_rec *p = xcalloc(cap, sizeof *p);
        if (k->n)
            memcpy(p, k->recs, k->n * sizeof *p);
        free(k->recs);
        k->recs = p;
        k->cap = cap;
    }
    k->recs[k->n++] = one;
}

static int by_offset(const void *a, const void *b)
{
    const struct index_known_rec *x = a, *y = b;

    if (x->data_off != y->data_off)
        return x->data_off < y->data_off ? -1 : 1;
    return (int)y->deleted - (int)x->deleted; /* the live one last: that is the one that is found */
}

static uint64_t known_end(const struct index_known_rec *r)
{
    return (uint64_t)r->data_off + DATA_REC_SIZE + r->keylen + r->length;
}

/* Number of known records below off. */
static size_t known_below(const struct index_known *k, uint64_t off)
{
    size_t lo = 0, hi = k->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (k->recs[mid].data_off < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

static struct index_known_rec *known_at(const struct index_known *k, uint64_t off)
{
    size_t i = known_below(k, off + 1);

    return i > 0 && k->recs[i - 1].data_off == off ? &k->recs[i - 1] : NULL;
}

static struct index_known_rec *known_behind(const struct index_known *k, uint64_t off)
{
    size_t i = known_below(k, off + 1);

    return i < k->n ? &k->recs[i] : NULL;
}

/* --- memory and index together ---- */

static int flag(struct redo *d, uint32_t file, uint32_t off)
{
    struct seg *s = ns_seg_find(d->ns, file);
    int r = s ? index_file_flag(&s->index, off) : -EBADMSG;

    if (r == 0)
        ns_sync_note(d->ns, s);
    return r;
}

/* The live record of a user-mode key goes. */
static int kill_user(struct redo *d, struct index_entry *e)
{
    int r = flag(d, e->file, e->off);

    if (r < 0)
        return r;
    d->ns->entries--;
    d->ns->data_size -= e->length;
    d->ns->index_size -= 64u + e->keylen;
    index_remove(d->ns->keys, slice_of(e->key, e->keylen));
    d->healed++;
    return 0;
}

static bool older(const struct redo *d, uint32_t seg, uint32_t data_off, uint64_t than)
{
    return seg < d->s->id || (seg == d->s->id && data_off < than);
}

static int insert_user(struct redo *d, const struct data_walk_rec *rec)
{
    struct ns *ns = d->ns;
    struct index_entry *e = index_find(ns->keys, rec->key);
    struct index_rec r = {.off = (uint32_t)rec->off, .length = rec->head.length, .previous = ns->last_index,
                          .timestamp = rec->head.timestamp, .crc = rec->head.crc, .key = rec->key};
    uint32_t off;
    bool added;
    int ret;

    if (e && !older(d, e->file, e->data_off, rec->off))
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
        ret = kill_user(d, e);
        if (ret < 0)
            return ret;
    }
    e = index_put(ns->keys, rec->key, &added);
    e->file = d->s->id;
    e->off = off;
    e->data_off = r.off;
    e->length = r.length;
    e->crc = r.crc;
    e->timestamp = r.timestamp;
    ns->entries++;
    ns->data_size += r.length;
    ns->index_size += 64 + rec->key.len;
    return 0;
}

/* A later record of the key in the data file, or its deletion: an older live one is none any more. */
static int supersede_user(struct redo *d, const struct data_walk_rec *rec)
{
    struct index_entry *e = index_find(d->ns->keys, rec->key);

    return e && older(d, e->file, e->data_off, rec->off) ? kill_user(d, e) : 0;
}

/* --- the same, sequential mode ---- */

static int insert_seq(struct redo *d, const struct data_walk_rec *rec)
{
    struct ns *ns = d->ns;
    struct seg *last = ns_active(ns);
    struct index_rec r = {.off = (uint32_t)rec->off, .length = rec->head.length, .previous = ns->last_index,
                          .dataid = d->s->id, .timestamp = rec->head.timestamp, .crc = rec->head.crc, .key = rec->key};
    uint32_t off;
    int ret = index_file_append(&last->index, &r, &off);

    if (ret < 0)
        return ret;
    ns_sync_note(ns, last);
    index_seq_grow(&ns->seq, 1);
    ns->last_index = off;
    ns->entries++;
    ns->data_size += r.length;
    ns->index_size += 64 + NS_SEQ_KEY_SIZE;
    d->recovered++;
    return 0;
}

/* Is the newest index record the copy of slot that an update appends before it rewrites the slot? */
static bool copy_is_there(struct redo *d, const struct index_rec *slot, uint32_t *off)
{
    struct seg *last = ns_active(d->ns);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec copy;

    if (!last->index.last || index_file_read(&last->index, last->index.last, &copy, bytes, false) < 0)
        return false;
    *off = last->index.last;
    return (copy.flags & INDEX_DELETED) && slice_eq(copy.key, slot->key) && copy.dataid == slot->dataid &&
           copy.off == slot->off;
}

static int update_seq(struct redo *d, const struct data_walk_rec *rec, uint32_t file, uint32_t off, struct index_rec *slot)
{
    struct ns *ns = d->ns;
    struct seg *last = ns_active(ns), *home = ns_seg_find(ns, file);
    struct index_rec copy = *slot;
    uint32_t copy_off;
    int r;

    if (d->k->rebuild || !copy_is_there(d, slot, &copy_off)) {
        copy.flags |= INDEX_DELETED;
        copy.previous = ns->last_index;
        r = index_file_append(&last->index, &copy, &copy_off);
        if (r < 0)
            return r;
        ns_sync_note(ns, last);
        index_seq_grow(&ns->seq, 1);
        ns->last_index = copy_off;
    }
    ns->data_size = ns->data_size - slot->length + rec->head.length;
    slot->off = (uint32_t)rec->off;
    slot->length = rec->head.length;
    slot->crc = rec->head.crc;
    slot->timestamp = rec->head.timestamp;
    slot->dataid = d->s->id;
    slot->parent_file = last->id;
    slot->parent_off = copy_off;
    r = index_file_rewrite(&home->index, off, slot);
    if (r == 0)
        ns_sync_note(ns, home);
    d->recovered++;
    return r;
}

/* Does slot point to a whole record of its key?  A torn rewrite of the slot does not. */
static bool slot_is_right(struct redo *d, const struct index_rec *slot)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    struct seg *s = ns_seg_find(d->ns, slot->dataid);

    return s && data_read(&s->data, slot->off, slot->key, slot->length, slot->crc, &payload, false) == 0;
}

/* Rebuilding: the copy that an update appended is lost, but it took an id. */
static int take_id(struct redo *d, const struct data_walk_rec *rec)
{
    struct seg *last = ns_active(d->ns);
    struct index_rec r = {.previous = d->ns->last_index, .flags = INDEX_DELETED, .key = rec->key};
    uint32_t off;
    int ret = index_file_append(&last->index, &r, &off);

    if (ret < 0)
        return ret;
    index_seq_grow(&d->ns->seq, 1);
    d->ns->last_index = off;
    return 0;
}

static int redo_seq(struct redo *d, const struct data_walk_rec *rec)
{
    bool update = !(rec->head.flags & DATA_DELETED);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec slot;
    uint32_t file, off;
    uint64_t id;
    bool newer;
    int r;

    if (rec->key.len != NS_SEQ_KEY_SIZE) {
        d->skipped++;
        return 0;
    }
    id = le64_get(rec->key.p);
    if (id == index_seq_next(&d->ns->seq) && update)
        return insert_seq(d, rec);
    if (!index_seq_find(&d->ns->seq, id, &file, &off)) {
        d->skipped++;
        return 0;
    }
    r = ns_seg_record(d->ns, file, off, &slot, bytes, NULL);
    if (r < 0 && r != -EBADMSG)
        return r;
    if (r < 0 || !slice_eq(slot.key, rec->key)) {
        d->skipped++;
        return 0;
    }
    if (slot.flags & INDEX_DELETED)
        return d->k->rebuild && update ? take_id(d, rec) : 0;
    newer = !older(d, slot.dataid, slot.off, rec->off) && (slot.dataid != d->s->id || slot.off != rec->off);
    if (d->k->rebuild && update && !older(d, slot.dataid, slot.off, rec->off))
        return take_id(d, rec);
    if (newer && slot_is_right(d, &slot))
        return 0;
    if (update)
        return update_seq(d, rec, file, off, &slot);
    r = flag(d, file, off);
    if (r < 0)
        return r;
    d->ns->entries--;
    d->ns->data_size -= slot.length;
    d->ns->index_size -= 64 + NS_SEQ_KEY_SIZE;
    d->healed++;
    return 0;
}

/* --- one data record ---- */

static int redo_one(struct redo *d, const struct data_walk_rec *rec)
{
    if (d->ns->mode == NS_SEQ)
        return redo_seq(d, rec);
    return rec->head.flags & DATA_DELETED ? supersede_user(d, rec) : insert_user(d, rec);
}

/* The slot was being rewritten: the copy of the old version is then the newest index record. */
static void find_parent(struct redo *d, struct index_rec *slot)
{
    struct seg *last = ns_active(d->ns);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec copy;

    if (d->ns->mode == NS_SEQ && last->index.last &&
        index_file_read(&last->index, last->index.last, &copy, bytes, false) == 0 && (copy.flags & INDEX_DELETED) &&
        slice_eq(copy.key, slot->key)) {
        slot->parent_file = last->id;
        slot->parent_off = last->index.last;
    }
}

/* The data record is whole and the index knows the place, but with other numbers: the data speaks for itself. */
static int heal_index(struct redo *d, const struct index_known_rec *m, const struct data_walk_rec *rec)
{
    struct seg *home = ns_seg_find(d->ns, m->file);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_entry *e;
    struct index_rec r;
    int ret = index_file_read(&home->index, m->off, &r, bytes, false);

    if (ret < 0)
        return ret;
    if (!slice_eq(r.key, rec->key)) { /* whose key is right cannot be told: reading it is an error */
        d->damaged++;
        return 0;
    }
    if (!(r.flags & INDEX_DELETED))
        d->ns->data_size = d->ns->data_size - r.length + rec->head.length;
    r.length = rec->head.length;
    r.crc = rec->head.crc;
    r.timestamp = rec->head.timestamp;
    find_parent(d, &r);
    e = d->ns->mode == NS_USER ? index_find(d->ns->keys, rec->key) : NULL;
    if (e && e->file == m->file && e->off == m->off) {
        e->length = r.length;
        e->crc = r.crc;
        e->timestamp = r.timestamp;
    }
    d->healed++;
    return index_file_rewrite(&home->index, m->off, &r);
}

/* The record that the index has at m does not decode as such.  Is it there all the same, under a garbled header? */
static bool payload_is_right(struct redo *d, const struct index_known_rec *m)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec r;

    return index_file_read(&ns_seg_find(d->ns, m->file)->index, m->off, &r, bytes, false) == 0 &&
           data_read(&d->s->data, m->data_off, r.key, r.length, r.crc, &payload, false) == 0;
}

static int heal_data(struct redo *d, const struct index_known_rec *m)
{
    struct data_rec head = {.keylen = m->keylen, .length = m->length, .crc = m->crc, .timestamp = m->timestamp,
                            .previous = (uint32_t)d->last_off};
    uint8_t bytes[DATA_REC_SIZE];

    d->last_off = m->data_off;
    if (!d->newest)
        return 0;
    data_rec_encode(bytes, &head);
    d->healed++;
    d->s->data.unsynced = true;
    ns_sync_note(d->ns, d->s);
    return io_pwrite_full(d->s->data.file->fd, bytes, sizeof bytes, m->data_off);
}

static void note_damaged(struct redo *d, const struct index_known_rec *m)
{
    if (d->bad_run == SIZE_MAX)
        d->bad_run = (size_t)(m - d->k->recs);
    d->damaged++;
}

static int known_one(struct redo *d, const struct index_known_rec *m, const struct data_walk_rec *rec)
{
    if (rec->crc_ok && !(rec->head.flags & DATA_DELETED)) {
        d->bad_run = SIZE_MAX;
        d->last_off = rec->off;
        if (rec->head.length != m->length || rec->head.crc != m->crc || rec->head.timestamp != m->timestamp ||
            rec->head.keylen != m->keylen) {
            if (m->deleted) /* a record that was taken back left its place: this one is new */
                return redo_one(d, rec);
            return heal_index(d, m, rec);
        }
        return d->ns->mode == NS_USER ? supersede_user(d, rec) : 0;
    }
    if (known_end(m) <= d->walk.size && payload_is_right(d, m)) {
        d->bad_run = SIZE_MAX;
        d->walk.off = known_end(m);
        return heal_data(d, m);
    }
    note_damaged(d, m);
    d->walk.off = known_end(m);
    return 0;
}

/* --- what did not survive ---- */

/* A page that never reached the disk reads as zeros. */
static bool has_zero_sector(struct redo *d, const struct index_known_rec *m)
{
    uint8_t sector[512];
    uint64_t from = m->data_off & ~(uint64_t)511, end = MIN(known_end(m), d->walk.size);

    for (; from < end; from += sizeof sector) {
        ssize_t n = files_pread(d->s->data.file, sector, sizeof sector, from, false);
        uint64_t lo = MAX(from, (uint64_t)m->data_off), hi;
        bool zero = true;

        if (n <= 0)
            return true;
        hi = MIN(from + (uint64_t)n, end);
        for (uint64_t i = lo; i < hi; i++)
            zero &= sector[i - from] == 0;
        if (zero && hi - lo >= 16)
            return true;
    }
    return false;
}

/* The previous version of a user-mode key comes back. */
static int restore_user(struct redo *d, const struct index_rec *lost)
{
    struct ns *ns = d->ns;
    struct seg *home = ns_seg_find(ns, lost->parent_file);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_entry *e;
    struct index_rec r;
    bool added;
    int ret;

    if (lost->parent_off < INDEX_HEADER_SIZE || !home ||
        index_file_read(&home->index, lost->parent_off, &r, bytes, false) < 0 || !slice_eq(r.key, lost->key) ||
        r.off < DATA_HEADER_SIZE)
        return 0;
    r.flags = 0;
    ret = index_file_rewrite(&home->index, lost->parent_off, &r);
    if (ret < 0)
        return ret;
    ns_sync_note(ns, home);
    e = index_put(ns->keys, r.key, &added);
    e->file = home->id;
    e->off = lost->parent_off;
    e->data_off = r.off;
    e->length = r.length;
    e->crc = r.crc;
    e->timestamp = r.timestamp;
    ns->entries++;
    ns->data_size += r.length;
    ns->index_size += 64 + r.key.len;
    return 0;
}

static int drop_user(struct redo *d, const struct index_known_rec *m, struct index_rec *r)
{
    struct ns *ns = d->ns;
    struct index_entry *e = index_find(ns->keys, r->key);
    int ret = 0;

    if (e && e->file == m->file && e->off == m->off) {
        ns->entries--;
        ns->data_size -= e->length;
        ns->index_size -= 64u + e->keylen;
        index_remove(ns->keys, r->key);
        ret = restore_user(d, r);
    }
    return ret;
}

/* The slot gets the version back that the copy of the lost update has. */
static int drop_seq(struct redo *d, const struct index_known_rec *m, struct index_rec *r, bool *restored)
{
    struct seg *home = ns_seg_find(d->ns, r->parent_file);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec copy;
    uint64_t id;

    *restored = false;
    if (!index_seq_id(&d->ns->seq, m->file, m->off, &id) || id != le64_get(r->key.p) || (r->flags & INDEX_DELETED))
        return 0;
    if (r->parent_off >= INDEX_HEADER_SIZE && home &&
        index_file_read(&home->index, r->parent_off, &copy, bytes, false) == 0 && slice_eq(copy.key, r->key) &&
        slot_is_right(d, &copy)) {
        d->ns->data_size = d->ns->data_size - r->length + copy.length;
        copy.previous = r->previous;
        copy.flags = 0;
        *restored = true;
        return index_file_rewrite(&ns_seg_find(d->ns, m->file)->index, m->off, &copy);
    }
    d->ns->entries--;
    d->ns->data_size -= r->length;
    d->ns->index_size -= 64 + NS_SEQ_KEY_SIZE;
    return 0;
}

/* Index records without data are blanked: deleted, pointing nowhere. */
static int drop_known(struct redo *d, const struct index_known_rec *m)
{
    struct seg *home = ns_seg_find(d->ns, m->file);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec r;
    bool restored = false;
    int ret = index_file_read(&home->index, m->off, &r, bytes, false);

    if (ret < 0)
        return ret;
    ret = d->ns->mode == NS_SEQ ? drop_seq(d, m, &r, &restored) : drop_user(d, m, &r);
    if (ret < 0)
        return ret;
    ns_sync_note(d->ns, home);
    if (restored)
        return 0;
    r.flags |= INDEX_DELETED;
    r.off = r.length = r.crc = 0;
    return index_file_rewrite(&home->index, m->off, &r);
}

/* The data file ends at end: newest records first, so that each restored version may be dropped in its turn. */
static int cut_tail(struct redo *d, uint64_t end)
{
    struct index_known *k = d->k;
    unsigned dropped = 0;
    int r;

    if (end < d->walk.size) {
        log_warn("data %s: torn tail, %llu bytes cut at %llu", d->s->data.path,
                 (unsigned long long)(d->walk.size - end), (unsigned long long)end);
        if (ftruncate(d->s->data.file->fd, (off_t)end) < 0)
            return -errno;
    }
    d->s->data.size = end;
    d->s->data.unsynced = true;
    ns_sync_note(d->ns, d->s);
    for (size_t i = k->n; i-- > 0 && known_end(&k->recs[i]) > end;) {
        r = drop_known(d, &k->recs[i]);
        if (r < 0)
            return r;
        dropped++;
    }
    if (dropped)
        log_warn("index of segment %u of namespace %s: %u records without data taken back", d->s->id, d->ns->name, dropped);
    return 0;
}

/* --- the walk ---- */

/* Nothing readable at w.off.  1 go on, 0 the file ends here. */
static int unreadable(struct redo *d, int why)
{
    struct index_known_rec *m = known_at(d->k, d->walk.off), *next;

    if (why == -ENOMEM || (why != -ENODATA && why != -EBADMSG))
        return why;
    if (m && known_end(m) <= d->walk.size) {
        if (payload_is_right(d, m)) {
            int r = heal_data(d, m);
            if (r < 0)
                return r;
            d->bad_run = SIZE_MAX;
        } else {
            note_damaged(d, m);
        }
        d->walk.off = known_end(m);
        return 1;
    }
    if (m)
        return 0;
    next = known_behind(d->k, d->walk.off);
    if (!next || known_end(next) > d->walk.size)
        return 0;
    d->skipped++;
    d->walk.off = next->data_off;
    return 1;
}

static int step(struct redo *d)
{
    struct data_walk_rec rec;
    struct index_known_rec *m, *next;
    int r = data_walk_next(&d->walk, &rec);

    if (r < 0)
        return unreadable(d, r);
    if (r == 0)
        return 0;
    m = known_at(d->k, rec.off);
    if (m) {
        r = known_one(d, m, &rec);
        return r < 0 ? r : 1;
    }
    next = known_behind(d->k, rec.off);
    if (!rec.crc_ok || (next && next->data_off < rec.end)) {
        d->walk.off = rec.off;
        return unreadable(d, -EBADMSG);
    }
    d->bad_run = SIZE_MAX;
    d->last_off = rec.off;
    r = redo_one(d, &rec);
    return r < 0 ? r : 1;
}

static void report(const struct redo *d)
{
    if (d->recovered)
        log_warn("data %s: %u records were not in the index, recovered", d->s->data.path, d->recovered);
    if (d->healed)
        log_warn("segment %u of namespace %s: %u records set right", d->s->id, d->ns->name, d->healed);
    if (d->skipped)
        log_warn("data %s: %u places cannot be used, skipped", d->s->data.path, d->skipped);
    if (d->damaged)
        log_error("data %s: %u records are damaged and will not be served", d->s->data.path, d->damaged);
}

int index_redo(struct ns *ns, struct seg *s, struct index_known *k, bool newest)
{
    struct redo d = {.ns = ns, .s = s, .k = k, .newest = newest, .bad_run = SIZE_MAX};
    uint64_t from = DATA_HEADER_SIZE, end;
    int r = data_open(&s->data);

    if (r < 0)
        return r;
    if (k->n)
        qsort(k->recs, k->n, sizeof *k->recs, by_offset);
    if (k->from > DATA_HEADER_SIZE && k->has_below)
        from = known_end(&k->below);
    r = data_walk_init(&d.walk, s->data.file->fd, from);
    if (k->has_below)
        d.last_off = k->below.data_off;
    while (r == 0 || r == 1) {
        r = step(&d);
        if (r <= 0)
            break;
    }
    end = MIN(d.walk.off, d.walk.size);
    data_walk_fini(&d.walk);
    if (r < 0)
        return r;
    report(&d);
    if (!newest)
        return 0;
    s->data.size = d.walk.size;
    while (d.bad_run < k->n && !has_zero_sector(&d, &k->recs[d.bad_run]))
        d.bad_run++;
    if (d.bad_run < k->n)
        end = MIN(end, (uint64_t)k->recs[d.bad_run].data_off);
    r = cut_tail(&d, end);
    ns->last_data = (uint32_t)MIN(d.last_off, (uint64_t)UINT32_MAX);
    return r;
}
