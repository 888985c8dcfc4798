/* load - a namespace from its files.  Contract: engine/namespace_impl.h; the rule, and the parts:
 * recovery/state.h.  Spec zdb-files, sections 1, 4.6 and 4.7.  Missing data files are normal:
 * sealed segments are evicted. */
#include "common/io.h"
#include "common/log.h"
#include "zdb/file/aside.h"
#include "zdb/file/data_walk.h"
#include "zdb/file/segment_list.h"
#include "zdb/recovery/state.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES_A_KEY 48 /* guess for the size of the key table */

/* --- what is there --------------------------------------------------------------------------- */

static int list_dir(struct load *l, struct segment_list *list, const char *dir, char kind)
{
    int r = segment_list_add(list, dir, kind);

    if (r < 0)
        return err_sys(l->e, -r, "directory %s", dir);
    return list->old_layout ? err_set(l->e, EPROTONOSUPPORT,
                                      "%s: files of a version before 2.0 cannot be read", dir)
                            : 0;
}

static int list_segments(struct load *l)
{
    CLEANUP(segment_list_fini) struct segment_list list = {0};
    int r = list_dir(l, &list, l->ns->index_dir, 'i');

    if (r == 0)
        r = list_dir(l, &list, l->ns->data_dir, 'd');
    if (r < 0)
        return r;
    l->n = list.n;
    l->found = xcalloc(l->n + 1, sizeof *l->found);
    for (size_t i = 0; i < l->n; i++) {
        const struct segment_files *f = &list.v[i];
        l->found[i] = (struct load_seg){.id = f->id,
                                        .index = f->has_index,
                                        .data = f->has_data,
                                        .index_size = f->index_size,
                                        .data_size = f->data_size};
    }
    return 0;
}

/* --- headers --------------------------------------------------------------------------------- */

static int prepare_data(struct load *l, struct seg *s)
{
    int r = data_check_header(&s->data);

    if (r == -ENODATA || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -EINVAL) {
        log_warn("data %s: %s header, written anew", s->data.path,
                 r == -ENODATA ? "no" : "garbled");
        r = data_write_header(&s->data);
        ns_sync_note(l->ns, s);
    }
    return r < 0 ? err_sys(l->e, -r, "data %s", s->data.path) : 0;
}

static int write_header(struct load *l, struct seg *s, bool is_new)
{
    int r = is_new ? index_create(&s->index, (uint8_t)l->ns->mode)
                   : index_write_header(&s->index, (uint8_t)l->ns->mode);

    if (is_new && r == 0)
        ns_sync_directories(l->ns);
    ns_sync_note(l->ns, s);
    return r < 0 ? err_sys(l->e, -r, "index %s", s->index.path) : 0;
}

/* A garbled header is set right when the first record proves what the file is: its data record is
 * there. */
static bool proves_itself(struct load *l, struct seg *s)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r;

    s->index.size = UINT32_MAX;
    r = index_read(&s->index, INDEX_HEADER_SIZE, &rec, bytes, false);
    s->index.size = 0;
    return r == 0 &&
           (l->ns->mode == NS_USER || (rec.key.len == INDEX_SEQ_KEY && rec.dataid == s->id)) &&
           load_has_key(l, s->id, &rec) == 1;
}

/* The newest index file has no record, its header did not reach the disk, and its data file has no
 * name yet: a power cut came while the segment was made.  The newest data file is never evicted, so
 * there is nothing that it could speak of.  1, 0, -errno. */
static int is_unborn(const struct load *l, const struct seg *s, const struct load_seg *f)
{
    if (f->data || f != &l->found[l->n - 1] || s->id < l->mark.safe_segment)
        return 0;
    return f->index_size <= INDEX_HEADER_SIZE ? 1 : aside_is_zero(s->index.path, 0, f->index_size);
}

static int bear(struct load *l, struct seg *s, struct load_seg *f)
{
    log_warn("index %s: no header and no data file, begun anew", s->index.path);
    if (ftruncate(s->index.file->fd, 0) < 0)
        return err_sys(l->e, errno, "index %s", s->index.path);
    f->index_size = INDEX_HEADER_SIZE;
    l->changed = true;
    return write_header(l, s, false);
}

/* Opens the index.  1 its header is what it has to be; 0 it is not, and *why (0: it is of another
 * file or mode); -errno. */
static int open_index(struct load *l, struct seg *s, int *why)
{
    struct index_header h = {0};
    int r = index_open(&s->index);

    s->index.mode = (uint8_t)l->ns->mode;
    *why = r < 0 ? r : load_header(l, s->id, &h);
    if (r < 0 || (*why < 0 && *why != -ENODATA && *why != -EBADMSG && *why != -EPROTONOSUPPORT))
        return err_sys(l->e, -*why, "index %s", s->index.path);
    return *why == 0 && h.fileid == s->id && h.mode == s->index.mode;
}

/* 0; -EUCLEAN: it is no index file, and can be built anew; -errno. */
static int check_header(struct load *l, struct seg *s, struct load_seg *f)
{
    int why, r = open_index(l, s, &why);

    if (r != 0)
        return MIN(r, 0);
    if (why == 0 || proves_itself(l, s)) {
        log_warn("index %s: garbled header, set right", s->index.path);
        return write_header(l, s, false);
    }
    r = is_unborn(l, s, f);
    if (r != 0)
        return r > 0 ? bear(l, s, f) : err_sys(l->e, -r, "index %s", s->index.path);
    if (!f->data || l->no_rebuild || (why == -EPROTONOSUPPORT && f->index_size > INDEX_HEADER_SIZE))
        return err_set(l->e, -why, "index %s: %s; restore the file from a backup", s->index.path,
                       why == -EPROTONOSUPPORT ? "unknown version" : "not an index file");
    log_error("index %s: not an index file, built anew from its data file", s->index.path);
    l->broken = (size_t)(f - l->found);
    return -EUCLEAN;
}

/* --- foreign files: is their index whole? ----------------------------------------------------- */

/* A walk over the data of s from here on; it has to be ended, also on failure. */
static int walk_from(struct seg *s, uint64_t from, struct data_walk *w)
{
    int r = data_open(&s->data);

    *w = (struct data_walk){0};
    return r < 0 ? r : data_walk_init(w, s->data.file->fd, MAX(from, (uint64_t)DATA_HEADER_SIZE));
}

/* The record at off; *lands: one of those from `from` on begins there. */
static int record_at(struct seg *s, uint64_t from, uint64_t off, struct data_walk_rec *rec,
                     bool *lands)
{
    struct data_walk w;
    int r = walk_from(s, from, &w);

    while (r >= 0 && w.off < off && data_walk_next(&w, rec) == 1)
        ;
    *lands = r >= 0 && w.off == off;
    w.off = off;
    if (r >= 0)
        r = data_walk_next(&w, rec);
    data_walk_fini(&w);
    return r;
}

/* Does the index of the newest segment go as far as it says, and does the last data record that it
 * names end where it says?  When there is no whole record, the data may be what is damaged. */
static bool is_plausible(struct load *l, struct seg *s, const struct load_seg *f)
{
    struct data_walk_rec rec;
    bool lands = false;
    int r;

    if (l->ns->mode == NS_SEQ && l->copies_end > s->index.size)
        return false;
    if (!f->used || l->last_segment != f->id)
        return true;
    r = record_at(s, f->used_before, l->last_data, &rec, &lands);
    l->bad_end = r != 1 || !rec.crc_ok || rec.end != f->used;
    return r == 1 && rec.crc_ok ? rec.end == f->used : lands;
}

/* A value in a sealed data file behind everything that its index names: the index was cut, between
 * two records. */
static int check_end(struct load *l, struct seg *s, const struct load_seg *f)
{
    struct data_walk_rec rec;
    struct data_walk w;
    bool is_short = false;
    int r;

    if (!l->foreign || !f->data || f->id == l->found[l->n - 1].id || f->used >= f->data_size ||
        l->ns->mode == NS_SEQ)
        return 0;
    r = walk_from(s, f->used, &w);
    if (r < 0)
        return 0; /* whoever reads it will meet the error */
    while (!is_short && data_walk_next(&w, &rec) == 1)
        is_short = rec.crc_ok && rec.head.crc != 0;
    data_walk_fini(&w);
    return is_short ? load_broken(l, f->id) : 0;
}

/* --- segment by segment ---------------------------------------------------------------------- */

/* Nothing of its index counts; what is there is a witness. */
static int begin_index(struct load *l, struct seg *s, size_t i)
{
    int why, r = l->found[i].index ? open_index(l, s, &why) : 0;

    if (r == 0)
        r = write_header(l, s, !l->found[i].index);
    s->index.mode = (uint8_t)l->ns->mode;
    s->index.size = INDEX_HEADER_SIZE;
    s->index.last = 0;
    if (l->ns->mode == NS_SEQ)
        ids_push(&l->ns->seq, s->id, ids_next(&l->ns->seq));
    return MIN(r, 0);
}

/* Its index is right up to `limit`. */
static int load_index(struct load *l, struct seg *s, size_t i, uint64_t limit)
{
    const struct load_seg *f = &l->found[i];
    int r;

    if (!f->index && f->data && !l->no_rebuild) {
        log_warn("index %s: missing, built anew from its data file", s->index.path);
        l->broken = i;
        return -EUCLEAN;
    }
    if (!f->index) {
        log_error("index %s: missing, and its data file is not here to build it from",
                  s->index.path);
        l->changed = true;
        return begin_index(l, s, i);
    }
    r = check_header(l, s, &l->found[i]);
    if (r < 0)
        return r;
    return l->ns->mode == NS_SEQ ? load_seq(l, s, limit) : load_user(l, s, limit);
}

static int end_of_history(struct load *l, struct seg *s)
{
    if (s->data.active)
        return 0;
    files_drop(s->data.fs, &s->data.file);
    s->data.active = true;
    return prepare_data(l, s);
}

static int replay(struct load *l, size_t i, struct seg *s, uint64_t at)
{
    int r = load_replay(l, i, s, at);

    if (r == -EROFS) {
        log_warn("segment %u of namespace %s: on a read-only filesystem, not repaired", s->id,
                 l->ns->name);
        return 0;
    }
    if (r < 0)
        return err_sys(l->e, -r, "segment %u (data %s)", s->id, s->data.path);
    return r == 1 && i + 1 < l->n ? 0 : end_of_history(l, s);
}

static int load_segment(struct load *l, size_t i)
{
    struct load_seg *f = &l->found[i];
    struct seg *s = ns_seg_add(l->ns, f->id);
    uint32_t expected = i > 0 ? l->found[i - 1].id + 1 : 0;
    bool counts = i < l->from || !f->data, at_place = i == l->from && !counts;
    int r;

    s->live = f->live;
    if (f->id != expected) {
        log_error("namespace %s: segments %u to %u are missing", l->ns->name, expected, f->id - 1);
        l->ids_lost = l->gap = true;
    }
    if (i + 1 == l->n && f->data) {
        s->data.active = true;
        s->data.size = f->data_size;
    }
    if (counts || (at_place && l->mark.index_size > INDEX_HEADER_SIZE))
        r = load_index(l, s, i, counts ? UINT64_MAX : l->mark.index_size);
    else
        r = begin_index(l, s, i);
    if (r < 0)
        return r;
    if (i == l->from)
        l->ns->last_data = l->mark.data_chain;
    if (counts)
        return check_end(l, s, f);
    s->synced = at_place ? l->mark.data_size : DATA_HEADER_SIZE;
    return replay(l, i, s, s->synced);
}

/* What the index does not have of the newest data file. */
static int load_rest(struct load *l)
{
    struct load_seg *f = &l->found[l->n - 1];
    struct seg *s = ns_active(l->ns);
    uint64_t at = MAX(f->used, (uint64_t)DATA_HEADER_SIZE);
    int r;

    if (!l->foreign || !f->data)
        return 0;
    if (!is_plausible(l, s, f)) {
        r = load_broken(l, f->id);
        if (r < 0)
            return r;
        at = MAX(f->data_size, at);
    }
    r = prepare_data(l, s);
    if (r < 0)
        return r;
    l->ns->last_data = l->last_data;
    return replay(l, l->n - 1, s, at);
}

/* The newest segment becomes the active one, unless its data is not here: then a new one is opened
 * behind it. */
static int open_newest(struct load *l)
{
    struct ns *ns = l->ns;
    struct seg *s = ns_active(ns);
    int r;

    if (l->found[l->n - 1].data) {
        r = prepare_data(l, s);
        if (r < 0 || !l->bad_end || l->replayed)
            return r;
        s->data.active = false;
        files_drop(s->data.fs, &s->data.file);
    }
    if (s->index.last) {
        log_warn("data %s: %s, a new segment is opened", s->data.path,
                 l->bad_end ? "its last record is damaged" : "missing");
        return ns_seg_create(ns, s->id + 1) < 0
                   ? err_set(l->e, EIO, "namespace %s: no new segment", ns->name)
                   : 0;
    }
    r = data_create(&s->data);
    if (r < 0)
        return err_sys(l->e, -r, "data %s", s->data.path);
    ns_sync_directories(ns);
    ns_sync_note(ns, s);
    return 0;
}

static void expect_keys(struct load *l)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < l->n; i++)
        bytes += l->found[i].index_size;
    keys_expect(l->ns->keys, (size_t)(bytes / BYTES_A_KEY));
}

/* --- all of it ------------------------------------------------------------------------------- */

/* 0; -EUCLEAN: the index of l->broken has to be built anew; -errno. */
static int pass(struct load *l)
{
    struct ns *ns = l->ns;
    int r = 0;

    if (ns->mode == NS_USER)
        expect_keys(l);
    for (size_t i = 0; i < l->n; i++)
        l->found[i].live = 0;
    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = load_segment(l, i);
    if (r == 0)
        r = load_rest(l);
    for (size_t i = 0; r == 0 && i + 1 < l->n; i++)
        ns->segs[i]->data.size = MAX(ns->segs[i]->data.size, l->found[i].used);
    if (r == 0 && ns->mode == NS_SEQ)
        r = load_seq_finish(l);
    if (r == 0)
        r = open_newest(l);
    if (r == 0 && l->replayed) {
        rewrite_forget_same(ns);
        if (ns->mode == NS_SEQ)
            r = load_seq_recount(ns);
    }
    return r < 0 && r != -EUCLEAN && l->e && !l->e->code
               ? err_sys(l->e, -r, "namespace %s", ns->name)
               : r;
}

/* What was there stays beside the new one. */
static int rebuild(struct load *l)
{
    struct load_seg *f = &l->found[l->broken];
    CLEANUP(base_free) char *path = segment_path(l->ns->index_dir, 'i', f->id);
    CLEANUP(base_free) char *as = NULL;
    int r = load_move_back(l, l->broken);

    if (r < 0 || l->no_rebuild || !f->index)
        return r;
    r = f->index_size > INDEX_HEADER_SIZE ? aside_file(path, ".damaged", &as)
        : unlink(path) < 0                ? -errno
                                          : 0;
    if (r < 0 && r != -ENOENT)
        return err_sys(l->e, -r, "rename %s", path);
    if (as)
        log_warn("index %s: damaged, built anew from its data; what was there is kept as %s", path,
                 as);
    f->index = false;
    f->index_size = 0;
    return 0;
}

static void begin_anew(struct load *l)
{
    struct ns *ns = l->ns;

    ns_sync_forget(ns);
    ns_seg_clear(ns);
    patches_fini(&ns->patches);
    patches_init(&ns->patches);
    ns_reset(ns);
    for (size_t i = 0; i < l->n; i++)
        l->found[i].used = l->found[i].used_before = 0;
    l->replayed = l->ids_lost = l->gap = l->bad_end = false;
    l->copies_end = l->last_segment = l->last_data = 0;
    l->skipped = 0;
}

static int remove_one(const char *dir, char prefix, uint32_t id)
{
    CLEANUP(base_free) char *path = segment_path(dir, prefix, id);

    return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

/* A FLUSH that a crash interrupted: it is finished. */
static int finish_flush(struct load *l)
{
    int r = 0;

    for (; r == 0 && l->n > 0; l->n--) {
        r = remove_one(l->ns->data_dir, 'd', l->found[l->n - 1].id);
        if (r == 0)
            r = remove_one(l->ns->index_dir, 'i', l->found[l->n - 1].id);
        if (r < 0)
            return err_sys(l->e, -r, "namespace %s: an interrupted FLUSH cannot be finished",
                           l->ns->name);
    }
    log_info("namespace %s: an interrupted FLUSH was finished", l->ns->name);
    ns_sync_directories(l->ns);
    return 0;
}

static int load_files(struct load *l, const struct watermark *w)
{
    int r = load_judge(l, w);

    while (r == 0 && (r = pass(l)) == -EUCLEAN) {
        r = rebuild(l);
        begin_anew(l);
    }
    return r;
}

/* The files are ours from now on. */
static int take_possession(struct load *l)
{
    struct ns *ns = l->ns;
    int r;

    if (l->mark.sequence && !l->changed)
        return 0;
    r = ns_sync_settle(ns, false);
    if (r == -EROFS) {
        log_warn("namespace %s: on a read-only filesystem", ns->name);
        return 0;
    }
    return r < 0 ? err_sys(l->e, -r, "namespace %s", ns->name) : 0;
}

static int load_all(struct load *l)
{
    struct ns *ns = l->ns;
    struct watermark w = {0};
    int r = list_segments(l);

    if (r < 0)
        return r;
    r = watermark_read(ns->index_dir, &w);
    if (r < 0)
        return err_sys(l->e, -r, "watermark of namespace %s", ns->name);
    ns->checkpoint.now.sequence = w.sequence;
    r = w.flags & WATERMARK_FLUSHING ? finish_flush(l) : 0;
    if (r < 0)
        return r;
    if (l->n == 0 && (w.flags & WATERMARK_FLUSHING) && ns->env->mode == NS_MIXED)
        ns->mode = w.mode == NS_SEQ ? NS_SEQ : NS_USER;
    if (l->n == 0)
        r = ns_seg_create(ns, 0) < 0
                ? err_set(l->e, EIO, "namespace %s: the first segment cannot be created", ns->name)
                : 0;
    else
        r = load_files(l, &w);
    if (ns->checkpoint.now.flags != WATERMARK_CLEAN || l->replayed || l->changed)
        ns_sync_everything(ns); /* whatever an earlier process left in the page cache */
    else
        ns->sync.durable = ns->checkpoint.at_writes = ns->sync.writes;
    if (r == 0)
        r = take_possession(l);
    ns->checkpoint.at_ms = ns->opened_ms = base_now_ms();
    return r;
}

int index_load(struct ns *ns, struct err *e)
{
    struct load l = {.ns = ns, .e = e};
    int r = load_all(&l);

    free(l.found);
    return r;
}
