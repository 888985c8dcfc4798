/* index_load - a namespace from its files: which segments there are, their index records into memory, repair of what a crash
 * or a fault left behind.  Contract: ns_impl.h.  Spec zdb-files, sections 1, 4.6 and 4.7.
 *
 * Only the newest segment can hold the traces of a crash, so only its tail (LOAD_AUDIT bytes) is compared with its data
 * file, and any other segment whose index was damaged or lost.  Missing data files are normal: sealed segments are evicted. */
#include "common/io.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zdb/data_walk.h"
#include "zdb/index_redo.h"
#include "zdb/index_walk.h"
#include "zdb/ns_impl.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOAD_AUDIT   (8 * MIB)
#define SEQ_BLOCK    ((size_t)INDEX_SEQ_REC * 32768)
#define BYTES_A_KEY  48 /* guess for the size of the key table */

struct found {
    uint32_t id;
    bool index, data;
    uint64_t used;      /* end of the last data record that some index file knows */
};

struct load {
    struct ns *ns;
    struct err *e;
    struct found *found; /* ascending */
    size_t n;
    struct index_known newest; /* what is known of the newest segment's data */
    size_t first_lost;         /* position of the first segment whose index had losses, SIZE_MAX = none */
    bool ids_lost;             /* seq mode: records of earlier files are missing */
    bool rebuilt_newest;
};

/* --- what is there ---- */

/* "i12" with prefix 'i': 12.  Everything else in the directory is none of ours. */
static bool number_of(const char *name, char prefix, uint32_t *id)
{
    uint64_t v;

    if (name[0] != prefix || (name[1] == '0' && name[2]) || parse_u64(name + 1, 0, UINT32_MAX, &v) < 0)
        return false;
    *id = (uint32_t)v;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static int list_dir(struct load *l, const char *dir, char prefix)
{
    char **names;
    size_t n;
    int r = path_list(dir, &names, &n);
    struct found *all;

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
            r = err_set(l->e, EPROTONOSUPPORT, "%s/%s: files of a version before 2.0 cannot be read", dir, names[i]);
        if (number_of(names[i], prefix, &id))
            all[l->n++] = (struct found){.id = id, .index = prefix == 'i', .data = prefix == 'd'};
    }
    path_list_free(names, n);
    return r;
}

static int list_segments(struct load *l)
{
    size_t to = 0;
    int r = list_dir(l, l->ns->index_dir, 'i');

    if (r == 0)
        r = list_dir(l, l->ns->data_dir, 'd');
    if (r < 0)
        return r;
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

static void note_used(struct load *l, uint32_t seg, const struct index_rec *rec)
{
    struct found key = {.id = seg}, *f;
    uint64_t end = (uint64_t)rec->off + DATA_REC_SIZE + rec->key.len + rec->length;

    if (rec->off < DATA_HEADER_SIZE || rec->length > DATA_VALUE_MAX)
        return;
    f = seg < l->n && l->found[seg].id == seg ? &l->found[seg]
                                              : bsearch(&key, l->found, l->n, sizeof *l->found, by_id);
    if (f)
        f->used = MAX(f->used, end);
}

/* --- records into memory ---- */

/* Two unflagged records of one key: a crash came between the append and the flag.  The later one wins. */
static void flag_duplicate(struct load *l, const struct index_entry *k)
{
    struct seg *s = ns_seg_find(l->ns, k->file);
    int r = s ? index_file_flag(&s->index, k->off) : -ENOENT;

    if (r < 0 && r != -EROFS)
        log_warn("index file %u of namespace %s: record at %u cannot be flagged: %s", k->file, l->ns->name, k->off,
                 strerror(-r));
    else if (s)
        ns_sync_note(l->ns, s);
}

static void apply_user(struct load *l, struct seg *s, uint32_t off, const struct index_rec *rec)
{
    struct ns *ns = l->ns;
    struct index_entry *k;
    bool added;

    ns->next_id++;
    if (rec->flags & INDEX_DELETED) {
        k = rec->off < DATA_HEADER_SIZE ? NULL : index_find(ns->keys, rec->key); /* no data: blanked by a repair */
        if (!k)
            return;
        flag_duplicate(l, k);
        ns->entries--;
        ns->data_size -= k->length;
        ns->index_size -= 64u + k->keylen;
        index_remove(ns->keys, rec->key);
        return;
    }
    k = index_put(ns->keys, rec->key, &added);
    if (added) {
        ns->entries++;
        ns->index_size += 64u + k->keylen;
    } else {
        flag_duplicate(l, k);
        ns->data_size -= k->length;
    }
    k->file = s->id;
    k->off = off;
    k->data_off = rec->off;
    k->length = rec->length;
    k->crc = rec->crc;
    k->timestamp = rec->timestamp;
    ns->data_size += rec->length;
}

static int verify_record(void *arg, const struct index_rec *rec)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    struct seg *s = arg;
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;
    int r = data_read(&s->data, rec->off, rec->key, rec->length, rec->crc, &payload, false);

    if (r == 0 || r == -ENOENT)
        return r == 0 ? 1 : -1;
    r = data_record(&s->data, rec->off, &head, key, NULL, false);
    if (r < 0)
        return -1;
    return head.keylen == rec->key.len && head.length == rec->length ? -1 : 0;
}

static int load_user(struct load *l, struct seg *s, bool *damaged)
{
    struct index_walk w;
    struct index_rec rec;
    uint32_t off;
    uint64_t size;
    int r = index_walk_init(&w, &s->index, verify_record, s);

    size = w.size;
    while (r == 0 && (r = index_walk_next(&w, &off, &rec)) == 1) {
        index_file_mark(&s->index, off);
        note_used(l, s->id, &rec);
        index_known_add(&l->newest, l->ns, s->id, off, &rec);
        apply_user(l, s, off, &rec);
        r = 0;
    }
    s->index.size = w.pos;
    s->index.last = w.last;
    *damaged = w.lost_bytes > 0 || w.healed > 0;
    if (r == 0 && w.pos < size)
        r = index_file_cut(&s->index, w.pos, w.last);
    index_walk_fini(&w);
    return r < 0 ? err_sys(l->e, -r, "index %s", s->index.path) : 0;
}

/* First id of a file as its own records have it: id minus slot, by majority (copies of old versions have other ids). */
struct vote {
    uint64_t first, weight;
};

static void cast_vote(struct vote *v, uint64_t id, uint64_t slot)
{
    uint64_t first = id - slot;

    if (id < slot)
        return;
    if (v->weight == 0)
        v->first = first;
    if (v->first == first)
        v->weight++;
    else
        v->weight--;
}

/* A slot that is no record: its length byte or flags are garbled, the place of everything is known. */
static int heal_slot(struct seg *s, uint64_t off, uint8_t *slot)
{
    int r;

    log_warn("index %s: no record at %llu, its length and flags are set right", s->index.path, (unsigned long long)off);
    slot[0] = INDEX_SEQ_KEY;
    slot[INDEX_FLAGS_AT] &= INDEX_DELETED;
    r = index_file_patch(&s->index, off, slot, 1);
    return r < 0 ? r : index_file_patch(&s->index, off + INDEX_FLAGS_AT, slot + INDEX_FLAGS_AT, 1);
}

static int apply_seq(struct load *l, struct seg *s, uint64_t off, uint8_t *slot, struct vote *vote, bool *damaged)
{
    struct ns *ns = l->ns;
    struct index_rec rec;
    struct rd rd = rd_of(slice_of(slot, INDEX_SEQ_REC));
    int r;

    if (index_rec_decode(&rd, &rec) != 1 || rec.key.len != INDEX_SEQ_KEY) {
        *damaged = true;
        r = heal_slot(s, off, slot);
        if (r < 0)
            return r;
        rd = rd_of(slice_of(slot, INDEX_SEQ_REC));
        (void)index_rec_decode(&rd, &rec);
    }
    cast_vote(vote, le64_get(rec.key.p), (off - INDEX_HEADER_SIZE) / INDEX_SEQ_REC);
    note_used(l, rec.dataid, &rec);
    index_known_add(&l->newest, ns, s->id, (uint32_t)off, &rec);
    if (!(rec.flags & INDEX_DELETED)) {
        ns->entries++;
        ns->data_size += rec.length;
        ns->index_size += 64 + INDEX_SEQ_KEY;
    }
    return 0;
}

/* Fixed-size slots: nothing can get out of step.  lost: records of earlier files are missing, so that the first id has to
 * be taken from the records themselves. */
static int load_seq(struct load *l, struct seg *s, bool lost, bool *damaged)
{
    CLEANUP(base_free) uint8_t *block = xcalloc(1, SEQ_BLOCK);
    struct vote vote = {0};
    uint64_t off = INDEX_HEADER_SIZE, next = index_seq_next(&l->ns->seq);
    ssize_t n;
    int r = 0;

    while ((n = files_pread(s->index.file, block, SEQ_BLOCK, off, false)) >= INDEX_SEQ_REC) {
        n -= n % INDEX_SEQ_REC;
        for (ssize_t i = 0; r == 0 && i < n; i += INDEX_SEQ_REC)
            r = apply_seq(l, s, off + (uint64_t)i, block + i, &vote, damaged);
        if (r < 0)
            return err_sys(l->e, -r, "index %s", s->index.path);
        off += (uint64_t)n;
    }
    if (n < 0)
        return err_sys(l->e, (int)-n, "index %s", s->index.path);
    s->index.size = off;
    s->index.last = off > INDEX_HEADER_SIZE ? (uint32_t)(off - INDEX_SEQ_REC) : 0;
    if (n > 0) {
        log_warn("index %s: torn record at %llu, cut", s->index.path, (unsigned long long)off);
        *damaged = true;
        r = index_file_cut(&s->index, off, s->index.last);
    }
    if (vote.weight && vote.first != next)
        log_warn("index %s: first id is %llu, expected %llu", s->index.path, (unsigned long long)vote.first,
                 (unsigned long long)next);
    index_seq_push(&l->ns->seq, s->id, lost && vote.weight ? vote.first : next);
    index_seq_grow(&l->ns->seq, (off - INDEX_HEADER_SIZE) / INDEX_SEQ_REC);
    return r < 0 ? err_sys(l->e, -r, "index %s", s->index.path) : 0;
}

/* --- headers and mode ---- */

/* The mode is what the first good index header says; failing all of them, what the first data record looks like. */
static int find_mode(struct load *l)
{
    struct ns *ns = l->ns;
    bool known = false;

    for (size_t i = 0; i < l->n && !known; i++) {
        CLEANUP(base_free) char *path = xasprintf("%s/i%u", ns->index_dir, l->found[i].id);
        CLEANUP(base_close) int fd = l->found[i].index ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        uint8_t bytes[INDEX_HEADER_SIZE];
        struct index_header h;

        if (fd < 0 || io_pread_full(fd, bytes, sizeof bytes, 0) < 0 ||
            index_header_decode(slice_of(bytes, sizeof bytes), &h) < 0 || h.fileid != l->found[i].id)
            continue;
        if (ns->env->mode != NS_MIXED && h.mode != (uint8_t)ns->env->mode)
            return err_set(l->e, EINVAL, "index %s: the namespace is in %s mode, the server was started with --mode %s",
                           path, h.mode ? "sequential" : "user", h.mode ? "user" : "seq");
        ns->mode = h.mode == INDEX_MODE_SEQ ? NS_SEQ : NS_USER;
        known = true;
    }
    for (size_t i = 0; i < l->n && !known && ns->env->mode == NS_MIXED; i++) {
        CLEANUP(base_free) char *path = xasprintf("%s/d%u", ns->data_dir, l->found[i].id);
        CLEANUP(base_close) int fd = l->found[i].data ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        struct data_walk_rec rec;
        struct data_walk w;

        if (fd < 0 || data_walk_init(&w, fd, DATA_HEADER_SIZE) < 0)
            continue;
        if (data_walk_next(&w, &rec) == 1) {
            known = true;
            ns->mode = l->found[i].id == 0 && rec.key.len == NS_SEQ_KEY_SIZE && le64_get(rec.key.p) == 0 ? NS_SEQ
                                                                                                       : NS_USER;
        }
        data_walk_fini(&w);
    }
    return 0;
}

/* A garbled header is healed when the first record proves what the file is: its data record is there. */
static bool proves_itself(struct load *l, struct seg *s)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    int r;

    s->index.size = UINT32_MAX;
    r = index_file_read(&s->index, INDEX_HEADER_SIZE, &rec, bytes, false);
    s->index.size = 0;
    return r == 0 && (l->ns->mode == NS_USER || (rec.key.len == INDEX_SEQ_KEY && rec.dataid == s->id)) &&
           verify_record(s, &rec) == 1;
}

#define NOT_THERE 1 /* no records in this file: they have to come from the data */
#define GARBLED   2 /* the same, and what is there is kept aside */

/* 0: go on with the records; NOT_THERE, GARBLED; -errno. */
static int load_header(struct load *l, struct seg *s, const struct found *f)
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
    if (r == -ENODATA) { /* a crash in the creation; records that are gone come back from the data file */
        log_warn("index %s: only %zd bytes, started anew", s->index.path, n);
        return NOT_THERE;
    }
    if (r == 0 || proves_itself(l, s)) {
        log_warn("index %s: garbled header, set right", s->index.path);
        w = index_file_write_header(&s->index, s->index.mode);
        return w < 0 ? err_sys(l->e, -w, "index %s", s->index.path) : 0;
    }
    if (!f->data || r == -EPROTONOSUPPORT)
        return err_set(l->e, -r, "index %s: %s; restore the file from a backup", s->index.path,
                       r == -EPROTONOSUPPORT ? "unknown version" : "not an index file");
    log_error("index %s: not an index file, kept as .damaged and built anew from its data file", s->index.path);
    return GARBLED;
}

/* --- repair from the data file ---- */

/* All records of loaded index files that point into the data of s. */
static int collect_known(struct load *l, struct seg *s, struct index_known *k)
{
    struct ns *ns = l->ns;

    for (size_t i = 0; i < ns->nsegs; i++) {
        struct index_file *f = &ns->segs[i]->index;
        uint8_t bytes[INDEX_REC_MAX];
        struct index_rec rec;

        if (ns->mode == NS_USER && ns->segs[i] != s)
            continue;
        for (uint64_t off = INDEX_HEADER_SIZE; off < f->size; off += index_rec_size(&rec)) {
            int r = index_file_read(f, (uint32_t)off, &rec, bytes, false);
            if (r < 0)
                return r;
            index_known_add(k, ns, f->id, (uint32_t)off, &rec);
        }
    }
    return 0;
}

/* Compare the whole data file of s with what is loaded. */
static int redo_all(struct load *l, struct seg *s, bool newest)
{
    struct index_known k;
    int r;

    index_known_init(&k, s->id, 0);
    r = collect_known(l, s, &k);
    if (r == 0)
        r = index_redo(l->ns, s, &k, newest);
    index_known_fini(&k);
    return r < 0 ? err_sys(l->e, -r, "data %s", s->data.path) : 0;
}

/* The index of s is built from its data under another name: it appears whole or not at all. */
static int rebuild(struct load *l, struct seg *s, const struct found *f, bool keep)
{
    CLEANUP(base_free) char *final = xstrdup(s->index.path);
    CLEANUP(base_free) char *aside = xasprintf("%s.damaged", final);
    struct index_known k;
    int r;

    if (keep && rename(final, aside) < 0)
        return err_sys(l->e, errno, "rename %s", final);
    free(s->index.path);
    files_drop(s->index.fs, &s->index.file);
    s->index.path = xasprintf("%s/.i%u.rebuild", l->ns->index_dir, s->id);
    unlink(s->index.path);
    r = index_file_create(&s->index, (uint8_t)l->ns->mode);
    if (r == 0 && l->ns->mode == NS_SEQ)
        index_seq_push(&l->ns->seq, s->id, index_seq_next(&l->ns->seq));
    if (r == 0 && f->data) {
        index_known_init(&k, s->id, 0);
        k.rebuild = true;
        r = index_redo(l->ns, s, &k, s->data.active);
        index_known_fini(&k);
    }
    if (r == 0)
        r = index_file_open(&s->index);
    if (r == 0)
        r = io_fsync(s->index.file->fd);
    if (r == 0 && rename(s->index.path, final) < 0)
        r = -errno;
    if (r < 0)
        return err_sys(l->e, -r, "index %s cannot be built anew", final);
    free(s->index.path);
    s->index.path = xstrdup(final);
    s->index.dirty_at = ++s->index.fs->rewrites;
    ns_sync_note(l->ns, s);
    if (f->data)
        log_warn("index %s: built anew from its data file", final);
    else if (s->id != l->found[l->n - 1].id)
        log_error("index %s: missing, and its data file is not here to build it from", final);
    return path_sync_dir(l->ns->index_dir);
}

/* --- segment by segment ---- */

static int prepare_data(struct load *l, struct seg *s)
{
    int r = data_check_header(&s->data);

    if (r == -ENODATA || r == -EBADMSG || r == -EPROTONOSUPPORT || r == -EINVAL) {
        log_warn("data %s: %s header, written anew", s->data.path, r == -ENODATA ? "no" : "garbled");
        r = data_write_header(&s->data);
    }
    return r < 0 ? err_sys(l->e, -r, "data %s", s->data.path) : 0;
}

static int load_segment(struct load *l, size_t i)
{
    const struct found *f = &l->found[i];
    struct seg *s = ns_seg_add(l->ns, f->id);
    bool newest = i + 1 == l->n, damaged = false;
    uint32_t before = i > 0 ? l->found[i - 1].id : 0, expected = i > 0 ? before + 1 : 0;
    int r = 0;

    s->index.mode = (uint8_t)l->ns->mode;
    if (f->id != expected) {
        log_error("namespace %s: segments %u to %u are missing", l->ns->name, expected, f->id - 1);
        l->ids_lost = true;
    }
    if (newest && f->data) {
        s->data.active = true;
        r = prepare_data(l, s);
    }
    if (r == 0)
        r = f->index ? load_header(l, s, f) : NOT_THERE;
    if (r > 0) {
        l->first_lost = MIN(l->first_lost, i);
        l->ids_lost = true;
        l->rebuilt_newest = newest && f->data;
        return rebuild(l, s, f, r == GARBLED);
    }
    if (r == 0)
        r = l->ns->mode == NS_SEQ ? load_seq(l, s, l->ids_lost, &damaged) : load_user(l, s, &damaged);
    if (r < 0)
        return r;
    for (size_t j = l->ns->nsegs; j-- > 0;) {
        if (l->ns->segs[j]->index.last) {
            l->ns->last_index = l->ns->segs[j]->index.last;
            break;
        }
    }
    if (damaged) {
        l->first_lost = MIN(l->first_lost, i);
        l->ids_lost = true;
    }
    return damaged && f->data && !newest ? redo_all(l, s, false) : 0;
}

/* Deletions and updates of lost index records may be in later segments. */
static int replay_later(struct load *l)
{
    int r = 0;

    for (size_t i = l->first_lost; r == 0 && i < l->n && i + 1 < l->n; i++) {
        if (i == l->first_lost)
            continue;
        if (l->found[i].data)
            r = redo_all(l, l->ns->segs[i], false);
        else
            log_warn("data %s: not here, deletions in it cannot be told from the repaired index",
                     l->ns->segs[i]->data.path);
    }
    return r;
}

/* The newest segment becomes the active one, unless its data is not here: then a new one is opened behind it. */
static int open_newest(struct load *l)
{
    struct ns *ns = l->ns;
    struct seg *s = ns_active(ns);
    const struct found *f = &l->found[l->n - 1];
    int r;

    if (!f->data && s->index.last) {
        log_warn("data %s: missing, a new segment is opened", s->data.path);
        return ns_seg_create(ns, s->id + 1) < 0 ? err_set(l->e, EIO, "namespace %s: no new segment", ns->name) : 0;
    }
    if (!f->data) {
        r = data_create(&s->data);
        return r < 0 ? err_sys(l->e, -r, "data %s", s->data.path) : 0;
    }
    if (l->rebuilt_newest)
        return 0;
    if (l->first_lost < SIZE_MAX)
        return redo_all(l, s, true);
    r = index_redo(ns, s, &l->newest, true);
    if (r == -EROFS) {
        log_warn("namespace %s: on a read-only filesystem, not repaired", ns->name);
        return 0;
    }
    return r < 0 ? err_sys(l->e, -r, "data %s", s->data.path) : 0;
}

static uint64_t audit_from(struct load *l)
{
    CLEANUP(base_free) char *path = xasprintf("%s/d%u", l->ns->data_dir, l->found[l->n - 1].id);
    struct stat st;

    return stat(path, &st) == 0 && (uint64_t)st.st_size > LOAD_AUDIT ? (uint64_t)st.st_size - LOAD_AUDIT : 0;
}

static void expect_keys(struct load *l)
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

static int load_all(struct load *l)
{
    int r = list_segments(l);

    if (r < 0)
        return r;
    if (l->n == 0) {
        r = ns_seg_create(l->ns, 0);
        return r < 0 ? err_set(l->e, EIO, "namespace %s: the first segment cannot be created", l->ns->name) : 0;
    }
    r = find_mode(l);
    if (r < 0)
        return r;
    if (l->ns->mode == NS_USER)
        expect_keys(l);
    index_known_init(&l->newest, l->found[l->n - 1].id, audit_from(l));
    for (size_t i = 0; r == 0 && i < l->n; i++)
        r = load_segment(l, i);
    for (size_t i = 0; r == 0 && i < l->n; i++)
        l->ns->segs[i]->data.size = MAX(l->ns->segs[i]->data.size, l->found[i].used);
    if (r == 0)
        r = replay_later(l);
    if (r == 0)
        r = open_newest(l);
    l->ns->sync.everything = true;
    l->ns->opened_ms = base_now_ms();
    return r;
}

int index_load(struct ns *ns, struct err *e)
{
    struct load l = {.ns = ns, .e = e, .first_lost = SIZE_MAX};
    int r = load_all(&l);

    index_known_fini(&l.newest);
    free(l.found);
    return r;
}
