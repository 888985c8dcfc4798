/* replay_user - data records into the key table and the index file of a user-mode namespace.
 * Contract: recovery/witness.h.  Each value has one index record, in the order of the data records.
 * Only its flag can say more than the data does: of a deletion that a full disk kept out of it. */
#include "zdb/recovery/witness.h"

/* A record that is there keeps its parent: the one that it replaced may have its flag already, and
 * so not be known here. */
static bool agrees(const struct replay *p, const struct index_rec *there,
                   const struct index_rec *want)
{
    const struct seg *parent = ns_seg_find(p->ns, there->parent_file);

    return there->off == want->off && there->length == want->length && there->crc == want->crc &&
           there->timestamp == want->timestamp && there->previous == want->previous &&
           slice_eq(there->key, want->key) &&
           (there->parent_off == 0 || (parent && there->parent_off < parent->index.size));
}

static void became(struct replay *p, const struct index_rec *rec)
{
    struct ns *ns = p->ns;
    struct keys_entry *e = keys_find(ns->keys, rec->key);
    bool added;

    if (e)
        load_dead(ns, e);
    if (rec->flags & INDEX_DELETED) {
        keys_remove(ns->keys, rec->key);
        return;
    }
    e = keys_put(ns->keys, rec->key, &added);
    load_live(ns, e, p->s->id, p->s->index.last, rec);
}

static int deleted(struct replay *p, const struct data_walk_rec *rec)
{
    struct keys_entry *e = keys_find(p->ns->keys, rec->key);

    if (e && p->weak)
        return 0;
    if (e) {
        load_dead(p->ns, e);
        keys_remove(p->ns->keys, rec->key);
    }
    return 1;
}

int replay_user(struct replay *p, const struct data_walk_rec *rec)
{
    struct index_rec want = {.off = (uint32_t)rec->off,
                             .length = rec->head.length,
                             .previous = p->ns->last_index,
                             .timestamp = rec->head.timestamp,
                             .crc = rec->head.crc,
                             .key = rec->key};
    const struct keys_entry *e = keys_find(p->ns->keys, rec->key);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec there;
    bool same;
    int r;

    if (rec->head.flags & DATA_DELETED)
        return deleted(p, rec);
    if (e) {
        want.dataid = p->s->id;
        want.parent_file = e->file;
        want.parent_off = e->off;
    }
    same = replay_there(p, &there, bytes) && agrees(p, &there, &want);
    if (!same && replay_passed(p, rec))
        return REPLAY_SKIP;
    if (!same && p->weak)
        return 0;
    if (same)
        want = there;
    r = replay_put(p, &want, same);
    if (r < 0)
        return r;
    p->ns->next_id++;
    became(p, &want);
    return 1;
}
