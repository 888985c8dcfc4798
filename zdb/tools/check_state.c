/* check_state - see the header. */
#include "zdb/tools/check_state.h"

struct check_seg *check_seg_find(struct check *c, uint32_t id)
{
    size_t lo = 0, hi = c->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (c->segs[mid].id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < c->n && c->segs[lo].id == id ? &c->segs[lo] : NULL;
}
