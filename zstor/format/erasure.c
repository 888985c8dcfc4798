/* erasure - see format/erasure.h. */
#include "zstor/format/erasure.h"

#include <errno.h>
#include <isa-l/erasure_code.h>
#include <stdlib.h>

struct erasure {
    int ndata, nwant;
    uint8_t *tables; /* isa-l's multiplication tables, 32 bytes per coefficient */
};

/* c[rows x n] = a[rows x n] * b[n x n] */
static void mat_mul(const uint8_t *a, const uint8_t *b, uint8_t *c, unsigned rows, unsigned n)
{
    for (unsigned r = 0; r < rows; r++)
        for (unsigned k = 0; k < n; k++) {
            uint8_t v = 0;
            for (unsigned i = 0; i < n; i++)
                v ^= gf_mul(a[r * n + i], b[i * n + k]);
            c[r * n + k] = v;
        }
}

/* Row r of V: r^0, r^1, ... with 0^0 = 1. */
static void vandermonde_row(unsigned r, unsigned n, uint8_t *row)
{
    uint8_t v = 1;

    for (unsigned c = 0; c < n; c++) {
        row[c] = v;
        v = gf_mul(v, (uint8_t)r);
    }
}

/* Rows `shards` of G; 0 or -EINVAL (never for a valid geometry: points are distinct). */
static int generator_rows(unsigned n, const unsigned *shards, unsigned nshards, uint8_t *out)
{
    uint8_t *top = xcalloc((size_t)n * n, 1), *inv = xcalloc((size_t)n * n, 1);
    uint8_t *v = xcalloc((size_t)n * MAX(nshards, 1u), 1);
    int r = 0;

    for (unsigned i = 0; i < n; i++)
        vandermonde_row(i, n, top + (size_t)i * n);
    for (unsigned i = 0; i < nshards; i++)
        vandermonde_row(shards[i], n, v + (size_t)i * n);
    if (gf_invert_matrix(top, inv, (int)n) != 0)
        r = -EINVAL;
    else
        mat_mul(v, inv, out, nshards, n);
    free(top);
    free(inv);
    free(v);
    return r;
}

int erasure_row(struct geometry g, unsigned shard, uint8_t *row)
{
    if (!geometry_valid(g.data, g.parity) || shard >= geometry_total(g))
        return -EINVAL;
    return generator_rows(g.data, &shard, 1, row);
}

/* coef[nwant x n]: want as combination of have */
static int coefficients(struct geometry g, const unsigned *have, const unsigned *want,
                        unsigned nwant, uint8_t *coef)
{
    unsigned n = g.data;
    uint8_t *h = xcalloc((size_t)n * n, 1), *inv = xcalloc((size_t)n * n, 1),
            *w = xcalloc((size_t)n * nwant, 1);
    int r = generator_rows(n, have, n, h);

    if (r == 0)
        r = generator_rows(n, want, nwant, w);
    if (r == 0 && gf_invert_matrix(h, inv, (int)n) != 0)
        r = -EINVAL;
    if (r == 0)
        mat_mul(w, inv, coef, nwant, n);
    free(h);
    free(inv);
    free(w);
    return r;
}

static bool have_valid(const unsigned *have, unsigned n, unsigned total)
{
    bool seen[ZSTOR_MAX_SHARDS] = {false};

    for (unsigned i = 0; i < n; i++) {
        if (have[i] >= total || seen[have[i]])
            return false;
        seen[have[i]] = true;
    }
    return true;
}

int erasure_new(struct erasure **out, struct geometry g, const unsigned *have, const unsigned *want,
                unsigned nwant)
{
    unsigned all[ZSTOR_MAX_SHARDS] = {0}, total = geometry_total(g), n = g.data;
    bool plain = !have; /* the rows of G need no second inversion */
    uint8_t *coef;
    int r;

    if (!geometry_valid(g.data, g.parity))
        return -EINVAL;
    for (unsigned i = 0; i < total; i++)
        all[i] = i;
    if (!have)
        have = all;
    if (!want) {
        want = all + n;
        nwant = g.parity;
    }
    if (nwant == 0 || nwant > total || !have_valid(have, n, total))
        return -EINVAL;
    for (unsigned i = 0; i < nwant; i++)
        if (want[i] >= total)
            return -EINVAL;
    coef = xcalloc((size_t)n * nwant, 1);
    r = plain ? generator_rows(n, want, nwant, coef) : coefficients(g, have, want, nwant, coef);
    if (r == 0) {
        struct erasure *e = xcalloc(1, sizeof *e);
        e->ndata = (int)n;
        e->nwant = (int)nwant;
        e->tables = xcalloc((size_t)n * nwant, 32);
        ec_init_tables((int)n, (int)nwant, coef, e->tables);
        *out = e;
    }
    free(coef);
    return r;
}

void erasure_free(struct erasure *e)
{
    if (!e)
        return;
    free(e->tables);
    free(e);
}

void erasure_apply(const struct erasure *e, size_t len, const uint8_t *const *src,
                   uint8_t *const *dst)
{
    /* isa-l changes neither the tables nor the sources, its prototype only lacks the const */
    ec_encode_data((int)len, e->ndata, e->nwant, e->tables, (uint8_t **)(uintptr_t)src,
                   (uint8_t **)(uintptr_t)dst);
}
