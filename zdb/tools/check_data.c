/* check_data - see the header.  Rules: spec zdb-files, section 5.
 * Something that cannot be read is no fault only at the very end of the newest file, behind its
 * mark: there a crash leaves what was not durable. */
#include "zdb/tools/check_data.h"
#include "common/crc.h"
#include "zdb/tools/check_index.h"
#include "zdb/file/data.h"
#include "zdb/file/data_walk.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define REPAIR  "zdb --repair completes it, as the next start does"
#define RESTORE "restore the file from its remote copy or a backup"
#define REBUILD \
    "move the index file of this segment away and start zdb: it builds it anew from the data file"

struct pass { /* over one data file */
    struct check *c;
    struct check_seg *s;
    char *path;
    int fd;
    struct data_walk walk;
    size_t next;   /* of s->known: those before are done */
    uint64_t mark; /* of the file: durable up to here */
};

static struct check_finding finding(const struct pass *p, enum check_kind kind, const char *code,
                                    uint64_t at, const char *remedy)
{
    return (struct check_finding){kind, code, p->path, at, {NULL, 0}, remedy};
}

/* What was on stable storage for certain. */
static void read_mark(struct pass *p)
{
    const struct watermark *w = &p->c->mark;

    if (!w->sequence || w->safe_segment < p->s->id)
        return;
    p->mark = w->safe_segment == p->s->id ? w->safe_size : p->walk.size;
    if (p->mark > p->walk.size) {
        struct check_finding x = finding(p, CHECK_NOTE, "mark", CHECK_NO_OFFSET, NULL);
        check_say(p->c->report, &x, "was on stable storage up to %llu and has only %llu bytes now",
                  (unsigned long long)p->mark, (unsigned long long)p->walk.size);
    }
}

static void check_header(struct pass *p)
{
    uint8_t bytes[DATA_HEADER_SIZE];
    struct data_header h = {0};
    ssize_t n = pread(p->fd, bytes, sizeof bytes, 0);
    int r = n < 0 ? -EIO : data_header_decode(slice_of(bytes, (size_t)n), &h);
    struct check_finding x =
        finding(p, CHECK_FAULT, "data-header", 0, "zdb --repair sets it right");

    if (r == -ENODATA) {
        x.kind = p->s->newest ? CHECK_UNCLEAN : CHECK_FAULT;
        check_say(p->c->report, &x, "only %zd bytes, no header", n);
    } else if (r == -EPROTONOSUPPORT) {
        check_say(p->c->report, &x, "unknown version %u", (unsigned)le32_get(bytes + 4));
    } else if (r < 0) {
        check_say(p->c->report, &x, "no header of a data file");
    } else if (h.fileid != p->s->id) {
        check_say(p->c->report, &x, "file number %u in the header", (unsigned)h.fileid);
    }
}

/* --- what the index names -------------------------------------------------------------------- */

static void fault_of(struct pass *p, const struct index_known_rec *m, enum check_kind kind,
                     const char *code, const char *remedy, const char *what)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct check_finding x = finding(p, kind, code, m->data_off, remedy);

    x.key = check_index_key(p->c, m->file, m->off, bytes);
    check_say(p->c->report, &x, "%s (index record at %u of i%u)", what, (unsigned)m->off,
              (unsigned)m->file);
}

/* No record begins where the index says. */
static void missed(struct pass *p, const struct index_known_rec *m, bool tail)
{
    bool behind = m->data_off >= p->walk.size;

    if (m->deleted) {
        if (!tail)
            fault_of(p, m, CHECK_NOTE, "old-version", NULL, "a former value is not there");
        return;
    }
    if (tail)
        fault_of(
            p, m, CHECK_UNCLEAN, "torn-data",
            "the value did not reach the disk; zdb --repair takes it back, as the next start does",
            behind ? "the file ends before this record" : "the data record is torn");
    else
        fault_of(p, m, CHECK_FAULT, "no-data", RESTORE,
                 behind ? "the file ends before this record" : "no data record begins here");
}

static const char *mismatch(const struct index_known_rec *m, const struct data_walk_rec *rec,
                            const char **code)
{
    *code = "mismatch";
    if (rec->head.flags & DATA_DELETED)
        return "is a deletion record";
    if (rec->head.flags & DATA_TRUNCATED)
        return "its value was removed by a compaction";
    if (rec->head.keylen != m->keylen || crc_raw(0, rec->key.p, rec->key.len) != m->key_crc)
        return "the data record has another key";
    if (rec->head.length != m->length)
        return "the data record has another length";
    if (rec->head.crc != m->crc)
        return "the data record has another CRC";
    *code = "crc";
    return rec->crc_ok ? NULL : "the CRC of the value is wrong";
}

/* All that names this record.  true: it is the live one of its key. */
static bool match(struct pass *p, const struct data_walk_rec *rec, bool *named)
{
    struct index_known *k = &p->s->known;
    bool live = false;

    for (; p->next < k->n && k->recs[p->next].data_off == rec->off; p->next++) {
        const struct index_known_rec *m = &k->recs[p->next];
        const char *code, *what = mismatch(m, rec, &code);
        *named = true;
        live |= !m->deleted;
        if (what && !m->deleted)
            fault_of(p, m, CHECK_FAULT, code, RESTORE, what);
        else if (what && !(rec->head.flags & DATA_TRUNCATED))
            fault_of(p, m, CHECK_NOTE, "old-version", NULL, what);
    }
    return live;
}

/* --- the walk -------------------------------------------------------------------------------- */

static void skip_to(struct pass *p, uint64_t off, bool tail)
{
    const struct index_known *k = &p->s->known;

    while (p->next < k->n && k->recs[p->next].data_off < off)
        missed(p, &k->recs[p->next++], tail);
}

/* A newer record of the key follows in the files, or its deletion: what is pending of it is of no
 * interest. */
static void settled(struct check *c, struct slice key)
{
    if (keys_count(c->pending))
        keys_remove(c->pending, key);
}

static void unnamed(struct pass *p, const struct data_walk_rec *rec)
{
    struct check *c = p->c;
    struct keys_entry *k;
    bool added;

    if (rec->head.flags & (DATA_DELETED | DATA_TRUNCATED)) {
        settled(c, rec->key);
        return;
    }
    if (p->s->broken || !p->s->has_index || !rec->crc_ok)
        return;
    k = keys_put(c->pending, rec->key, &added);
    k->file = p->s->id;
    k->data_off = (uint32_t)rec->off;
    k->length = rec->head.length;
}

static void see(struct pass *p, const struct data_walk_rec *rec)
{
    bool named = false, live;

    skip_to(p, rec->off, false);
    live = match(p, rec, &named);
    if (!live)
        p->c->t.dead_bytes += rec->head.length;
    if (named) {
        settled(p->c, rec->key);
        p->s->named = rec->off;
    } else {
        unnamed(p, rec);
    }
}

static bool zero_to_end(const struct pass *p, uint64_t at)
{
    uint8_t block[4096];
    ssize_t n;

    while ((n = pread(p->fd, block, sizeof block, (off_t)at)) > 0) {
        for (ssize_t i = 0; i < n; i++) {
            if (block[i])
                return false;
        }
        at += (uint64_t)n;
    }
    return n == 0;
}

/* No record at walk.off: go on where the index knows the next one. */
static void unreadable(struct pass *p, int why)
{
    struct index_known *k = &p->s->known;
    struct data_walk *w = &p->walk;
    uint64_t at = w->off, to;
    bool named = false, tail;
    size_t n;
    struct check_finding x;

    skip_to(p, at, false);
    for (n = p->next; n < k->n && k->recs[n].data_off == at; n++)
        named = true;
    to = n < k->n && k->recs[n].data_off < w->size ? k->recs[n].data_off : w->size;
    tail =
        p->s->newest && at >= p->mark && to == w->size && (why == -ENODATA || zero_to_end(p, at));
    if (named && !tail && index_known_end(&k->recs[n - 1]) <= to)
        to = index_known_end(&k->recs[n - 1]);
    x = finding(p, tail ? CHECK_UNCLEAN : CHECK_FAULT, tail ? "torn-data" : "data-record", at,
                tail ? REPAIR : RESTORE);
    if (!named)
        check_say(p->c->report, &x,
                  tail ? "torn record (%llu bytes)" : "no data record in %llu bytes",
                  (unsigned long long)(to - at));
    skip_to(p, at + 1, tail);
    w->off = to;
    if (tail)
        skip_to(p, UINT64_MAX, true);
}

static int walk(struct pass *p)
{
    struct data_walk_rec rec;
    int r;

    while ((r = data_walk_next(&p->walk, &rec)) != 0) {
        if (r == 1)
            see(p, &rec);
        else if (r == -ENODATA || r == -EBADMSG)
            unreadable(p, r);
        else
            return r;
    }
    /* index records ahead of the data: both are written before either is durable */
    skip_to(p, UINT64_MAX, p->s->newest && p->walk.size >= p->mark);
    return 0;
}

int check_data(struct check *c, struct check_seg *s, struct err *e)
{
    struct pass p = {.c = c, .s = s, .path = check_dir_path(&c->dir, 'd', s->id)};
    int r;

    p.fd = check_open(p.path);
    r = p.fd < 0 ? p.fd : data_walk_init(&p.walk, p.fd, DATA_HEADER_SIZE);
    if (r >= 0) {
        read_mark(&p);
        check_header(&p);
        index_known_sort(&s->known);
        r = walk(&p);
    }
    index_known_reset(&s->known, 0);
    data_walk_fini(&p.walk);
    if (r < 0)
        r = err_sys(e, -r, "data %s", p.path);
    base_close(&p.fd);
    free(p.path);
    return r;
}

/* --- records that the index lacks ------------------------------------------------------------ */

static bool is_later(uint32_t seg, uint32_t off, const struct keys_entry *than)
{
    return seg > than->file || (seg == than->file && off > than->data_off);
}

/* The index has a later version of this key, or knows that it is deleted. */
static bool is_superseded(struct check *c, const struct keys_entry *one)
{
    struct slice key = slice_of(one->key, one->keylen);
    uint8_t bytes[INDEX_REC_MAX];
    const struct keys_entry *k;
    struct index_rec rec;

    if (c->mode == INDEX_MODE_USER) {
        k = keys_find(c->keys, key);
        return k && is_later(k->file, k->data_off, one);
    }
    return key.len == INDEX_SEQ_KEY && check_index_slot(c, le64_get(key.p), &rec, bytes) == 1 &&
           ((rec.flags & INDEX_DELETED) || is_later(rec.dataid, rec.off, one));
}

static void say_pending(void *arg, struct keys_entry *one)
{
    struct check *c = arg;
    const struct check_seg *s = check_seg_find(c, one->file);
    CLEANUP(base_free) char *path = check_dir_path(&c->dir, 'd', one->file);
    struct check_finding x = {
        CHECK_FAULT, "not-indexed", path, one->data_off, slice_of(one->key, one->keylen), REBUILD};

    if (is_superseded(c, one))
        return;
    if (one->length == 0 && c->mode == INDEX_MODE_USER) { /* the load believes such a record only of
                                                             a new key */
        x.kind = CHECK_NOTE;
        x.remedy = NULL;
        check_say(c->report, &x,
                  "no index record names this empty value, which may be a damaged deletion");
        return;
    }
    if (s->newest && one->data_off > s->named) {
        x.kind = CHECK_UNCLEAN;
        x.remedy = REPAIR;
    }
    check_say(c->report, &x, "no index record names this value");
}

void check_data_pending(struct check *c)
{
    keys_each(c->pending, say_pending, c);
}
