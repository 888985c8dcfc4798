/* heap - a binary heap of borrowed elements.  Each element keeps its own place, so that it can be
 * taken out from wherever it is.  An element is in one heap for each place it has.  No lock. */
#ifndef ZSTOR_QUEUE_HEAP_H
#define ZSTOR_QUEUE_HEAP_H

#include "common/base.h"

struct heap { /* embedded; heap_init */
    void **at;
    size_t n, cap;
    bool (*before)(const void *a, const void *b);
    size_t place;   /* offset in an element of a size_t that is 0 when it is not in */
    uint64_t steps; /* comparisons since the beginning: what the queue costs, in numbers */
};

void heap_init(struct heap *h, bool (*before)(const void *a, const void *b), size_t place);
void heap_fini(struct heap *h); /* the elements stay */
void heap_add(struct heap *h, void *element);
void heap_take(struct heap *h, void *element); /* nothing when it is not in */
void *heap_first(const struct heap *h);        /* NULL: empty */

#endif
