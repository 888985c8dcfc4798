/* replay_user - data records behind the mark into the key table and the index file. Contract:
 * recovery/replay.h. Each value has one index record, in the order of the data records.  Only its
 * flag can say more than the data does: of a deletion whose data record was lost, or never written
 * on a full disk. */
#include "zdb/recovery/replay.h"

/* A record that is there keeps its parent: the one that it replaced may have its flag already, and
 * so not be known here. */
static bool agrees(const struct index_replay *p, const struct index_rec *there,
                   const struct index_rec *want)
{
    const struct seg *parent = ns_seg_find(p->ns, there->parent_file);

    return there->off == want->off && there->length == want->length && there->crc == want->crc &&
           there->timestamp == want->timestamp && there->previous == want->previous &&
           slice_eq(there->key, want->key) &&
           (there->parent_off == 0 || (parent && there->parent_off < parent->index.size));
}

static void forget(struct ns *ns, struct index_entry *e)
{
    ns_patch_flag(ns, e->file, e->off);
    index_load_count(ns, e->length, e->keylen, false);
}

static void became(struct index_replay *p, const struct index_rec *rec)
{
    struct ns *ns = p->ns;
    struct index_entry *e = index_find(ns->keys, rec->key);
    bool added;

    if (e)
        forget(ns, e);
    if (rec->flags & INDEX_DELETED) {
        index_remove(ns->keys, rec->key);
        return;
    }
    e = index_put(ns->keys, rec->key, &added);
    e->file = p->s->id;
    e->off = p->s->index.last;
    e->data_off = rec->off;
    e->length = rec->length;
    e->crc = rec->crc;
    e->timestamp = rec->timestamp;
    index_load_count(ns, rec->length, rec->key.len, true);
}

static int deleted(struct index_replay *p, const struct data_walk_rec *rec)
{
    struct index_entry *e = index_find(p->ns->keys, rec->key);

    if (e && p->weak)
        return 0;
    if (e) {
        forget(p->ns, e);
        index_remove(p->ns->keys, rec->key);
    }
    return 1;
}

int index_replay_user(struct index_replay *p, const struct data_walk_rec *rec)
{
    struct index_rec want = {.off = (uint32_t)rec->off,
                             .length = rec->head.length,
                             .previous = p->ns->last_index,
                             .timestamp = rec->head.timestamp,
                             .crc = rec->head.crc,
                             .key = rec->key};
    const struct index_entry *e = index_find(p->ns->keys, rec->key);
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
    same = index_replay_there(p, &there, bytes) && agrees(p, &there, &want);
    if (!same && p->weak)
        return 0;
    if (same)
        want = there;
    r = index_replay_put(p, &want, same);
    if (r < 0)
        return r;
    p->ns->next_id++;
    became(p, &want);
    return 1;
}
