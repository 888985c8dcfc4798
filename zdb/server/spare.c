/* spare - see server/spare.h. */
#include "zdb/server/spare.h"

#define ENOUGH (16 * KIB)

void spare_borrow(struct buf *b, struct buf *spare)
{
    if (b->len > 0 || b->cap >= ENOUGH || !spare->p)
        return;
    buf_fini(b);
    *b = *spare;
    *spare = (struct buf)BUF_INIT;
}

void spare_return(struct buf *b, struct buf *spare, size_t from, size_t to)
{
    if (b->len > 0 || b->cap < from)
        return;
    if (b->cap > spare->cap && b->cap <= to) {
        buf_fini(spare);
        *spare = *b;
        *b = (struct buf)BUF_INIT;
        buf_clear(spare);
    }
    buf_fini(b);
}
