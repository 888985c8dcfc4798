/* end - where history ends: what comes later is put aside and cut, newest first, and what it did in
 * place to records before is taken back.  (In files of ours that is nothing, as rewrites follow
 * their data to the disk; the original writes them at once.)  Contract: recovery/state.h.  Each
 * step is durable before the next one, and all of it can be interrupted and begun anew: new records
 * must not meet old ones behind a cut. */
#include "common/io.h"
#include "common/log.h"
#include "zdb/file/aside.h"
#include "zdb/recovery/state.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

static int put_aside(const char *dir, char prefix, uint32_t id)
{
    CLEANUP(base_free) char *path = xasprintf("%s/%c%u", dir, prefix, id);
    CLEANUP(base_free) char *as = NULL;
    int r = aside_file(path, ".lost", &as);

    if (as)
        log_warn("%s: nothing in it was durable, kept as %s", path, as);
    return r == -ENOENT ? 0 : r;
}

static int put_later_aside(struct load *l, size_t i)
{
    int r = 0;

    for (; r == 0 && l->n > i + 1; l->n--) {
        r = put_aside(l->ns->index_dir, 'i', l->found[l->n - 1].id);
        if (r == 0)
            r = put_aside(l->ns->data_dir, 'd', l->found[l->n - 1].id);
        if (r < 0)
            return r;
    }
    return r;
}

static int cut_data(struct seg *s, uint64_t size, const char *as)
{
    CLEANUP(base_close) int fd = open(s->data.path, O_RDWR | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    log_warn("data %s: history ends at %llu, the rest (%llu bytes) was not durable and is cut%s%s",
             s->data.path, (unsigned long long)s->data.size,
             (unsigned long long)(size - s->data.size), as ? ", kept as " : "", as ? as : "");
    if (ftruncate(fd, (off_t)s->data.size) < 0)
        return -errno;
    return io_fsync(fd);
}

static int cut_index(struct load *l, struct seg *s, const char *as)
{
    int r;

    log_warn("index %s: cut at %llu, as its data was not durable%s%s", s->index.path,
             (unsigned long long)s->index.size, as ? ", kept as " : "", as ? as : "");
    r = index_cut(&s->index, s->index.size, s->index.last);
    if (r == 0)
        r = io_fsync(s->index.file->fd);
    ns_sync_note_quiet(l->ns, s);
    return r;
}

int load_cut_index(struct load *l, struct seg *s)
{
    int r = cut_index(l, s, NULL);

    return r < 0 ? r : 1;
}

/* --- taking back ----------------------------------------------------------------------------- */

static int write_back(struct load *l, uint32_t file, uint32_t off, const struct index_rec *rec)
{
    struct seg *s = ns_seg_find(l->ns, file);
    int r = index_rewrite(&s->index, off, rec);

    if (r == 0)
        r = io_fsync(s->index.file->fd);
    return r;
}

/* The version before the lost one has its flag already: it is the current one again. */
static int take_back_user(struct load *l, const struct index_rec *lost)
{
    struct ns *ns = l->ns;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    struct keys_entry *k;
    bool added;
    int r;

    if ((lost->flags & INDEX_DELETED) || !lost->parent_off || !ns_seg_find(ns, lost->parent_file) ||
        rewrite_queued(ns, lost->parent_file, lost->parent_off) || /* what was played says so */
        ns_seg_record(ns, lost->parent_file, lost->parent_off, &rec, bytes, NULL) < 0 ||
        !(rec.flags & INDEX_DELETED) || !slice_eq(rec.key, lost->key) ||
        keys_find(ns->keys, rec.key) || load_has_key(l, lost->parent_file, &rec) == 0)
        return 0;
    rec.flags = 0;
    r = write_back(l, lost->parent_file, lost->parent_off, &rec);
    if (r < 0)
        return r;
    k = keys_put(ns->keys, rec.key, &added);
    load_live(ns, k, lost->parent_file, lost->parent_off, &rec);
    return 0;
}

/* The copy of a version whose slot names data that is lost: the slot has that version again. */
static int take_back_seq(struct load *l, struct seg *s, uint32_t at, const struct index_rec *copy)
{
    struct ns *ns = l->ns;
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec slot;
    uint32_t file, off, previous;

    if (copy->key.len != INDEX_SEQ_KEY || !ids_find(&ns->seq, le64_get(copy->key.p), &file, &off) ||
        ns_seg_record(ns, file, off, &slot, bytes, NULL) < 0 || !slice_eq(slot.key, copy->key) ||
        slot.parent_file != s->id || slot.parent_off != at || slot.dataid != s->id ||
        slot.off < s->data.size || (slot.flags & INDEX_DELETED))
        return 0;
    previous = slot.previous;
    slot = *copy;
    slot.previous = previous;
    slot.flags = 0;
    l->replayed = true; /* counted anew */
    return write_back(l, file, off, &slot);
}

/* Newest first.  Where the chain breaks there is no history, but what a power cut left. */
static int take_back(struct load *l, struct seg *s, uint64_t index_size)
{
    CLEANUP(buf_fini) struct buf bytes = BUF_INIT;
    CLEANUP(buf_fini) struct buf places = BUF_INIT;
    uint64_t from = s->index.size, n = index_size - from;
    uint32_t last = l->ns->last_index;
    struct index_rec rec;
    uint8_t *p;
    struct rd rd;
    int r;

    p = buf_reserve(&bytes, (size_t)n);
    r = p ? index_open(&s->index) : -ENOMEM;
    if (r == 0)
        r = io_pread_full(s->index.file->fd, p, (size_t)n, from);
    if (r < 0)
        return r;
    rd = rd_of(slice_of(p, (size_t)n));
    for (uint32_t at = 0; index_rec_decode(&rd, &rec) == 1 && rec.previous == last;
         at = (uint32_t)(rd.p - p)) {
        buf_put_le32(&places, at);
        last = (uint32_t)from + at;
    }
    for (size_t i = places.len; r == 0 && i > 0; i -= 4) {
        uint32_t at = le32_get(buf_data(&places) + i - 4);
        rd = rd_of(slice_of(p + at, (size_t)n - at));
        if (index_rec_decode(&rd, &rec) != 1)
            continue;
        r = l->ns->mode == NS_SEQ ? take_back_seq(l, s, (uint32_t)from + at, &rec)
                                  : take_back_user(l, &rec);
    }
    return r;
}

int load_end(struct load *l, size_t i, struct seg *s, uint64_t data_size, uint64_t index_size)
{
    CLEANUP(base_free) char *data = NULL;
    CLEANUP(base_free) char *idx = NULL;
    bool more_index = s->index.size < index_size, more_data = s->data.size < data_size;
    int r = put_later_aside(l, i);

    if (r == 0 && more_data)
        r = aside_data_is_worth(s->data.path, s->data.size, data_size);
    if (r == 1) {
        r = aside_tail(s->data.path, s->data.size, data_size, &data);
        if (r == 0 && more_index)
            r = aside_tail(s->index.path, s->index.size, index_size, &idx);
    }
    if (r == 0 && more_index)
        r = take_back(l, s, index_size);
    if (r == 0 && more_index)
        r = cut_index(l, s, idx);
    if (r == 0 && more_data)
        r = cut_data(s, data_size, data);
    return r;
}
