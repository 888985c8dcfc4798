/* seq - index records of a sequential namespace: nothing in memory but counters and
 * first ids. Slots have a fixed size, so nothing can get out of step.  A slot that is neither the
 * record of its own id nor the flagged copy of an older id breaks the index; when its data is not
 * here it is seen as deleted. */
#include "common/log.h"
#include "zdb/format/slots.h"
#include "zdb/recovery/state.h"
#include <stdlib.h>

#define BLOCK_SLOTS  32768
#define LOST_MAX     ((uint64_t)1 << 24) /* ids missing between two files; more is a garbled id */
#define VERSIONS_MAX 4096                /* of one key in a row; more is a ring */
#define BLOCK        ((size_t)BLOCK_SLOTS * INDEX_SEQ_REC)

/* Does the data say so too?  (Of the first record that votes for it and whose data is here.) */
static bool data_agrees(struct load *l, const uint8_t *block, size_t n, uint64_t first)
{
    int r = -1;

    for (size_t slot = 0; slot < n && r < 0; slot++) {
        struct rd rd = rd_of(slice_of(block + slot * INDEX_SEQ_REC, INDEX_SEQ_REC));
        struct index_rec rec;
        if (index_rec_decode(&rd, &rec) == 1 && rec.key.len == INDEX_SEQ_KEY &&
            !(rec.flags & INDEX_DELETED) && le64_get(rec.key.p) == first + slot)
            r = load_has_key(l, rec.dataid, &rec);
    }
    return r == 1;
}

/* Where this file begins.  Its own word counts when none of its records agrees with what the files
 * before say, and it is more than one garbled id; then records of the file before are lost. */
static int push_first(struct load *l, struct seg *s, const uint8_t *block, size_t n)
{
    struct ns *ns = l->ns;
    uint64_t next = ids_next(&ns->seq), weight, agree,
             first = slots_vote_first(block, n, next, &weight, &agree);
    bool believe = weight > 0 && agree == 0 && first > next && first - next <= LOST_MAX &&
                   (weight > 1 || l->ids_lost || data_agrees(l, block, n, first));

    if (weight && agree == 0 && first != next)
        log_warn("index %s: begins with id %llu, expected %llu%s", s->index.path,
                 (unsigned long long)first, (unsigned long long)next,
                 believe ? ": records before it are lost" : "");
    if (believe && ns->nsegs > 1) { /* perhaps the data file still has them */
        int r = load_broken(l, ns->segs[ns->nsegs - 2]->id);
        if (r < 0)
            return r;
    }
    l->ids_lost |= believe;
    ids_push(&ns->seq, s->id, believe ? first : next);
    return 0;
}

static bool is_whole(const struct load *l, uint64_t off, const uint8_t *slot, uint64_t id)
{
    uint64_t key = le64_get(slot + INDEX_REC_SIZE);
    bool live = !(slot[INDEX_FLAGS_AT] & INDEX_DELETED);

    return slot[0] == INDEX_SEQ_KEY && !(slot[INDEX_FLAGS_AT] & ~INDEX_DELETED) &&
           (le32_get(slot + 9) == l->ns->last_index || (off == INDEX_HEADER_SIZE && l->gap)) &&
           key <= id && (!live || (key == id && le32_get(slot + 1) >= DATA_HEADER_SIZE));
}

/* The chain breaks between two files: perhaps it is the former one that was cut. */
static uint32_t file_before(struct load *l, const struct seg *s)
{
    const struct load_seg *f = load_found(l, s->id);

    return f > l->found && f[-1].data ? f[-1].id : s->id;
}

/* A copy that lacks its flag. */
static bool is_copy(struct load *l, const uint8_t *slot, uint64_t id)
{
    struct rd rd = rd_of(slice_of(slot, INDEX_SEQ_REC));
    struct index_rec rec;

    return index_rec_decode(&rd, &rec) == 1 && le64_get(rec.key.p) < id &&
           rec.off >= DATA_HEADER_SIZE && load_has_key(l, rec.dataid, &rec) != 0;
}

/* One slot, in the block: what is clearly wrong is set right on disk and in the block. */
static int heal_slot(struct load *l, struct seg *s, uint64_t off, uint8_t *slot, uint64_t id)
{
    bool first = off == INDEX_HEADER_SIZE, live = !(slot[INDEX_FLAGS_AT] & INDEX_DELETED);
    bool own = le64_get(slot + INDEX_REC_SIZE) == id && le32_get(slot + 1) >= DATA_HEADER_SIZE;
    uint8_t right[INDEX_SEQ_REC];
    int r;

    if (is_whole(l, off, slot, id))
        return 0;
    r = load_broken(l, first ? file_before(l, s) : s->id);
    if (r < 0)
        return r;
    memcpy(right, slot, sizeof right);
    right[0] = INDEX_SEQ_KEY;
    right[INDEX_FLAGS_AT] &= INDEX_DELETED;
    if (!first || !l->ids_lost)
        le32_put(right + 9, l->ns->last_index);
    if (live && !own && is_copy(l, right, id)) {
        right[INDEX_FLAGS_AT] = INDEX_DELETED; /* copies are flagged */
    } else if (live && !own) {
        log_warn("index %s: no record of id %llu at %llu", s->index.path, (unsigned long long)id,
                 (unsigned long long)off);
        memset(right + 1, 0, 8);
        memset(right + 13, 0, sizeof right - 13);
        right[INDEX_FLAGS_AT] = INDEX_DELETED;
        le64_put(right + INDEX_REC_SIZE, id);
    }
    if (memcmp(slot, right, sizeof right) == 0)
        return 0;
    log_warn("index %s: garbled record at %llu set right", s->index.path, (unsigned long long)off);
    memcpy(slot, right, sizeof right);
    l->changed = true;
    ns_sync_note(l->ns, s);
    return index_patch(&s->index, off, slot, INDEX_SEQ_REC);
}

static void apply(struct load *l, const uint8_t *slot, uint64_t id)
{
    struct load_seg *later;
    struct index_rec rec;
    struct rd rd = rd_of(slice_of(slot, INDEX_SEQ_REC));

    if (index_rec_decode(&rd, &rec) != 1)
        return;
    load_note(l, rec.dataid, &rec);
    if (rec.parent_off && rec.parent_file == l->found[l->n - 1].id)
        l->copies_end = MAX(l->copies_end, (uint64_t)rec.parent_off + INDEX_SEQ_REC);
    if (le64_get(rec.key.p) != id || (rec.flags & INDEX_DELETED))
        return;
    load_count(l->ns, rec.dataid, rec.length, INDEX_SEQ_KEY, true);
    later = ns_seg_find(l->ns, rec.dataid) ? NULL : load_found(l, rec.dataid);
    if (later)
        later->live += DATA_REC_SIZE + INDEX_SEQ_KEY + rec.length;
}

/* The slot of a lost version gets the one before it that is not, or is deleted. */
static int take_back(struct load *l, struct seg *s, uint32_t file, uint32_t at,
                     struct index_rec *slot)
{
    uint8_t bytes[INDEX_REC_MAX];
    uint32_t previous = slot->previous;
    struct slice id = slot->key; /* the caller's */
    struct seg *home = ns_seg_find(l->ns, file);

    for (unsigned n = 0; n < VERSIONS_MAX && load_is_lost(l, slot->dataid, slot); n++) {
        struct index_rec copy;
        if (!slot->parent_off ||
            ns_seg_record(l->ns, slot->parent_file, slot->parent_off, &copy, bytes, NULL) < 0 ||
            !slice_eq(copy.key, id)) {
            slot->flags = INDEX_DELETED;
            break;
        }
        *slot = copy;
        slot->flags = 0;
    }
    log_warn("index %s: the data of id %llu did not reach the disk, %s", home->index.path,
             (unsigned long long)le64_get(id.p),
             slot->flags ? "it is deleted" : "it has its former value");
    slot->previous = previous;
    slot->key = id;
    l->changed = l->replayed = true;
    ns_sync_note(l->ns, s);
    return index_rewrite(&home->index, at, slot);
}

/* Foreign files, newest segment: is the data lost that this record was made with?  For a copy that
 * is what its slot has now. */
static int check_lost(struct load *l, struct seg *s, uint32_t off, const uint8_t *bytes,
                      uint64_t id)
{
    uint8_t home_bytes[INDEX_REC_MAX];
    struct index_rec rec, slot;
    struct rd rd = rd_of(slice_of(bytes, INDEX_SEQ_REC));
    uint32_t file = s->id, at = off;

    if (index_rec_decode(&rd, &rec) != 1)
        return 0;
    slot = rec;
    if (le64_get(rec.key.p) != id && (!ids_find(&l->ns->seq, le64_get(rec.key.p), &file, &at) ||
                                      ns_seg_record(l->ns, file, at, &slot, home_bytes, NULL) < 0 ||
                                      slot.parent_file != s->id || slot.parent_off != off))
        return 0;
    if ((slot.flags & INDEX_DELETED) || slot.dataid != s->id || !load_is_lost(l, s->id, &slot))
        return 0;
    if (le64_get(rec.key.p) == id && slot.parent_off)
        return 0; /* comes with its copy */
    return take_back(l, s, file, at, &slot);
}

static int load_block(struct load *l, struct seg *s, uint64_t off, uint8_t *block, size_t n)
{
    bool newest = l->foreign && s->id == l->found[l->n - 1].id;
    uint64_t id = ids_next(&l->ns->seq);

    for (size_t i = 0; i < n; i++, id++, off += INDEX_SEQ_REC) {
        uint8_t *slot = block + i * INDEX_SEQ_REC;
        int r = heal_slot(l, s, off, slot, id);
        if (r < 0)
            return r;
        s->index.size = off + INDEX_SEQ_REC;
        apply(l, slot, id);
        l->ns->last_index = (uint32_t)off;
        ids_grow(&l->ns->seq, 1);
        r = newest ? check_lost(l, s, (uint32_t)off, slot, id) : 0;
        if (r < 0)
            return r;
    }
    return 0;
}

static int cut_torn(struct load *l, struct seg *s, bool newest)
{
    int r = newest ? 0 : load_broken(l, s->id);

    if (r < 0)
        return r;
    log_warn("index %s: torn record at %llu, cut", s->index.path,
             (unsigned long long)s->index.size);
    l->changed = true;
    ns_sync_note(l->ns, s);
    return index_cut(&s->index, s->index.size, s->index.last);
}

int load_seq(struct load *l, struct seg *s, uint64_t limit)
{
    CLEANUP(base_free) uint8_t *block = malloc(BLOCK);
    uint64_t off = INDEX_HEADER_SIZE;
    int r = block ? 0 : -ENOMEM;
    bool more = r == 0;

    s->index.size = INDEX_HEADER_SIZE;
    while (more) {
        size_t want = (size_t)MIN((uint64_t)BLOCK, limit - off);
        ssize_t n;

        r = index_open(&s->index); /* others were opened since the last block */
        if (r < 0)
            break;
        n = files_pread(s->index.file, block, want, off, false);
        r = n < 0 ? (int)n : 0;
        if (r == 0 && (size_t)n < want && limit != UINT64_MAX)
            r = load_broken(l, s->id); /* shorter than it was */
        if (r == 0 && off == INDEX_HEADER_SIZE)
            r = push_first(l, s, block, (size_t)n / INDEX_SEQ_REC);
        if (r == 0)
            r = load_block(l, s, off, block, (size_t)n / INDEX_SEQ_REC);
        if (r < 0)
            break;
        off = s->index.size;
        s->index.last = off > INDEX_HEADER_SIZE ? (uint32_t)(off - INDEX_SEQ_REC) : 0;
        more = (size_t)n == want && off < limit;
        if (!more && (size_t)n % INDEX_SEQ_REC)
            r = cut_torn(l, s, limit == UINT64_MAX && s->id == l->found[l->n - 1].id);
    }
    return r < 0 && r != -EUCLEAN ? err_sys(l->e, -r, "index %s", s->index.path) : r;
}

/* --- finish ---------------------------------------------------------------------------------- */

int load_seq_fill(struct load *l, struct seg *s, uint32_t previous, uint64_t from, uint64_t upto)
{
    int r = 0;

    for (; r == 0 && from < upto; from++) {
        uint8_t id[INDEX_SEQ_KEY];
        struct index_rec rec = {.previous = previous,
                                .flags = INDEX_DELETED,
                                .key = slice_of(id, sizeof id)};

        le64_put(id, from);
        r = index_append(&s->index, &rec, &previous);
        if (r == 0)
            ids_grow_in(&l->ns->seq, s->id);
    }
    ns_sync_note(l->ns, s);
    return r;
}

/* A file ends before the next one begins: the ids between are taken, by records that are deleted.
 */
static int pad(struct load *l, struct seg *s)
{
    uint64_t next, limit;

    if (!ids_range(&l->ns->seq, s->id, &next, &limit) || limit == UINT64_MAX || next >= limit)
        return 0;
    l->changed = true;
    log_warn("index %s: ids %llu to %llu are lost", s->index.path, (unsigned long long)next,
             (unsigned long long)limit - 1);
    return load_seq_fill(l, s, s->index.last, next, limit);
}

/* The first record of a file names the last one before it. */
static int mend_chain(struct load *l, struct seg *s, uint32_t last)
{
    uint8_t bytes[INDEX_REC_MAX], previous[4];
    struct index_rec rec;

    if (!s->index.last || index_read(&s->index, INDEX_HEADER_SIZE, &rec, bytes, false) < 0 ||
        rec.previous == last)
        return 0;
    le32_put(previous, last);
    ns_sync_note(l->ns, s);
    return index_patch(&s->index, INDEX_HEADER_SIZE + 9, previous, sizeof previous);
}

int load_seq_recount(struct ns *ns)
{
    CLEANUP(base_free) uint8_t *block = malloc(BLOCK);
    uint64_t id;

    if (!block)
        return -ENOMEM;
    ns->entries = ns->data_size = ns->index_size = 0;
    for (size_t i = 0; i < ns->nsegs; i++)
        ns->segs[i]->live = 0;
    for (size_t i = 0; i < ns->nsegs; i++) {
        struct index *f = &ns->segs[i]->index;
        ssize_t n;
        for (uint64_t off = INDEX_HEADER_SIZE; off < f->size; off += (uint64_t)n) {
            n = index_block(f, off, block, BLOCK, false);
            if (n < INDEX_SEQ_REC)
                return n < 0 ? (int)n : -EIO;
            n -= n % INDEX_SEQ_REC;
            for (ssize_t at = 0; at < n; at += INDEX_SEQ_REC) {
                uint8_t *slot = block + at;
                rewrite_see(ns, f->id, (uint32_t)(off + (uint64_t)at), slot, INDEX_SEQ_REC);
                if (!(slot[INDEX_FLAGS_AT] & INDEX_DELETED) &&
                    ids_id(&ns->seq, f->id, (uint32_t)(off + (uint64_t)at), &id) &&
                    id == le64_get(slot + INDEX_REC_SIZE))
                    load_count(ns, le32_get(slot + 14), le32_get(slot + 5), INDEX_SEQ_KEY, true);
            }
        }
    }
    return 0;
}

int load_seq_finish(struct load *l)
{
    struct ns *ns = l->ns;
    uint32_t last = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < ns->nsegs; i++) {
        struct seg *s = ns->segs[i];
        bool adjacent = i + 1 < ns->nsegs && ns->segs[i + 1]->id == s->id + 1;
        if (l->ids_lost && adjacent)
            r = pad(l, s);
        if (r == 0 && l->ids_lost)
            r = mend_chain(l, s, last);
        if (s->index.last)
            last = s->index.last;
    }
    ns->last_index = last;
    return r;
}
