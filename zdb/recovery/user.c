/* user - index records of a user-mode namespace into the key table.
 * Two unflagged records of a key are the trace of an update whose flag was not written yet: the
 * later one wins, and the earlier one is flagged when the load is over.  A record that takes the
 * place of another without being its successor is believed only when its data record has the same
 * key: a garbled key must not hide a good one. */
#include "common/log.h"
#include "zdb/file/aside.h"
#include "zdb/recovery/state.h"
#include "zdb/file/index_heal.h"
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

static bool believed(struct load *l, const struct seg *s, const struct index_rec *rec,
                     const struct keys_entry *k)
{
    if (!(rec->flags & INDEX_DELETED) && rec->parent_file == k->file && rec->parent_off == k->off)
        return true;
    return load_has_key(l, s->id, rec) != 0;
}

static void apply(struct load *l, struct seg *s, uint32_t off, const struct index_rec *rec,
                  uint32_t hash)
{
    struct ns *ns = l->ns;
    struct keys_entry *k;
    bool added;

    ns->next_id++;
    if (rec->flags & INDEX_DELETED) {
        k = keys_find(ns->keys, rec->key);
        if (!k || rec->off < DATA_HEADER_SIZE || !believed(l, s, rec, k)) /* no data: blanked by a
                                                                             repair */
            return;
        load_dead(ns, k);
        keys_remove(ns->keys, rec->key);
        return;
    }
    k = keys_put_hashed(ns->keys, rec->key, hash, &added);
    if (!added && !believed(l, s, rec, k)) {
        log_error("index %s: record at %u has the key of another record, ignored", s->index.path,
                  off);
        rewrite_flag(ns, s->id, off);
        return;
    }
    if (!added)
        load_dead(ns, k);
    load_live(ns, k, s->id, off, rec);
}

/* Records on their way into the table: the memory of one is fetched while those before it are
 * applied. */
#define AHEAD 16

struct queue {
    struct queued {
        uint32_t off, hash;
        struct index_rec rec;
        uint8_t key[INDEX_KEY_MAX];
    } q[AHEAD];
    size_t first, n;
};

static void apply_first(struct load *l, struct seg *s, struct queue *q)
{
    const struct queued *one = &q->q[q->first++ % AHEAD];

    q->n--;
    apply(l, s, one->off, &one->rec, one->hash);
}

static void apply_soon(struct load *l, struct seg *s, struct queue *q, uint32_t off,
                       const struct index_rec *rec)
{
    struct queued *one;

    if (q->n == AHEAD)
        apply_first(l, s, q);
    one = &q->q[(q->first + q->n++) % AHEAD];
    one->off = off;
    one->rec = *rec;
    memcpy(one->key, rec->key.p, rec->key.len);
    one->rec.key.p = one->key;
    one->hash = keys_soon(l->ns->keys, one->rec.key);
    if (q->n > AHEAD / 2)
        keys_sooner(l->ns->keys, q->q[(q->first + q->n - 1 - AHEAD / 2) % AHEAD].hash);
}

struct walked {
    struct load *l;
    struct seg *s;
};

/* For the walk: is the record what its data file has?  Where only the keys differ nobody can tell
 * which is right. */
static int verify(void *arg, const struct index_rec *rec)
{
    CLEANUP(buf_fini) struct buf payload = BUF_INIT;
    struct seg *s = ((struct walked *)arg)->s;
    uint8_t key[DATA_KEY_MAX];
    struct data_rec head;

    if (rec->off < DATA_HEADER_SIZE)
        return -1;
    switch (data_read(&s->data, rec->off, rec->key, rec->length, rec->crc, &payload, false)) {
    case 0:
        return 1;
    case -ENOENT:
        return -1;
    default:
        break;
    }
    if (data_record(&s->data, rec->off, &head, key, NULL, false) < 0)
        return -1;
    if (head.keylen != rec->key.len)
        return 0;
    /* a key that ends in zeros where that of the data does not: its page never reached the disk */
    return rec->key.p[rec->key.len - 1] == 0 && key[head.keylen - 1] != 0 ? 0 : -1;
}

static int cut(struct index_heal *w, struct index *f)
{
    CLEANUP(base_free) char *as = NULL;
    struct stat st;
    int r = index_open(f);

    if (r < 0)
        return r;
    if (fstat(f->file->fd, &st) < 0)
        return -errno;
    r = aside_index_is_worth(f->path, w->pos, (uint64_t)st.st_size);
    if (r == 1)
        r = aside_tail(f->path, w->pos, (uint64_t)st.st_size, &as);
    if (as)
        log_warn("index %s: the rest is kept as %s", f->path, as);
    return r < 0 ? r : index_cut(f, w->pos, w->last);
}

static int walk(struct load *l, struct seg *s, struct index_heal *w)
{
    struct queue queue = {.n = 0};
    bool newest = l->foreign && s->id == l->found[l->n - 1].id;
    struct index_rec rec;
    uint32_t off, last = 0;
    int r;

    while ((r = index_heal_next(w, &off, &rec)) == 1) {
        if (newest && !(rec.flags & INDEX_DELETED) && load_is_lost(l, s->id, &rec)) {
            w->pos = off; /* from here on: recovery/end.c */
            w->last = last;
            w->ends = true;
            r = 0;
            break;
        }
        index_mark(&s->index, off);
        load_note(l, s->id, &rec);
        apply_soon(l, s, &queue, off, &rec);
        last = off;
    }
    while (queue.n)
        apply_first(l, s, &queue);
    return r;
}

int load_user(struct load *l, struct seg *s, uint64_t limit)
{
    struct load_seg *f = load_found(l, s->id);
    struct walked arg = {l, s};
    bool whole = limit == UINT64_MAX;
    struct index_heal w;
    int r = index_heal_init(&w, &s->index, l->foreign ? verify : NULL, &arg);

    if (r == 0 && w.size < limit && !whole)
        r = load_broken(l, s->id); /* shorter than it was */
    w.size = MIN(w.size, limit);
    w.before = l->ns->last_index;
    w.has_before = !l->gap;
    w.strict = load_broken(l, s->id) < 0;
    w.newest = whole && s->id == l->found[l->n - 1].id;
    if (r == 0)
        r = walk(l, s, &w);
    if (r == -EUCLEAN) { /* the chain: perhaps it is the file before that was cut */
        size_t i = (size_t)(f - l->found);
        bool before = w.last == 0 && i > 0 && l->found[i - 1].data;
        r = load_broken(l, l->found[before ? i - 1 : i].id);
    }
    s->index.size = w.pos;
    s->index.last = w.last;
    if (w.last)
        l->ns->last_index = w.last;
    if (w.lost_bytes > 0 || w.healed > 0) {
        ns_sync_note(l->ns, s);
        l->changed = true;
    }
    if (r == 0 && w.pos < w.full && whole && !w.ends)
        r = cut(&w, &s->index);
    index_heal_fini(&w);
    return r < 0 && r != -EUCLEAN ? err_sys(l->e, -r, "index %s", s->index.path) : r;
}
