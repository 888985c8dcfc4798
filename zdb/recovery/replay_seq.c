/* replay_seq - data records behind the mark into the slots of a sequential namespace.
 * Contract: recovery/replay.h. An insert takes the next id, an update takes one for the copy of the
 * version before; the slot of an updated id is a patch. A slot on disk may be ahead of the replay:
 * then later records of its id follow, and the copies that they made are durable
 * (engine/rewrite.c). What is flagged stays so: a deletion flags at once, and its data record may
 * be lost. */
#include "zdb/recovery/replay.h"

static bool is_same(const struct index_rec *a, const struct index_rec *b)
{
    uint8_t x[INDEX_REC_MAX], y[INDEX_REC_MAX];

    return a->key.len == b->key.len && index_rec_encode(x, a) == index_rec_encode(y, b) &&
           memcmp(x, y, INDEX_REC_SIZE + a->key.len) == 0;
}

/* A weak record has little but its key to be compared by, as the index may have a later version
 * already.  One that ends in its header, before the sum, has no time either. */
static bool is_torn(const struct index_replay *p, const struct data_walk_rec *rec,
                    bool index_agrees)
{
    return p->weak && (!index_agrees || rec->head.timestamp == 0);
}

static bool is_of(const struct index_rec *r, const struct index_rec *want)
{
    return r->dataid == want->dataid && r->off == want->off && r->length == want->length &&
           r->crc == want->crc && r->timestamp == want->timestamp;
}

static int insert(struct index_replay *p, const struct data_walk_rec *rec)
{
    struct index_rec want = {.off = (uint32_t)rec->off,
                             .length = rec->head.length,
                             .previous = p->ns->last_index,
                             .dataid = p->s->id,
                             .timestamp = rec->head.timestamp,
                             .crc = rec->head.crc,
                             .key = rec->key};
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec there;
    bool same = index_replay_there(p, &there, bytes) && slice_eq(there.key, rec->key) &&
                there.previous == want.previous;
    int r;

    if (is_torn(p, rec, same) && !(same && is_of(&there, &want)))
        return 0;
    if (same)
        want.flags = there.flags;
    r = index_replay_put(p, &want, same);
    if (r < 0)
        return r;
    index_seq_grow(&p->ns->seq, 1);
    if (same && !is_same(&there, &want)) {
        index_rec_encode(bytes, &want);
        ns_patch_bytes(p->ns, p->s->id, p->s->index.last, bytes, INDEX_SEQ_REC);
    }
    return 1;
}

/* Is this the place of a whole record of its id, written before rec?  A segment that is not here
 * was durable before it went. */
static bool is_version(struct index_replay *p, const struct index_rec *r,
                       const struct data_walk_rec *rec)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    struct seg *s = ns_seg_find(p->ns, r->dataid);
    int ret;

    if (!s || r->off < DATA_HEADER_SIZE || r->dataid > p->s->id ||
        (r->dataid == p->s->id && r->off >= rec->off))
        return false;
    ret = data_read(&s->data, r->off, r->key, r->length, r->crc, &payload, false);
    return ret == 0 || ret == -ENOENT;
}

/* The copy of the version before goes where it was, or is made of what the slot says.  As above. */
static int copy(struct index_replay *p, const struct data_walk_rec *rec,
                const struct index_rec *slot, bool is_played)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec there, want = *slot;
    bool is_there = index_replay_there(p, &there, bytes) && slice_eq(there.key, rec->key) &&
                    (there.flags & INDEX_DELETED) && there.previous == p->ns->last_index;
    bool same;
    int r;

    if (is_there && !is_played && is_version(p, &there, rec))
        want = there;
    else if (!is_played && !is_version(p, slot, rec))
        want = (struct index_rec){.key = slot->key}; /* no version that could be told of */
    want.flags = INDEX_DELETED;
    want.previous = p->ns->last_index;
    same = is_there && is_same(&there, &want);
    if (is_torn(p, rec, same))
        return 0;
    r = index_replay_put(p, &want, same);
    if (r < 0)
        return r;
    index_seq_grow(&p->ns->seq, 1);
    return 1;
}

/* The slot of the record's id.  1, 0 none, -errno. */
static int find_slot(struct index_replay *p, const struct data_walk_rec *rec, uint32_t *file,
                     uint32_t *off, struct index_rec *slot, uint8_t bytes[INDEX_REC_MAX])
{
    int r;

    if (!index_seq_find(&p->ns->seq, le64_get(rec->key.p), file, off))
        return 0;
    r = ns_seg_record(p->ns, *file, *off, slot, bytes, NULL);
    if (r < 0)
        return r == -EBADMSG ? 0 : r;
    return slice_eq(slot->key, rec->key);
}

int index_replay_seq(struct index_replay *p, const struct data_walk_rec *rec)
{
    uint64_t next = index_seq_next(&p->ns->seq);
    uint8_t bytes[INDEX_REC_MAX], encoded[INDEX_REC_MAX];
    struct index_rec slot;
    uint32_t file, off;
    int r;

    if (rec->key.len != NS_SEQ_KEY_SIZE || le64_get(rec->key.p) > next)
        return 0;
    if (le64_get(rec->key.p) == next)
        return rec->head.flags & DATA_DELETED ? 0 : insert(p, rec);
    r = find_slot(p, rec, &file, &off, &slot, bytes);
    if (r <= 0)
        return r;
    if (rec->head.flags & DATA_DELETED) {
        if (slot.flags & INDEX_DELETED)
            return 1;
        if (p->weak)
            return 0;
        ns_patch_flag(p->ns, file, off);
        return 1;
    }
    r = copy(p, rec, &slot, slot.off >= DATA_HEADER_SIZE && ns_patch_queued(p->ns, file, off));
    if (r <= 0)
        return r;
    slot.off = (uint32_t)rec->off;
    slot.length = rec->head.length;
    slot.crc = rec->head.crc;
    slot.timestamp = rec->head.timestamp;
    slot.dataid = p->s->id;
    slot.parent_file = p->s->id;
    slot.parent_off = p->s->index.last;
    index_rec_encode(encoded, &slot);
    ns_patch_bytes(p->ns, file, off, encoded, INDEX_REC_SIZE);
    return 1;
}
