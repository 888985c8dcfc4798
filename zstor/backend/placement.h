/* placement - which backend gets which shard (spec zstor-behaviour 3, without the faults listed
 * there).  Pure computation.
 *
 * A spread gives each group a number of shards, at most one per usable backend.  It is accepted
 * when redundant_groups < groups used <= groups allowed, and after losing the redundant_groups
 * fullest groups and redundant_nodes backends in each other one, minimal_shards remain: sum over
 * the others of (count - redundant_nodes) >= minimal_shards, in signed arithmetic. Groups with
 * fewer than redundant_nodes usable backends are not used.  Among the accepted spreads one is drawn
 * with the weight N! / (c1! c2! ...), as upstream's enumeration of sequences amounts to, which
 * prefers balanced spreads.
 *
 * Method: counts are dealt out in descending order, v = N, N-1, ..., 1, each to some of the groups
 * that have room for v and none yet; so the fullest groups come first and the condition is a bound
 * on the sum of the first redundant_groups.  Number of states (v, groups used, shards dealt):
 * polynomial, where upstream is exponential. */
#ifndef ZSTOR_BACKEND_PLACEMENT_H
#define ZSTOR_BACKEND_PLACEMENT_H

#include "common/err.h"
#include "zstor/conf.h"

struct placement_site {              /* one configured backend */
    const struct backend_addr *addr; /* borrowed */
    unsigned group;
    bool usable;   /* may get a (further) shard */
    double weight; /* > 0; among the backends of one group those with more weight are preferred
                      (free bytes) */
    unsigned kept; /* shards of this object that stay on it: 0 or 1; placement_complete only */
};

typedef int placement_random_fn(void *p, size_t n); /* as digest_random */

/* All configured backends in configuration order, usable and of weight 1; given (free).  *n: how
 * many. */
struct placement_site *placement_sites(const struct zstor_conf *c, size_t *n);

/* Can the configuration be satisfied at all, with every backend in order?  0 or -EINVAL with the
 * reason. */
int placement_feasible(const struct zstor_conf *c, struct err *e);

/* Places for expected_shards shards: out[shard] = index into site[], all different, all usable.
 * -ENOLINK: no accepted spread over the usable ones.  -EIO: no random numbers. */
int placement_choose(const struct zstor_conf *c, const struct placement_site *site, size_t nsites,
                     placement_random_fn *rnd, size_t *out, struct err *e);

/* Places for `want` more shards beside those that are kept: first where the conditions above hold
 * for the whole object, else (satisfied false) wherever there is a free backend, least used groups
 * first.  Returns how many of the `want` got a place; -EIO: no random numbers. */
int placement_complete(const struct zstor_conf *c, const struct placement_site *site, size_t nsites,
                       unsigned want, placement_random_fn *rnd, size_t *out, bool *satisfied);

#endif
