#include "tests/unit/unit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/digest.h"
#include "zstor/backend/placement.h"

static uint64_t state = 1;

static int repeatable(void *p, size_t n) /* splitmix64 */
{
    for (size_t i = 0; i < n; i += 8) {
        uint64_t z = state += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        z ^= z >> 31;
        memcpy((char *)p + i, &z, MIN(n - i, (size_t)8));
    }
    return 0;
}

static struct zstor_conf *conf(unsigned k, unsigned n, unsigned rg, unsigned rn,
                               const unsigned *sizes, size_t ngroups)
{
    struct zstor_conf *c = xcalloc(1, sizeof *c);
    unsigned port = 1000;

    c->minimal_shards = k;
    c->expected_shards = n;
    c->redundant_groups = rg;
    c->redundant_nodes = rn;
    c->ngroups = ngroups;
    c->groups = xcalloc(ngroups, sizeof *c->groups);
    for (size_t g = 0; g < ngroups; g++) {
        c->groups[g].n = sizes[g];
        c->groups[g].backends = xcalloc(sizes[g] + 1, sizeof(struct backend_addr));
        for (unsigned i = 0; i < sizes[g]; i++) {
            char text[32];
            snprintf(text, sizeof text, "10.0.%zu.%u:%u", g, i % 256, port++);
            ck_assert_int_eq(backend_addr_parse(&c->groups[g].backends[i], text, NULL, NULL, NULL),
                             0);
        }
    }
    return c;
}

/* the rule, said once more and plainly */
static bool survives(const struct zstor_conf *c, const unsigned *count)
{
    unsigned rest[64], used = 0, most;
    long left = 0;

    for (size_t g = 0; g < c->ngroups; g++) {
        rest[g] = count[g];
        used += count[g] > 0;
    }
    most = c->redundant_nodes
               ? (c->expected_shards - c->minimal_shards) / c->redundant_nodes + c->redundant_groups
               : (unsigned)c->ngroups;
    for (size_t a = 0; a < c->ngroups; a++)
        for (size_t b = a + 1; b < c->ngroups; b++)
            if (rest[b] > rest[a]) {
                unsigned t = rest[a];
                rest[a] = rest[b];
                rest[b] = t;
            }
    for (size_t g = c->redundant_groups; g < used; g++)
        left += (long)rest[g] - (long)c->redundant_nodes;
    return used > c->redundant_groups && used <= most && left >= (long)c->minimal_shards;
}

struct set {
    unsigned k, n, rg, rn, sizes[8];
    size_t ngroups;
    bool ok;
};

static const struct set sets[] = {
    {2, 4, 0, 0, {4}, 1, true},
    {2, 4, 0, 0, {3}, 1, false},
    {2, 4, 0, 2, {4}, 1, true},
    {2, 4, 0, 3, {4}, 1, false},
    {2, 4, 1, 0, {2, 2}, 2, true},
    {2, 4, 1, 0, {3, 1}, 2, false}, /* after the larger group one is left */
    {2, 4, 1, 0, {4, 4, 4}, 3, true},
    {3, 9, 1, 1, {5, 5, 5}, 3, true},
    {10, 15, 1, 0, {5, 5, 5}, 3, true},
    {10, 15, 1, 1, {5, 5, 5}, 3, false},
    {16, 20, 0, 4, {20}, 1, true},
    {16, 20, 0, 1, {5, 5, 5, 5}, 4, true},
    {16, 20, 1, 0, {5, 5, 5, 5}, 4, false},
    {2, 6, 0, 2, {1, 5, 5}, 3, true}, /* the group of one is left out */
    {2, 4, 2, 0, {4, 4}, 2, false},
    {5, 20, 2, 1, {15, 15, 15, 15}, 4, true}, /* never ends with enumeration */
    {128, 256, 1, 0, {128, 128, 128}, 3, true},
    {1, 2, 0, 0, {1, 1}, 2, true},
    {4, 4 + 1, 0, 1, {8}, 1, true},
};

START_TEST(choices_obey_the_rule_or_are_refused)
{
    const struct set *t = &sets[_i];
    struct zstor_conf *c = conf(t->k, t->n, t->rg, t->rn, t->sizes, t->ngroups);
    struct err e = {0};
    size_t n, out[256];
    struct placement_site *site = placement_sites(c, &n);

    ck_assert_msg(placement_feasible(c, &e) == (t->ok ? 0 : -EINVAL), "set %d: %s", _i, e.text);
    if (!t->ok)
        ck_assert_uint_gt(strlen(e.text), 0);
    for (int round = 0; round < 30; round++) {
        unsigned count[8] = {0};
        bool seen[512] = {false};
        int r = placement_choose(c, site, n, repeatable, out, NULL);
        ck_assert_int_eq(r, t->ok ? 0 : -ENOLINK);
        if (r < 0)
            break;
        for (unsigned i = 0; i < t->n; i++) {
            ck_assert_uint_lt(out[i], n);
            ck_assert(!seen[out[i]]);
            seen[out[i]] = true;
            count[site[out[i]].group]++;
        }
        ck_assert(survives(c, count));
    }
    free(site);
    zstor_conf_free(c);
}
END_TEST

/* two groups of eight, 8 shards, 2 needed: upstream's weights are the binomials C(8,i) (both orders
 * of a spread together): (4,4) 70, {3,5} 112, {2,6} 56, {1,7} 16, {8,0} 2 of 256 */
START_TEST(balanced_spreads_are_drawn_as_often_as_upstream_draws_them)
{
    static const unsigned sizes[2] = {8, 8};
    static const double want[5] = {70, 112, 56, 16, 2};
    struct zstor_conf *c = conf(2, 8, 0, 0, sizes, 2);
    size_t n, out[8];
    struct placement_site *site = placement_sites(c, &n);
    unsigned seen[5] = {0};
    const unsigned rounds = 25600;

    for (unsigned round = 0; round < rounds; round++) {
        int first = 0;
        ck_assert_int_eq(placement_choose(c, site, n, repeatable, out, NULL), 0);
        for (int i = 0; i < 8; i++)
            first += site[out[i]].group == 0;
        seen[abs(first - 4)]++;
    }
    for (int i = 0; i < 5; i++) {
        double mean = rounds * want[i] / 256;
        ck_assert_msg(seen[i] > mean * 0.85 - 20 && seen[i] < mean * 1.15 + 20, "%d: %u, not %g", i,
                      seen[i], mean);
    }
    free(site);
    zstor_conf_free(c);
}
END_TEST

START_TEST(unusable_backends_are_never_chosen)
{
    static const unsigned sizes[2] = {5, 5};
    struct zstor_conf *c = conf(2, 4, 0, 0, sizes, 2);
    size_t n, out[4];
    struct placement_site *site = placement_sites(c, &n);

    for (size_t i = 0; i < n; i++)
        site[i].usable = i % 2 == 0;
    for (int round = 0; round < 500; round++) {
        ck_assert_int_eq(placement_choose(c, site, n, repeatable, out, NULL), 0);
        for (int i = 0; i < 4; i++)
            ck_assert_uint_eq(out[i] % 2, 0);
    }
    site[0].usable = site[2].usable = false;
    ck_assert_int_eq(placement_choose(c, site, n, repeatable, out, NULL), -ENOLINK);
    free(site);
    zstor_conf_free(c);
}
END_TEST

START_TEST(backends_with_more_room_are_preferred)
{
    static const unsigned sizes[1] = {4};
    struct zstor_conf *c = conf(1, 2, 0, 0, sizes, 1);
    size_t n, out[2];
    unsigned hits[4] = {0};
    struct placement_site *site = placement_sites(c, &n);

    site[3].weight = 10;
    for (int round = 0; round < 2000; round++) {
        ck_assert_int_eq(placement_choose(c, site, n, repeatable, out, NULL), 0);
        hits[out[0]]++;
        hits[out[1]]++;
    }
    ck_assert_uint_gt(hits[3], 1800);
    for (int i = 0; i < 3; i++)
        ck_assert_uint_gt(hits[i], 450);
    free(site);
    zstor_conf_free(c);
}
END_TEST

START_TEST(large_groups_are_dealt_quickly)
{
    static const unsigned sizes[8] = {40, 40, 40, 40, 40, 40, 40, 40};
    struct zstor_conf *c = conf(40, 80, 1, 2, sizes, 8);
    size_t n, out[80];
    struct placement_site *site = placement_sites(c, &n);
    uint64_t start = base_now_ms();

    ck_assert_int_eq(placement_choose(c, site, n, repeatable, out, NULL), 0);
    ck_assert_uint_lt(base_now_ms() - start, 2000);
    free(site);
    zstor_conf_free(c);
}
END_TEST

START_TEST(completion_keeps_the_rule_when_it_can)
{
    static const unsigned sizes[3] = {3, 3, 3};
    struct zstor_conf *c = conf(2, 6, 1, 1, sizes, 3);
    size_t n, out[6];
    bool satisfied = false;
    struct placement_site *site = placement_sites(c, &n);

    site[0].kept = site[3].kept = site[6].kept = site[7].kept = 1;
    for (int round = 0; round < 50; round++) {
        unsigned count[3] = {1, 1, 2};
        ck_assert_int_eq(placement_complete(c, site, n, 2, repeatable, out, &satisfied), 2);
        ck_assert(satisfied);
        ck_assert_uint_ne(out[0], out[1]);
        for (int i = 0; i < 2; i++) {
            ck_assert(!site[out[i]].kept);
            count[site[out[i]].group]++;
        }
        ck_assert(survives(c, count));
    }
    /* only one group has room: better there than nowhere, but said so */
    site[1].usable = site[2].usable = site[4].usable = site[5].usable = false;
    ck_assert_int_eq(placement_complete(c, site, n, 2, repeatable, out, &satisfied), 1);
    ck_assert(!satisfied);
    ck_assert_uint_eq(out[0], 8);
    site[8].usable = false;
    ck_assert_int_eq(placement_complete(c, site, n, 2, repeatable, out, &satisfied), 0);
    free(site);
    zstor_conf_free(c);
}
END_TEST

static TCase *tcase_placement(void)
{
    TCase *t = tcase_create("placement");

    tcase_add_loop_test(t, choices_obey_the_rule_or_are_refused, 0, ARRAY_LEN(sets));
    tcase_add_test(t, balanced_spreads_are_drawn_as_often_as_upstream_draws_them);
    tcase_add_test(t, unusable_backends_are_never_chosen);
    tcase_add_test(t, backends_with_more_room_are_preferred);
    tcase_add_test(t, large_groups_are_dealt_quickly);
    tcase_add_test(t, completion_keeps_the_rule_when_it_can);
    return t;
}

UNIT_MAIN("placement", tcase_placement)
