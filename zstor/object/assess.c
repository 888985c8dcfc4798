/* assess - see object/assess.h. */
#include "zstor/object/assess.h"

bool assess_leaves(const struct assess_conf *c, const struct meta_shard *s)
{
    return !zstor_conf_find(c->conf, &s->addr) || marks_get(c->marks, &s->addr) & MARK_DRAIN;
}

/* Down longer than the delay: it is not waited for any more. */
static bool given_up(const struct assess_conf *c, const struct backend_addr *a)
{
    struct pool_health h;

    pool_health(c->pool, a, &h);
    return h.track[HEALTH_LINK].down &&
           base_wall_s() - h.track[HEALTH_LINK].down_since_s >= c->conf->repair_delay_s;
}

unsigned assess(const struct assess_conf *c, const struct meta_record *m, enum assess_state *state)
{
    unsigned good = 0;

    for (unsigned i = 0; i < geometry_total(m->geo); i++) {
        const struct meta_shard *s = &m->shards[i];
        if (!s->present || s->nkeys == 0 || given_up(c, &s->addr))
            state[i] = ASSESS_LOST;
        else if (assess_leaves(c, s) || marks_get(c->marks, &s->addr) & MARK_SUSPECT)
            state[i] = ASSESS_READ;
        else
            state[i] = ASSESS_GOOD;
        good += state[i] == ASSESS_GOOD;
    }
    return good;
}
