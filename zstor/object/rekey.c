/* rekey - every metadata record under the key of the configuration (object/object.h).  The notes go
 * first: from then on the former configuration is refused, and the new one reads what is still
 * under the former key with meta.config.encryption.  So it may stop anywhere and go on later. */
#include <errno.h>

#include "common/log.h"
#include "zstor/format/record_bond.h"
#include "zstor/object/claim.h"
#include "zstor/object/guard.h"
#include "zstor/object/listing.h"
#include "zstor/object/lock.h"
#include "zstor/object/object_impl.h"
#include "zstor/object/volume.h"

struct rekey {
    struct objects *o;
    const struct object_ctl *ctl;
    struct object_rekeyed *done;
    struct err first;
};

static int save(struct rekey *k, const char *key, struct meta_record *m, struct err *e)
{
    unsigned acks = 0;
    int r = guard_change(&k->o->meta, m, e);

    if (r < 0)
        return r;
    volume_sign(k->o->meta.volume, m);
    m->generation = object_next_generation(k->o, key, m->generation);
    r = metastore_save(&k->o->meta, key, m, &acks, e);
    if (r == 0 && acks < ZSTOR_META_COPIES)
        r = err_set(e, EHOSTUNREACH, "written to %u of %d metadata backends only", acks,
                    ZSTOR_META_COPIES);
    return r;
}

static int one(struct rekey *k, const char *key, struct err *e)
{
    CLEANUP(base_close) int lock = -1;
    struct metastore_state st = {0};
    struct meta_record m;
    int r = object_lock(k->o->conf->state_dir, key, k->ctl, &lock, e);

    if (r == 0)
        r = metastore_load(&k->o->meta, key, &m, &st, e);
    if (r <= 0) /* deleted meanwhile, or unreadable */
        return r;
    /* a value that is not of this record may be one under the former key */
    if (st.fallback_key || st.good < ZSTOR_META_COPIES) {
        r = save(k, key, &m, e);
        k->done->changed += r == 0;
    } else {
        r = 0;
    }
    if (r < 0)
        err_prefix(e, "%s", record_title(&m, key));
    meta_record_fini(&m);
    return r;
}

static int on_key(void *arg, const char *key)
{
    struct rekey *k = arg;
    struct err e = {0};
    int r;

    if (ctl_stopped(k->ctl))
        return -ECANCELED;
    k->done->objects++;
    r = one(k, key, &e);
    if (r >= 0)
        return 0;
    if (k->done->failed++ == 0)
        k->first = e;
    log_warn("rekey %s: %s", key, e.text);
    return r == -EBUSY || r == -EKEYREJECTED ? r : 0;
}

int object_rekey(struct objects *o, const struct object_ctl *ctl, struct object_rekeyed *done,
                 struct err *e)
{
    struct rekey k = {.o = o, .ctl = ctl, .done = done};
    int r;

    *done = (struct object_rekeyed){0};
    r = claim_change_key(&o->meta, e);
    if (r == 0)
        r = listing_each(&o->meta, on_key, &k, e);
    if (r == -ECANCELED)
        return err_set(e, ECANCELED, "stopped");
    if (r >= 0 && !done->failed)
        return 0;
    return k.first.code ? err_set(e, k.first.code, "%s", k.first.text) : r;
}
