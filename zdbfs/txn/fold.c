/* fold - see txn/fold.h. */
#include "zdbfs/txn/fold.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/stat.h>

#define HASH_NONFATAL_OOM 0
#include <uthash.h>

#include "common/log.h"
#include "zdbfs/cache/names.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/list.h"

enum state {
    ABSENT,  /* changes of something that is not there: a later operation deletes it */
    VALUE,   /* value */
    FILE_OF, /* value: the inode without blocks; slots: 4 bytes each */
    LIST_OF, /* list */
    DELETED,
};

struct item {
    uint64_t key;
    enum state state;
    struct buf value, slots;
    struct dlist list;
    UT_hash_handle hh;
};

struct keys {
    uint64_t *key;
    size_t n, cap;
};

struct fold {
    struct kv *kv;
    struct item *items;
    struct keys data; /* to be deleted */
};

struct fold *fold_new(struct kv *kv)
{
    struct fold *f = xcalloc(1, sizeof *f);
    f->kv = kv;
    return f;
}

static void empty(struct item *it)
{
    buf_fini(&it->value);
    buf_fini(&it->slots);
    if (it->state == LIST_OF)
        dlist_fini(&it->list);
}

void fold_free(struct fold *f)
{
    struct item *it, *next;

    if (!f)
        return;
    HASH_ITER(hh, f->items, it, next)
    {
        HASH_DEL(f->items, it);
        empty(it);
        free(it);
    }
    free(f->data.key);
    free(f);
}

static struct item *find(struct fold *f, uint64_t key)
{
    struct item *it = NULL;

    HASH_FIND(hh, f->items, &key, sizeof key, it);
    return it;
}

static struct item *make(struct fold *f, uint64_t key)
{
    struct item *it = find(f, key);

    if (it)
        return it;
    it = xcalloc(1, sizeof *it);
    it->key = key;
    HASH_ADD(hh, f->items, key, sizeof it->key, it);
    return it;
}

static int set(struct item *it, struct slice value)
{
    empty(it);
    it->state = VALUE;
    if (!buf_reserve(&it->value, value.len))
        return -ENOMEM;
    buf_put_slice(&it->value, value);
    return 0;
}

/* As the operations so far left it, else as it is stored. */
static int base(struct fold *f, uint64_t key, struct item **out)
{
    struct kv_val v;

    *out = find(f, key);
    if (*out)
        return 0;
    int r = kv_get(f->kv, ROLE_META, key, kv_deadline(f->kv), &v);
    if (r < 0)
        return r;
    *out = make(f, key);
    if (v.found)
        r = set(*out, v.v);
    kv_val_fini(&v);
    return r;
}

/* ---- files ---------------------------------------------------------------------------------- */

/* slots apart from the rest */
static int open_file(struct item *it)
{
    struct inode_rec rec;

    if (it->state != VALUE)
        return 0;
    if (inode_format_decode(buf_slice(&it->value), &rec) < 0 || !S_ISREG(rec.a.mode))
        return 0; /* stays as it is */
    if (!buf_reserve(&it->slots, rec.slots.len))
        return -ENOMEM;
    buf_put_slice(&it->slots, rec.slots);
    it->state = FILE_OF;
    return 0;
}

static int change_file(struct fold *f, const struct redo_item *op)
{
    struct item *it;

    int r = base(f, op->key, &it);
    if (r == 0)
        r = open_file(it);
    if (r < 0 || it->state != FILE_OF)
        return r;
    size_t want = (size_t)op->nslots * 4;
    buf_clear(&it->value);
    if (!buf_reserve(&it->value, op->value.len) ||
        (want > it->slots.len && !buf_reserve(&it->slots, want - it->slots.len)))
        return -ENOMEM;
    buf_put_slice(&it->value, op->value);
    if (want > it->slots.len)
        buf_put_zero(&it->slots, want - it->slots.len);
    else
        buf_truncate(&it->slots, want);
    for (size_t i = 0; i < op->pairs.len; i += 8)
        le32_put(buf_data(&it->slots) + 4 * (size_t)le32_get(op->pairs.p + i),
                 le32_get(op->pairs.p + i + 4));
    return 0;
}

static int put_file(const struct item *it, struct buf *value)
{
    struct inode_rec rec;

    if (inode_format_decode(buf_slice(&it->value), &rec) < 0)
        return -EUCLEAN;
    rec.slots = buf_slice(&it->slots);
    inode_format_encode(value, &rec);
    return 0;
}

/* ---- lists ---------------------------------------------------------------------------------- */

static void open_list(struct item *it)
{
    struct dlist list;

    if (it->state != VALUE)
        return;
    dlist_init(&list, 0);
    if (dlist_load(&list, buf_slice(&it->value), it->key) < 0)
        return; /* stays as it is */
    empty(it);
    it->list = list;
    it->state = LIST_OF;
}

static int change_list(struct fold *f, const struct redo_item *op)
{
    struct dent *d;
    struct item *it;

    int r = base(f, op->key, &it);
    if (r < 0)
        return r;
    open_list(it);
    if (it->state != LIST_OF)
        return 0;
    while ((d = dlist_find(&it->list, op->value)))
        dlist_remove(&it->list, d);
    if (op->ino)
        dlist_add(&it->list, op->value, op->ino, DT_UNKNOWN);
    return 0;
}

/* ---- operations ----------------------------------------------------------------------------- */

static void delete_keys(struct fold *f, const struct redo_item *op)
{
    for (uint32_t i = 0; i < redo_format_count(op); i++) {
        if (op->op == REDO_DEL_DATA) {
            f->data.key = xgrow(f->data.key, f->data.n, &f->data.cap, sizeof *f->data.key);
            f->data.key[f->data.n++] = redo_format_key(op, i);
            continue;
        }
        struct item *it = make(f, redo_format_key(op, i));
        empty(it);
        it->state = DELETED;
    }
}

int fold_add(struct fold *f, struct slice stream)
{
    struct rd rd = rd_of(stream);
    struct redo_item op;
    int r = 0;

    while (r == 0 && redo_format_next(&rd, &op) == 1) {
        if (op.op == REDO_SET)
            r = set(make(f, op.key), op.value);
        else if (op.op == REDO_INODE)
            r = change_file(f, &op);
        else if (op.op == REDO_ENTRY)
            r = change_list(f, &op);
        else if (op.op == REDO_DEL_META || op.op == REDO_DEL_DATA)
            delete_keys(f, &op);
    }
    return r;
}

static int put_item(const struct item *it, struct buf *value, struct buf *out)
{
    int r = 0;

    buf_clear(value);
    switch (it->state) {
    case VALUE:
        return redo_format_put_set(out, it->key, buf_slice(&it->value));
    case FILE_OF:
        r = put_file(it, value);
        break;
    case LIST_OF:
        r = dlist_store(&it->list, it->key, value);
        break;
    case ABSENT:
        log_error("journal: meta key %" PRIu64 " is changed, but not there", it->key);
        return 0;
    case DELETED:
        return 0;
    }
    return r < 0 ? r : redo_format_put_set(out, it->key, buf_slice(value));
}

int fold_put(struct fold *f, struct buf *out)
{
    struct buf value = BUF_INIT;
    struct keys gone = {0};
    struct item *it;
    int r = 0;

    for (it = f->items; it && r == 0; it = it->hh.next) {
        r = put_item(it, &value, out);
        if (it->state == DELETED) {
            gone.key = xgrow(gone.key, gone.n, &gone.cap, sizeof *gone.key);
            gone.key[gone.n++] = it->key;
        }
    }
    if (r == 0 && gone.n)
        r = redo_format_put_keys(out, REDO_DEL_META, gone.key, (uint32_t)gone.n);
    if (r == 0 && f->data.n)
        r = redo_format_put_keys(out, REDO_DEL_DATA, f->data.key, (uint32_t)f->data.n);
    free(gone.key);
    buf_fini(&value);
    return r;
}
