/* witness - see the header: what the index has behind the last record that was played. */
#include "zdb/recovery/witness.h"

#define VERSIONS_MAX 4096 /* of one key in a row; more is a ring */

/* The index record at `at`, also behind the part that counts. */
static bool record_at(struct replay *p, uint64_t at, struct index_rec *rec,
                      uint8_t bytes[INDEX_REC_MAX])
{
    size_t want = p->ns->mode == NS_SEQ ? INDEX_SEQ_REC : INDEX_REC_MAX;
    ssize_t n = at < p->index_size && index_open(&p->s->index) == 0
                    ? files_pread(p->s->index.file, bytes, want, at, false)
                    : 0;
    struct rd rd = rd_of(slice_of(bytes, n > 0 ? (size_t)n : 0));

    return n > 0 && index_rec_decode(&rd, rec) == 1;
}

bool replay_there(struct replay *p, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX])
{
    return record_at(p, p->s->index.size, rec, bytes);
}

/* Sequential mode: the first version of a slot, as the copies behind the part played have it.
 * false: they are in other files. */
static bool first_version(struct replay *p, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX])
{
    for (unsigned n = 0; n < VERSIONS_MAX && rec->parent_off; n++) {
        if (rec->parent_file != p->s->id || !record_at(p, rec->parent_off, rec, bytes))
            return false;
    }
    return !rec->parent_off;
}

/* Sequential mode: an update of rec made a copy that names it, so it was indexed.  The slot may not
 * tell: a power cut leaves a part of it that was rewritten. */
static bool has_copy(struct replay *p, const struct data_walk_rec *rec)
{
    uint64_t at = p->s->index.size;
    uint8_t block[INDEX_SEQ_REC * 1024];
    struct index_rec copy;
    ssize_t n = sizeof block;

    for (at += INDEX_SEQ_REC; n == (ssize_t)sizeof block; at += (uint64_t)n) {
        n = files_pread(p->s->index.file, block, sizeof block, at, false);
        for (ssize_t i = 0; i + INDEX_SEQ_REC <= n; i += INDEX_SEQ_REC) {
            struct rd rd = rd_of(slice_of(block + i, INDEX_SEQ_REC));
            if (index_rec_decode(&rd, &copy) == 1 && copy.flags & INDEX_DELETED &&
                copy.off == rec->off && copy.dataid == p->s->id && slice_eq(copy.key, rec->key))
                return true;
        }
    }
    return false;
}

bool replay_passed(struct replay *p, const struct data_walk_rec *rec)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec there;

    if (rec->off < p->safe) /* an index that is built anew is no witness of that */
        return false;
    if (!replay_there(p, &there, bytes) || there.previous != p->ns->last_index)
        return false;
    if (p->ns->mode == NS_SEQ &&
        (there.key.len != INDEX_SEQ_KEY || le64_get(there.key.p) != ids_next(&p->ns->seq) ||
         !first_version(p, &there, bytes) || there.dataid != p->s->id))
        return false;
    return there.off > rec->off &&
           data_read(&p->s->data, there.off, there.key, there.length, there.crc, &payload, false) ==
               0 &&
           !(p->ns->mode == NS_SEQ && has_copy(p, rec));
}

int replay_peek(struct replay *p, uint64_t off, struct data_walk_rec *rec)
{
    uint64_t was = p->walk.off;
    int r;

    p->walk.off = off;
    r = data_walk_next(&p->walk, rec);
    p->walk.off = was;
    return r == -ENODATA || r == -EBADMSG ? 0 : r;
}

/* A whole record at off?  1, 0, -errno. */
static int whole_at(struct replay *p, uint64_t off, struct data_walk_rec *rec)
{
    int r = replay_peek(p, off, rec);

    return r <= 0 ? r : rec->crc_ok;
}

/* Sequential mode: the copy at index offset `at` was made by an update; where is the data of that?
 * What it replaced names the copy as its former version: a later copy, or the slot. */
static bool made_by(struct replay *p, const struct index_rec *copy, uint64_t at, uint64_t *to)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    uint32_t file, off;
    struct seg *home;

    for (uint64_t i = at + INDEX_SEQ_REC; i + INDEX_SEQ_REC <= p->index_size; i += INDEX_SEQ_REC) {
        if (record_at(p, i, &rec, bytes) && slice_eq(rec.key, copy->key) &&
            rec.parent_file == p->s->id && rec.parent_off == at) {
            *to = rec.off;
            return rec.dataid == p->s->id;
        }
    }
    if (!ids_find(&p->ns->seq, le64_get(copy->key.p), &file, &off))
        return false;
    home = ns_seg_find(p->ns, file);
    if (index_read(&home->index, off, &rec, bytes, false) < 0 || !slice_eq(rec.key, copy->key) ||
        rec.parent_file != p->s->id || rec.parent_off != at)
        return false;
    *to = rec.off;
    return rec.dataid == p->s->id;
}

static bool next_seq(struct replay *p, struct index_rec *there, uint64_t *to)
{
    uint8_t bytes[INDEX_REC_MAX];

    if (there->key.len != INDEX_SEQ_KEY)
        return false;
    if (le64_get(there->key.p) != ids_next(&p->ns->seq))
        return (there->flags & INDEX_DELETED) && made_by(p, there, p->s->index.size, to);
    if (!first_version(p, there, bytes) || there->dataid != p->s->id)
        return false;
    *to = there->off;
    return true;
}

int replay_goes_on(struct replay *p, uint64_t *to)
{
    uint8_t bytes[INDEX_REC_MAX], key[INDEX_KEY_MAX];
    struct data_walk_rec rec, before;
    struct index_rec there;
    size_t n;
    int r;

    *to = 0;
    if (!replay_there(p, &there, bytes) || there.previous != p->ns->last_index)
        return 0;
    memcpy(key, there.key.p, there.key.len);
    n = there.key.len;
    if (p->ns->mode == NS_USER)
        *to = there.off;
    else if (!next_seq(p, &there, to))
        return 0;
    r = *to > p->walk.off ? whole_at(p, *to, &rec) : 0;
    if (r == 1 && !slice_eq(rec.key, slice_of(key, n)))
        r = 0;
    while (r == 1 && (r = whole_at(p, *to, &rec)) == 1 && rec.head.previous > p->walk.off &&
           rec.head.previous < *to && whole_at(p, rec.head.previous, &before) == 1 &&
           before.end == *to && (before.head.flags & DATA_DELETED))
        *to = before.off;
    return r;
}

int replay_put(struct replay *p, const struct index_rec *want, bool same)
{
    uint32_t off;
    int r;

    if (same) {
        index_accept(&p->s->index, want);
    } else {
        r = index_append(&p->s->index, want, &off);
        if (r < 0)
            return r;
        p->missing++;
        ns_sync_note_quiet(p->ns, p->s);
    }
    p->ns->last_index = p->s->index.last;
    return 0;
}
