/* ids - see the header. */
#include "zdb/engine/ids.h"
#include "zdb/format/index.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

void ids_init(struct ids *s)
{
    *s = (struct ids){0};
}

void ids_fini(struct ids *s)
{
    free(s->files);
    *s = (struct ids){0};
}

uint64_t ids_next(const struct ids *s)
{
    return s->n ? s->files[s->n - 1].first + s->files[s->n - 1].count : 0;
}

void ids_push(struct ids *s, uint32_t file, uint64_t first)
{
    assert(s->n == 0 || file > s->files[s->n - 1].file);
    first = MAX(first, ids_next(s));
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 8;
        struct ids_file *p = xcalloc(cap, sizeof *p);
        if (s->n)
            memcpy(p, s->files, s->n * sizeof *p);
        free(s->files);
        s->files = p;
        s->cap = cap;
    }
    s->files[s->n++] = (struct ids_file){file, first, 0};
}

void ids_grow(struct ids *s, uint64_t records)
{
    assert(s->n > 0);
    s->files[s->n - 1].count += records;
}

static size_t position(const struct ids *s, uint32_t file)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (s->files[mid].file < file)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < s->n && s->files[lo].file == file ? lo : s->n;
}

bool ids_range(const struct ids *s, uint32_t file, uint64_t *next, uint64_t *limit)
{
    size_t i = position(s, file);

    if (i == s->n)
        return false;
    *next = s->files[i].first + s->files[i].count;
    for (i++; i < s->n && s->files[i].count == 0; i++)
        ;
    *limit = i < s->n ? s->files[i].first : UINT64_MAX;
    return true;
}

void ids_grow_in(struct ids *s, uint32_t file)
{
    size_t i = position(s, file);
    uint64_t next;

    assert(i < s->n);
    next = s->files[i].first + ++s->files[i].count;
    for (i++; i < s->n && s->files[i].count == 0; i++) /* empty files have no first id of their own
                                                        */
        s->files[i].first = MAX(s->files[i].first, next);
}

bool ids_find(const struct ids *s, uint64_t id, uint32_t *file, uint32_t *off)
{
    size_t lo = 0, hi = s->n;

    while (lo < hi) { /* first file whose first id is above id */
        size_t mid = lo + (hi - lo) / 2;
        if (s->files[mid].first <= id)
            lo = mid + 1;
        else
            hi = mid;
    }
    while (lo > 0 && s->files[lo - 1].count == 0) /* empty files share their first id with the next
                                                   */
        lo--;
    if (lo == 0 || id - s->files[lo - 1].first >= s->files[lo - 1].count)
        return false;
    *file = s->files[lo - 1].file;
    *off = (uint32_t)(INDEX_HEADER_SIZE + (id - s->files[lo - 1].first) * INDEX_SEQ_REC);
    return true;
}

bool ids_id(const struct ids *s, uint32_t file, uint32_t off, uint64_t *id)
{
    size_t i = position(s, file);
    uint64_t slot;

    if (i == s->n || off < INDEX_HEADER_SIZE || (off - INDEX_HEADER_SIZE) % INDEX_SEQ_REC)
        return false;
    slot = (off - INDEX_HEADER_SIZE) / INDEX_SEQ_REC;
    if (slot >= s->files[i].count)
        return false;
    *id = s->files[i].first + slot;
    return true;
}
