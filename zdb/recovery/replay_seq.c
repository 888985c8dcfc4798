/* replay_seq - data records into the slots of a sequential namespace.  Contract:
 * recovery/witness.h. An insert takes the next id, an update takes one for the copy of the version
 * before; the slot of an updated id is a patch.  A slot on disk may be ahead of the replay, as a
 * checkpoint that did not end rewrites it: then the data that it names is durable, and so are the
 * copies that were made before (engine/checkpoint.c).  What is flagged stays so: a full disk keeps
 * a deletion out of the data. */
#include "zdb/recovery/witness.h"

static bool is_same(const struct index_rec *a, const struct index_rec *b)
{
    uint8_t x[INDEX_REC_MAX], y[INDEX_REC_MAX];

    return a->key.len == b->key.len && index_rec_encode(x, a) == index_rec_encode(y, b) &&
           memcmp(x, y, INDEX_REC_SIZE + a->key.len) == 0;
}

/* A weak record has little but its key to be compared by, as the index may have a later version
 * already.  One that ends in its header, before the sum, has no time either. */
static bool is_torn(const struct replay *p, const struct data_walk_rec *rec, bool index_agrees)
{
    return p->weak && (!index_agrees || rec->head.timestamp == 0);
}

static bool is_of(const struct index_rec *r, const struct index_rec *want)
{
    return r->dataid == want->dataid && r->off == want->off && r->length == want->length &&
           r->crc == want->crc && r->timestamp == want->timestamp;
}

static int insert(struct replay *p, const struct data_walk_rec *rec)
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
    bool same = replay_there(p, &there, bytes) && slice_eq(there.key, rec->key) &&
                there.previous == want.previous;
    int r;

    if (replay_passed(p, rec))
        return REPLAY_SKIP;
    if (is_torn(p, rec, same) && !(same && is_of(&there, &want)))
        return 0;
    if (same)
        want.flags = there.flags;
    r = replay_put(p, &want, same);
    if (r < 0)
        return r;
    ids_grow(&p->ns->seq, 1);
    if (same && !is_same(&there, &want)) {
        index_rec_encode(bytes, &want);
        rewrite_bytes(p->ns, p->s->id, p->s->index.last, bytes, INDEX_SEQ_REC);
    }
    return 1;
}

/* Is this the place of a whole record of its id, written before rec?  A segment that is not here
 * was durable before it went. */
static bool is_version(struct replay *p, const struct index_rec *r, const struct data_walk_rec *rec)
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

/* The index goes on with the copy of a version of another id: the update rec was never indexed. */
static bool is_of_another(struct replay *p, const struct index_rec *there,
                          const struct data_walk_rec *rec)
{
    return rec->off >= p->safe && there->key.len == INDEX_SEQ_KEY &&
           !slice_eq(there->key, rec->key) && (there->flags & INDEX_DELETED) &&
           there->previous == p->ns->last_index && le64_get(there->key.p) < ids_next(&p->ns->seq) &&
           is_version(p, there, rec);
}

enum parent { KEEP, HERE, NONE }; /* of the version that an update makes */

/* The copy of the version before goes where it was, or is made of what the slot says.  As above. */
static int copy(struct replay *p, const struct data_walk_rec *rec, const struct index_rec *slot,
                bool is_played, enum parent *parent)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec there, want = *slot;
    bool any = replay_there(p, &there, bytes);
    bool is_there = any && slice_eq(there.key, rec->key) && (there.flags & INDEX_DELETED) &&
                    there.previous == p->ns->last_index;
    bool same;
    int r;

    *parent = KEEP;
    if (!is_there && replay_passed(p, rec))
        return p->weak ? REPLAY_SKIP : 1; /* a killed process did not get as far as the copy */
    if (!is_there && any && is_of_another(p, &there, rec))
        return !p->weak ? 1 : p->l->foreign ? REPLAY_SKIP : 0; /* its id may be lost as well */
    *parent = HERE;
    if (is_there && !is_played && is_version(p, &there, rec)) {
        want = there;
    } else if (!is_played && !is_version(p, slot, rec)) { /* no version that could be told of */
        want = (struct index_rec){.key = slot->key};
        *parent = NONE;
    }
    want.flags = INDEX_DELETED;
    want.previous = p->ns->last_index;
    same = is_there && is_same(&there, &want);
    if (is_torn(p, rec, same))
        return 0;
    r = replay_put(p, &want, same);
    if (r < 0)
        return r;
    ids_grow(&p->ns->seq, 1);
    return 1;
}

/* The slot of the record's id.  1, 0 none, -errno. */
static int find_slot(struct replay *p, const struct data_walk_rec *rec, uint32_t *file,
                     uint32_t *off, struct index_rec *slot, uint8_t bytes[INDEX_REC_MAX])
{
    int r;

    if (!ids_find(&p->ns->seq, le64_get(rec->key.p), file, off))
        return 0;
    r = ns_seg_record(p->ns, *file, *off, slot, bytes, NULL);
    if (r < 0)
        return r == -EBADMSG ? 0 : r;
    return slice_eq(slot->key, rec->key);
}

static int delete (struct replay *p, const struct index_rec *slot, uint32_t file, uint32_t off)
{
    if (slot->flags & INDEX_DELETED)
        return 1;
    if (p->weak)
        return 0;
    rewrite_flag(p->ns, file, off);
    return 1;
}

static int update(struct replay *p, const struct data_walk_rec *rec, struct index_rec *slot,
                  uint32_t file, uint32_t off)
{
    uint8_t encoded[INDEX_REC_MAX];
    enum parent parent;
    int r = copy(p, rec, slot, slot->off >= DATA_HEADER_SIZE && rewrite_queued(p->ns, file, off),
                 &parent);

    if (r != 1)
        return r;
    slot->off = (uint32_t)rec->off;
    slot->length = rec->head.length;
    slot->crc = rec->head.crc;
    slot->timestamp = rec->head.timestamp;
    slot->dataid = p->s->id;
    if (parent != KEEP) {
        slot->parent_file = parent == HERE ? p->s->id : 0;
        slot->parent_off = parent == HERE ? p->s->index.last : 0;
    }
    index_rec_encode(encoded, slot);
    rewrite_bytes(p->ns, file, off, encoded, INDEX_REC_SIZE);
    return 1;
}

#define FILL_MAX 1000000 /* more is a garbled id */

/* So many ids can be missing: each was one record of what was stepped over. */
static uint64_t missing(const struct load *l)
{
    return l->gap || l->ids_lost ? FILL_MAX
                                 : MIN(l->skipped / (DATA_REC_SIZE + NS_SEQ_KEY_SIZE), FILL_MAX);
}

int replay_seq(struct replay *p, const struct data_walk_rec *rec)
{
    uint64_t next = ids_next(&p->ns->seq), id;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec slot;
    uint32_t file, off;
    int r;

    if (rec->key.len != NS_SEQ_KEY_SIZE)
        return 0;
    id = le64_get(rec->key.p);
    if (id > next && rec->off < p->safe && id - next <= missing(p->l) &&
        !(rec->head.flags & DATA_DELETED)) {
        /* records between the last one and this one are damaged: their ids are taken, and deleted
         */
        r = load_seq_fill(p->l, p->s, p->ns->last_index, next, id);
        if (r < 0)
            return r;
        p->l->skipped = 0;
        p->missing += id - next;
        p->ns->last_index = p->s->index.last;
        next = id;
    }
    if (id > next)
        return 0;
    if (id == next)
        return rec->head.flags & DATA_DELETED ? 0 : insert(p, rec);
    r = find_slot(p, rec, &file, &off, &slot, bytes);
    if (r <= 0)
        return r;
    return rec->head.flags & DATA_DELETED ? delete (p, &slot, file, off)
                                          : update(p, rec, &slot, file, off);
}
