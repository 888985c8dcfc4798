/* replay - see the header: where it begins, the walk over one data file, its end. */
#include "zdb/recovery/replay.h"
#include "common/io.h"
#include "common/log.h"
#include "zdb/recovery/aside.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- where it begins ------------------------------------------------------------------------- */

static bool fits(struct index_load *l, const struct index_found *f)
{
    CLEANUP(base_free) char *path = xasprintf("%s/i%u", l->ns->index_dir, f->id);
    struct stat st;

    if (f->mark.size < DATA_HEADER_SIZE || f->mark.index_size < INDEX_HEADER_SIZE ||
        (f->mark.size > f->data_size && f->mark.size > DATA_HEADER_SIZE))
        return false;
    if (f->mark.index_size == INDEX_HEADER_SIZE)
        return true; /* files that may not have been durable yet: not even their headers need be
                        there */
    return f->index && stat(path, &st) == 0 && (uint64_t)st.st_size >= f->mark.index_size;
}

/* From the newest back to one whose mark says that it has something durable: then all before it is.
 */
void index_replay_plan(struct index_load *l)
{
    size_t first = l->n;
    bool stop = false;

    for (size_t i = l->n; i-- > 0 && !stop;) {
        struct index_found *f = &l->found[i];
        struct data d;
        struct stat st;
        bool marked;

        if (!f->data) {
            if (i + 1 < l->n)
                break; /* sealed, and evicted when all before was durable */
            continue;
        }
        data_init(&d, &l->ns->env->files, l->ns->data_dir, f->id);
        if (data_open(&d) == 0 && fstat(d.file->fd, &st) == 0)
            f->data_size = (uint64_t)st.st_size;
        marked = data_marked(&d, &f->mark);
        data_fini(&d);
        if (!marked && f->data_size > DATA_HEADER_SIZE)
            break;                   /* not ours: we mark before the first record */
        if (marked && !fits(l, f)) { /* something else has happened to these files */
            index_load_doubt(l, f->id);
            return;
        }
        stop = marked && f->mark.size > DATA_HEADER_SIZE;
        if (marked)
            first = i;
    }
    for (size_t i = first; i < l->n; i++) {
        struct index_found *f = &l->found[i];
        f->replay = f->data;
        f->durable = f->mark.size; /* 0: the first mark did not reach the disk */
        if (!f->mark.size)
            f->mark = (struct data_mark){DATA_HEADER_SIZE, INDEX_HEADER_SIZE, 0};
    }
}

/* --- the walk -------------------------------------------------------------------------------- */

/* From the beginning of some sector in the bytes [from, end) there are only zeros, up to its end or
 * that of the file: perhaps a page of it never reached the disk. */
static bool has_lost_sector(struct file *f, uint64_t from, uint64_t end)
{
    uint8_t sector[512];

    for (uint64_t at = from & ~(uint64_t)511; at < end; at += sizeof sector) {
        ssize_t n = files_pread(f, sector, sizeof sector, at, false);
        ssize_t i = at < from ? (ssize_t)(from - at) : 0;

        while (i < n && sector[i] == 0)
            i++;
        if (i >= n)
            return true;
    }
    return false;
}

bool index_replay_there(struct index_replay *p, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX])
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

int index_replay_put(struct index_replay *p, const struct index_rec *want, bool same)
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

/* The end of what a record without payload says: an id cannot be above the next one, so its last
 * bytes are zeros in any case. */
static uint64_t said_until(const struct index_replay *p, const struct data_walk_rec *rec)
{
    size_t n = 0;

    if (p->ns->mode != NS_SEQ || rec->head.length > 0 || rec->key.len != NS_SEQ_KEY_SIZE)
        return rec->end;
    for (uint64_t id = index_seq_next(&p->ns->seq); id; id >>= 8)
        n++;
    return rec->end - NS_SEQ_KEY_SIZE + n;
}

/* 1 a whole record was played, 0 history ends at walk.off, -errno. */
static int step(struct index_replay *p)
{
    struct data_walk_rec rec;
    uint64_t off = p->walk.off;
    int r = data_walk_next(&p->walk, &rec);

    if (r == -ENODATA || r == -EBADMSG)
        return 0;
    if (r <= 0)
        return r;
    p->walk.off = off;
    if (!rec.crc_ok || rec.end > UINT32_MAX + (uint64_t)DATA_VALUE_MAX)
        return 0;
    p->weak = rec.head.crc == 0 && has_lost_sector(p->file, rec.off, said_until(p, &rec));
    r = p->ns->mode == NS_SEQ ? index_replay_seq(p, &rec) : index_replay_user(p, &rec);
    if (r <= 0)
        return r;
    p->walk.off = rec.end;
    p->records++;
    p->s->data.size = rec.end;
    p->ns->last_data = (uint32_t)rec.off;
    return 1;
}

/* The file begins with a record that names the last one before it, unless it was empty at a start.
 */
static bool follows(struct index_replay *p, uint32_t last)
{
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;

    return !last || data_record(&p->s->data, DATA_HEADER_SIZE, &head, key, NULL, false) < 0 ||
           head.previous == 0 || head.previous == last;
}

/* --- the end of history ---------------------------------------------------------------------- */

static int put_aside(const char *dir, char prefix, uint32_t id)
{
    CLEANUP(base_free) char *path = xasprintf("%s/%c%u", dir, prefix, id);
    CLEANUP(base_free) char *as = NULL;
    int r = aside_file(path, ".lost", &as);

    if (as)
        log_warn("%s: nothing in it was durable, kept as %s", path, as);
    return r == -ENOENT ? 0 : r;
}

/* Newest first, and durable one by one: what is left is always the beginning of what was. */
static int put_later_aside(struct index_load *l, size_t i)
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

/* New records must not meet old ones behind the cut: so it is durable before there are any. */
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

static int cut_index(struct index_load *l, struct seg *s, const char *as)
{
    int r;

    log_warn("index %s: cut at %llu, as its data was not durable%s%s", s->index.path,
             (unsigned long long)s->index.size, as ? ", kept as " : "", as ? as : "");
    r = index_file_cut(&s->index, s->index.size, s->index.last);
    if (r == 0)
        r = io_fsync(s->index.file->fd);
    ns_sync_note_quiet(l->ns, s);
    return r;
}

static int end_here(struct index_load *l, size_t i, struct seg *s, const struct index_replay *p)
{
    CLEANUP(base_free) char *data = NULL;
    CLEANUP(base_free) char *idx = NULL;
    bool more_index = s->index.size < p->index_size, more_data = s->data.size < p->walk.size;
    int r = put_later_aside(l, i);

    if (r == 0 && more_data)
        r = aside_data_is_worth(s->data.path, s->data.size, p->walk.size);
    if (r == 1) {
        r = aside_tail(s->data.path, s->data.size, p->walk.size, &data);
        if (r == 0 && more_index)
            r = aside_tail(s->index.path, s->index.size, p->index_size, &idx);
    }
    if (r == 0 && more_index)
        r = cut_index(l, s, idx);
    if (r == 0 && more_data)
        r = cut_data(s, p->walk.size, data);
    return r;
}

int index_replay(struct index_load *l, size_t i, struct seg *s)
{
    struct index_found *f = &l->found[i];
    struct index_replay p = {.l = l, .ns = l->ns, .s = s};
    uint32_t last = i > 0 && l->found[i - 1].replay ? l->ns->last_data : 0;
    struct stat st;
    bool ends;
    int r = index_file_open(&s->index);

    if (r < 0)
        return r;
    if (fstat(s->index.file->fd, &st) < 0)
        return -errno;
    p.index_size = (uint64_t)st.st_size;
    r = data_open(&s->data);
    if (r < 0)
        return r;
    p.file = files_ref(s->data.file);
    s->data.size = f->mark.size;
    l->ns->last_data = f->mark.last;
    r = data_walk_init(&p.walk, p.file->fd, f->mark.size);
    if (r == 0)
        r = f->mark.size > DATA_HEADER_SIZE || follows(&p, last);
    while (r == 1)
        r = step(&p);
    ends = p.walk.off < p.walk.size || s->index.size < p.index_size ||
           (i + 1 < l->n && l->found[i + 1].id != f->id + 1);
    data_walk_fini(&p.walk);
    files_unref(p.file);
    if (r < 0)
        return r;
    if (p.records) {
        log_info("data %s: %llu records played again, %llu of them were not in the index",
                 s->data.path, (unsigned long long)p.records, (unsigned long long)p.missing);
        s->data.unsynced = s->index.unsynced = l->replayed = true;
        ns_sync_note_quiet(l->ns, s);
    }
    if (ends) {
        l->replayed = true;
        r = end_here(l, i, s, &p);
    }
    return r < 0 ? r : !ends;
}

int index_replay_finish(struct index_load *l)
{
    int r = 0;

    if (!l->replayed)
        return 0;
    ns_patch_forget_same(l->ns);
    if (l->ns->mode == NS_SEQ)
        r = index_load_seq_recount(l->ns);
    return r;
}
