/* witness - see the header: what the index has behind the last record that was played. */
#include "zdb/recovery/witness.h"

bool replay_there(struct replay *p, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX])
{
    struct index_file *f = &p->s->index;
    size_t want = p->ns->mode == NS_SEQ ? INDEX_SEQ_REC : INDEX_REC_MAX;
    ssize_t n;
    struct rd rd;

    if (f->size >= p->index_size || index_file_open(f) < 0)
        return false;
    n = files_pread(f->file, bytes, want, f->size, false);
    if (n <= 0)
        return false;
    rd = rd_of(slice_of(bytes, (size_t)n));
    return index_rec_decode(&rd, rec) == 1;
}

bool replay_passed(struct replay *p, const struct data_walk_rec *rec)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec there;
    bool seq = p->ns->mode == NS_SEQ;

    if (rec->off < p->safe) /* an index that is built anew is no witness of that */
        return false;
    if (!replay_there(p, &there, bytes) || there.previous != p->ns->last_index ||
        there.off <= rec->off)
        return false;
    if (seq && (there.key.len != INDEX_SEQ_KEY || there.dataid != p->s->id || there.parent_off ||
                le64_get(there.key.p) != index_seq_next(&p->ns->seq)))
        return false;
    return data_read(&p->s->data, there.off, there.key, there.length, there.crc, &payload, false) ==
           0;
}

int replay_put(struct replay *p, const struct index_rec *want, bool same)
{
    uint32_t off;
    int r;

    if (same) {
        index_file_accept(&p->s->index, want);
    } else {
        r = index_file_append(&p->s->index, want, &off);
        if (r < 0)
            return r;
        p->missing++;
        ns_sync_note_quiet(p->ns, p->s);
    }
    p->ns->last_index = p->s->index.last;
    return 0;
}
