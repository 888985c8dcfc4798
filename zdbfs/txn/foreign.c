/* foreign - see txn/foreign.h. */
#include "zdbfs/txn/foreign.h"

#include <stdlib.h>

#include "common/crc.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"

enum { BATCH = 128 };

struct fact { /* what a record says of a key */
    uint64_t key;
    uint32_t crc;
    bool value; /* crc is that of a value that it has or had; else: it may be gone */
};

struct facts {
    struct fact *f;
    size_t n, cap;
};

static void add(struct facts *fs, struct fact f)
{
    fs->f = xgrow(fs->f, fs->n, &fs->cap, sizeof *fs->f);
    fs->f[fs->n++] = f;
}

static void collect(struct facts *fs, const struct replay_record *rec)
{
    struct rd rd = rd_of(buf_slice(&rec->stream));
    struct redo_item it;

    while (redo_format_next(&rd, &it) == 1) {
        if (it.op == REDO_SET)
            add(fs, (struct fact){it.key, crc_std(0, it.value.p, it.value.len), true});
        if (it.op == REDO_INODE || it.op == REDO_ENTRY) /* only of what we have written */
            add(fs, (struct fact){it.key, 0, true});
        if (it.op == REDO_SET || it.op == REDO_INODE || it.op == REDO_ENTRY ||
            it.op == REDO_DEL_DATA)
            continue;
        bool was = it.op == REDO_WAS;
        for (uint32_t i = 0; i < redo_format_count(&it); i++)
            add(fs, (struct fact){redo_format_key(&it, i), was ? redo_format_was(&it, i) : 0, was});
    }
}

static int by_key(const void *a, const void *b)
{
    const struct fact *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

/* The original writes inodes without our tail, and 4 bytes of an address into lists. */
static bool written_by_us(uint64_t key, struct slice v)
{
    struct inode_rec rec;
    struct list_reader list;

    if (slice_eq_str(v, "X") || (inode_format_decode(v, &rec) == 0 && rec.tail))
        return true;
    return v.len >= 16 && list_format_open(&list, v, key) == 0 && le32_get(v.p + 12) == 0;
}

static bool fits(const struct kv *kv, const struct fact *f, size_t n, const struct kv_val *v)
{
    uint32_t crc = v->found ? crc_std(0, v->v.p, v->v.len) : 0;

    for (size_t i = 0; i < n; i++)
        if (v->found ? f[i].value && f[i].crc == crc : !f[i].value)
            return true;
    if (!v->found)
        return !kv_has_sync(kv); /* reserved, but lost with the server's memory */
    return written_by_us(f->key, v->v);
}

/* Facts [*at..) of up to BATCH keys; *at is moved on. */
static int check_some(struct kv *kv, const struct facts *fs, size_t *at, uint64_t *key)
{
    uint64_t keys[BATCH];
    size_t first[BATCH + 1], n = 0, i = *at;
    struct kv_val val[BATCH];

    for (; i < fs->n; i++) {
        if (n && fs->f[i].key == keys[n - 1])
            continue;
        if (n == BATCH)
            break;
        first[n] = i;
        keys[n++] = fs->f[i].key;
    }
    first[n] = *at = i;
    int r = kv_get_many(kv, ROLE_META, keys, n, kv_deadline(kv), val);
    if (r < 0)
        return r;
    for (size_t k = 0; k < n; k++) {
        if (r == 0 && !fits(kv, fs->f + first[k], first[k + 1] - first[k], &val[k])) {
            *key = keys[k];
            r = 1;
        }
        kv_val_fini(&val[k]);
    }
    return r;
}

int foreign_find(struct kv *kv, const struct replay *rp, uint64_t *key)
{
    struct facts fs = {0};
    size_t at = 0;
    int r = 0;

    for (size_t i = 0; i < rp->n; i++)
        collect(&fs, &rp->rec[i]);
    if (fs.n)
        qsort(fs.f, fs.n, sizeof *fs.f, by_key);
    while (r == 0 && at < fs.n)
        r = check_some(kv, &fs, &at, key);
    free(fs.f);
    return r;
}
