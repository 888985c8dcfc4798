/* inodes - see cache/inodes.h. */
#include "zdbfs/cache/inodes.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/crc.h"
#include "common/log.h"

enum { SCAN_AT_ONCE = 128 };

/* ---- table ---------------------------------------------------------------------------------- */

static size_t slot_of(size_t cap, uint64_t ino)
{
    return (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 24) & (cap - 1);
}

struct inode *inode_peek(struct fs *fs, uint64_t ino)
{
    struct inode *in = fs->table[slot_of(fs->table_cap, ino)];

    while (in && in->ino != ino)
        in = in->hash_next;
    return in;
}

static void resize(struct fs *fs, size_t cap)
{
    struct inode **table = xcalloc(cap, sizeof(struct inode *));

    for (size_t i = 0; i < fs->table_cap; i++) {
        struct inode *in, *next;
        for (in = fs->table[i]; in; in = next) {
            next = in->hash_next;
            size_t s = slot_of(cap, in->ino);
            in->hash_next = table[s];
            table[s] = in;
        }
    }
    free(fs->table);
    fs->table = table;
    fs->table_cap = cap;
}

static uint64_t inode_bytes(const struct inode *in)
{
    return sizeof *in + in->slot_cap * sizeof *in->slot + (in->dir ? sizeof *in->dir : 0) +
           in->extra_len + in->xattrs_len + (in->target ? strlen(in->target) + 1 : 0);
}

static struct inode *insert(struct fs *fs, uint64_t ino)
{
    struct inode *in = xcalloc(1, sizeof *in);
    size_t s;

    if (fs->ninodes >= fs->table_cap)
        resize(fs, fs->table_cap * 2);
    s = slot_of(fs->table_cap, ino);
    in->ino = ino;
    in->hash_next = fs->table[s];
    fs->table[s] = in;
    fs->ninodes++;
    bcache_file_init(&in->blocks);
    TAILQ_INSERT_HEAD(&fs->lru, in, lru);
    return in;
}

static void destroy_memory(struct inode *in)
{
    free(in->changed);
    free(in->extra);
    free(in->xattrs);
    free(in->slot);
    free(in->target);
    free(in->dir);
    free(in);
}

/* Out of the table; the memory goes with the last pin. */
static void detach(struct fs *fs, struct inode *in)
{
    struct inode **p = &fs->table[slot_of(fs->table_cap, in->ino)];

    while (*p != in)
        p = &(*p)->hash_next;
    *p = in->hash_next;
    fs->ninodes--;
    TAILQ_REMOVE(&fs->lru, in, lru);
    in->detached = true;
    if (in->state != INODE_LOADING)
        fs->meta_bytes -= inode_bytes(in);
    if (in->pins == 0)
        destroy_memory(in);
}

void inode_pin(struct inode *in)
{
    in->pins++;
}

void inode_unpin(struct fs *fs, struct inode *in)
{
    assert(in->pins > 0);
    if (--in->pins == 0 && in->detached)
        destroy_memory(in);
    else if (fs->meta_bytes > fs->meta_limit)
        inode_shrink(fs);
}

void inode_put(struct fs *fs, struct inode *in)
{
    if (!in)
        return;
    fs_lock(fs);
    inode_unpin(fs, in);
    fs_unlock(fs);
}

/* ---- loading -------------------------------------------------------------------------------- */

static void copy_slots(struct inode *in, struct slice raw)
{
    uint32_t n = (uint32_t)(raw.len / 4);

    in->nslots = in->slot_cap = n;
    in->slot = n ? xcalloc(n, sizeof *in->slot) : NULL;
    for (uint32_t i = 0; i < n; i++)
        in->nused += (in->slot[i] = le32_get(raw.p + 4 * (size_t)i)) != 0;
}

static uint8_t *copy_of(struct slice s)
{
    uint8_t *p = s.len ? xcalloc(1, s.len) : NULL;

    if (p)
        memcpy(p, s.p, s.len);
    return p;
}

static int from_value(struct inode *in, struct slice v)
{
    struct inode_rec rec;

    int r = inode_format_decode(v, &rec);
    if (r < 0) {
        log_error("inode %" PRIu64 ": its record of %zu bytes is damaged", in->ino, v.len);
        return -EIO;
    }
    in->a = rec.a;
    in->based = true;
    in->classic = !rec.tail;
    in->classic_crc = in->classic ? crc_std(0, v.p, v.len) : 0;
    in->extra = copy_of(rec.extra);
    in->extra_len = rec.extra.len;
    in->xattrs = copy_of(rec.xattrs);
    in->xattrs_len = rec.xattrs.len;
    if (S_ISDIR(in->a.mode)) {
        in->dir = xcalloc(1, sizeof *in->dir);
        for (unsigned i = 0; i < INODE_LISTS; i++)
            in->dir->id[i] = le64_get(rec.lists.p + 8 * i);
        in->a.nlink = 1;
    } else if (S_ISLNK(in->a.mode)) {
        in->target = xcalloc(1, rec.target.len + 1);
        memcpy(in->target, rec.target.p, rec.target.len);
    } else {
        copy_slots(in, rec.slots);
        in->stable_size = in->a.size;
    }
    return 0;
}

/* L: the outcome of fetching it. */
static void loaded(struct fs *fs, struct inode *in, int r, const struct kv_val *v)
{
    if (r == 0 && !v->found)
        r = -ENOENT;
    if (r == 0 && v->v.len == 1 && v->v.p[0] == 'X')
        r = -ENOENT; /* reserved, never used */
    if (r == 0)
        r = from_value(in, v->v);
    if (r < 0) {
        in->load_error = r;
        detach(fs, in);
        return;
    }
    in->state = INODE_READY;
    fs->meta_bytes += inode_bytes(in);
}

/* L, pinned: wait for another's load; then ready or unpinned with an error. */
static int wait_ready(struct fs *fs, struct inode *in, uint64_t deadline_ms)
{
    int r = 0;

    while (in->state == INODE_LOADING && !in->detached && r == 0)
        r = fs_wait(fs, deadline_ms);
    if (r == 0 && in->load_error)
        r = in->load_error;
    else if (r == 0 && in->state == INODE_GONE)
        r = -ENOENT;
    if (r < 0)
        inode_unpin(fs, in);
    return r;
}

int inode_get(struct fs *fs, uint64_t ino, uint64_t deadline_ms, struct inode **out)
{
    struct kv_val v = {0};
    int r;

    if (ino == 0)
        return -ENOENT; /* the key of the header */
    fs_lock(fs);
    struct inode *in = inode_peek(fs, ino);
    if (in) {
        stats_add(&fs->stats.cache_hit, 1);
        inode_pin(in);
        r = wait_ready(fs, in, deadline_ms);
        if (r == 0) {
            TAILQ_REMOVE(&fs->lru, in, lru);
            TAILQ_INSERT_HEAD(&fs->lru, in, lru);
            *out = in;
        }
        fs_unlock(fs);
        return r;
    }
    stats_add(&fs->stats.cache_miss, 1);
    in = insert(fs, ino);
    inode_pin(in);
    fs_unlock(fs);
    r = kv_get(fs->kv, ROLE_META, ino, deadline_ms, &v);
    fs_lock(fs);
    loaded(fs, in, r, &v);
    fs_changed(fs);
    r = in->load_error;
    if (r < 0)
        inode_unpin(fs, in);
    else
        *out = in;
    fs_unlock(fs);
    kv_val_fini(&v);
    return r;
}

int inode_get_many(struct fs *fs, const uint64_t *inos, size_t n, uint64_t deadline_ms,
                   struct inode **out)
{
    uint64_t *key = xcalloc(n + 1, sizeof *key);
    size_t *pos = xcalloc(n + 1, sizeof *pos), nkeys = 0;
    struct kv_val *val = xcalloc(n + 1, sizeof *val);
    int r = 0;

    fs_lock(fs);
    for (size_t i = 0; i < n; i++) {
        out[i] = inos[i] ? inode_peek(fs, inos[i]) : NULL;
        if (!out[i] && inos[i]) {
            out[i] = insert(fs, inos[i]);
            key[nkeys] = inos[i];
            pos[nkeys++] = i;
        }
        if (out[i])
            inode_pin(out[i]);
    }
    fs_unlock(fs);
    if (nkeys)
        r = kv_get_many(fs->kv, ROLE_META, key, nkeys, deadline_ms, val);
    fs_lock(fs);
    for (size_t k = 0; k < nkeys; k++)
        loaded(fs, out[pos[k]], r, &val[k]);
    if (nkeys)
        fs_changed(fs);
    for (size_t i = 0; i < n; i++) {
        if (!out[i])
            continue;
        int one = wait_ready(fs, out[i], deadline_ms);
        if (one < 0)
            out[i] = NULL;
        if (one < 0 && one != -ENOENT && r == 0)
            r = one;
    }
    if (r < 0)
        for (size_t i = 0; i < n; i++)
            if (out[i])
                inode_unpin(fs, out[i]);
    fs_unlock(fs);
    for (size_t k = 0; k < nkeys; k++)
        kv_val_fini(&val[k]);
    free(key);
    free(pos);
    free(val);
    return r;
}

/* ---- changing ------------------------------------------------------------------------------- */

struct inode *inode_create(struct fs *fs, uint64_t ino, const struct inode_attr *a,
                           const char *target)
{
    struct inode *in = insert(fs, ino);

    in->state = INODE_READY;
    in->a = *a;
    if (S_ISDIR(a->mode)) {
        in->dir = xcalloc(1, sizeof *in->dir);
        for (unsigned i = 0; i < INODE_LISTS; i++)
            in->dir->id[i] = INODE_NO_LIST;
    }
    if (target)
        in->target = xstrdup(target);
    inode_pin(in);
    fs->meta_bytes += inode_bytes(in);
    inode_dirty(fs, in);
    return in;
}

/* Keys of a directory's lists: those that were stored are deleted, those only reserved go back. */
static void free_lists(struct fs *fs, struct inode *in)
{
    for (unsigned i = 0; i < INODE_LISTS; i++) {
        struct dirlist *dl = in->dir->list[i];
        uint64_t id = in->dir->id[i];
        if (dl)
            dl->dirty = dl->unstored = false;
        if (dl)
            fs_note_classic(fs, &dl->classic, id, dl->classic_crc);
        if (id != INODE_NO_LIST && dl && !dl->stored && !dl->loading)
            ids_give(fs->ids, &id, 1);
        else if (id != INODE_NO_LIST)
            fs_key_push(&fs->del_meta, id);
        in->dir->id[i] = INODE_NO_LIST;
        if (dl)
            dl->stored = false;
    }
}

void inode_drop_block(struct fs *fs, struct block *b)
{
    if (b->acked_epoch && b->acked_new)
        fs_unsynced_push(fs, b->acked_key, b->acked_epoch);
    bcache_drop(&fs->bc, b);
}

void inode_unbook(struct fs *fs, struct inode *in)
{
    fs->booked_bytes -= in->booked;
    in->booked = 0;
}

/* Nobody can reach it any more. */
static void delete (struct fs *fs, struct inode *in)
{
    struct block *b;

    fs_note_classic(fs, &in->classic, in->ino, in->classic_crc);
    if (in->orphan) {
        TAILQ_REMOVE(&fs->orphans, in, link);
        fs->orphans_changed = true;
    } else if (in->dirty) {
        TAILQ_REMOVE(&fs->dirty, in, link);
    }
    if (in->unstored)
        TAILQ_REMOVE(&fs->unstored, in, store);
    in->orphan = in->dirty = in->unstored = false;
    inode_unbook(fs, in);
    while ((b = TAILQ_FIRST(&in->blocks.blocks)))
        inode_drop_block(fs, b);
    for (uint32_t i = 0; i < in->nslots; i++)
        if (in->slot[i])
            fs_key_push(&fs->del_data, in->slot[i]);
    if (in->dir)
        free_lists(fs, in);
    fs_key_push(&fs->del_meta, in->ino);
    in->state = INODE_GONE;
    in->commit_seq = fs->snap_seq + 1;
    fs_note_dirty(fs, inode_record_bytes(in));
    fs_changed(fs);
}

/* An orphan is in the list of orphans instead of the list of dirty inodes; the commit looks at
 * both. */
void inode_unlinked(struct fs *fs, struct inode *in)
{
    if (refs_count(fs->refs, in->ino) == 0) {
        delete (fs, in);
        return;
    }
    if (in->orphan)
        return;
    if (in->dirty)
        TAILQ_REMOVE(&fs->dirty, in, link);
    in->orphan = true;
    TAILQ_INSERT_TAIL(&fs->orphans, in, link);
    fs->orphans_changed = true;
    if (!in->dirty) {
        in->dirty = true;
        fs_note_dirty(fs, inode_record_bytes(in));
    }
}

void inode_linked(struct fs *fs, struct inode *in)
{
    if (!in->orphan)
        return;
    TAILQ_REMOVE(&fs->orphans, in, link);
    in->orphan = in->linkable = false;
    fs->orphans_changed = true;
    if (in->dirty)
        TAILQ_INSERT_TAIL(&fs->dirty, in, link);
}

void inode_forget(struct fs *fs, uint64_t ino, uint64_t n)
{
    if (refs_sub(fs->refs, ino, n))
        return;
    struct inode *in = inode_peek(fs, ino);
    if (in && in->orphan && in->state == INODE_READY)
        delete (fs, in);
}

void inode_delete_orphans(struct fs *fs)
{
    struct inode *in;

    fs_lock(fs);
    while ((in = TAILQ_FIRST(&fs->orphans)))
        delete (fs, in);
    fs_unlock(fs);
}

/* ---- eviction ------------------------------------------------------------------------------- */

struct dirlist *inode_list_new(struct fs *fs, struct inode *dir, unsigned bucket)
{
    struct dirlist *dl = xcalloc(1, sizeof *dl);

    dlist_init(&dl->l, fs->seed);
    dl->dir = dir;
    dl->bucket = bucket;
    dir->dir->list[bucket] = dl;
    fs->meta_bytes += sizeof *dl + dl->l.bytes;
    TAILQ_INSERT_HEAD(&fs->list_lru, dl, lru);
    return dl;
}

void inode_list_resized(struct fs *fs, const struct dirlist *dl, size_t before)
{
    fs->meta_bytes += dl->l.bytes;
    fs->meta_bytes -= before;
}

static bool list_evictable(const struct fs *fs, const struct dirlist *dl)
{
    return !dl->pins && !dl->loading && !dl->dirty && dl->commit_seq <= fs->applied_seq;
}

static void evict_list(struct fs *fs, struct dirlist *dl)
{
    struct inode_dir *dir = dl->dir->dir;

    if (!dl->stored && dir->id[dl->bucket] != INODE_NO_LIST) {
        ids_give(fs->ids, &dir->id[dl->bucket], 1);
        dir->id[dl->bucket] = INODE_NO_LIST;
    }
    dir->list[dl->bucket] = NULL;
    TAILQ_REMOVE(&fs->list_lru, dl, lru);
    fs->meta_bytes -= sizeof *dl + dl->l.bytes;
    dlist_fini(&dl->l);
    buf_fini(&dl->changed);
    free(dl);
}

static bool evict_inode(struct fs *fs, struct inode *in)
{
    if (in->pins || in->state == INODE_LOADING || in->dirty || in->orphan || in->blocks.n ||
        in->write_error || in->writers || in->booked || in->commit_seq > fs->applied_seq)
        return false;
    for (unsigned i = 0; in->dir && i < INODE_LISTS; i++)
        if (in->dir->list[i] && !list_evictable(fs, in->dir->list[i]))
            return false;
    for (unsigned i = 0; in->dir && i < INODE_LISTS; i++)
        if (in->dir->list[i])
            evict_list(fs, in->dir->list[i]);
    detach(fs, in);
    return true;
}

void inode_shrink(struct fs *fs)
{
    for (int i = 0; i < SCAN_AT_ONCE && fs->meta_bytes > fs->meta_limit; i++) {
        struct inode *in = TAILQ_LAST(&fs->lru, inode_queue);
        struct dirlist *dl = TAILQ_LAST(&fs->list_lru, dirlist_queue);
        if (dl && list_evictable(fs, dl)) {
            evict_list(fs, dl);
        } else if (dl) {
            TAILQ_REMOVE(&fs->list_lru, dl, lru);
            TAILQ_INSERT_HEAD(&fs->list_lru, dl, lru);
        }
        if (in && !evict_inode(fs, in)) {
            TAILQ_REMOVE(&fs->lru, in, lru);
            TAILQ_INSERT_HEAD(&fs->lru, in, lru);
        }
    }
}

void inode_evict_all(struct fs *fs)
{
    struct inode *in, *before;

    fs_lock(fs);
    bcache_drop_clean(&fs->bc);
    for (in = TAILQ_LAST(&fs->lru, inode_queue); in; in = before) {
        before = TAILQ_PREV(in, inode_queue, lru);
        evict_inode(fs, in);
    }
    fs_unlock(fs);
}

void inode_free_all(struct fs *fs)
{
    struct inode *in;
    struct block *b;

    while ((in = TAILQ_FIRST(&fs->lru))) {
        while ((b = TAILQ_FIRST(&in->blocks.blocks)))
            bcache_drop(&fs->bc, b);
        for (unsigned i = 0; in->dir && i < INODE_LISTS; i++) {
            struct dirlist *dl = in->dir->list[i];
            if (dl) {
                dlist_fini(&dl->l);
                buf_fini(&dl->changed);
            }
            free(dl);
        }
        TAILQ_REMOVE(&fs->lru, in, lru);
        destroy_memory(in);
    }
}
