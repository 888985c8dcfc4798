/* load - a namespace from its files: which segments there are, what has to be compared, one
 * after the other, and what is written in the end.  Contract: engine/namespace_impl.h; parts:
 * recovery/load.h.  Spec zdb-files, sections 1, 4.6 and 4.7.
 *
 * What may be in doubt: data behind its mark, which is played again (recovery/replay.h); without
 * marks the newest segments, and all that is small.  A damaged index puts everything behind it in
 * doubt. Missing data files are normal: sealed segments are evicted. */
#include "zdb/recovery/load.h"
#include "common/io.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zdb/recovery/aside.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define AUDIT_MARKED   (1024 * MIB) /* read at most so much behind marks */
#define AUDIT_UNMARKED (64 * MIB)   /* and so much of files without mark, but always: */
#define AUDIT_NEWEST   2            /* the tails of the newest segments */
#define AUDIT_TAIL     (8 * MIB)
#define BYTES_A_KEY    48 /* guess for the size of the key table */

struct index_found *index_load_found(struct index_load *l, uint32_t seg)
{
    size_t lo = 0, hi = l->n;

    if (seg < l->n && l->found[seg].id == seg)
        return &l->found[seg];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (l->found[mid].id < seg)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->n && l->found[lo].id == seg ? &l->found[lo] : NULL;
}

void index_load_note(struct index_load *l, uint32_t seg, uint32_t file, uint32_t off,
                     const struct index_rec *rec)
{
    struct index_found *f = index_load_found(l, seg);

    if (!f || rec->off < DATA_HEADER_SIZE || rec->length > DATA_VALUE_MAX)
        return;
    f->used = MAX(f->used, (uint64_t)rec->off + DATA_REC_SIZE + rec->key.len + rec->length);
    if (f->audit)
        index_known_add(&f->known, file, off, rec);
}

int index_load_has_key(struct index_load *l, uint32_t seg, const struct index_rec *rec)
{
    struct seg *s = ns_seg_find(l->ns, seg);
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;

    if (!s || rec->off < DATA_HEADER_SIZE ||
        data_record(&s->data, rec->off, &head, key, NULL, false) < 0)
        return -1;
    return slice_eq(slice_of(key, head.keylen), rec->key);
}

/* --- what is there --------------------------------------------------------------------------- */

/* "i12" with prefix 'i': 12.  Everything else in the directory is none of ours. */
static bool number_of(const char *name, char prefix, uint32_t *id)
{
    uint64_t v;

    if (name[0] != prefix || (name[1] == '0' && name[2]) ||
        parse_u64(name + 1, 0, UINT32_MAX, &v) < 0)
        return false;
    *id = (uint32_t)v;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct index_found *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int list_dir(struct index_load *l, const char *dir, char prefix)
{
    char **names;
    size_t n;
    int r = path_list(dir, &names, &n);
    struct index_found *all;

    if (r < 0)
        return err_sys(l->e, -r, "directory %s", dir);
    all = xcalloc(l->n + n + 1, sizeof *all);
    if (l->n)
        memcpy(all, l->found, l->n * sizeof *all);
    free(l->found);
    l->found = all;
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        if (strcmp(names[i], "zdb-index-00000") == 0)
            r = err_set(l->e, EPROTONOSUPPORT,
                        "%s/%s: files of a version before 2.0 cannot be read", dir, names[i]);
        if (number_of(names[i], prefix, &id))
            all[l->n++] =
                (struct index_found){.id = id, .index = prefix == 'i', .data = prefix == 'd'};
    }
    path_list_free(names, n);
    return r;
}

static int list_segments(struct index_load *l)
{
    size_t to = 0;
    int r = list_dir(l, l->ns->index_dir, 'i');

    if (r == 0)
        r = list_dir(l, l->ns->data_dir, 'd');
    if (r < 0)
        return r;
    if (l->found)
        qsort(l->found, l->n, sizeof *l->found, by_id);
    for (size_t i = 0; i < l->n; i++) {
        if (to > 0 && l->found[to - 1].id == l->found[i].id) {
            l->found[to - 1].index |= l->found[i].index;
            l->found[to - 1].data |= l->found[i].data;
        } else {
            l->found[to++] = l->found[i];
        }
    }
    l->n = to;
    return 0;
}

/* --- plan ------------------------------------------------------------------------------------ */

static void look_at_data(struct index_load *l, struct index_found *f)
{
    struct data d;
    struct stat st;

    data_init(&d, &l->ns->env->files, l->ns->data_dir, f->id);
    if (data_open(&d) == 0 && fstat(d.file->fd, &st) == 0) {
        f->data_size = (uint64_t)st.st_size;
        if (data_marked(&d, &f->mark) && f->mark.size <= f->data_size)
            f->durable = f->mark.size;
    }
    data_fini(&d);
}

/* Of the segments that are not played again: from the newest back, until what is older cannot be in
 * doubt or would be too much. */
static void plan(struct index_load *l)
{
    uint64_t marked = AUDIT_MARKED, unmarked = AUDIT_UNMARKED;

    for (size_t i = l->n; i-- > 0;) {
        struct index_found *f = &l->found[i];
        bool newest = i + AUDIT_NEWEST >= l->n;
        uint64_t doubt;

        if (!f->data || f->audit)
            continue;
        if (f->replay && f->durable > DATA_HEADER_SIZE)
            break; /* all before is durable */
        if (f->replay)
            continue;
        look_at_data(l, f);
        doubt = f->data_size - f->durable;
        if (f->durable && doubt == 0) {
            if (!newest)
                break;
            f->audit = true; /* a look behind the last record that the index knows */
            index_known_reset(&f->known, f->durable);
        } else if (f->durable && doubt <= marked) {
            marked -= doubt;
            f->audit = true;
            index_known_reset(&f->known, f->durable);
        } else if (!f->durable && doubt <= unmarked) {
            unmarked -= doubt;
            f->audit = true;
            index_known_reset(&f->known, 0);
        } else if (newest) {
            f->audit = true;
            index_known_reset(&f->known, f->data_size - MIN(f->data_size, AUDIT_TAIL));
        } else {
            break;
        }
    }
}

void index_load_unmark(struct index_load *l, uint32_t seg)
{
    struct index_found *f = index_load_found(l, seg);
    struct seg *s = ns_seg_find(l->ns, seg);
    struct data d;

    if (!f || !f->data || f->unmarked)
        return;
    f->unmarked = true;
    data_init(&d, &l->ns->env->files, l->ns->data_dir, seg);
    data_unmark(&d);
    data_fini(&d);
    if (s) {
        s->synced = s->marked = 0;
        s->unmarked = true; /* gets its mark with the first sync */
    }
}

/* As far as their data is here. */
static void doubt_from(struct index_load *l, size_t i)
{
    l->ids_lost = true;
    for (; i < l->n; i++) {
        l->found[i].audit = l->found[i].data;
        l->found[i].collect = true;
        l->found[i].durable = 0;
        l->found[i].replay = false;
        index_load_unmark(l, l->found[i].id);
    }
}

void index_load_doubt(struct index_load *l, uint32_t seg)
{
    struct index_found *f = index_load_found(l, seg);

    if (f)
        doubt_from(l, (size_t)(f - l->found));
}

/* --- headers --------------------------------------------------------------------------------- */

static bool is_zero(const uint8_t *p, size_t n)
{
    while (n > 0 && *p == 0) {
        p++;
        n--;
    }
    return n == 0;
}

/* A garbled header is healed when the first record proves what the file is: its data record is
 * there. */
static bool proves_itself(struct index_load *l, struct seg *s)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r;

    s->index.size = UINT32_MAX;
    r = index_file_read(&s->index, INDEX_HEADER_SIZE, &rec, bytes, false);
    s->index.size = 0;
    return r == 0 &&
           (l->ns->mode == NS_USER || (rec.key.len == INDEX_SEQ_KEY && rec.dataid == s->id)) &&
           index_load_has_key(l, s->id, &rec) == 1;
}

#define NOT_THERE 1 /* no records in this file: they have to come from the data */
#define GARBLED   2 /* the same, and what is there is kept aside */

/* 0: go on with the records; NOT_THERE, GARBLED; -errno. */
static int load_header(struct index_load *l, struct seg *s, const struct index_found *f)
{
    uint8_t bytes[INDEX_HEADER_SIZE];
    struct index_header h = {0};
    ssize_t n;
    int r = index_file_open(&s->index), w;

    if (r < 0)
        return err_sys(l->e, -r, "index %s", s->index.path);
    s->index.mode = (uint8_t)l->ns->mode;
    n = files_pread(s->index.file, bytes, sizeof bytes, 0, false);
    if (n < 0)
        return err_sys(l->e, (int)-n, "index %s", s->index.path);
    r = index_header_decode(slice_of(bytes, (size_t)n), &h);
    if (r == 0 && h.fileid == s->id && h.mode == s->index.mode)
        return 0;
    if (f->replay && f->mark.index_size == INDEX_HEADER_SIZE &&
        (r == -ENODATA || is_zero(bytes, sizeof bytes))) {
        w = index_file_write_header(&s->index, s->index.mode); /* nothing of it was durable yet */
        return w < 0 ? err_sys(l->e, -w, "index %s", s->index.path) : 0;
    }
    if (r == -ENODATA) { /* a crash in the creation; records that are gone come back from the data
                            file */
        log_warn("index %s: only %zd bytes, started anew", s->index.path, n);
        return NOT_THERE;
    }
    if (r == 0 || proves_itself(l, s)) {
        log_warn("index %s: garbled header, set right", s->index.path);
        w = index_file_write_header(&s->index, s->index.mode);
        return w < 0 ? err_sys(l->e, -w, "index %s", s->index.path) : 0;
    }
    if (is_zero(bytes, sizeof bytes)) { /* its first page never reached the disk */
        log_warn("index %s: empty header, started anew", s->index.path);
        return GARBLED;
    }
    if (!f->data || r == -EPROTONOSUPPORT)
        return err_set(l->e, -r, "index %s: %s; restore the file from a backup", s->index.path,
                       r == -EPROTONOSUPPORT ? "unknown version" : "not an index file");
    log_error("index %s: not an index file, kept as .damaged and built anew from its data file",
              s->index.path);
    return GARBLED;
}

/* --- segment by segment ---------------------------------------------------------------------- */

static bool is_copy(const struct ns *ns, uint32_t file, uint32_t off, const struct index_rec *rec)
{
    uint64_t id;

    return ns->mode == NS_SEQ && index_seq_id(&ns->seq, file, off, &id) &&
           id != le64_get(rec->key.p);
}

/* Once more through the index files: what is known of the data of the segments in doubt, which were
 * not when they were loaded.  User mode: of one segment, f. */
static int collect_known(struct index_load *l, struct index_found *f)
{
    struct ns *ns = l->ns;

    index_copies_reset(&l->copies);
    for (size_t i = 0; i < l->n; i++) {
        if (f ? &l->found[i] == f : l->found[i].audit)
            index_known_reset(&l->found[i].known, l->found[i].collect ? 0 : l->found[i].known.from);
    }
    for (size_t i = 0; i < ns->nsegs; i++) {
        struct index_file *file = &ns->segs[i]->index;
        uint8_t bytes[INDEX_REC_MAX];
        struct index_rec rec;

        if (f && file->id != f->id)
            continue;
        for (uint64_t off = INDEX_HEADER_SIZE; off < file->size; off += index_rec_size(&rec)) {
            int r = ns_seg_record(ns, file->id, (uint32_t)off, &rec, bytes, NULL);
            if (r < 0)
                return r;
            if (is_copy(ns, file->id, (uint32_t)off, &rec))
                index_copies_add(&l->copies, file->id, (uint32_t)off, &rec);
            else
                index_load_note(l, ns->mode == NS_SEQ ? rec.dataid : file->id, file->id,
                                (uint32_t)off, &rec);
        }
    }
    return 0;
}

/* Even what was there before the part in doubt is not whole. */
static bool ends_early(const struct index_found *f)
{
    return f->audit && f->known.has_below && index_known_end(&f->known.below) > f->data_size;
}

static int redo(struct index_load *l, size_t i, struct seg *s)
{
    struct index_found *f = &l->found[i];
    int r = 0;

    if (!f->audit)
        return 0;
    r = data_check_header(&s->data);
    if (r < 0 && !s->data.active)
        index_load_header(l, s->id);
    r = 0;
    if (l->ns->mode == NS_USER && f->collect)
        r = collect_known(l, f);
    if (r == 0)
        r = index_redo(l, i, s);
    if (r == 0 && !f->durable)
        s->unmarked = true; /* gets its mark with the first sync */
    index_known_reset(&f->known, 0);
    if (r == -EROFS) {
        log_warn("segment %u of namespace %s: on a read-only filesystem, not repaired", s->id,
                 l->ns->name);
        return 0;
    }
    return r < 0 ? err_sys(l->e, -r, "segment %u (data %s)", s->id, s->data.path) : 0;
}

/* The index of s is built from its data under another name: it appears whole or not at all. */
static int begin_rebuild(struct index_load *l, size_t i, struct seg *s, bool keep)
{
    struct index_found *f = &l->found[i];
    CLEANUP(base_free) char *as = NULL;
    int r = keep ? aside_file(s->index.path, ".damaged", &as) : 0;

    if (r < 0)
        return err_sys(l->e, -r, "rename %s", s->index.path);
    if (as)
        log_warn("index %s: what was there is kept as %s", s->index.path, as);
    f->final = s->index.path;
    files_drop(s->index.fs, &s->index.file);
    s->index.path = xasprintf("%s/.i%u.rebuild", l->ns->index_dir, s->id);
    unlink(s->index.path);
    r = index_file_create(&s->index, (uint8_t)l->ns->mode);
    if (r < 0)
        return err_sys(l->e, -r, "index %s", s->index.path);
    if (l->ns->mode == NS_SEQ)
        index_seq_push(&l->ns->seq, s->id, index_seq_next(&l->ns->seq));
    doubt_from(l, i);
    return 0;
}

static int end_rebuild(struct index_load *l, size_t i, struct seg *s)
{
    struct index_found *f = &l->found[i];
    int r;

    if (!f->final)
        return 0;
    r = index_file_open(&s->index);
    if (r == 0)
        r = io_fsync(s->index.file->fd);
    if (r == 0 && rename(s->index.path, f->final) < 0)
        r = -errno;
    if (r == 0)
        r = path_sync_dir(l->ns->index_dir);
    if (r < 0)
        return err_sys(l->e, -r, "index %s cannot be built anew", f->final);
    free(s->index.path);
    s->index.path = f->final;
    f->final = NULL;
    s->index.dirty_at = ++s->index.fs->rewrites;
    ns_sync_note(l->ns, s);
    if (f->data)
        log_warn("index %s: built anew from its data file", s->index.path);
    else if (i + 1 < l->n)
        log_error("index %s: missing, and its data file is not here to build it from",
                  s->index.path);
    return 0;
}

static int prepare_data(struct index_load *l, struct seg *s)
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

/* The name of the file did not reach the disk. */
static int make_index(struct index_load *l, struct seg *s)
{
    int r = index_file_create(&s->index, (uint8_t)l->ns->mode);

    if (r == 0)
        ns_sync_directories(l->ns);
    return r < 0 ? err_sys(l->e, -r, "index %s", s->index.path) : 0;
}

/* What is behind the mark; history may end there. */
static int replay(struct index_load *l, size_t i, struct seg *s)
{
    int r = index_replay(l, i, s);

    if (r == -EROFS) {
        log_warn("segment %u of namespace %s: on a read-only filesystem, not repaired", s->id,
                 l->ns->name);
        return 0;
    }
    if (r < 0)
        return err_sys(l->e, -r, "segment %u (data %s)", s->id, s->data.path);
    if (i + 1 < l->n || s->data.active)
        return 0;
    files_drop(s->data.fs, &s->data.file);
    s->data.active = true;
    return prepare_data(l, s);
}

static int load_segment(struct index_load *l, size_t i)
{
    struct index_found *f = &l->found[i];
    struct seg *s = ns_seg_add(l->ns, f->id);
    bool played = f->replay;
    uint32_t expected = i > 0 ? l->found[i - 1].id + 1 : 0;
    bool damaged = false;
    int r = 0;

    s->index.mode = (uint8_t)l->ns->mode;
    s->loaded_end = UINT64_MAX;
    s->synced = s->marked = f->durable;
    s->unmarked = f->unmarked;
    if (f->id != expected) {
        log_error("namespace %s: segments %u to %u are missing", l->ns->name, expected, f->id - 1);
        l->ids_lost = l->gap = true;
    }
    if (i + 1 == l->n && f->data) {
        s->data.active = true;
        s->data.size = f->data_size;
        r = prepare_data(l, s);
    }
    if (r == 0 && !f->index && played)
        r = make_index(l, s);
    else if (r == 0)
        r = f->index ? load_header(l, s, f) : NOT_THERE;
    if (r > 0)
        r = begin_rebuild(l, i, s, r == GARBLED);
    else if (r == 0)
        r = l->ns->mode == NS_SEQ ? index_load_seq(l, s, &damaged)
                                  : index_load_user(l, s, &damaged);
    if (r < 0)
        return r;
    if (f->data && (f->mark.size || data_marked(&s->data, &f->mark)))
        damaged |= s->index.size < f->mark.index_size; /* cut between two records, perhaps */
    l->repaired |= damaged;
    if (damaged || ends_early(f))
        doubt_from(l, i);
    if (played && !f->final && s->index.size == f->mark.index_size)
        r = replay(l, i, s);
    if (r < 0)
        return r;
    if (l->ns->mode == NS_SEQ) /* slots of any file may point here: see redo_seq */
        return 0;
    r = redo(l, i, s);
    return r < 0 ? r : end_rebuild(l, i, s);
}

/* Sequential mode: when all slots are known. */
static int redo_seq(struct index_load *l)
{
    struct ns *ns = l->ns;
    bool collect = false;
    int r = 0;

    for (size_t i = 0; i < l->n; i++) {
        if (ends_early(&l->found[i]))
            doubt_from(l, i);
        collect |= l->found[i].collect;
    }
    if (collect)
        r = collect_known(l, NULL);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = redo(l, i, ns->segs[i]);
    if (r == 0)
        index_redo_seq_copies(l);
    if (r == 0)
        r = index_load_seq_finish(l);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = end_rebuild(l, i, ns->segs[i]);
    return r < 0 && l->e && !l->e->code ? err_sys(l->e, -r, "namespace %s", ns->name) : r;
}

/* The newest segment becomes the active one, unless its data is not here: then a new one is opened
 * behind it. */
static int open_newest(struct index_load *l)
{
    struct ns *ns = l->ns;
    struct seg *s = ns_active(ns);
    int r = 0;

    if (l->found[l->n - 1].data) {
        if (!s->marked && !s->index.last && s->data.size <= DATA_HEADER_SIZE) /* its first mark did
                                                                                 not reach the disk
                                                                               */
            ns_seg_first_mark(ns, s);
        return 0;
    }
    if (s->index.last) {
        log_warn("data %s: missing, a new segment is opened", s->data.path);
        return ns_seg_create(ns, s->id + 1) < 0
                   ? err_set(l->e, EIO, "namespace %s: no new segment", ns->name)
                   : 0;
    }
    r = data_create(&s->data);
    if (r < 0)
        return err_sys(l->e, -r, "data %s", s->data.path);
    ns_seg_first_mark(ns, s);
    ns_sync_note(ns, s);
    return 0;
}

static void expect_keys(struct index_load *l)
{
    uint64_t bytes = 0;

    for (size_t i = 0; i < l->n; i++) {
        CLEANUP(base_free) char *path = xasprintf("%s/i%u", l->ns->index_dir, l->found[i].id);
        struct stat st;
        if (l->found[i].index && stat(path, &st) == 0)
            bytes += (uint64_t)st.st_size;
    }
    index_expect(l->ns->keys, (size_t)(bytes / BYTES_A_KEY));
}

static int finish(struct index_load *l)
{
    int r = index_load_finish(l);

    if (r == -EROFS) {
        log_warn("namespace %s: on a read-only filesystem, not repaired", l->ns->name);
        return 0;
    }
    return r < 0 ? err_sys(l->e, -r, "repair of namespace %s", l->ns->name) : 0;
}

static int load_all(struct index_load *l)
{
    struct ns *ns = l->ns;
    int r = list_segments(l);

    if (r < 0)
        return r;
    if (l->n == 0) {
        r = ns_seg_create(ns, 0);
        return r < 0 ? err_set(l->e, EIO, "namespace %s: the first segment cannot be created",
                               ns->name)
                     : 0;
    }
    r = index_load_mode(l);
    if (r < 0)
        return r;
    if (ns->mode == NS_USER)
        expect_keys(l);
    index_replay_plan(l);
    plan(l);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = load_segment(l, i);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        ns->segs[i]->data.size =
            MAX(ns->segs[i]->data.size, ns->segs[i]->data.active ? 0 : l->found[i].used);
    if (r == 0 && ns->mode == NS_SEQ)
        r = redo_seq(l);
    if (r == 0)
        r = open_newest(l);
    if (r == 0)
        r = index_replay_finish(l);
    if (r == 0)
        r = finish(l);
    ns_sync_everything(ns);
    ns->opened_ms = base_now_ms();
    return r;
}

int index_load(struct ns *ns, struct err *e)
{
    struct index_load l = {.ns = ns, .e = e};
    int r = load_all(&l);

    for (size_t i = 0; i < l.n; i++) {
        index_known_reset(&l.found[i].known, 0);
        free(l.found[i].final);
    }
    index_copies_reset(&l.copies);
    index_ids_fini(&l.touched);
    index_ids_fini(&l.hollow);
    free(l.found);
    index_load_finish_free(&l);
    return r;
}
