/* heap - see queue/heap.h.  Children of i are 2i+1 and 2i+2; a place is the index and one. */
#include "zstor/queue/heap.h"

#include <assert.h>
#include <stdlib.h>

void heap_init(struct heap *h, bool (*before)(const void *a, const void *b), size_t place)
{
    *h = (struct heap){.before = before, .place = place};
}

void heap_fini(struct heap *h)
{
    free(h->at);
    *h = (struct heap){0};
}

static size_t *place_of(const struct heap *h, void *element)
{
    return (size_t *)(void *)((char *)element + h->place);
}

static void put(struct heap *h, size_t i, void *element)
{
    h->at[i] = element;
    *place_of(h, element) = i + 1;
}

static bool less(struct heap *h, size_t a, size_t b)
{
    h->steps++;
    return h->before(h->at[a], h->at[b]);
}

static void swap(struct heap *h, size_t a, size_t b)
{
    void *t = h->at[a];

    put(h, a, h->at[b]);
    put(h, b, t);
}

static void up(struct heap *h, size_t i)
{
    for (; i && less(h, i, (i - 1) / 2); i = (i - 1) / 2)
        swap(h, i, (i - 1) / 2);
}

static void down(struct heap *h, size_t i)
{
    for (;;) {
        size_t best = i, left = 2 * i + 1;
        if (left < h->n && less(h, left, best))
            best = left;
        if (left + 1 < h->n && less(h, left + 1, best))
            best = left + 1;
        if (best == i)
            return;
        swap(h, i, best);
        i = best;
    }
}

void heap_add(struct heap *h, void *element)
{
    assert(*place_of(h, element) == 0);
    if (h->n == h->cap) {
        size_t cap = h->cap ? 2 * h->cap : 64;
        void **at = xcalloc(cap, sizeof *at);
        for (size_t i = 0; i < h->n; i++)
            at[i] = h->at[i];
        free(h->at);
        h->at = at;
        h->cap = cap;
    }
    put(h, h->n++, element);
    up(h, h->n - 1);
}

void heap_take(struct heap *h, void *element)
{
    size_t i = *place_of(h, element);

    if (i-- == 0)
        return;
    assert(h->at[i] == element);
    *place_of(h, element) = 0;
    if (i == --h->n)
        return;
    put(h, i, h->at[h->n]);
    up(h, i);
    down(h, i);
}

void *heap_first(const struct heap *h)
{
    return h->n ? h->at[0] : NULL;
}
