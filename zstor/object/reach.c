/* reach - see object/reach.h. */
#include "zstor/object/reach.h"

#include <stdlib.h>

#include "zstor/object/claim.h"
#include "zstor/object/object_impl.h"

int object_reach(struct objects *o, const char *path, struct object_reach *out, struct err *e)
{
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m;
    int r = object_load(o, path, NULL, &key, &m, &st, e);

    *out = (struct object_reach){0};
    if (r != 1)
        return r;
    out->needed = m.geo.data;
    for (unsigned i = 0; i < geometry_total(m.geo); i++) {
        const struct meta_shard *s = &m.shards[i];
        struct pool_health h;

        if (!s->present || s->nkeys == 0)
            continue;
        pool_health(o->pool, &s->addr, &h);
        out->stored++;
        out->reachable += !h.track[HEALTH_LINK].down;
    }
    if (m.has_tail && m.size != META_SIZE_UNKNOWN)
        out->size = m.size;
    if (m.has_tail)
        out->time_ns = m.time_ns;
    meta_record_fini(&m);
    return 1;
}

bool object_is_free(struct objects *o)
{
    return claim_is_free(&o->meta);
}
