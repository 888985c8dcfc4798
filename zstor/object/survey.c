/* survey - which objects need a repair (object/object.h): reads every record, no shard. */
#include <errno.h>

#include "zstor/object/object_impl.h"

struct survey {
    struct objects *o;
    const struct object_ctl *ctl;
    object_survey_fn *fn;
    void *arg;
    uint64_t seen, unknown;
};

static int look_at(void *arg, const char *key)
{
    struct survey *s = arg;
    const struct assess_conf ac = object_assess_conf(s->o);
    enum assess_state state[ZSTOR_MAX_SHARDS];
    struct metastore_state st;
    struct meta_record m;
    unsigned good;
    int r;

    if (ctl_stopped(s->ctl))
        return -ECANCELED;
    s->seen++;
    r = metastore_load(&s->o->meta, key, &m, &st, NULL);
    s->unknown += r < 0;
    if (r != 1) /* gone meanwhile, or what a scrub will name */
        return 0;
    good = assess(&ac, &m, state);
    r = 0;
    if (good < geometry_total(m.geo) || st.lost)
        r = s->fn(s->arg, key, good);
    meta_record_fini(&m);
    return r;
}

int object_survey(struct objects *o, const struct object_ctl *ctl, object_survey_fn *fn, void *arg,
                  uint64_t *seen, struct err *e)
{
    struct survey s = {.o = o, .ctl = ctl, .fn = fn, .arg = arg};
    int r = object_each(o, look_at, &s, e);

    *seen = s.seen;
    if (r == -ECANCELED)
        return err_set(e, ECANCELED, "stopped");
    if (r == 0 && s.unknown)
        return err_set(e, EHOSTUNREACH, "%llu of %llu records could not be read",
                       (unsigned long long)s.unknown, (unsigned long long)s.seen);
    return r;
}
