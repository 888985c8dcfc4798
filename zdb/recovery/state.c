/* state - see the header. */
#include "zdb/recovery/state.h"
#include "zdb/file/segment_list.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define NEAR_THE_END (1 * MIB)

struct load_seg *load_found(struct load *l, uint32_t seg)
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

static uint64_t end_of(const struct index_rec *rec)
{
    return (uint64_t)rec->off + DATA_REC_SIZE + rec->key.len + rec->length;
}

void load_note(struct load *l, uint32_t seg, const struct index_rec *rec)
{
    struct load_seg *f = load_found(l, seg);

    if (!f || rec->off < DATA_HEADER_SIZE || rec->length > DATA_VALUE_MAX ||
        end_of(rec) <= f->used || (f->data && end_of(rec) > f->data_size))
        return;
    f->used_before = f->used;
    f->used = end_of(rec);
    if (f->id >= l->last_segment) {
        l->last_segment = f->id;
        l->last_data = rec->off;
    }
}

/* Header and key of the data record. */
static int head_of(struct load *l, uint32_t seg, const struct index_rec *rec, struct data_rec *head,
                   uint8_t key[DATA_KEY_MAX])
{
    const struct load_seg *f = load_found(l, seg);
    struct seg *s = ns_seg_find(l->ns, seg);
    struct data d;
    int r;

    if (!f || !f->data || rec->off < DATA_HEADER_SIZE)
        return -ENOENT;
    if (s)
        return data_record(&s->data, rec->off, head, key, NULL, false);
    data_init(&d, &l->ns->env->files, l->ns->data_dir, seg);
    r = data_record(&d, rec->off, head, key, NULL, false);
    data_fini(&d);
    return r;
}

int load_has_key(struct load *l, uint32_t seg, const struct index_rec *rec)
{
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;

    if (head_of(l, seg, rec, &head, key) < 0)
        return -1;
    return slice_eq(slice_of(key, head.keylen), rec->key);
}

/* Only zeros where its header should be. */
static bool is_zero(struct load *l, const struct index_rec *rec, uint32_t seg)
{
    static const uint8_t zero[DATA_REC_SIZE];
    struct seg *s = ns_seg_find(l->ns, seg);
    uint8_t head[DATA_REC_SIZE];

    return s && data_open(&s->data) == 0 &&
           files_pread(s->data.file, head, sizeof head, rec->off, false) == (ssize_t)sizeof head &&
           memcmp(head, zero, sizeof head) == 0;
}

bool load_is_lost(struct load *l, uint32_t seg, const struct index_rec *rec)
{
    const struct load_seg *f = load_found(l, seg);

    if (!f || !f->data || rec->off < DATA_HEADER_SIZE)
        return false;
    return end_of(rec) > f->data_size ||
           (end_of(rec) + NEAR_THE_END > f->data_size && is_zero(l, rec, seg));
}

int load_broken(struct load *l, uint32_t seg)
{
    struct load_seg *f = load_found(l, seg);

    if (l->no_rebuild || !f)
        return 0;
    for (const struct load_seg *g = f; g < l->found + l->n; g++) {
        if (!g->data)
            return 0; /* what it did to earlier records is known from their index only */
    }
    l->broken = (size_t)(f - l->found);
    return -EUCLEAN;
}

void load_count(struct ns *ns, uint32_t seg, uint64_t length, size_t keylen, bool live)
{
    ns_live(ns, seg, keylen, length, live);
    if (live) {
        ns->entries++;
        ns->data_size += length;
        ns->index_size += 64 + keylen;
    } else {
        ns->entries--;
        ns->data_size -= length;
        ns->index_size -= 64 + keylen;
    }
}

void load_dead(struct ns *ns, const struct keys_entry *k)
{
    rewrite_flag(ns, k->file, k->off);
    load_count(ns, k->file, k->length, k->keylen, false);
}

void load_live(struct ns *ns, struct keys_entry *k, uint32_t file, uint32_t off,
               const struct index_rec *rec)
{
    k->file = file;
    k->off = off;
    k->data_off = rec->off;
    k->length = rec->length;
    k->crc = rec->crc;
    k->timestamp = rec->timestamp;
    load_count(ns, file, rec->length, rec->key.len, true);
}

int load_open(const struct load *l, char kind, uint32_t id)
{
    CLEANUP(base_free)
    char *path = segment_path(kind == 'i' ? l->ns->index_dir : l->ns->data_dir, kind, id);
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int load_header(const struct load *l, uint32_t id, struct index_header *h)
{
    CLEANUP(base_close) int fd = load_open(l, 'i', id);
    uint8_t bytes[INDEX_HEADER_SIZE];
    ssize_t n = fd < 0 ? fd : pread(fd, bytes, sizeof bytes, 0);

    if (n < 0)
        return fd < 0 ? fd : -errno;
    return index_header_decode(slice_of(bytes, (size_t)n), h);
}
