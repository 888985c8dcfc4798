/* known - see the header. */
#include "zdb/tools/known.h"
#include "common/crc.h"
#include <stdlib.h>

void index_known_reset(struct index_known *k, uint64_t from)
{
    free(k->recs);
    *k = (struct index_known){.from = from};
}

void index_known_add(struct index_known *k, uint32_t file, uint32_t off,
                     const struct index_rec *rec)
{
    struct index_known_rec one = {rec->off,
                                  rec->length,
                                  rec->crc,
                                  rec->timestamp,
                                  file,
                                  off,
                                  crc_raw(0, rec->key.p, rec->key.len),
                                  (uint8_t)rec->key.len,
                                  rec->flags & INDEX_DELETED,
                                  false,
                                  false};

    if (rec->off < k->from) {
        if (!k->has_below || k->below.data_off <= rec->off)
            k->below = one;
        k->has_below = true;
        return;
    }
    k->recs = xgrow(k->recs, k->n, &k->cap, sizeof *k->recs);
    k->recs[k->n++] = one;
}

static int by_offset(const void *a, const void *b)
{
    const struct index_known_rec *x = a, *y = b;

    if (x->data_off != y->data_off)
        return x->data_off < y->data_off ? -1 : 1;
    return (int)y->deleted - (int)x->deleted; /* the live one last: that is the one that is found */
}

void index_known_sort(struct index_known *k)
{
    if (k->n)
        qsort(k->recs, k->n, sizeof *k->recs, by_offset);
}

void index_known_merge(struct index_known *k, struct index_known *more)
{
    for (size_t i = 0; i < more->n; i++) {
        k->recs = xgrow(k->recs, k->n, &k->cap, sizeof *k->recs);
        k->recs[k->n++] = more->recs[i];
    }
    index_known_reset(more, 0);
    index_known_sort(k);
}

/* Number of known records below off. */
static size_t below(const struct index_known *k, uint64_t off)
{
    size_t lo = 0, hi = k->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (k->recs[mid].data_off < off)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

struct index_known_rec *index_known_at(const struct index_known *k, uint64_t data_off)
{
    size_t i = below(k, data_off + 1);

    return i > 0 && k->recs[i - 1].data_off == data_off ? &k->recs[i - 1] : NULL;
}

struct index_known_rec *index_known_behind(const struct index_known *k, uint64_t data_off)
{
    size_t i = below(k, data_off + 1);

    return i < k->n ? &k->recs[i] : NULL;
}

void index_copies_reset(struct index_copies *c)
{
    free(c->copies);
    *c = (struct index_copies){0};
}

void index_copies_add(struct index_copies *c, uint32_t file, uint32_t off,
                      const struct index_rec *rec)
{
    c->copies = xgrow(c->copies, c->n, &c->cap, sizeof *c->copies);
    c->copies[c->n++] = (struct index_copy){le64_get(rec->key.p), rec->dataid, rec->off, file, off};
    c->sorted = false;
}

static int by_version(const void *a, const void *b)
{
    const struct index_copy *x = a, *y = b;

    if (x->dataid != y->dataid)
        return x->dataid < y->dataid ? -1 : 1;
    return x->data_off < y->data_off ? -1 : x->data_off > y->data_off;
}

const struct index_copy *index_copies_find(struct index_copies *c, uint32_t dataid,
                                           uint32_t data_off)
{
    struct index_copy key = {.dataid = dataid, .data_off = data_off};

    if (c->n == 0)
        return NULL;
    if (!c->sorted)
        qsort(c->copies, c->n, sizeof *c->copies, by_version);
    c->sorted = true;
    return bsearch(&key, c->copies, c->n, sizeof *c->copies, by_version);
}

void index_ids_fini(struct index_ids *s)
{
    free(s->ids);
    *s = (struct index_ids){0};
}

static size_t find(const struct index_ids *s, uint64_t id)
{
    size_t i = (size_t)(id * 0x9e3779b97f4a7c15u >> 17) & (s->cap - 1);

    while (s->ids[i] && s->ids[i] != id + 1)
        i = (i + 1) & (s->cap - 1);
    return i;
}

void index_ids_add(struct index_ids *s, uint64_t id)
{
    struct index_ids big;

    if (s->n * 2 >= s->cap) {
        big = (struct index_ids){.cap = s->cap ? s->cap * 2 : 64, .n = s->n};
        big.ids = xcalloc(big.cap, sizeof *big.ids);
        for (size_t i = 0; i < s->cap; i++) {
            if (s->ids[i])
                big.ids[find(&big, s->ids[i] - 1)] = s->ids[i];
        }
        free(s->ids);
        *s = big;
    }
    size_t at = find(s, id);
    s->n += !s->ids[at];
    s->ids[at] = id + 1;
}

bool index_ids_has(const struct index_ids *s, uint64_t id)
{
    return s->cap && s->ids[find(s, id)];
}
