/* lookups - see cache/lookups.h.  Open addressing with linear probing; a slot with count 0 is free,
 * deletion closes the gap. */
#include "zdbfs/cache/lookups.h"

#include <stdlib.h>

struct ref {
    uint64_t ino, count;
};

struct refs {
    struct ref *slot;
    size_t cap, n; /* cap is a power of two */
};

enum { FIRST_CAP = 256 };

struct refs *refs_new(void)
{
    struct refs *r = xcalloc(1, sizeof *r);
    r->cap = FIRST_CAP;
    r->slot = xcalloc(r->cap, sizeof *r->slot);
    return r;
}

void refs_free(struct refs *r)
{
    if (!r)
        return;
    free(r->slot);
    free(r);
}

static size_t home(const struct refs *r, uint64_t ino)
{
    return (size_t)((ino * 0x9e3779b97f4a7c15ull) >> 20) & (r->cap - 1);
}

static size_t find(const struct refs *r, uint64_t ino)
{
    size_t i = home(r, ino);

    while (r->slot[i].count && r->slot[i].ino != ino)
        i = (i + 1) & (r->cap - 1);
    return i;
}

static void resize(struct refs *r, size_t cap)
{
    struct ref *old = r->slot;
    size_t old_cap = r->cap;

    r->slot = xcalloc(cap, sizeof *r->slot);
    r->cap = cap;
    for (size_t i = 0; i < old_cap; i++)
        if (old[i].count)
            r->slot[find(r, old[i].ino)] = old[i];
    free(old);
}

void refs_add(struct refs *r, uint64_t ino, uint64_t n)
{
    if (n == 0)
        return;
    if (r->n + 1 > r->cap / 4 * 3)
        resize(r, r->cap * 2);
    struct ref *s = &r->slot[find(r, ino)];
    if (s->count == 0)
        r->n++;
    s->ino = ino;
    s->count += n;
}

static void close_gap(struct refs *r, size_t gap)
{
    size_t mask = r->cap - 1;

    for (size_t i = (gap + 1) & mask; r->slot[i].count; i = (i + 1) & mask) {
        size_t h = home(r, r->slot[i].ino);
        if (((i - h) & mask) >= ((i - gap) & mask)) {
            r->slot[gap] = r->slot[i];
            gap = i;
        }
    }
    r->slot[gap].count = 0;
}

uint64_t refs_sub(struct refs *r, uint64_t ino, uint64_t n)
{
    size_t i = find(r, ino);
    struct ref *s = &r->slot[i];

    if (s->count > n)
        return s->count -= n;
    if (s->count == 0)
        return 0;
    close_gap(r, i);
    r->n--;
    if (r->cap > FIRST_CAP && r->n < r->cap / 8)
        resize(r, r->cap / 2);
    return 0;
}

uint64_t refs_count(const struct refs *r, uint64_t ino)
{
    return r->slot[find(r, ino)].count;
}

uint64_t refs_inodes(const struct refs *r)
{
    return r->n;
}
