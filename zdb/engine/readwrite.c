/* readwrite - keys and values of a namespace: find, read, set, delete.  Contract:
 * engine/namespace.h. Write order: data record, then index record, then the rewrite of the old
 * index record (engine/rewrite.c: with a checkpoint, when the first two are durable).  Until the
 * last step both versions stand in the index and the later one wins at load, so no crash loses a
 * key; and the final bytes are the original's. */
#include "zdb/engine/namespace.h"
#include "common/crc.h"
#include "common/log.h"
#include "zdb/engine/namespace_impl.h"

/* --- find and read --------------------------------------------------------------------------- */

static void entry_of_key(const struct keys_entry *k, struct ns_entry *e)
{
    *e = (struct ns_entry){.file = k->file,
                           .off = k->off,
                           .seg = k->file,
                           .data_off = k->data_off,
                           .length = k->length,
                           .crc = k->crc,
                           .timestamp = k->timestamp,
                           .keylen = k->keylen};
}

/* Versions get older along the chain: a garbled parent must not make a ring.  In seq mode the
 * newest version is in the slot, all others in copies behind it. */
static bool parent_is_sane(const struct ns *ns, uint32_t file, uint32_t off,
                           const struct index_rec *r)
{
    bool earlier = r->parent_file < file || (r->parent_file == file && r->parent_off < off);
    uint32_t slot_file, slot_off;

    if (ns->mode == NS_USER)
        return earlier;
    if (r->key.len != NS_SEQ_KEY_SIZE ||
        !ids_find(&ns->seq, le64_get(r->key.p), &slot_file, &slot_off))
        return false;
    if (slot_file == file && slot_off == off)
        return !earlier && (r->parent_file != file || r->parent_off != off);
    return earlier && (r->parent_file > slot_file ||
                       (r->parent_file == slot_file && r->parent_off > slot_off));
}

/* The stored dataid counts in seq mode only: in user mode the original writes 0 for every insert.
 */
void ns_entry_of_rec(const struct ns *ns, uint32_t file, uint32_t off, const struct index_rec *r,
                     struct ns_entry *e)
{
    *e = (struct ns_entry){.file = file,
                           .off = off,
                           .seg = ns->mode == NS_SEQ ? r->dataid : file,
                           .data_off = r->off,
                           .length = r->length,
                           .crc = r->crc,
                           .timestamp = r->timestamp,
                           .parent_file = r->parent_file,
                           .parent_off = r->parent_off,
                           .keylen = (uint8_t)r->key.len,
                           .deleted = r->flags & INDEX_DELETED};
    if (!parent_is_sane(ns, file, off, r))
        e->parent_file = e->parent_off = 0;
}

static int find_seq(struct ns *ns, struct slice key, struct ns_entry *e, struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    uint32_t file, off;
    int r;

    if (key.len != NS_SEQ_KEY_SIZE || !ids_find(&ns->seq, le64_get(key.p), &file, &off))
        return 0;
    r = ns_seg_record(ns, file, off, &rec, bytes, w);
    if (r < 0)
        return r == -EBADMSG ? -EIO : r;
    if ((rec.flags & INDEX_DELETED) || !slice_eq(rec.key, key)) /* deleted, or an id taken by the
                                                                   copy of an old version */
        return 0;
    ns_entry_of_rec(ns, file, off, &rec, e);
    return 1;
}

int ns_find(struct ns *ns, struct slice key, struct ns_entry *e, struct ns_wait *w)
{
    struct keys_entry *k;

    if (ns->mode == NS_SEQ)
        return find_seq(ns, key, e, w);
    k = keys_find(ns->keys, key);
    if (!k)
        return 0;
    entry_of_key(k, e);
    return 1;
}

void ns_hint(const struct ns *ns, const struct slice *keys, size_t n)
{
    const struct keys_entry *e[KEYS_HINTS];

    if (ns->mode != NS_USER)
        return;
    n = MIN(n, (size_t)KEYS_HINTS);
    keys_hint(ns->keys, keys, n, e);
    for (int step = 0; step < 2; step++) {
        for (size_t i = 0; i < n; i++) {
            const struct seg *s = e[i] ? ns_seg_find(ns, e[i]->file) : NULL;
            if (s)
                data_hint(&s->data, e[i]->data_off, step);
        }
    }
}

/* fetch: a missing segment may be asked for. */
static int read_payload(struct ns *ns, struct slice key, const struct ns_entry *e, struct buf *out,
                        struct ns_wait *w, bool fetch)
{
    struct seg *s = ns_seg_find(ns, e->seg);
    int r;

    if (!s)
        return -ENOENT;
    r = data_read(&s->data, e->data_off, key, e->length, e->crc, out, ns_wait_nowait(w));
    if (r == -EAGAIN) {
        r = ns_wait_warm(ns, s->data.file, e->data_off, DATA_REC_SIZE + key.len + e->length, w);
        if (r < 0)
            return r;
        r = data_read(&s->data, e->data_off, key, e->length, e->crc, out, false);
    }
    if (r == 0)
        data_touch(&s->data);
    if (r == -ENOENT && fetch)
        r = ns_wait_fetch(ns, s, w);
    if (r < 0 && r != -EINPROGRESS && r != -ENOENT && r != -ENOMEM)
        ns_data_failed(ns);
    return r;
}

int ns_read(struct ns *ns, struct slice key, const struct ns_entry *e, struct buf *out,
            struct ns_wait *w)
{
    return read_payload(ns, key, e, out, w, true);
}

int ns_check(struct ns *ns, struct slice key, const struct ns_entry *e, struct ns_wait *w)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    int r = ns_read(ns, key, e, &payload, w);

    return r == 0 ? 1 : r == -EBADMSG ? 0 : r;
}

/* --- set ------------------------------------------------------------------------------------- */

/* 1 the stored value is the same, 0 it is not or cannot be read, -EINPROGRESS. */
static int is_unchanged(struct ns *ns, struct slice key, const struct ns_entry *old,
                        struct slice val, uint32_t crc, struct ns_wait *w)
{
    CLEANUP(buf_fini) struct buf stored = BUF_INIT;
    int r;

    if (old->length != val.len || old->crc != crc)
        return 0;
    r = read_payload(ns, key, old, &stored, w, false);
    if (r == -EINPROGRESS)
        return r;
    return r == 0 && slice_eq(buf_slice(&stored), val);
}

int ns_jump(struct ns *ns)
{
    int r = ns_seg_rotate(ns);

    if (r == 0)
        ns_sync_kick(ns); /* in the background: not more than a segment or two are ever in doubt
                             after a power cut */
    return r;
}

/* Rotation by size, and before an offset would not fit its field. */
static int jump_if_full(struct ns *ns, uint64_t more)
{
    const struct seg *s = ns_active(ns);

    if (s->data.size + more > ns->env->datasize || s->data.size > UINT32_MAX ||
        s->index.size + INDEX_REC_MAX > UINT32_MAX)
        return ns_jump(ns);
    return 0;
}

static int append_data(struct ns *ns, struct slice key, struct slice val, uint8_t flags,
                       uint32_t crc, uint32_t timestamp, uint32_t *off)
{
    struct seg *s = ns_active(ns);
    struct data_rec rec = {
        .previous = ns->last_data, .crc = crc, .timestamp = timestamp, .flags = flags};
    int r = ns_checkpoint_is_open(ns) ? 0 : ns_checkpoint_open(ns);

    if (r >= 0)
        r = data_append(&s->data, &rec, key, val, ns->env->reserve, off);
    if (r < 0) {
        log_error("data %s: cannot be written: %s", s->data.path, strerror(-r));
        ns_data_failed(ns);
        return r;
    }
    if (crc == 0 && !(flags & DATA_DELETED)) /* a value that a lost page looks like: the index
                                                vouches */
        s->index_promised = true;            /* for it, so SYNC covers that as well */
    ns_checkpoint_grown(ns, data_rec_size(&rec));
    if (ns_checkpoint_is_far(ns)) {
        ns_checkpoint_want(ns);
        ns_sync_soon(ns);
    }
    ns_sync_note(ns, s);
    return 0;
}

static int append_index(struct ns *ns, struct index_rec *rec, uint32_t *off)
{
    struct seg *s = ns_active(ns);
    int r;

    rec->previous = ns->last_index;
    r = index_append_later(&s->index, rec, ns->env->reserve, off);
    if (r < 0) {
        log_error("index %s: cannot be written: %s", s->index.path, strerror(-r));
        ns_index_failed(ns);
        return -NS_EINDEX;
    }
    ns_sync_note(ns, s);
    return 0;
}

static int set_user(struct ns *ns, struct slice key, struct slice val, uint32_t crc,
                    uint32_t timestamp, const struct ns_entry *old)
{
    struct seg *s = ns_active(ns);
    struct index_rec rec = {
        .length = (uint32_t)val.len, .timestamp = timestamp, .crc = crc, .key = key};
    struct keys_entry *k;
    uint32_t off;
    bool added;

    if (append_data(ns, key, val, 0, crc, timestamp, &rec.off) < 0)
        return -NS_EDATA;
    if (old) { /* an insert stores dataid 0 and no parent, as the original does */
        rec.dataid = s->id;
        rec.parent_file = old->file;
        rec.parent_off = old->off;
    }
    if (append_index(ns, &rec, &off) < 0) {
        data_undo(&s->data, rec.off);
        return -NS_EINDEX;
    }
    ns->last_data = rec.off;
    ns->last_index = off;
    if (old)
        rewrite_supersede(ns, old->file, old->off);
    else
        ns->next_id++;
    k = keys_put(ns->keys, key, &added);
    k->file = s->id;
    k->off = off;
    k->data_off = rec.off;
    k->length = rec.length;
    k->crc = crc;
    k->timestamp = timestamp;
    return 0;
}

static int insert_seq(struct ns *ns, struct slice val, uint32_t crc, uint32_t timestamp,
                      uint8_t id[NS_SEQ_KEY_SIZE])
{
    struct seg *s = ns_active(ns);
    struct index_rec rec = {
        .length = (uint32_t)val.len, .dataid = s->id, .timestamp = timestamp, .crc = crc};
    uint32_t off;

    le64_put(id, ids_next(&ns->seq));
    rec.key = slice_of(id, NS_SEQ_KEY_SIZE);
    if (append_data(ns, rec.key, val, 0, crc, timestamp, &rec.off) < 0)
        return -NS_EDATA;
    if (append_index(ns, &rec, &off) < 0) {
        data_undo(&s->data, rec.off);
        return -NS_EINDEX;
    }
    ids_grow(&ns->seq, 1);
    ns->last_data = rec.off;
    ns->last_index = off;
    return 0;
}

/* A flagged copy of the present record is appended (it takes an id), then the slot is rewritten. */
static int update_seq(struct ns *ns, const struct index_rec *present, const struct ns_entry *at,
                      struct slice val, uint32_t crc, uint32_t timestamp)
{
    struct seg *s = ns_active(ns);
    struct index_rec slot = *present, copy = *present;
    uint8_t bytes[INDEX_REC_MAX];
    uint32_t data_off, copy_off;

    if (append_data(ns, present->key, val, 0, crc, timestamp, &data_off) < 0)
        return -NS_EDATA;
    copy.flags |= INDEX_DELETED;
    if (append_index(ns, &copy, &copy_off) < 0) {
        data_undo(&s->data, data_off);
        return -NS_EINDEX;
    }
    slot.off = data_off;
    slot.length = (uint32_t)val.len;
    slot.crc = crc;
    slot.timestamp = timestamp;
    slot.dataid = s->id;
    slot.flags = 0;
    slot.parent_file = s->id;
    slot.parent_off = copy_off;
    index_rec_encode(bytes, &slot);
    rewrite_bytes(ns, at->file, at->off, bytes, INDEX_REC_SIZE);
    ids_grow(&ns->seq, 1);
    ns->last_data = data_off;
    ns->last_index = copy_off;
    return 0;
}

/* The page of the old index record has to be at hand for what becomes of it. */
static int present_record(struct ns *ns, const struct ns_entry *old, struct index_rec *present,
                          uint8_t bytes[INDEX_REC_MAX], struct ns_wait *w)
{
    if (ns->mode == NS_USER && old->file == ns_active(ns)->id)
        return 0;
    return ns_seg_record(ns, old->file, old->off, present, bytes, w);
}

int ns_set(struct ns *ns, struct slice key, struct slice val, uint32_t timestamp,
           struct ns_set_out *out, struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec present = {0};
    struct ns_entry old = {0};
    uint32_t crc;
    uint64_t limit = ns_limit(ns);
    bool unchanged = false;
    int have = 0, r;

    if (key.len > NS_KEY_MAX || val.len > NS_VALUE_MAX)
        return -NS_ETOOBIG;
    if (key.len) {
        have = ns_find(ns, key, &old, w);
        if (have < 0)
            return have == -EINPROGRESS ? have : -NS_EINDEX;
    }
    if (have && ns->worm)
        return -NS_EWORM;
    if (limit && ns->data_size + val.len > limit + (have ? old.length : 0))
        return -NS_EQUOTA;
    crc = crc_raw(0, val.p, val.len);
    if (have) { /* everything that may have to wait comes before the first change */
        r = is_unchanged(ns, key, &old, val, crc, w);
        if (r < 0)
            return r;
        unchanged = r;
        r = unchanged ? 0 : ns_sync_room(ns, w);
        if (r < 0)
            return r == -EINPROGRESS ? r : -NS_EINDEX;
        r = unchanged ? 0 : present_record(ns, &old, &present, bytes, w);
        if (r < 0)
            return r == -EINPROGRESS ? r : -NS_EINDEX;
    }
    r = jump_if_full(ns, val.len);
    if (r < 0)
        return r;
    if (ns->mode == NS_USER && key.len == 0)
        return -NS_ENEEDKEY;
    if (ns->mode == NS_SEQ && key.len && !have)
        return -NS_EONLYUPDATE;
    if (unchanged)
        return 0;

    if (ns->mode == NS_USER)
        r = set_user(ns, key, val, crc, timestamp, have ? &old : NULL);
    else if (have)
        r = update_seq(ns, &present, &old, val, crc, timestamp);
    else
        r = insert_seq(ns, val, crc, timestamp, out->id);
    if (r < 0)
        return r;
    ns->appended = true;
    ns_live(ns, ns_active(ns)->id, ns->mode == NS_SEQ ? NS_SEQ_KEY_SIZE : key.len, val.len, true);
    if (have)
        ns_live(ns, old.seg, key.len, old.length, false);
    ns->data_size += val.len - (have ? (uint64_t)old.length : 0);
    if (!have) {
        ns->entries++;
        ns->index_size += 64 + (ns->mode == NS_SEQ ? NS_SEQ_KEY_SIZE : key.len);
    }
    if (ns->mode == NS_SEQ && have)
        memcpy(out->id, key.p, NS_SEQ_KEY_SIZE);
    out->key = ns->mode == NS_SEQ ? slice_of(out->id, NS_SEQ_KEY_SIZE) : key;
    return 1;
}

int ns_move(struct ns *ns, struct slice key, const struct ns_entry *old, struct ns_wait *w)
{
    CLEANUP(buf_fini) struct buf val = BUF_INIT;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec present = {0};
    int r = ns_sync_room(ns, w);

    if (r == 0)
        r = present_record(ns, old, &present, bytes, w);
    if (r == 0)
        r = read_payload(ns, key, old, &val, w, false);
    if (r == 0)
        r = jump_if_full(ns, val.len);
    if (r < 0)
        return r;
    r = ns->mode == NS_USER
            ? set_user(ns, key, buf_slice(&val), old->crc, old->timestamp, old)
            : update_seq(ns, &present, old, buf_slice(&val), old->crc, old->timestamp);
    if (r < 0)
        return r;
    ns->appended = true;
    ns_live(ns, ns_active(ns)->id, key.len, old->length, true);
    ns_live(ns, old->seg, key.len, old->length, false);
    return 0;
}

/* --- delete ---------------------------------------------------------------------------------- */

/* On a full disk the flag in the index, which needs no space, has to do. */
static int append_deletion(struct ns *ns, struct slice key, uint32_t timestamp, bool *written,
                           uint32_t *off)
{
    int r;

    if (ns_active(ns)->data.size > UINT32_MAX) {
        r = ns_jump(ns);
        if (r < 0)
            return r;
    }
    r = append_data(ns, key, slice_of(NULL, 0), DATA_DELETED, 0, timestamp, off);
    *written = r == 0;
    if (r == -ENOSPC || r == -EDQUOT) {
        log_warn("namespace %s: disk full, deletion kept in the index only", ns->name);
        return 0;
    }
    return r < 0 ? -NS_EDATA : 0;
}

/* There is no data record that says so. */
static int flag_now(struct ns *ns, const struct ns_entry *old, struct ns_wait *w)
{
    struct seg *home = ns_seg_find(ns, old->file);
    int r = ns->sync.failed ? ns_idle(ns, w) : 0; /* a helper may be writing the file again */

    if (r < 0)
        return r;
    r = ns_commit(ns);
    if (r == 0)
        r = index_flag(&home->index, old->off);
    if (r < 0) {
        log_error("index %s: record at %u cannot be flagged: %s", home->index.path, old->off,
                  strerror(-r));
        ns_index_failed(ns);
        return -NS_EINDEX;
    }
    home->index_promised = true;
    ns_sync_note(ns, home);
    if (ns->mode == NS_SEQ && ns->patches.first)
        rewrite_flag_queued(ns, old->file, old->off);
    return 0;
}

/* The key of the deletion record at off ends in a sector of which it has only zeros: so it would
 * look if that had never reached the disk.  Then the index says it at once, too. */
static bool looks_torn(uint32_t off, struct slice key)
{
    uint64_t begin = (uint64_t)off + DATA_REC_SIZE, end = begin + key.len;
    uint64_t sector = (end - 1) & ~(uint64_t)511;
    bool zero = sector >= begin;

    for (uint64_t i = sector; zero && i < end; i++)
        zero = key.p[i - begin] == 0;
    return zero;
}

int ns_del(struct ns *ns, struct slice key, uint32_t timestamp, struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    struct ns_entry old;
    uint32_t off = 0;
    bool written;
    int r;

    r = ns_find(ns, key, &old, w);
    if (r <= 0)
        return r == 0 ? -NS_ENOTFOUND : r == -EINPROGRESS ? r : -NS_EINDEX;
    if (ns->worm)
        return -NS_EWORM;
    r = ns_seg_record(ns, old.file, old.off, &rec, bytes, w); /* its page has to be at hand for the
                                                                 flag */
    if (r < 0)
        return r == -EINPROGRESS ? r : -NS_EINDEX;
    r = ns_sync_room(ns, w);
    if (r < 0)
        return r == -EINPROGRESS ? r : -NS_EINDEX;
    r = append_deletion(ns, key, timestamp, &written, &off);
    if (r < 0)
        return r;
    if (written && !looks_torn(off, key)) {
        rewrite_supersede(ns, old.file, old.off);
    } else {
        r = flag_now(ns, &old, w);
        if (r < 0 && written)
            data_undo(&ns_active(ns)->data, off);
        if (r < 0)
            return r;
    }
    if (written)
        ns->last_data = off;
    keys_remove(ns->keys, key);
    ns_live(ns, old.seg, key.len, old.length, false);
    ns->entries--;
    ns->data_size -= old.length;
    ns->index_size -= 64 + key.len;
    return 0;
}
