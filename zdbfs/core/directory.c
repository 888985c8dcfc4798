/* directory - see core/directory.h. */
#include "zdbfs/core/directory.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/crc.h"
#include "common/log.h"
#include "zdbfs/format/list.h"

enum {
    COUNT_MAX_SIZE = 64 * 1024, /* a directory of upstream with a larger size is not counted */
    COUNT_BATCH = 128,
    ENTRY_SIZE = 11, /* of a name in the size of its directory, beside its length */
};

static const struct slice dot = {(const uint8_t *)".", 1}, dotdot = {(const uint8_t *)"..", 2};

static bool is_dot(struct slice name)
{
    return slice_eq(name, dot) || slice_eq(name, dotdot);
}

/* ---- lists ---------------------------------------------------------------------------------- */

/* L: what was fetched for a list that is being loaded; the list is removed again on failure. */
static int finish_list(struct fs *fs, struct dirlist *dl, uint64_t key, int r,
                       const struct kv_val *v)
{
    struct inode *dir = dl->dir;
    size_t before = dl->l.bytes;

    dl->loading = false;
    if (r == 0 && v->found && v->v.len != 1) {
        r = dlist_load(&dl->l, v->v, key);
        if (r < 0) {
            log_error("directory %" PRIu64 ": name list %" PRIu64 " is damaged", dir->ino, key);
            r = -EIO;
        }
    } else if (r == 0) { /* no list is the same as an empty one */
        if (dir->dir->id[dl->bucket] == key)
            dir->dir->id[dl->bucket] = INODE_NO_LIST;
    }
    inode_list_resized(fs, dl, before);
    if (r < 0) {
        dir->dir->list[dl->bucket] = NULL;
        TAILQ_REMOVE(&fs->list_lru, dl, lru);
        fs->meta_bytes -= sizeof *dl + dl->l.bytes;
        dlist_fini(&dl->l);
        free(dl);
        return r;
    }
    dl->stored = dir->dir->id[dl->bucket] == key;
    dl->classic = dl->stored && v->v.len >= LIST_HEAD_BYTES && le32_get(v->v.p + 12) != 0;
    dl->classic_crc = dl->classic ? crc_std(0, v->v.p, v->v.len) : 0;
    return 0;
}

/* Fetch those of the lists from..to-1 that are not in memory. */
static int load_lists(struct fs *fs, struct inode *dir, unsigned from, unsigned to,
                      uint64_t deadline_ms)
{
    uint64_t key[INODE_LISTS];
    struct dirlist *dl[INODE_LISTS];
    struct kv_val val[INODE_LISTS];
    size_t n = 0;

    fs_lock(fs);
    for (unsigned b = from; b < to; b++) {
        if (dir->dir->list[b] || dir->dir->id[b] == INODE_NO_LIST)
            continue;
        key[n] = dir->dir->id[b];
        dl[n] = inode_list_new(fs, dir, b);
        dl[n++]->loading = true;
    }
    fs_unlock(fs);
    if (n == 0)
        return 0;
    int r = kv_get_many(fs->kv, ROLE_META, key, n, deadline_ms, val);
    int result = r;
    fs_lock(fs);
    for (size_t i = 0; i < n; i++) {
        int one = finish_list(fs, dl[i], key[i], r, &val[i]);
        if (one < 0)
            result = one;
    }
    fs_changed(fs);
    fs_unlock(fs);
    for (size_t i = 0; i < n; i++)
        kv_val_fini(&val[i]);
    return result;
}

static int open_list(struct fs *fs, struct inode *dir, unsigned bucket, uint64_t deadline_ms,
                     struct dirlist **out)
{
    int r = 0;

    fs_lock(fs);
    while (r == 0) {
        struct dirlist *dl = dir->dir->list[bucket];
        if (!dl && dir->dir->id[bucket] == INODE_NO_LIST)
            dl = inode_list_new(fs, dir, bucket);
        if (!dl) {
            fs_unlock(fs);
            r = load_lists(fs, dir, bucket, bucket + 1, deadline_ms);
            fs_lock(fs);
        } else if (dl->loading) {
            r = fs_wait(fs, deadline_ms);
        } else {
            dl->pins++;
            TAILQ_REMOVE(&fs->list_lru, dl, lru);
            TAILQ_INSERT_HEAD(&fs->list_lru, dl, lru);
            *out = dl;
            break;
        }
    }
    fs_unlock(fs);
    return r;
}

void dir_close_lists(struct fs *fs, struct dirlist **list, unsigned n)
{
    fs_lock(fs);
    for (unsigned i = 0; i < n; i++) {
        if (list[i])
            list[i]->pins--;
        list[i] = NULL;
    }
    fs_unlock(fs);
}

/* Give the list a key when it has none. */
static int need_key(struct fs *fs, struct inode *dir, unsigned bucket, uint64_t deadline_ms)
{
    uint64_t id;

    fs_lock(fs);
    bool has = dir->dir->id[bucket] != INODE_NO_LIST;
    fs_unlock(fs);
    if (has)
        return 0;
    int r = ids_take(fs->ids, 1, &id, deadline_ms);
    if (r < 0)
        return r;
    fs_lock(fs);
    if (dir->dir->id[bucket] == INODE_NO_LIST && dir->state == INODE_READY)
        dir->dir->id[bucket] = id;
    else
        ids_give(fs->ids, &id, 1);
    fs_unlock(fs);
    return 0;
}

/* ---- names ---------------------------------------------------------------------------------- */

/* L: the entry of that name has changed. */
static void list_dirty(struct fs *fs, struct dirlist *dl, struct slice name, size_t before)
{
    bool was_whole = dl->whole || !dl->stored;
    uint64_t bytes = list_format_entry_bytes(name.len);

    inode_list_resized(fs, dl, before);
    inode_list_changed(dl, name);
    if ((dl->whole && !was_whole) || (!dl->stored && !dl->dirty))
        bytes += dlist_stored_bytes(&dl->l);
    fs_note_classic(fs, &dl->classic, dl->dir->dir->id[dl->bucket], dl->classic_crc);
    dl->dirty = true;
    fs_note_dirty(fs, bytes);
    inode_dirty(fs, dl->dir);
}

static void touch(struct fs *fs, struct inode *dir)
{
    dir->a.mtime = dir->a.ctime = fs_now();
    dir->dir->version++;
    inode_dirty(fs, dir);
}

/* L: the entry goes, without further effects. */
static void drop_entry(struct fs *fs, struct dirlist *dl, struct dent *d)
{
    size_t before = dl->l.bytes;
    uint64_t size = ENTRY_SIZE + (uint64_t)d->len;
    char name[UINT16_MAX];
    size_t len = d->len;

    memcpy(name, d->name, len);
    dl->dir->a.size -= MIN(dl->dir->a.size, size);
    dlist_remove(&dl->l, d);
    dl->dir->dir->version++;
    list_dirty(fs, dl, slice_of(name, len), before);
}

/* An entry whose inode is not there: upstream leaves such behind after a crash. */
static void drop_dangling(struct fs *fs, struct dirlist *dl, struct slice name, uint64_t ino)
{
    fs_lock(fs);
    struct dent *d = dlist_find(&dl->l, name);
    if (d && d->ino == ino && dl->dir->state == INODE_READY) {
        log_warn("directory %" PRIu64 ": an entry points to inode %" PRIu64
                 ", which does not exist; dropped",
                 dl->dir->ino, ino);
        if (fs->read_only) {
            size_t before = dl->l.bytes;
            dlist_remove(&dl->l, d);
            inode_list_resized(fs, dl, before);
        } else {
            drop_entry(fs, dl, d);
        }
    }
    fs_unlock(fs);
}

/* Pin the inode that the name has now. */
static int find_child(struct fs *fs, struct name_ref *ref, uint64_t deadline_ms)
{
    for (;;) {
        fs_lock(fs);
        struct dent *d = dlist_find(&ref->list->l, ref->name);
        uint64_t ino = d ? d->ino : 0;
        fs_unlock(fs);
        if (!d)
            return 0;
        int r = inode_get(fs, ino, deadline_ms, &ref->child);
        if (r != -ENOENT)
            return r;
        drop_dangling(fs, ref->list, ref->name, ino);
        if (base_now_ms() >= deadline_ms)
            return -EIO;
    }
}

int dir_open_name(struct fs *fs, uint64_t dir, const char *name, uint64_t deadline_ms,
                  struct name_ref *out)
{
    *out = (struct name_ref){.name = slice_str(name)};
    int r = inode_get(fs, dir, deadline_ms, &out->dir);
    if (r < 0)
        return r;
    if (!out->dir->dir)
        return -ENOTDIR;
    r = open_list(fs, out->dir, list_format_bucket(out->name), deadline_ms, &out->list);
    if (r < 0)
        return r;
    return find_child(fs, out, deadline_ms);
}

void dir_close_name(struct fs *fs, struct name_ref *ref)
{
    if (!ref->dir && !ref->child)
        return;
    fs_lock(fs);
    if (ref->list)
        ref->list->pins--;
    if (ref->child)
        inode_unpin(fs, ref->child);
    if (ref->dir)
        inode_unpin(fs, ref->dir);
    fs_unlock(fs);
    *ref = (struct name_ref){0};
}

int dir_prepare_insert(struct fs *fs, struct name_ref *ref, uint64_t deadline_ms)
{
    if (ref->name.len > LIST_NAME_MAX)
        return -ENAMETOOLONG;
    fs_lock(fs);
    bool full = ref->list->l.bytes > INODE_MAX_VALUE; /* memory is more than what is stored */
    fs_unlock(fs);
    if (full)
        return -ENOSPC;
    ref->insert = true;
    return need_key(fs, ref->dir, ref->list->bucket, deadline_ms);
}

/* L: is the name as it was when we looked? */
static bool current(const struct name_ref *ref)
{
    const struct dent *d = dlist_find(&ref->list->l, ref->name);

    if ((d ? d->ino : 0) != (ref->child ? ref->child->ino : 0))
        return false;
    if (ref->child && ref->child->state != INODE_READY)
        return false;
    return !ref->insert || ref->dir->dir->id[ref->list->bucket] != INODE_NO_LIST;
}

static int refresh(struct fs *fs, struct name_ref *ref, uint64_t deadline_ms)
{
    inode_put(fs, ref->child);
    ref->child = NULL;
    int r = find_child(fs, ref, deadline_ms);
    if (r == 0 && ref->insert)
        r = need_key(fs, ref->dir, ref->list->bucket, deadline_ms);
    return r;
}

int dir_lock_names(struct fs *fs, struct name_ref *const *refs, unsigned n, uint64_t deadline_ms)
{
    for (;;) {
        unsigned i;
        fs_lock(fs);
        for (i = 0; i < n; i++) {
            if (refs[i]->dir->state != INODE_READY || refs[i]->dir->a.nlink == 0) {
                fs_unlock(fs);
                return -ENOENT;
            }
            if (!current(refs[i]))
                break;
        }
        if (i == n)
            return 0;
        fs_unlock(fs);
        if (base_now_ms() >= deadline_ms)
            return -EIO;
        int r = refresh(fs, refs[i], deadline_ms);
        if (r < 0)
            return r;
    }
}

static uint8_t type_of(const struct inode *in)
{
    return IFTODT(in->a.mode);
}

void dir_add(struct fs *fs, struct name_ref *ref, struct inode *child)
{
    size_t before = ref->list->l.bytes;

    dlist_add(&ref->list->l, ref->name, child->ino, type_of(child));
    ref->dir->a.size += ENTRY_SIZE + ref->name.len;
    list_dirty(fs, ref->list, ref->name, before);
    touch(fs, ref->dir);
}

void dir_remove(struct fs *fs, struct name_ref *ref)
{
    drop_entry(fs, ref->list, dlist_find(&ref->list->l, ref->name));
    touch(fs, ref->dir);
}

void dir_replace(struct fs *fs, struct name_ref *ref, struct inode *child)
{
    struct dent *d = dlist_find(&ref->list->l, ref->name);

    d->ino = child->ino;
    d->type = type_of(child);
    list_dirty(fs, ref->list, ref->name, ref->list->l.bytes);
    touch(fs, ref->dir);
}

void dir_subdirs(struct fs *fs, struct inode *dir, int change)
{
    if (!dir->a.subdirs_known)
        return;
    dir->a.subdirs += (uint32_t)change;
    inode_dirty(fs, dir);
}

/* ---- "." and ".." --------------------------------------------------------------------------- */

static void set_dot(struct fs *fs, struct inode *dir, struct slice name, uint64_t ino)
{
    struct dirlist *dl = dir->dir->list[list_format_bucket(name)];
    struct dent *d = dlist_find(&dl->l, name);
    size_t before = dl->l.bytes;

    if (d && d->ino == ino)
        return;
    if (d)
        d->ino = ino;
    else
        dlist_add(&dl->l, name, ino, DT_DIR);
    list_dirty(fs, dl, name, before);
}

void dir_set_parent(struct fs *fs, struct inode *dir, uint64_t parent)
{
    if (dir->dir->id[list_format_bucket(dotdot)] != INODE_NO_LIST)
        set_dot(fs, dir, dotdot, parent);
}

void dir_make_dots(struct fs *fs, struct inode *dir, uint64_t parent, const uint64_t id[2])
{
    const struct slice name[2] = {dot, dotdot};
    const uint64_t ino[2] = {dir->ino, parent};

    for (int i = 0; i < 2; i++) {
        unsigned bucket = list_format_bucket(name[i]);
        inode_list_new(fs, dir, bucket);
        dir->dir->id[bucket] = id[i];
        set_dot(fs, dir, name[i], ino[i]);
    }
}

int dir_open_dots(struct fs *fs, struct inode *dir, uint64_t deadline_ms, struct dirlist *out[2])
{
    out[0] = out[1] = NULL;
    unsigned bucket = list_format_bucket(dotdot);
    int r = open_list(fs, dir, bucket, deadline_ms, &out[1]);
    return r < 0 ? r : need_key(fs, dir, bucket, deadline_ms);
}

/* ---- whole directories ---------------------------------------------------------------------- */

static void page_add(struct dir_page *p, uint64_t ino, uint64_t cookie, uint8_t type,
                     struct slice name)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? 2 * p->cap : 64;
        struct dir_item *item = xcalloc(cap, sizeof *item);
        if (p->n)
            memcpy(item, p->item, p->n * sizeof *item);
        free(p->item);
        p->item = item;
        p->cap = cap;
    }
    p->item[p->n++] = (struct dir_item){ino, cookie, type, p->names.len, (uint16_t)name.len};
    buf_put_slice(&p->names, name);
    buf_put_u8(&p->names, 0);
}

void dir_page_fini(struct dir_page *p)
{
    free(p->item);
    buf_fini(&p->names);
    *p = (struct dir_page){0};
}

/* A cookie is 1 behind ".", 2 behind "..", else (list + 1) << DLIST_COOKIE_BITS | cookie in that
 * list. */
static uint64_t cookie_of(unsigned bucket, uint64_t in_list)
{
    return (uint64_t)(bucket + 1) << DLIST_COOKIE_BITS | in_list;
}

/* L */
static void read_list(struct dirlist *dl, uint64_t after, size_t max, struct dir_page *out)
{
    size_t i = dlist_after(&dl->l, after); /* by_cookie is there from now on */

    for (; dl->l.by_cookie && i < dl->l.n && out->n < max; i++) {
        const struct dent *d = dl->l.by_cookie[i];
        if (!is_dot(dent_name(d)))
            page_add(out, d->ino, cookie_of(dl->bucket, d->cookie), d->type, dent_name(d));
    }
}

static int read_dots(struct fs *fs, struct inode *dir, uint64_t cookie, uint64_t deadline_ms,
                     struct dir_page *out)
{
    struct dirlist *dl = NULL;
    uint64_t parent = FS_ROOT;

    if (cookie < 1)
        page_add(out, dir->ino, 1, DT_DIR, dot);
    if (dir->ino != FS_ROOT) {
        int r = open_list(fs, dir, list_format_bucket(dotdot), deadline_ms, &dl);
        if (r < 0)
            return r;
        fs_lock(fs);
        const struct dent *d = dlist_find(&dl->l, dotdot);
        if (d)
            parent = d->ino;
        fs_unlock(fs);
        dir_close_lists(fs, &dl, 1);
    }
    page_add(out, parent, 2, DT_DIR, dotdot);
    return 0;
}

int dir_read(struct fs *fs, struct inode *dir, uint64_t cookie, size_t max, uint64_t deadline_ms,
             struct dir_page *out)
{
    unsigned first = (unsigned)(cookie >> DLIST_COOKIE_BITS);
    unsigned bucket = first ? first - 1 : 0;
    uint64_t after = first ? cookie & (((uint64_t)1 << DLIST_COOKIE_BITS) - 1) : 0;
    size_t before = dir->a.size < 1024 * 1024 ? INODE_LISTS : 8; /* lists fetched ahead */

    *out = (struct dir_page){0};
    if (cookie < 2) {
        int r = read_dots(fs, dir, cookie, deadline_ms, out);
        if (r < 0)
            return r;
    }
    for (; bucket < INODE_LISTS && out->n < max; bucket++, after = 0) {
        struct dirlist *dl = NULL;
        fs_lock(fs);
        bool there = dir->dir->list[bucket] || dir->dir->id[bucket] != INODE_NO_LIST;
        bool loaded = dir->dir->list[bucket] != NULL;
        fs_unlock(fs);
        if (!there)
            continue;
        int r = loaded ? 0
                       : load_lists(fs, dir, bucket, (unsigned)MIN(INODE_LISTS, bucket + before),
                                    deadline_ms);
        if (r == 0)
            r = open_list(fs, dir, bucket, deadline_ms, &dl);
        if (r < 0 || !dl)
            return r;
        fs_lock(fs);
        read_list(dl, after, max, out);
        dl->pins--;
        fs_unlock(fs);
    }
    return 0;
}

/* Every entry but "." and "..", a page at a time. */
static int each_page(struct fs *fs, struct inode *dir, uint64_t deadline_ms,
                     int (*fn)(struct fs *, struct inode *, const struct dir_page *,
                               struct inode **, void *),
                     void *arg)
{
    uint64_t cookie = 2;
    int r = 0;

    while (r == 0) {
        struct dir_page page = {0};
        struct inode *child[COUNT_BATCH] = {0};
        uint64_t ino[COUNT_BATCH];
        r = dir_read(fs, dir, cookie, COUNT_BATCH, deadline_ms, &page);
        if (r < 0 || page.n == 0) {
            dir_page_fini(&page);
            break;
        }
        for (size_t i = 0; i < page.n; i++)
            ino[i] = page.item[i].ino;
        r = inode_get_many(fs, ino, page.n, deadline_ms, child);
        if (r == 0) {
            r = fn(fs, dir, &page, child, arg);
            for (size_t i = 0; i < page.n; i++)
                inode_put(fs, child[i]);
        }
        cookie = page.item[page.n - 1].cookie;
        dir_page_fini(&page);
    }
    return r;
}

void dir_forget_dangling(struct fs *fs, struct inode *dir, const char *name, uint64_t ino,
                         uint64_t deadline_ms)
{
    struct dirlist *dl = NULL;
    struct slice s = slice_str(name);

    if (open_list(fs, dir, list_format_bucket(s), deadline_ms, &dl) < 0)
        return;
    drop_dangling(fs, dl, s, ino);
    dir_close_lists(fs, &dl, 1);
}

void dir_note_type(struct fs *fs, struct inode *dir, const char *name, uint64_t ino, uint8_t type)
{
    struct slice s = slice_str(name);
    struct dirlist *dl = dir->dir->list[list_format_bucket(s)];

    (void)fs;
    struct dent *d = dl && !dl->loading ? dlist_find(&dl->l, s) : NULL;
    if (d && d->ino == ino)
        d->type = type;
}

static int stop_at_live(struct fs *fs, struct inode *dir, const struct dir_page *p,
                        struct inode **child, void *arg)
{
    (void)arg;
    for (size_t i = 0; i < p->n; i++)
        if (child[i])
            return -ENOTEMPTY;
    for (size_t i = 0; i < p->n; i++)
        dir_forget_dangling(fs, dir, (const char *)buf_data(&p->names) + p->item[i].name_off,
                            p->item[i].ino, kv_deadline(fs->kv));
    return 0;
}

int dir_check_empty(struct fs *fs, struct inode *dir, uint64_t deadline_ms, uint32_t *version)
{
    for (;;) {
        fs_lock(fs);
        *version = dir->dir->version;
        fs_unlock(fs);
        int r = each_page(fs, dir, deadline_ms, stop_at_live, NULL);
        if (r < 0)
            return r;
        fs_lock(fs);
        bool same = dir_still(dir, *version);
        fs_unlock(fs);
        if (same)
            return 0;
        if (base_now_ms() >= deadline_ms)
            return -EIO;
    }
}

static int count_dirs(struct fs *fs, struct inode *dir, const struct dir_page *p,
                      struct inode **child, void *arg)
{
    (void)fs;
    (void)dir;
    for (size_t i = 0; i < p->n; i++)
        *(uint32_t *)arg += child[i] && S_ISDIR(child[i]->a.mode);
    return 0;
}

int dir_count_subdirs(struct fs *fs, struct inode *dir, uint64_t deadline_ms)
{
    uint32_t n = 0;

    fs_lock(fs);
    bool skip = !dir->dir || dir->a.subdirs_known || dir->a.size > COUNT_MAX_SIZE;
    uint32_t version = dir->dir ? dir->dir->version : 0;
    fs_unlock(fs);
    if (skip)
        return 0;
    int r = each_page(fs, dir, deadline_ms, count_dirs, &n);
    if (r < 0)
        return r;
    fs_lock(fs);
    if (dir_still(dir, version)) {
        dir->a.subdirs = n;
        dir->a.subdirs_known = true;
    }
    fs_unlock(fs);
    return 0;
}
