/* load_seq - index records of a sequential namespace: nothing in memory but counters and
 * first ids. Slots have a fixed size, so nothing can get out of step.  A slot that is neither the
 * record of its own id nor the flagged copy of an older id is hollow: it is seen as deleted, unless
 * the data has a record of its id (recovery/redo_seq.c). */
#include "common/log.h"
#include "zdb/recovery/load.h"
#include <stdlib.h>

#define BLOCK_SLOTS 32768
#define LOST_MAX    ((uint64_t)1 << 24) /* ids missing between two files; more is a garbled id */
#define BLOCK       ((size_t)BLOCK_SLOTS * INDEX_SEQ_REC)

/* First id of a file as its own records have it: id minus slot, by majority (copies of old versions
 * have other ids). *agree: records that agree with the expected one. */
static uint64_t vote(const uint8_t *block, size_t n, uint64_t expected, uint64_t *weight,
                     uint64_t *agree)
{
    uint64_t best = 0;

    *weight = *agree = 0;
    for (size_t slot = 0; slot < n; slot++) {
        const uint8_t *p = block + slot * INDEX_SEQ_REC;
        uint64_t id = le64_get(p + INDEX_REC_SIZE);
        if (p[0] != INDEX_SEQ_KEY || id < slot || (p[INDEX_FLAGS_AT] & INDEX_DELETED))
            continue;
        if (*weight == 0)
            best = id - slot;
        if (best == id - slot)
            ++*weight;
        else
            --*weight;
        *agree += expected == id - slot;
    }
    return best;
}

/* As index_load_has_key; the segment may be one that is not loaded yet, as slots name later ones.
 */
static int has_key(struct index_load *l, const struct index_rec *rec)
{
    const struct index_found *f = index_load_found(l, rec->dataid);
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;
    struct data d;
    int r;

    if (!f || !f->data || ns_seg_find(l->ns, rec->dataid))
        return index_load_has_key(l, rec->dataid, rec);
    data_init(&d, &l->ns->env->files, l->ns->data_dir, rec->dataid);
    r = data_record(&d, rec->off, &head, key, NULL, false);
    data_fini(&d);
    return r < 0 ? -1 : slice_eq(slice_of(key, head.keylen), rec->key);
}

/* Does the data say so too?  (Of the first record that votes for it and whose data is here.) */
static bool data_agrees(struct index_load *l, const uint8_t *block, size_t n, uint64_t first)
{
    int r = -1;

    for (size_t slot = 0; slot < n && r < 0; slot++) {
        struct rd rd = rd_of(slice_of(block + slot * INDEX_SEQ_REC, INDEX_SEQ_REC));
        struct index_rec rec;
        if (index_rec_decode(&rd, &rec) == 1 && rec.key.len == INDEX_SEQ_KEY &&
            !(rec.flags & INDEX_DELETED) && le64_get(rec.key.p) == first + slot)
            r = has_key(l, &rec);
    }
    return r == 1;
}

/* Where this file begins.  Its own word counts when none of its records agrees with what the files
 * before say, and it is more than one garbled id; then records of the file before are lost. */
static void push_first(struct index_load *l, struct seg *s, const uint8_t *block, size_t n)
{
    struct ns *ns = l->ns;
    uint64_t next = index_seq_next(&ns->seq), weight, agree,
             first = vote(block, n, next, &weight, &agree);
    bool believe = weight > 0 && agree == 0 && first > next && first - next <= LOST_MAX &&
                   (weight > 1 || l->ids_lost || data_agrees(l, block, n, first));

    if (weight && agree == 0 && first != next)
        log_warn("index %s: begins with id %llu, expected %llu%s", s->index.path,
                 (unsigned long long)first, (unsigned long long)next,
                 believe ? ": records before it are lost" : "");
    index_seq_push(&ns->seq, s->id, believe ? first : next);
    if (believe && ns->nsegs > 1) /* perhaps the data file still has them */
        index_load_doubt(l, ns->segs[ns->nsegs - 2]->id);
}

static int set_field(struct index_load *l, struct seg *s, uint64_t off, uint8_t *slot, size_t at,
                     const uint8_t *bytes, size_t n)
{
    memcpy(slot + at, bytes, n);
    index_load_unmark(l, s->id);
    return index_file_patch(&s->index, off + at, bytes, n);
}

static int make_hollow(struct index_load *l, struct seg *s, uint64_t off, uint8_t *slot,
                       uint64_t id)
{
    uint32_t previous = le32_get(slot + 9);

    log_warn("index %s: no record of id %llu at %llu", s->index.path, (unsigned long long)id,
             (unsigned long long)off);
    memset(slot, 0, INDEX_SEQ_REC);
    slot[0] = INDEX_SEQ_KEY;
    le32_put(slot + 9, previous);
    le64_put(slot + INDEX_REC_SIZE, id);
    ns_patch_bytes(l->ns, s->id, (uint32_t)off, slot, INDEX_SEQ_REC);
    index_ids_add(&l->hollow, id);
    return 0;
}

/* One slot, in the block: what is clearly wrong is set right on disk and in the block. */
static int heal_slot(struct index_load *l, struct seg *s, uint64_t off, uint8_t *slot, uint64_t id,
                     bool *healed)
{
    uint64_t key = le64_get(slot + INDEX_REC_SIZE);
    uint8_t flags = slot[INDEX_FLAGS_AT] & INDEX_DELETED, keylen = INDEX_SEQ_KEY, before[4];
    struct index_rec rec;
    struct rd rd;
    int r = 0;

    le32_put(before, l->ns->last_index);
    if (memcmp(slot + 9, before, sizeof before) != 0 &&
        !(off == INDEX_HEADER_SIZE && l->ids_lost)) {
        r = set_field(l, s, off, slot, 9, before, sizeof before);
        *healed = true;
    }
    if (r == 0 && slot[0] != keylen) {
        r = set_field(l, s, off, slot, 0, &keylen, 1);
        *healed = true;
    }
    if (r == 0 && slot[INDEX_FLAGS_AT] != flags) {
        r = set_field(l, s, off, slot, INDEX_FLAGS_AT, &flags, 1);
        *healed = true;
    }
    if (r < 0 || flags || (key == id && le32_get(slot + 1) >= DATA_HEADER_SIZE))
        return r;
    *healed = true;
    rd = rd_of(slice_of(slot, INDEX_SEQ_REC));
    if (index_rec_decode(&rd, &rec) == 1 && key < id && rec.off >= DATA_HEADER_SIZE &&
        index_load_has_key(l, rec.dataid, &rec) != 0) { /* a copy: copies are flagged */
        flags = INDEX_DELETED;
        return set_field(l, s, off, slot, INDEX_FLAGS_AT, &flags, 1);
    }
    return make_hollow(l, s, off, slot, id);
}

static void apply(struct index_load *l, struct seg *s, uint64_t off, const uint8_t *slot,
                  uint64_t id)
{
    struct index_rec rec;
    struct rd rd = rd_of(slice_of(slot, INDEX_SEQ_REC));

    if (index_rec_decode(&rd, &rec) != 1)
        return;
    if (le64_get(rec.key.p) != id) {
        if (index_load_found(l, s->id)->audit)
            index_copies_add(&l->copies, s->id, (uint32_t)off, &rec);
        return;
    }
    index_load_note(l, rec.dataid, s->id, (uint32_t)off, &rec);
    if (!(rec.flags & INDEX_DELETED) && !index_ids_has(&l->hollow, id))
        index_load_count(l->ns, rec.length, INDEX_SEQ_KEY, true);
}

static int load_block(struct index_load *l, struct seg *s, uint64_t off, uint8_t *block, size_t n,
                      bool *damaged)
{
    uint64_t id = index_seq_next(&l->ns->seq);

    for (size_t i = 0; i < n; i++, id++, off += INDEX_SEQ_REC) {
        uint8_t *slot = block + i * INDEX_SEQ_REC;
        bool healed = false;
        int r = heal_slot(l, s, off, slot, id, &healed);
        if (r < 0)
            return r;
        if (healed)
            log_warn("index %s: garbled record at %llu set right", s->index.path,
                     (unsigned long long)off);
        *damaged |= healed;
        apply(l, s, off, slot, id);
        l->ns->last_index = (uint32_t)off;
    }
    index_seq_grow(&l->ns->seq, n);
    return 0;
}

int index_load_seq(struct index_load *l, struct seg *s, bool *damaged)
{
    CLEANUP(base_free) uint8_t *block = malloc(BLOCK);
    const struct index_found *f = index_load_found(l, s->id);
    uint64_t off = INDEX_HEADER_SIZE, end = f->replay ? f->mark.index_size : UINT64_MAX;
    ssize_t n;
    int r = block ? 0 : -ENOMEM;

    for (;;) {
        if (r == 0)
            r = index_file_open(&s->index); /* others were opened since the last block */
        if (r < 0)
            return err_sys(l->e, -r, "index %s", s->index.path);
        n = files_pread(s->index.file, block, (size_t)MIN((uint64_t)BLOCK, end - off), off, false);
        r = n < 0 ? (int)n : 0;
        if (r == 0 && off == INDEX_HEADER_SIZE)
            push_first(l, s, block, (size_t)n / INDEX_SEQ_REC);
        if (r == 0 && n >= INDEX_SEQ_REC)
            r = load_block(l, s, off, block, (size_t)n / INDEX_SEQ_REC, damaged);
        if (r < 0)
            continue;
        off += (uint64_t)n - (uint64_t)n % INDEX_SEQ_REC;
        if ((size_t)n < BLOCK)
            break;
    }
    s->index.size = off;
    s->index.last = off > INDEX_HEADER_SIZE ? (uint32_t)(off - INDEX_SEQ_REC) : 0;
    if (n % INDEX_SEQ_REC) {
        log_warn("index %s: torn record at %llu, cut", s->index.path, (unsigned long long)off);
        *damaged = true;
        index_load_unmark(l, s->id);
        r = index_file_cut(&s->index, off, s->index.last);
    }
    if (*damaged)
        ns_sync_note(l->ns, s);
    return r < 0 ? err_sys(l->e, -r, "index %s", s->index.path) : 0;
}

/* --- finish ---------------------------------------------------------------------------------- */

static void give_up_hollow(struct index_load *l)
{
    struct ns *ns = l->ns;

    for (size_t i = 0; i < l->hollow.cap; i++) {
        uint8_t bytes[INDEX_REC_MAX];
        struct index_rec rec;
        uint32_t file, off;
        uint64_t id = l->hollow.ids[i] - 1;

        if (l->hollow.ids[i] && index_seq_find(&ns->seq, id, &file, &off) &&
            ns_seg_record(ns, file, off, &rec, bytes, NULL) == 0 && rec.off == 0)
            ns_patch_flag(ns, file, off);
    }
}

/* A file ends before the next one begins: the ids between are taken, by records that are deleted.
 */
static int pad(struct index_load *l, struct seg *s)
{
    struct ns *ns = l->ns;
    uint64_t next, limit, from;
    int r = 0;

    if (!index_seq_range(&ns->seq, s->id, &next, &limit) || limit == UINT64_MAX || next >= limit)
        return 0;
    index_load_unmark(l, s->id);
    for (from = next; r == 0 && next < limit; next++) {
        uint8_t id[INDEX_SEQ_KEY];
        struct index_rec rec = {.previous = s->index.last,
                                .flags = INDEX_DELETED,
                                .key = slice_of(id, sizeof id)};
        uint32_t off;

        le64_put(id, next);
        r = index_file_append(&s->index, &rec, &off);
        if (r == 0)
            index_seq_grow_in(&ns->seq, s->id);
    }
    log_warn("index %s: ids %llu to %llu are lost", s->index.path, (unsigned long long)from,
             (unsigned long long)limit - 1);
    ns_sync_note(ns, s);
    return r;
}

/* The first record of a file names the last one before it. */
static int mend_chain(struct index_load *l, struct seg *s, uint32_t last)
{
    uint8_t bytes[INDEX_REC_MAX], previous[4];
    struct index_rec rec;

    if (!s->index.last || index_file_read(&s->index, INDEX_HEADER_SIZE, &rec, bytes, false) < 0 ||
        rec.previous == last)
        return 0;
    le32_put(previous, last);
    ns_sync_note(l->ns, s);
    return index_file_patch(&s->index, INDEX_HEADER_SIZE + 9, previous, sizeof previous);
}

int index_load_seq_recount(struct ns *ns)
{
    CLEANUP(base_free) uint8_t *block = malloc(BLOCK);
    uint64_t id;

    if (!block)
        return -ENOMEM;
    ns->entries = ns->data_size = ns->index_size = 0;
    for (size_t i = 0; i < ns->nsegs; i++) {
        struct index_file *f = &ns->segs[i]->index;
        ssize_t n;
        for (uint64_t off = INDEX_HEADER_SIZE; off < f->size; off += (uint64_t)n) {
            n = index_file_block(f, off, block, BLOCK, false);
            if (n < INDEX_SEQ_REC)
                return n < 0 ? (int)n : -EIO;
            n -= n % INDEX_SEQ_REC;
            for (ssize_t at = 0; at < n; at += INDEX_SEQ_REC) {
                uint8_t *slot = block + at;
                ns_patch_see(ns, f->id, (uint32_t)(off + (uint64_t)at), slot, INDEX_SEQ_REC);
                if (!(slot[INDEX_FLAGS_AT] & INDEX_DELETED) &&
                    index_seq_id(&ns->seq, f->id, (uint32_t)(off + (uint64_t)at), &id) &&
                    id == le64_get(slot + INDEX_REC_SIZE))
                    index_load_count(ns, le32_get(slot + 5), INDEX_SEQ_KEY, true);
            }
        }
    }
    return 0;
}

int index_load_seq_finish(struct index_load *l)
{
    struct ns *ns = l->ns;
    uint32_t last = 0;
    int r = 0;

    give_up_hollow(l);
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
