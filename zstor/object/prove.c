/* prove - look at every byte of an object's shards. */
#include "zstor/object/prove.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "zstor/object/object_impl.h"

/* Shards that are listed on backends that are not known to be down. */
static unsigned possible(struct objects *o, const struct meta_record *m)
{
    unsigned n = 0;

    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        struct pool_health h = {0};

        if (!m->shards[i].present || m->shards[i].nkeys == 0)
            continue;
        pool_health(o->pool, &m->shards[i].addr, &h);
        n += !h.down;
    }
    return n;
}

static int look(struct objects *o, const struct meta_record *m, const struct object_ctl *ctl,
                struct object_proof *out, struct err *e)
{
    CLEANUP(fetch_fini) struct fetch f = {0};
    struct fetch_conf fc = object_fetch_conf(o, m);
    int r = fetch_verify(&f, &fc, ctl);

    if (r < 0)
        return err_set(e, -r, "stopped");
    for (unsigned i = 0; i < f.n; i++) {
        out->good += f.shard[i].state == FETCH_GOOD;
        out->lost += f.shard[i].state == FETCH_MISSING || f.shard[i].state == FETCH_CORRUPT;
    }
    return 0;
}

int object_prove(struct objects *o, const char *path, unsigned need, const struct object_ctl *ctl,
                 struct object_proof *out, struct err *e)
{
    CLEANUP(base_free) char *key = NULL;
    struct metastore_state st;
    struct meta_record m;
    int r = object_load(o, path, NULL, &key, &m, &st, e);

    if (r != 1)
        return r;
    *out = (struct object_proof){.total = geometry_total(m.geo),
                                 .data = m.geo.data,
                                 .meta_good = st.good};
    memcpy(out->checksum, m.checksum, sizeof out->checksum);
    if (possible(o, &m) >= need)
        r = look(o, &m, ctl, out, e);
    meta_record_fini(&m);
    return r < 0 ? r : 1;
}
