/* check_index - see the header.  Rules: spec zdb-files, section 4. */
#include "zdb/tools/check_index.h"
#include "zdb/file/index_walk.h"
#include "zdb/format/data.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define REBUILD "move the file away and start zdb: it builds it anew from the data file"
#define REPAIR  "zdb --repair completes it, as the next start does"

struct file { /* the index file at hand */
    struct check *c;
    struct check_seg *s;
    char *path;
    int fd;
    struct index_walk walk;
    bool quiet; /* findings were said in another pass */
};

typedef void record_fn(struct file *f, uint64_t at, const struct index_rec *rec);

static struct check_finding finding(const struct file *f, enum check_kind kind, const char *code,
                                    uint64_t at, const char *remedy)
{
    return (struct check_finding){kind, code, f->path, at, {NULL, 0}, remedy};
}

static void file_close(struct file *f)
{
    index_walk_fini(&f->walk);
    base_close(&f->fd);
    free(f->path);
}

static int file_open(struct file *f, struct check *c, struct check_seg *s, struct err *e)
{
    int r;

    *f = (struct file){.c = c, .s = s, .fd = -1, .path = check_dir_path(&c->dir, 'i', s->id)};
    f->fd = check_open(f->path);
    if (f->fd < 0) {
        r = err_sys(e, -f->fd, "index %s", f->path);
        f->fd = -1;
    } else {
        r = index_walk_init(&f->walk, f->fd, INDEX_HEADER_SIZE);
        if (r < 0)
            r = err_sys(e, -r, "index %s", f->path);
    }
    if (r < 0)
        file_close(f);
    return r;
}

/* --- header ---------------------------------------------------------------------------------- */

static const char *mode_name(uint8_t mode)
{
    return mode == INDEX_MODE_SEQ ? "sequential" : "user";
}

/* false: nothing behind it can be believed. */
static bool check_header(struct file *f)
{
    struct check *c = f->c;
    uint8_t bytes[INDEX_HEADER_SIZE];
    struct index_header h = {0};
    ssize_t n = pread(f->fd, bytes, sizeof bytes, 0);
    int r = n < 0 ? -EIO : index_header_decode(slice_of(bytes, (size_t)n), &h);
    struct check_finding x = finding(f, CHECK_FAULT, "index-header", 0, REBUILD);

    if (r == -ENODATA) {
        x.kind = f->s->newest ? CHECK_UNCLEAN : CHECK_FAULT;
        x.remedy = f->s->newest ? REPAIR : REBUILD;
        check_say(c->report, &x, "only %zd bytes, no header", n);
    } else if (r == -EPROTONOSUPPORT) {
        x.remedy = "restore the file from a backup";
        check_say(c->report, &x, "unknown version %u", (unsigned)le32_get(bytes + 4));
    } else if (r < 0) {
        check_say(c->report, &x, "no header of an index file");
    }
    if (r < 0)
        return false;
    if (!c->has_mode) {
        c->mode = h.mode;
        c->has_mode = true;
    }
    x.remedy = "zdb --repair sets it right";
    if (h.fileid != f->s->id)
        check_say(c->report, &x, "file number %u in the header", (unsigned)h.fileid);
    if (h.mode != c->mode)
        check_say(c->report, &x, "%s mode, the files before have %s mode", mode_name(h.mode),
                  mode_name(c->mode));
    return true;
}

/* --- records --------------------------------------------------------------------------------- */

static bool zero_to_end(const struct file *f, uint64_t at)
{
    uint8_t block[4096];
    ssize_t n;

    while ((n = pread(f->fd, block, sizeof block, (off_t)at)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (block[i])
                return false;
        }
        at += (uint64_t)n;
    }
    return n == 0;
}

/* No record at walk.off.  true: go on behind it. */
static bool no_record(struct file *f, int why)
{
    struct index_walk *w = &f->walk;
    uint64_t left = w->size - w->off;
    bool seq = f->c->mode == INDEX_MODE_SEQ;
    bool tail =
        f->s->newest && (why == -ENODATA ? !seq || left < INDEX_SEQ_REC : zero_to_end(f, w->off));
    struct check_finding x =
        finding(f, tail ? CHECK_UNCLEAN : CHECK_FAULT, tail ? "torn-index" : "index-record", w->off,
                tail ? REPAIR : REBUILD);

    f->s->broken = f->s->broken || why == -EBADMSG; /* what is cut off is missing, and can be said
                                                       to be */
    if (!f->quiet) {
        if (tail && why == -ENODATA)
            check_say(f->c->report, &x, "torn record (%llu bytes)", (unsigned long long)left);
        else
            check_say(f->c->report, &x, "no index record, %llu bytes are left",
                      (unsigned long long)left);
    }
    if (!seq || tail || left < INDEX_SEQ_REC)
        return false;
    w->off += INDEX_SEQ_REC;
    return true;
}

static void check_chain(struct file *f, uint64_t at, const struct index_rec *rec)
{
    struct check *c = f->c;
    struct check_finding x =
        finding(f, CHECK_FAULT, "index-chain", at, "zdb --repair sets it right");

    if (c->last_known && rec->previous != c->last)
        check_say(c->report, &x, "names %u as the record before it, not %u",
                  (unsigned)rec->previous, (unsigned)c->last);
    c->last = (uint32_t)at;
    c->last_known = true;
}

static int each_record(struct file *f, record_fn *fn, struct err *e)
{
    struct index_rec rec;
    uint64_t at;
    int r;

    f->s->records = 0;
    while ((r = index_walk_next(&f->walk, &at, &rec)) != 0) {
        if (r == -ENODATA || r == -EBADMSG) {
            if (!no_record(f, r))
                return 0;
            f->s->records++; /* a slot all the same */
            f->c->last_known = false;
            continue;
        }
        if (r < 0)
            return err_sys(e, -r, "index %s", f->path);
        fn(f, at, &rec);
        f->s->records++;
    }
    return 0;
}

/* --- user mode ------------------------------------------------------------------------------- */

static void not_flagged(struct file *f, const struct keys_entry *old, uint64_t at, bool deleted)
{
    CLEANUP(base_free) char *path = check_dir_path(&f->c->dir, 'i', old->file);
    struct check_finding x = {
        CHECK_UNCLEAN, "not-flagged", path, old->off, slice_of(old->key, old->keylen), REPAIR};

    check_say(f->c->report, &x, "%s by the record at %llu of %s, and not flagged yet",
              deleted ? "deleted" : "superseded", (unsigned long long)at, f->path);
}

static void forget(struct check *c, const struct keys_entry *old)
{
    c->t.keys--;
    c->t.live_bytes -= old->length;
}

static void see_user(struct file *f, uint64_t at, const struct index_rec *rec)
{
    struct check *c = f->c;
    struct keys_entry *k = keys_find(c->keys, rec->key);
    bool added;

    check_chain(f, at, rec);
    if (k && (!(rec->flags & INDEX_DELETED) || rec->off >= DATA_HEADER_SIZE)) {
        not_flagged(f, k, at, rec->flags & INDEX_DELETED);
        forget(c, k);
        if (rec->flags & INDEX_DELETED)
            keys_remove(c->keys, rec->key);
    }
    if (rec->flags & INDEX_DELETED)
        return;
    k = keys_put(c->keys, rec->key, &added);
    k->file = f->s->id;
    k->off = (uint32_t)at;
    k->data_off = rec->off;
    k->length = rec->length;
    c->t.keys++;
    c->t.live_bytes += rec->length;
}

static void collect_user(struct file *f, uint64_t at, const struct index_rec *rec)
{
    const struct keys_entry *k = keys_find(f->c->keys, rec->key);
    struct index_rec one = *rec;

    if (!k || k->file != f->s->id || k->off != at)
        one.flags |= INDEX_DELETED;
    if (one.off >= DATA_HEADER_SIZE || !(one.flags & INDEX_DELETED))
        index_known_add(&f->s->known, f->s->id, (uint32_t)at, &one);
}

int check_index_collect(struct check *c, struct check_seg *s, struct err *e)
{
    uint64_t records = s->records;
    struct file f;
    int r = file_open(&f, c, s, e);

    if (r < 0)
        return r;
    f.quiet = true;
    r = each_record(&f, collect_user, e);
    s->records = records;
    file_close(&f);
    return r;
}

/* --- sequential mode ------------------------------------------------------------------------- */

static void first_of_file(struct file *f, uint64_t id)
{
    if (!f->c->last_known && f->s->records == 0 && id >= f->s->first) /* files before it are lost:
                                                                         its own word counts */
        f->s->first = id;
}

static void see_seq(struct file *f, uint64_t at, const struct index_rec *rec)
{
    struct check *c = f->c;
    struct check_finding x = finding(f, CHECK_FAULT, "index-slot", at, REBUILD);
    struct check_seg *home = check_seg_find(c, rec->dataid);
    bool live = !(rec->flags & INDEX_DELETED);
    struct index_rec one = *rec;
    uint64_t id, want;

    f->walk.off = at + INDEX_SEQ_REC;
    if (rec->key.len != INDEX_SEQ_KEY) {
        check_say(c->report, &x, "key of %zu bytes in sequential mode", rec->key.len);
        c->last_known = false;
        return;
    }
    id = le64_get(rec->key.p);
    if (live)
        first_of_file(f, id);
    want = f->s->first + f->s->records;
    check_chain(f, at, rec);
    x.key = rec->key;
    if (id > want || (live && id != want)) {
        check_say(c->report, &x, "id %llu in the place of id %llu", (unsigned long long)id,
                  (unsigned long long)want);
        live = false;
    } else if (live && rec->off < DATA_HEADER_SIZE) {
        x.kind = f->s->newest ? CHECK_UNCLEAN : CHECK_FAULT;
        x.remedy = f->s->newest ? REPAIR : REBUILD;
        check_say(c->report, &x, "no data record is named");
        live = false;
    } else if (live && !home) {
        x.remedy = "restore the files of that segment";
        check_say(c->report, &x, "segment %u, which has its data, does not exist",
                  (unsigned)rec->dataid);
    }
    if (live) {
        c->t.keys++;
        c->t.live_bytes += rec->length;
    } else {
        one.flags |= INDEX_DELETED;
    }
    if (home && rec->off >= DATA_HEADER_SIZE)
        index_known_add(&home->known, f->s->id, (uint32_t)at, &one);
}

/* --- all files ------------------------------------------------------------------------------- */

static int check_file(struct check *c, struct check_seg *s, struct err *e)
{
    struct file f;
    int r = file_open(&f, c, s, e);

    if (r < 0)
        return r;
    if (check_header(&f))
        r = each_record(&f, c->mode == INDEX_MODE_SEQ ? see_seq : see_user, e);
    else
        s->broken = true;
    c->t.records += s->records;
    file_close(&f);
    return r;
}

int check_index(struct check *c, struct err *e)
{
    uint64_t next = 0;
    int r = 0;

    c->last_known = true;
    for (size_t i = 0; r == 0 && i < c->n; i++) {
        struct check_seg *s = &c->segs[i];
        if (!s->has_index || (i > 0 && s->id != c->segs[i - 1].id + 1) || (i == 0 && s->id > 0))
            c->last_known = false;
        s->first = next;
        if (s->has_index)
            r = check_file(c, s, e);
        if (s->broken)
            c->last_known = false;
        next = s->first + s->records;
    }
    return r;
}

/* --- single records -------------------------------------------------------------------------- */

static int read_record(struct check *c, uint32_t file, uint64_t off, struct index_rec *rec,
                       uint8_t bytes[INDEX_REC_MAX])
{
    CLEANUP(base_free) char *path = check_dir_path(&c->dir, 'i', file);
    CLEANUP(base_close) int fd = check_open(path);
    ssize_t n;
    struct rd rd;

    if (fd < 0)
        return fd;
    n = pread(fd, bytes, INDEX_REC_MAX, (off_t)off);
    if (n < 0)
        return -errno;
    rd = rd_of(slice_of(bytes, (size_t)n));
    return index_rec_decode(&rd, rec) == 1 ? 0 : -EBADMSG;
}

int check_index_slot(struct check *c, uint64_t id, struct index_rec *rec,
                     uint8_t bytes[INDEX_REC_MAX])
{
    for (size_t i = 0; i < c->n; i++) {
        const struct check_seg *s = &c->segs[i];
        if (!s->has_index || id < s->first || id - s->first >= s->records)
            continue;
        return read_record(c, s->id, INDEX_HEADER_SIZE + (id - s->first) * INDEX_SEQ_REC, rec,
                           bytes) == 0;
    }
    return 0;
}

struct slice check_index_key(struct check *c, uint32_t file, uint32_t off,
                             uint8_t bytes[INDEX_REC_MAX])
{
    struct index_rec rec;

    return read_record(c, file, off, &rec, bytes) == 0 ? rec.key : slice_of(NULL, 0);
}
