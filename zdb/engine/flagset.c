/* flagset - see the header. */
#include "zdb/engine/flagset.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CELL  35u   /* bytes of the file; the shortest record: 34 and a key of one */
#define CELLS 4096u /* of a chunk */
#define PLACE 63u   /* in a cell: offset within it + 1; above that the generation */

struct flagset_chunk {
    uint16_t n[FLAGSET_GENERATIONS];
    uint8_t cell[CELLS];
};

void flagset_fini(struct flagset *f)
{
    for (size_t i = 0; i < f->nchunks; i++)
        free(f->chunk[i]);
    free(f->chunk);
    *f = (struct flagset){0};
}

static struct flagset_chunk *chunk_of(const struct flagset *f, uint32_t off)
{
    size_t i = off / (CELL * CELLS);

    return i < f->nchunks ? f->chunk[i] : NULL;
}

static struct flagset_chunk *chunk_make(struct flagset *f, uint32_t off)
{
    size_t i = off / (CELL * CELLS);

    if (i >= f->nchunks) {
        size_t n = MAX(i + 1, f->nchunks * 2);
        struct flagset_chunk **p = xcalloc(n, sizeof(struct flagset_chunk *));
        if (f->nchunks)
            memcpy(p, f->chunk, f->nchunks * sizeof(struct flagset_chunk *));
        free(f->chunk);
        f->chunk = p;
        f->nchunks = n;
    }
    if (!f->chunk[i])
        f->chunk[i] = xcalloc(1, sizeof *f->chunk[i]);
    return f->chunk[i];
}

bool flagset_has(const struct flagset *f, uint32_t off)
{
    const struct flagset_chunk *c = chunk_of(f, off);

    return c && (c->cell[off / CELL % CELLS] & PLACE) == off % CELL + 1;
}

bool flagset_add(struct flagset *f, uint32_t off, unsigned g)
{
    struct flagset_chunk *c = chunk_make(f, off);
    uint8_t *cell = &c->cell[off / CELL % CELLS];

    assert(g < FLAGSET_GENERATIONS);
    if (*cell)
        return false;
    *cell = (uint8_t)(g << 6 | (off % CELL + 1));
    c->n[g]++;
    f->n++;
    return true;
}

void flagset_remove(struct flagset *f, uint32_t off)
{
    struct flagset_chunk *c = chunk_of(f, off);
    uint8_t *cell;

    if (!flagset_has(f, off))
        return;
    cell = &c->cell[off / CELL % CELLS];
    c->n[*cell >> 6]--;
    *cell = 0;
    f->n--;
    if (c->n[0] + c->n[1] + c->n[2] + c->n[3] == 0) {
        f->chunk[off / (CELL * CELLS)] = NULL;
        free(c);
    }
}

size_t flagset_next(const struct flagset *f, unsigned g, uint64_t from, uint32_t *off, size_t max,
                    uint32_t span, uint32_t gap)
{
    uint64_t cell = from / CELL;
    size_t n = 0;

    while (n < max && cell / CELLS < f->nchunks) {
        const struct flagset_chunk *c = f->chunk[cell / CELLS];

        if (!c || c->n[g] == 0) {
            cell = (cell / CELLS + 1) * CELLS;
        } else {
            uint8_t v = c->cell[cell % CELLS];
            uint64_t at = cell * CELL + (v & PLACE) - 1;
            if (v && v >> 6 == g && at >= from) {
                if (n > 0 && (at - off[0] > span || at - off[n - 1] > gap))
                    break;
                off[n++] = (uint32_t)at;
            }
            cell++;
        }
        if (n > 0 && cell * CELL > (uint64_t)off[n - 1] + gap + CELL)
            break;
    }
    return n;
}
