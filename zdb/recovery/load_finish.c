/* load_finish - the end of a load: what the comparison of index and data decided is written.
 * Contract: recovery/load.h. First what was added or came back goes to the disk, then what it
 * replaces may go: a power cut at any moment leaves files from which the next load decides the
 * same. */
#include "common/io.h"
#include "common/log.h"
#include "zdb/recovery/aside.h"
#include "zdb/recovery/load.h"
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DROP_CHAIN 4096 /* versions of one key in a row; more is a ring */

static void *grown(void *p, size_t n, size_t *cap, size_t size)
{
    void *q;

    if (n < *cap)
        return p;
    *cap = *cap ? *cap * 2 : 16;
    q = xcalloc(*cap, size);
    if (p)
        memcpy(q, p, n * size);
    free(p);
    return q;
}

void index_load_drop(struct index_load *l, const struct index_drop *d)
{
    l->drops = grown(l->drops, l->ndrops, &l->cap_drops, sizeof *l->drops);
    l->drops[l->ndrops++] = *d;
}

void index_load_header(struct index_load *l, uint32_t seg)
{
    l->headers = grown(l->headers, l->nheaders, &l->cap_headers, sizeof *l->headers);
    l->headers[l->nheaders++] = seg;
}

void index_load_cut(struct index_load *l, uint64_t size)
{
    l->cut = size;
}

void index_load_replaced(struct index_load *l, uint32_t file, uint32_t off, uint32_t old_file,
                         uint32_t old_off)
{
    l->replaced = grown(l->replaced, l->nreplaced, &l->cap_replaced, sizeof *l->replaced);
    l->replaced[l->nreplaced++] = (struct index_replaced){file, off, old_file, old_off};
}

const struct index_replaced *index_load_was(const struct index_load *l, uint32_t file, uint32_t off)
{
    size_t lo = 0, hi = l->nreplaced;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct index_replaced *r = &l->replaced[mid];
        if (r->file < file || (r->file == file && r->off < off))
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < l->nreplaced && l->replaced[lo].file == file && l->replaced[lo].off == off
               ? &l->replaced[lo]
               : NULL;
}

void index_load_finish_free(struct index_load *l)
{
    free(l->drops);
    free(l->headers);
    free(l->replaced);
}

/* --- index records whose data is lost -------------------------------------------------------- */

static int by_place(const void *a, const void *b)
{
    const struct index_drop *x = a, *y = b;

    if (x->file != y->file)
        return x->file < y->file ? -1 : 1;
    return x->off < y->off ? -1 : x->off > y->off;
}

static const struct index_drop *dropped(const struct index_load *l, uint32_t file, uint32_t off)
{
    struct index_drop key = {.file = file, .off = off};

    return bsearch(&key, l->drops, l->ndrops, sizeof *l->drops, by_place);
}

/* HISTORY steps over versions that are lost: who names one as its parent gets the one before. */
static int relink_file(struct index_load *l, struct seg *s)
{
    uint8_t bytes[INDEX_REC_MAX], encoded[INDEX_REC_MAX];
    struct index_rec rec;

    for (uint64_t off = INDEX_HEADER_SIZE; off < s->index.size; off += index_rec_size(&rec)) {
        const struct index_drop *d;
        unsigned n = 0;
        int r = ns_seg_record(l->ns, s->id, (uint32_t)off, &rec, bytes, NULL);

        if (r < 0)
            return r == -EBADMSG ? 0 : r;
        for (;
             rec.parent_off && n < DROP_CHAIN && (d = dropped(l, rec.parent_file, rec.parent_off));
             n++) {
            rec.parent_file = d->parent_file;
            rec.parent_off = d->parent_off;
        }
        if (n == 0)
            continue;
        index_rec_encode(encoded, &rec);
        ns_patch_bytes(l->ns, s->id, (uint32_t)off, encoded, INDEX_REC_SIZE);
    }
    return 0;
}

static int relink(struct index_load *l)
{
    int r = 0;

    if (l->ndrops == 0)
        return 0;
    qsort(l->drops, l->ndrops, sizeof *l->drops, by_place);
    for (size_t i = 0; r == 0 && i < l->ns->nsegs; i++) {
        if (l->ns->mode == NS_SEQ || l->ns->segs[i]->id >= l->drops[0].file) /* a slot may name a
                                                                                later file */
            r = relink_file(l, l->ns->segs[i]);
    }
    return r;
}

/* Deleted, pointing nowhere, and in user mode under a key that nobody has, as readers of the
 * original kind forget the key of each deleted record they meet. */
static int blank(struct index_load *l, const struct index_drop *p)
{
    uint8_t bytes[INDEX_REC_MAX];
    struct seg *s = ns_seg_find(l->ns, p->file);
    struct index_rec r;
    int ret = p->blank ? ns_seg_record(l->ns, p->file, p->off, &r, bytes, NULL) : -EBADMSG;
    size_t n = INDEX_REC_SIZE;

    if (ret < 0)
        return ret == -EBADMSG ? 0 : ret;
    ns_patch_forget(l->ns, p->file, p->off);
    if (l->ns->mode == NS_USER) {
        n += r.key.len;
        for (unsigned c = 0; c < 256; c++) {
            memset(bytes + INDEX_REC_SIZE, (int)c, r.key.len);
            if (!index_find(l->ns->keys, r.key))
                break;
        }
    }
    r.flags = INDEX_DELETED;
    r.off = r.length = r.crc = r.dataid = r.timestamp = r.parent_file = r.parent_off = 0;
    index_rec_encode(bytes, &r);
    ns_sync_note(l->ns, s);
    return index_file_patch(&s->index, p->off, bytes, n);
}

/* --- data files ------------------------------------------------------------------------------ */

static int open_data(struct index_load *l, uint32_t seg, struct seg **s)
{
    int fd;

    *s = ns_seg_find(l->ns, seg);
    fd = open((*s)->data.path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    (*s)->data.unsynced = true;
    ns_sync_note(l->ns, *s);
    return fd;
}

static int write_header(struct index_load *l, uint32_t seg)
{
    uint8_t bytes[DATA_HEADER_SIZE];
    struct seg *s;
    CLEANUP(base_close) int fd = open_data(l, seg, &s);

    if (fd < 0)
        return fd;
    log_warn("data %s: garbled header, set right", s->data.path);
    data_header_encode(bytes, seg);
    return io_pwrite_full(fd, bytes, DATA_HEADER_SIZE, 0);
}

/* Whatever cannot be read elsewhere stays as it is; only new records must not come behind it. */
static int cut(struct index_load *l)
{
    CLEANUP(base_free) char *as = NULL;
    struct stat st;
    struct seg *s;
    CLEANUP(base_close) int fd = open_data(l, ns_active(l->ns)->id, &s);
    int r;

    if (fd < 0)
        return fd;
    if (fstat(fd, &st) < 0)
        return -errno;
    r = aside_data_is_worth(s->data.path, l->cut, (uint64_t)st.st_size);
    if (r == 1)
        r = aside_tail(s->data.path, l->cut, (uint64_t)st.st_size, &as);
    if (r < 0)
        return r;
    log_warn("data %s: torn tail of %llu bytes cut at %llu%s%s", s->data.path,
             (unsigned long long)st.st_size - (unsigned long long)l->cut,
             (unsigned long long)l->cut, as ? ", kept as " : "", as ? as : "");
    s->data.size = l->cut;
    return ftruncate(fd, (off_t)l->cut) < 0 ? -errno : 0;
}

int index_load_finish(struct index_load *l)
{
    struct ns *ns = l->ns;
    int r;

    if (l->ndrops == 0 && l->nheaders == 0 && !l->cut && !l->ids_lost && !l->repaired)
        return 0;
    r = relink(l);
    if (r == 0)
        r = ns_sync_block(ns);
    if (r == 0) {
        ns_patch_write(ns, ns->patches.clock, SIZE_MAX);
        r = ns_sync_block(ns);
    }
    for (size_t i = 0; r == 0 && i < l->ndrops; i++)
        r = blank(l, &l->drops[i]);
    for (size_t i = 0; r == 0 && i < l->nheaders; i++)
        r = write_header(l, l->headers[i]);
    if (r == 0 && l->cut)
        r = cut(l);
    if (r == 0)
        r = ns_sync_block(ns);
    if (r == 0 && ns->mode == NS_SEQ)
        r = index_load_seq_recount(ns);
    return r;
}
