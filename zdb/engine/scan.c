/* scan - cursors, scans in both directions, history, raw data records.  Contract:
 * engine/namespace.h.  Spec zdb-protocol, section 3. A window of one index file is read at a time.
 * In user mode a record counts as live when the key table points to it, in seq mode when its flag
 * says so and its key is its own id: so neither a late flag nor a garbled file shows a key twice.
 */
#include "common/log.h"
#include "zdb/engine/namespace_impl.h"
#include <assert.h>

#define WINDOW (64 * KIB)
#define PART   20000 /* records passed at a time: about a millisecond */

struct window {
    uint32_t file;
    uint64_t start;
    size_t len; /* 0: nothing read */
    uint8_t bytes[WINDOW];
};

/* Where a scan stands: at a record of a segment.  off = size of its index: behind the last record.
 */
struct place {
    size_t seg; /* index into ns->segs */
    uint64_t off;
};

void ns_cursor_encode(const struct ns_entry *e, uint8_t out[NS_CURSOR_SIZE])
{
    out[0] = e->keylen;
    le32_put(out + 1, e->file);
    le32_put(out + 5, e->length);
    le32_put(out + 9, e->off);
    le32_put(out + 13, e->crc);
}

/* Decode the record at off of segment s through the window.  0, -EBADMSG (torn or no record),
 * -EINPROGRESS, -EIO; with may_wait off -EAGAIN instead of -EINPROGRESS. */
static int window_get(struct ns *ns, struct window *win, struct seg *s, uint64_t off,
                      enum ns_dir dir, struct index_rec *rec, struct ns_wait *w, bool may_wait)
{
    uint64_t need = MIN(off + INDEX_REC_MAX, s->index.size), from;
    struct rd rd;
    ssize_t n;

    if (win->len == 0 || win->file != s->id || off < win->start || need > win->start + win->len) {
        from = dir == NS_FORWARD || off < WINDOW - INDEX_REC_MAX ? (dir == NS_FORWARD ? off : 0)
                                                                 : off + INDEX_REC_MAX - WINDOW;
        win->len = 0;
        n = index_block(&s->index, from, win->bytes, WINDOW, ns_wait_nowait(w));
        if (n == -EAGAIN && !may_wait)
            return -EAGAIN;
        if (n == -EAGAIN) {
            int r = ns_wait_warm(ns, s->index.file, from, WINDOW, w);
            if (r < 0)
                return r;
            n = index_block(&s->index, from, win->bytes, WINDOW, false);
        }
        if (n < 0) {
            log_error("index %s: cannot be read at %llu: %s", s->index.path,
                      (unsigned long long)from, strerror((int)-n));
            ns_index_failed(ns);
            return -EIO;
        }
        win->file = s->id;
        win->start = from;
        win->len = (size_t)n;
        if (off - from >= win->len)
            return -EBADMSG;
    }
    rd = rd_of(slice_of(win->bytes + (off - win->start), win->len - (size_t)(off - win->start)));
    if (ns->mode == NS_SEQ && rd_left(&rd) >= INDEX_SEQ_REC) /* user mode asks the key table anyway
                                                              */
        rewrite_see(ns, s->id, (uint32_t)off, win->bytes + (off - win->start), INDEX_SEQ_REC);
    return index_rec_decode(&rd, rec) == 1 ? 0 : -EBADMSG;
}

static bool is_live(struct ns *ns, const struct seg *s, uint64_t off, const struct index_rec *rec)
{
    struct keys_entry *k;
    uint64_t id;

    if (ns->mode == NS_SEQ)
        return !(rec->flags & INDEX_DELETED) && rec->key.len == NS_SEQ_KEY_SIZE &&
               ids_id(&ns->seq, s->id, (uint32_t)off, &id) && id == le64_get(rec->key.p);
    if (rec->flags & INDEX_DELETED)
        return false;
    k = keys_find(ns->keys, rec->key);
    return k && k->file == s->id && k->off == off;
}

/* Is there a record at (file, off)?  0 (and *rec, *s), -NS_EBADCURSOR, -EINPROGRESS, -EIO. */
static int record_at(struct ns *ns, uint32_t file, uint32_t off, struct index_rec *rec,
                     uint8_t bytes[INDEX_REC_MAX], struct ns_wait *w)
{
    struct seg *s = ns_seg_find(ns, file);
    struct keys_entry *k;
    uint64_t id;
    int r;

    if (!s || off < INDEX_HEADER_SIZE || off >= s->index.size)
        return -NS_EBADCURSOR;
    if (ns->mode == NS_SEQ && !ids_id(&ns->seq, file, off, &id))
        return -NS_EBADCURSOR;
    r = ns_seg_record(ns, file, off, rec, bytes, w);
    if (r < 0)
        return r == -EBADMSG ? -NS_EBADCURSOR : r;
    if (ns->mode == NS_SEQ)
        return 0;
    k = keys_find(ns->keys, rec->key);
    if (k && k->file == file && k->off == off)
        return 0;
    r = index_is_start(&s->index, off, ns_wait_nowait(w)); /* crafted offsets may hit bytes
                                                                   inside a key */
    if (r == -EAGAIN) {
        r = ns_wait_warm(ns, s->index.file, off < INDEX_MARK_EVERY ? 0 : off - INDEX_MARK_EVERY,
                         INDEX_MARK_EVERY + INDEX_REC_MAX, w);
        if (r < 0)
            return r;
        r = index_is_start(&s->index, off, false);
    }
    return r < 0 ? -EIO : r == 0 ? -NS_EBADCURSOR : 0;
}

/* In seq mode an update rewrites the slot, so a cursor made before has other numbers: its place
 * still is right. */
static int place_of_cursor(struct ns *ns, struct slice cursor, struct place *at,
                           struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX], struct ns_wait *w)
{
    struct rd rd = rd_of(cursor);
    uint8_t keylen = rd_u8(&rd);
    uint32_t file = rd_le32(&rd), length = rd_le32(&rd), off = rd_le32(&rd), crc = rd_le32(&rd);
    int r;

    if (rd.bad || rd_left(&rd))
        return -NS_EBADCURSOR;
    r = record_at(ns, file, off, rec, bytes, w);
    if (r < 0)
        return r;
    if (rec->key.len != keylen ||
        (ns->mode == NS_USER && (rec->length != length || rec->crc != crc)))
        return -NS_EBADCURSOR;
    for (at->seg = 0; ns->segs[at->seg]->id != file; at->seg++)
        ;
    at->off = off;
    return 0;
}

/* The record behind at (which is size bytes long); false at the end. */
static bool next_place(const struct ns *ns, struct place *at, size_t size)
{
    at->off += size;
    while (at->off >= ns->segs[at->seg]->index.size) {
        if (++at->seg == ns->nsegs)
            return false;
        at->off = INDEX_HEADER_SIZE;
    }
    return true;
}

/* The last record of the newest segment below limit that has one; false when there is none. */
static bool last_place(const struct ns *ns, size_t limit, struct place *at)
{
    while (limit-- > 0) {
        if (ns->segs[limit]->index.last) {
            *at = (struct place){limit, ns->segs[limit]->index.last};
            return true;
        }
    }
    return false;
}

/* The record before at, whose `previous` field is given.  Across files the field names the last
 * record of the newest older file with records, which is known better here.  1, 0 at the start,
 * -EIO (the chain is broken). */
static int previous_place(struct ns *ns, struct place *at, uint32_t previous)
{
    if (at->off == INDEX_HEADER_SIZE)
        return last_place(ns, at->seg, at);
    if (ns->mode == NS_SEQ) {
        at->off -= INDEX_SEQ_REC;
        return 1;
    }
    if (previous < INDEX_HEADER_SIZE || previous >= at->off) {
        log_error("index %s: broken chain at %llu", ns->segs[at->seg]->index.path,
                  (unsigned long long)at->off);
        return -EIO;
    }
    at->off = previous;
    return 1;
}

/* Where to begin: 1, 0 nothing there, or an error. */
static int first_place(struct ns *ns, struct slice cursor, enum ns_dir dir, struct place *at,
                       struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r;

    if (!cursor.len)
        return dir == NS_FORWARD ? next_place(ns, at, 0) : last_place(ns, ns->nsegs, at);
    r = place_of_cursor(ns, cursor, at, &rec, bytes, w);
    if (r < 0)
        return r;
    return dir == NS_FORWARD ? next_place(ns, at, index_rec_size(&rec))
                             : previous_place(ns, at, rec.previous);
}

static int place_of_rest(struct ns *ns, const struct ns_scan_rest *rest, struct place *at,
                         struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r = record_at(ns, rest->file, rest->off, &rec, bytes, w);

    if (r < 0)
        return r == -NS_EBADCURSOR ? 0 : r;
    for (at->seg = 0; ns->segs[at->seg]->id != rest->file; at->seg++)
        ;
    at->off = rest->off;
    return 1;
}

int ns_scan_part(struct ns *ns, struct slice cursor, enum ns_dir dir, ns_scan_fn *fn, void *arg,
                 struct ns_scan_rest *rest, struct ns_wait *w)
{
    static struct window win; /* the loop thread is the only user; too large for the stack */
    struct place at = {0, INDEX_HEADER_SIZE};
    struct index_rec rec;
    struct ns_entry e;
    bool given = false;
    unsigned passed = 0;
    int r =
        rest && rest->set ? place_of_rest(ns, rest, &at, w) : first_place(ns, cursor, dir, &at, w);

    win.len = 0;
    while (r > 0) {
        struct seg *s = ns->segs[at.seg];

        if (rest && passed++ == PART) {
            *rest = (struct ns_scan_rest){true, s->id, (uint32_t)at.off};
            return given ? 0 : -EAGAIN; /* an answer with less is an answer */
        }
        r = window_get(ns, &win, s, at.off, dir, &rec, w, !given);
        if (r == -EAGAIN)
            return 0;
        if (r == -EBADMSG) {
            log_error("index %s: no record at %llu", s->index.path, (unsigned long long)at.off);
            ns_index_failed(ns);
            return -EIO;
        }
        if (r < 0)
            return r;
        if (is_live(ns, s, at.off, &rec)) {
            given = true;
            passed = 0;
            ns_entry_of_rec(ns, s->id, (uint32_t)at.off, &rec, &e);
            if (!fn(arg, rec.key, &e))
                return 0;
        }
        r = dir == NS_FORWARD ? next_place(ns, &at, index_rec_size(&rec))
                              : previous_place(ns, &at, rec.previous);
    }
    return r;
}

int ns_scan(struct ns *ns, struct slice cursor, enum ns_dir dir, ns_scan_fn *fn, void *arg,
            struct ns_wait *w)
{
    return ns_scan_part(ns, cursor, dir, fn, arg, NULL, w);
}

/* A parent is told only when there is a version of this key: a crash may have taken it. */
static int check_parent(struct ns *ns, struct slice key, struct ns_entry *e, struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r;

    if (e->parent_off == 0)
        return 0;
    r = record_at(ns, e->parent_file, e->parent_off, &rec, bytes, w);
    if (r == -EINPROGRESS)
        return r;
    if (r < 0 || !slice_eq(rec.key, key))
        e->parent_file = e->parent_off = 0;
    return 0;
}

int ns_current(struct ns *ns, struct slice key, struct ns_entry *e, struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r = ns_find(ns, key, e, w);

    if (r <= 0)
        return r;
    if (ns->mode == NS_USER) { /* seq mode has read the record */
        r = ns_seg_record(ns, e->file, e->off, &rec, bytes, w);
        if (r < 0)
            return r == -EBADMSG ? -EIO : r;
        ns_entry_of_rec(ns, e->file, e->off, &rec, e);
    }
    r = check_parent(ns, key, e, w);
    return r < 0 ? r : 1;
}

int ns_history(struct ns *ns, struct slice key, uint32_t file, uint32_t off, struct ns_entry *e,
               struct ns_wait *w)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r = record_at(ns, file, off, &rec, bytes, w);

    if (r < 0)
        return r;
    if (!slice_eq(rec.key, key))
        return -ENOKEY;
    ns_entry_of_rec(ns, file, off, &rec, e);
    return check_parent(ns, key, e, w);
}

int ns_data_raw(struct ns *ns, uint32_t seg, uint32_t off, struct ns_raw *raw, struct buf *out,
                struct ns_wait *w)
{
    struct seg *s = ns_seg_find(ns, seg);
    struct data_rec rec = {0};
    int r;

    if (!s)
        return -ENOENT;
    r = data_record(&s->data, off, &rec, raw->key, out, ns_wait_nowait(w));
    if (r == -EAGAIN) {
        r = ns_wait_warm(ns, s->data.file, off, DATA_REC_SIZE + DATA_KEY_MAX + rec.length, w);
        if (r < 0)
            return r;
        r = data_record(&s->data, off, &rec, raw->key, out, false);
    }
    if (r == -ENOENT)
        return ns_wait_fetch(ns, s, w);
    if (r < 0)
        return r;
    data_touch(&s->data);
    raw->keylen = rec.keylen;
    raw->flags = rec.flags;
    raw->previous = rec.previous;
    raw->crc = rec.crc;
    raw->timestamp = rec.timestamp;
    raw->length = rec.length;
    return 0;
}
