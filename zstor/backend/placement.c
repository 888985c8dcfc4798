/* placement - see backend/placement.h.
 *
 * weight(L, j, s): sum of the weights of all ways to finish when values > L have been dealt to j
 * groups, s shards in all. weight(0, j, s) = 1 when j = m and s = N, else 0 weight(v, j, s) = sum
 * over k of C(E(v) - j, k) * (1/v!)^k * weight(v-1, j+k, s+kv) E(v): groups with room for v; the j
 * groups that have a value > v are all among them.  Terms whose first redundant_groups values add
 * up to more than `top_max` are left out.  One table per number m of groups used. */
#include "zstor/backend/placement.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct deal {
    unsigned shards; /* N */
    unsigned ngroups;
    const unsigned *room;                     /* usable backends per group, 0: group is out */
    unsigned skip;                            /* redundant_groups */
    unsigned groups;                          /* m: exactly so many groups are used */
    long top_max;                             /* bound on the sum of the `skip` largest counts */
    long double *table[ZSTOR_MAX_SHARDS + 1]; /* [level][j * (N+1) + s] */
};

static unsigned level_groups(const struct deal *d, unsigned level) /* largest j at a level */
{
    return MIN(d->groups, d->shards / (level + 1));
}

static unsigned groups_with_room(const struct deal *d, unsigned v)
{
    unsigned n = 0;

    for (unsigned g = 0; g < d->ngroups; g++)
        n += d->room[g] >= v;
    return n;
}

/* weight of giving v to k more groups when `open` have room, or 0 when the bound forbids it */
static long double term(const struct deal *d, unsigned v, unsigned j, unsigned s, unsigned k,
                        unsigned open, long double base)
{
    long double next;

    if (j < d->skip && j + k >= d->skip && (long)s + (long)(d->skip - j) * (long)v > d->top_max)
        return 0;
    next = d->table[v - 1][(size_t)(j + k) * (d->shards + 1) + s + k * v];
    if (next == 0)
        return 0;
    for (unsigned i = 0; i < k; i++) /* C(open - j, k) * base^k */
        next *= base * (long double)(open - j - i) / (long double)(i + 1);
    return next;
}

static unsigned most_groups(const struct deal *d, unsigned v, unsigned j, unsigned s, unsigned open)
{
    return open < j ? 0 : MIN(MIN(open - j, d->groups - j), (d->shards - s) / v);
}

static long double one_by_factorial(unsigned v)
{
    long double f = 1;

    for (unsigned i = 2; i <= v; i++)
        f /= i;
    return f;
}

static void deal_free(struct deal *d)
{
    for (unsigned v = 0; v <= d->shards; v++)
        free(d->table[v]);
    memset(d->table, 0, sizeof d->table);
}

/* Fill the tables; the weight of everything. */
static long double deal_count(struct deal *d)
{
    unsigned n = d->shards;
    size_t width = n + 1;

    if (d->skip == 0 && d->top_max < 0)
        return 0;
    for (unsigned v = 0; v <= n; v++)
        d->table[v] = xcalloc((level_groups(d, v) + 1) * width, sizeof(long double));
    d->table[0][d->groups * width + n] = 1;
    for (unsigned v = 1; v <= n; v++) {
        unsigned open = groups_with_room(d, v);
        long double base = one_by_factorial(v);
        for (unsigned j = 0; j <= level_groups(d, v); j++)
            for (unsigned s = j * (v + 1); s <= n; s++) {
                long double sum = 0;
                for (unsigned k = 0; k <= most_groups(d, v, j, s, open); k++)
                    sum += term(d, v, j, s, k, open, base);
                d->table[v][j * width + s] = sum;
            }
    }
    return d->table[n][0];
}

static int random_below(placement_random_fn *rnd, uint64_t n, uint64_t *out)
{
    uint64_t v, limit = UINT64_MAX - UINT64_MAX % n;

    do {
        if (rnd(&v, sizeof v) < 0)
            return -EIO;
    } while (v >= limit);
    *out = v % n;
    return 0;
}

static int random_unit(placement_random_fn *rnd, long double *out) /* 0 <= out < 1 */
{
    uint64_t v;

    if (rnd(&v, sizeof v) < 0)
        return -EIO;
    *out = (long double)(v >> 11) / 9007199254740992.0L;
    return 0;
}

/* Give v to k of the groups that have room and nothing yet. */
static int give(const struct deal *d, unsigned v, unsigned k, placement_random_fn *rnd,
                unsigned *count)
{
    for (; k; k--) {
        unsigned free_groups = 0;
        uint64_t pick;
        for (unsigned g = 0; g < d->ngroups; g++)
            free_groups += count[g] == 0 && d->room[g] >= v;
        if (random_below(rnd, free_groups, &pick) < 0)
            return -EIO;
        for (unsigned g = 0; g < d->ngroups; g++)
            if (count[g] == 0 && d->room[g] >= v && pick-- == 0) {
                count[g] = v;
                break;
            }
    }
    return 0;
}

/* Draw one spread from filled tables. */
static int deal_draw(const struct deal *d, placement_random_fn *rnd, unsigned *count)
{
    unsigned j = 0, s = 0;

    for (unsigned v = d->shards; v > 0; v--) {
        unsigned open = groups_with_room(d, v), most = most_groups(d, v, j, s, open), k, fits = 0;
        long double base = one_by_factorial(v), left, w;
        assert(d->table[v] && d->table[v - 1]);
        if (random_unit(rnd, &left) < 0)
            return -EIO;
        left *= d->table[v][(size_t)j * (d->shards + 1) + s];
        for (k = 0; k <= most; k++) {
            w = term(d, v, j, s, k, open, base);
            if (w <= 0)
                continue;
            fits = k; /* the last possible one takes what rounding leaves over */
            left -= w;
            if (left < 0)
                break;
        }
        if (give(d, v, fits, rnd, count) < 0)
            return -EIO;
        j += fits;
        s += fits * v;
    }
    return 0;
}

static unsigned max_groups(const struct zstor_conf *c)
{
    uint64_t most;

    if (c->redundant_nodes == 0)
        return (unsigned)c->ngroups;
    most = (uint64_t)(c->expected_shards - c->minimal_shards) / c->redundant_nodes +
           c->redundant_groups;
    return (unsigned)MIN(most, (uint64_t)c->ngroups);
}

/* Why is there nothing to choose?  Upstream's three answers. */
static int explain(const struct zstor_conf *c, const unsigned *room, struct err *e)
{
    unsigned most = max_groups(c), used = 0;
    long sum = 0;
    unsigned *sorted = xcalloc(c->ngroups + 1, sizeof *sorted);

    for (size_t g = 0; g < c->ngroups; g++) { /* insertion sort, largest first */
        size_t i = used;
        if (room[g] == 0)
            continue;
        for (; i > 0 && sorted[i - 1] < room[g]; i--)
            sorted[i] = sorted[i - 1];
        sorted[i] = room[g];
        used++;
    }
    for (unsigned i = 0; i < MIN(used, most); i++)
        sum += MAX((long)sorted[i] - (long)c->redundant_nodes, 0);
    free(sorted);
    if (used == 0)
        return err_set(e, ENOLINK, "no available groups");
    if (used <= c->redundant_groups || most <= c->redundant_groups || sum < (long)c->minimal_shards)
        return err_set(
            e, ENOLINK,
            "could not find any viable backend distribution to statisfy redundancy requirement");
    return err_set(e, ENOLINK, "unable to find a valid configuration due to redundancy settings");
}

/* count[g] for an accepted spread; rnd NULL: only whether there is one */
static int spread(const struct zstor_conf *c, const unsigned *room, placement_random_fn *rnd,
                  unsigned *count, struct err *e)
{
    unsigned n = c->expected_shards, most = MIN(max_groups(c), n);
    long double weight[ZSTOR_MAX_SHARDS + 1] = {0}, total = 0, left;
    struct deal d = {
        .shards = n, .ngroups = (unsigned)c->ngroups, .room = room, .skip = c->redundant_groups};
    unsigned m, last = 0;
    int r;

    for (m = c->redundant_groups + 1; m <= most; m++) {
        d.groups = m;
        d.top_max = (long)n - (long)c->minimal_shards -
                    (long)c->redundant_nodes * (long)(m - c->redundant_groups);
        weight[m] = deal_count(&d);
        total += weight[m];
        deal_free(&d);
        if (total > 0 && !rnd)
            return 0;
    }
    if (!(total > 0))
        return explain(c, room, e);
    if (random_unit(rnd, &left) < 0)
        return -EIO;
    left *= total;
    for (m = c->redundant_groups + 1; m <= most; m++) {
        if (weight[m] <= 0)
            continue;
        last = m;
        left -= weight[m];
        if (left < 0)
            break;
    }
    d.groups = last;
    d.top_max = (long)n - (long)c->minimal_shards -
                (long)c->redundant_nodes * (long)(last - c->redundant_groups);
    r = deal_count(&d) > 0 ? deal_draw(&d, rnd, count) : -ENOLINK;
    deal_free(&d);
    return r;
}

static unsigned *count_room(const struct zstor_conf *c, const struct placement_site *site, size_t n)
{
    unsigned *room = xcalloc(c->ngroups + 1, sizeof *room);

    for (size_t i = 0; i < n; i++)
        room[site[i].group] += site[i].usable && !site[i].kept;
    for (size_t g = 0; g < c->ngroups; g++)
        if (room[g] < c->redundant_nodes)
            room[g] = 0;
    return room;
}

struct placement_site *placement_sites(const struct zstor_conf *c, size_t *n)
{
    struct placement_site *site;
    size_t total = 0;

    for (size_t g = 0; g < c->ngroups; g++)
        total += c->groups[g].n;
    site = xcalloc(total + 1, sizeof *site);
    *n = total;
    total = 0;
    for (size_t g = 0; g < c->ngroups; g++)
        for (size_t i = 0; i < c->groups[g].n; i++)
            site[total++] =
                (struct placement_site){.addr = &c->groups[g].backends[i],
                                        .group = (unsigned)g,
                                        .usable = true,
                                        .weight = MAX(c->groups[g].backends[i].weight, 1u)};
    return site;
}

int placement_feasible(const struct zstor_conf *c, struct err *e)
{
    size_t n;
    struct placement_site *site = placement_sites(c, &n);
    unsigned *room = count_room(c, site, n);
    int r = spread(c, room, NULL, NULL, e);

    free(room);
    free(site);
    if (r < 0 && e)
        e->code = EINVAL;
    return r < 0 ? -EINVAL : 0;
}

static bool may_take(const struct placement_site *s, unsigned group, bool taken)
{
    return s->group == group && s->usable && !s->kept && !taken;
}

/* k different usable backends of one group, drawn one after the other with their weights. */
static int draw_sites(const struct placement_site *site, size_t nsites, unsigned group, unsigned k,
                      placement_random_fn *rnd, bool *taken, size_t *out)
{
    for (unsigned drawn = 0; drawn < k; drawn++) {
        long double total = 0, left;
        size_t pick = nsites;
        for (size_t i = 0; i < nsites; i++)
            if (may_take(&site[i], group, taken[i]))
                total += site[i].weight;
        if (random_unit(rnd, &left) < 0)
            return -EIO;
        left *= total;
        for (size_t i = 0; i < nsites && (pick == nsites || left >= 0); i++)
            if (may_take(&site[i], group, taken[i])) {
                pick = i; /* the last one takes what rounding leaves over */
                left -= site[i].weight;
            }
        if (pick == nsites)
            return -ENOLINK; /* cannot happen: the spread counted them */
        taken[pick] = true;
        out[drawn] = pick;
    }
    return 0;
}

int placement_choose(const struct zstor_conf *c, const struct placement_site *site, size_t nsites,
                     placement_random_fn *rnd, size_t *out, struct err *e)
{
    unsigned *room = count_room(c, site, nsites), *count = xcalloc(c->ngroups + 1, sizeof *count);
    bool *taken = xcalloc(nsites + 1, sizeof *taken);
    int r = spread(c, room, rnd, count, e);
    size_t done = 0;

    for (unsigned v = c->expected_shards; r == 0 && v > 0; v--)
        for (size_t g = 0; r == 0 && g < c->ngroups; g++)
            if (count[g] == v) {
                r = draw_sites(site, nsites, (unsigned)g, v, rnd, taken, out + done);
                done += v;
            }
    if (r == -EIO)
        err_set(e, EIO, "no random numbers");
    free(room);
    free(count);
    free(taken);
    return r;
}

/* Does this spread keep minimal_shards after the losses? */
static bool accepted(const struct zstor_conf *c, const unsigned *count)
{
    unsigned used = 0;
    long left = 0;
    unsigned *rest = xcalloc(c->ngroups + 1, sizeof *rest);

    for (size_t g = 0; g < c->ngroups; g++) {
        rest[g] = count[g];
        used += count[g] > 0;
    }
    for (unsigned skip = 0; skip < c->redundant_groups; skip++) {
        size_t top = 0;
        for (size_t g = 1; g < c->ngroups; g++)
            if (rest[g] > rest[top])
                top = g;
        rest[top] = 0;
    }
    for (size_t g = 0; g < c->ngroups; g++)
        if (rest[g])
            left += (long)rest[g] - (long)c->redundant_nodes;
    free(rest);
    return used > c->redundant_groups && used <= max_groups(c) && left >= (long)c->minimal_shards;
}

/* One more shard for the least used group that has a free backend; only_used: not into a new group.
 * nsites: none. */
static int add_one(const struct zstor_conf *c, const struct placement_site *site, size_t nsites,
                   bool only_used, placement_random_fn *rnd, unsigned *count, bool *taken,
                   size_t *out)
{
    unsigned best = UINT32_MAX;
    size_t ties = 0;
    uint64_t pick;

    for (int pass = 0; pass < 2; pass++) /* pass 0: how many groups are equally good; pass 1: take
                                            one of them */
        for (size_t g = 0; g < c->ngroups; g++) {
            bool free_site = false;
            for (size_t i = 0; i < nsites && !free_site; i++)
                free_site = site[i].group == g && site[i].usable && !site[i].kept && !taken[i];
            if (!free_site || (only_used && count[g] == 0))
                continue;
            if (pass == 0) {
                ties = count[g] < best ? 1 : ties + (count[g] == best);
                best = MIN(best, count[g]);
            } else if (count[g] == best && ties-- == 1) {
                count[g]++;
                return draw_sites(site, nsites, (unsigned)g, 1, rnd, taken, out);
            }
            if (pass == 0 && g + 1 == c->ngroups && ties > 1) {
                if (random_below(rnd, ties, &pick) < 0)
                    return -EIO;
                ties = (size_t)pick + 1;
            }
        }
    return -ENOLINK;
}

static int fill(const struct zstor_conf *c, const struct placement_site *site, size_t nsites,
                unsigned want, bool only_used, placement_random_fn *rnd, size_t *out,
                bool *satisfied)
{
    unsigned *count = xcalloc(c->ngroups + 1, sizeof *count);
    bool *taken = xcalloc(nsites + 1, sizeof *taken);
    unsigned done = 0;
    int r = 0;

    for (size_t i = 0; i < nsites; i++)
        count[site[i].group] += site[i].kept;
    for (; done < want; done++) {
        r = add_one(c, site, nsites, only_used, rnd, count, taken, out + done);
        if (r < 0)
            break;
    }
    *satisfied = done == want && accepted(c, count);
    free(count);
    free(taken);
    return r == -EIO ? -EIO : (int)done;
}

int placement_complete(const struct zstor_conf *c, const struct placement_site *site, size_t nsites,
                       unsigned want, placement_random_fn *rnd, size_t *out, bool *satisfied)
{
    int r = fill(c, site, nsites, want, true, rnd, out, satisfied);

    if (r < 0 || *satisfied)
        return r;
    return fill(c, site, nsites, want, false, rnd, out, satisfied);
}
