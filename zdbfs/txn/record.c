/* record - see txn/record.h. */
#include "zdbfs/txn/record.h"

#include <errno.h>
#include <stdlib.h>

#include "zdbfs/format/redo.h"

enum { KEEP_KEYS = 65536, KEEP_BYTES = 1024 * 1024 };

void record_fini(struct record *r)
{
    buf_fini(&r->changes);
    buf_fini(&r->values);
    buf_fini(&r->value);
    free(r->del_meta.key);
    free(r->del_data.key);
}

uint64_t record_size(const struct inode *in, uint64_t synced_seq)
{
    uint64_t size = in->a.size, stable = in->stable_size;
    const struct block *b;

    if (in->blocks.nunsettled == 0)
        return size;
    if (in->promised_seq && in->promised_seq <= synced_seq)
        stable = MAX(stable, MIN(in->promised_size, size));
    TAILQ_FOREACH(b, &in->blocks.blocks, in_file)
    {
        uint64_t start = (uint64_t)b->idx * INODE_BLOCK;
        bool part = start + b->len > stable && b->stored.len < b->len;
        if (bcache_unsettled(b) && (part || b->stored.longer))
            size = MIN(size, MAX(stable, start + b->stored.len));
    }
    return size;
}

/* ---- values --------------------------------------------------------------------------------- */

static void put_lists(struct buf *b, const struct inode *in)
{
    for (unsigned i = 0; i < INODE_LISTS; i++) {
        const struct dirlist *dl = in->dir->list[i];
        buf_put_le64(b, dl && !dl->stored && !dl->loading ? INODE_NO_LIST : in->dir->id[i]);
    }
}

/* The inode as it was last committed; without its blocks when they are told apart. */
static void encode_value(struct buf *out, const struct inode *in, bool blocks)
{
    struct inode_rec rec = {.a = in->a,
                            .xattrs = slice_of(in->xattrs, in->xattrs_len),
                            .extra = slice_of(in->extra, in->extra_len)};
    struct buf body = BUF_INIT;

    if (in->dir) {
        put_lists(&body, in);
        rec.lists = buf_slice(&body);
    } else if (in->target) {
        rec.target = slice_str(in->target);
    } else {
        for (uint32_t i = 0; blocks && i < in->nslots; i++)
            buf_put_le32(&body, in->slot[i]);
        rec.slots = buf_slice(&body);
        rec.a.size = in->stable_size;
    }
    buf_clear(out);
    inode_format_encode(out, &rec);
    buf_fini(&body);
}

static int put_list_value(struct record *r, struct buf *to, const struct dirlist *dl)
{
    uint64_t id = dl->dir->dir->id[dl->bucket];

    buf_clear(&r->value);
    int n = dlist_store(&dl->l, id, &r->value);
    return n < 0 ? n : redo_format_put_set(to, id, buf_slice(&r->value));
}

/* ---- changes -------------------------------------------------------------------------------- */

static void list_told(struct fs *fs, struct dirlist *dl)
{
    buf_clear(&dl->changed);
    buf_shrink(&dl->changed, 0);
    dl->nchanged = 0;
    dl->dirty = dl->whole = false;
    dl->commit_seq = fs->snap_seq;
}

/* Entries that have changed; 0 without any when a name is there twice, as the original may leave
 * it. */
static int put_entries(struct record *r, const struct dirlist *dl, bool *whole)
{
    struct rd rd = rd_of(buf_slice(&dl->changed));
    uint64_t id = dl->dir->dir->id[dl->bucket];
    size_t start = r->changes.len;
    int n = 0;

    while (n == 0 && rd_left(&rd)) {
        struct slice name = rd_slice(&rd, rd_le16(&rd));
        bool twice = false;
        const struct dent *d = dlist_find_one(&dl->l, name, &twice);
        if (twice) {
            buf_truncate(&r->changes, start);
            *whole = true;
            return 0;
        }
        n = redo_format_put_entry(&r->changes, id, name, d ? d->ino : 0);
    }
    return n;
}

static int tell_list(struct record *r, struct fs *fs, struct dirlist *dl)
{
    uint64_t *id = &dl->dir->dir->id[dl->bucket];
    bool whole = !dl->stored || dl->whole;
    int n = 0;

    if (dl->l.n) {
        if (!whole)
            n = put_entries(r, dl, &whole);
        if (whole && n == 0)
            n = put_list_value(r, &r->changes, dl);
        dl->stored = dl->unstored = true;
    } else {
        if (dl->stored)
            fs_key_push(&fs->del_meta, *id);
        else if (*id != INODE_NO_LIST)
            ids_give(fs->ids, id, 1);
        *id = INODE_NO_LIST;
        dl->stored = dl->unstored = false;
    }
    list_told(fs, dl);
    return n;
}

static int put_slots(struct record *r, const struct inode *in)
{
    uint32_t *pair = xcalloc(2 * (size_t)in->nchanged + 1, sizeof *pair), n = 0;

    for (uint32_t i = 0; i < in->nchanged; i++) {
        if (in->changed[i] >= in->nslots)
            continue;
        pair[2 * n] = in->changed[i];
        pair[2 * n + 1] = in->slot[in->changed[i]];
        n++;
    }
    int code =
        redo_format_put_inode(&r->changes, in->ino, buf_slice(&r->value), in->nslots, pair, n);
    free(pair);
    return code;
}

static int tell_inode(struct record *r, struct fs *fs, struct inode *in)
{
    bool blocks = !inode_by_changes(in);
    int n = 0;

    for (unsigned i = 0; in->dir && i < INODE_LISTS && n == 0; i++)
        if (in->dir->list[i] && in->dir->list[i]->dirty)
            n = tell_list(r, fs, in->dir->list[i]);
    if (!in->dir && !in->target)
        in->stable_size = record_size(in, fs->synced_seq);
    encode_value(&r->value, in, blocks);
    if (n == 0 && blocks)
        n = redo_format_put_set(&r->changes, in->ino, buf_slice(&r->value));
    else if (n == 0)
        n = put_slots(r, in);
    free(in->changed);
    in->changed = NULL;
    in->nchanged = 0;
    in->changed_cap = 0;
    in->dirty = in->whole = false;
    in->based = true;
    in->commit_seq = fs->snap_seq;
    if (!in->unstored)
        TAILQ_INSERT_TAIL(&fs->unstored, in, store);
    in->unstored = true;
    return n;
}

static void key_list_clear(struct key_list *l)
{
    l->n = 0;
    if (l->cap > KEEP_KEYS) {
        free(l->key);
        *l = (struct key_list){0};
    }
}

/* Told now, done by the next checkpoint. */
static int tell_keys(struct record *r, enum redo_op op, struct key_list *l, struct key_list *later)
{
    int n = l->n ? redo_format_put_keys(&r->changes, op, l->key, (uint32_t)l->n) : 0;

    for (size_t i = 0; i < l->n; i++)
        fs_key_push(later, l->key[i]);
    key_list_clear(l);
    return n;
}

static int tell_orphans(struct record *r, struct fs *fs)
{
    struct key_list l = {0};
    struct inode *in;
    int n = 0;

    TAILQ_FOREACH(in, &fs->orphans, link)
    {
        fs_key_push(&l, in->ino);
        if (in->dirty && n == 0)
            n = tell_inode(r, fs, in);
    }
    if (n == 0 && l.n)
        n = redo_format_put_keys(&r->changes, REDO_ORPHANS, l.key, (uint32_t)l.n);
    free(l.key);
    fs->orphans_changed = false;
    return n;
}

int record_orphans(struct record *r, struct fs *fs)
{
    struct key_list l = {0};
    const struct inode *in;

    buf_clear(&r->changes);
    TAILQ_FOREACH(in, &fs->orphans, link)
    {
        if (in->commit_seq && in->commit_seq <= fs->durable_seq)
            fs_key_push(&l, in->ino);
    }
    int n = l.n ? redo_format_put_keys(&r->changes, REDO_ORPHANS, l.key, (uint32_t)l.n) : 0;
    free(l.key);
    return n;
}

int record_changes(struct record *r, struct fs *fs)
{
    struct inode *in;
    int n = 0;

    buf_clear(&r->changes);
    buf_shrink(&r->changes, KEEP_BYTES);
    while (n == 0 && (in = TAILQ_FIRST(&fs->dirty))) {
        TAILQ_REMOVE(&fs->dirty, in, link);
        n = tell_inode(r, fs, in);
    }
    if (n == 0)
        n = tell_orphans(r, fs);
    if (n == 0 && fs->was.n)
        n = redo_format_put_was(&r->changes, fs->was.key, (uint32_t)fs->was.n / 2);
    fs->was.n = 0;
    if (n == 0)
        n = tell_keys(r, REDO_DEL_META, &fs->del_meta, &r->del_meta);
    if (n == 0)
        n = tell_keys(r, REDO_DEL_DATA, &fs->del_data, &r->del_data);
    return n;
}

/* ---- checkpoint ----------------------------------------------------------------------------- */

bool record_ahead(const struct record *r, const struct fs *fs)
{
    return !TAILQ_EMPTY(&fs->unstored) || r->del_meta.n || r->del_data.n;
}

static int put_inode_value(struct record *r, struct inode *in)
{
    int n = 0;

    for (unsigned i = 0; in->dir && i < INODE_LISTS && n == 0; i++) {
        struct dirlist *dl = in->dir->list[i];
        if (!dl || !dl->unstored)
            continue;
        n = put_list_value(r, &r->values, dl);
        dl->unstored = false;
    }
    encode_value(&r->value, in, true);
    return n < 0 ? n : redo_format_put_set(&r->values, in->ino, buf_slice(&r->value));
}

static int put_keys(struct record *r, enum redo_op op, struct key_list *l)
{
    int n = l->n ? redo_format_put_keys(&r->values, op, l->key, (uint32_t)l->n) : 0;

    key_list_clear(l);
    return n;
}

int record_values(struct record *r, struct fs *fs)
{
    struct inode *in;
    int n = 0;

    buf_clear(&r->values);
    while (n == 0 && (in = TAILQ_FIRST(&fs->unstored))) {
        TAILQ_REMOVE(&fs->unstored, in, store);
        in->unstored = false;
        n = put_inode_value(r, in);
    }
    if (n == 0)
        n = put_keys(r, REDO_DEL_META, &r->del_meta);
    if (n == 0)
        n = put_keys(r, REDO_DEL_DATA, &r->del_data);
    return n;
}
