/* flagset - the records of one index file whose deleted flag is decided but not written yet, each
 * in one of four generations. A cell of one byte stands for 35 bytes of the file, as no record is
 * shorter, so no two begin in the same cell: adding and asking cost a few instructions, there is
 * nothing to sort, and memory is at most 1/35 of the file, taken where there is something and given
 * back when it was written.  Thread: the zdb loop. */
#ifndef ZDB_ENGINE_FLAGSET_H
#define ZDB_ENGINE_FLAGSET_H

#include "common/base.h"

#define FLAGSET_GENERATIONS 4u

struct flagset_chunk;

struct flagset {                  /* empty when zeroed */
    struct flagset_chunk **chunk; /* by offset; NULL = nothing in it */
    size_t nchunks;
    size_t n;
};

void flagset_fini(struct flagset *f);
/* The record at off joins generation g, false: it was there already (and stays in the generation
 * that it had). */
bool flagset_add(struct flagset *f, uint32_t off, unsigned g);
bool flagset_has(const struct flagset *f, uint32_t off);
/* Ascending offsets of generation g, from `from` on, at most max of them within `span` bytes of the
 * first and no two of them further than `gap` apart.  The number of them; they stay. */
size_t flagset_next(const struct flagset *f, unsigned g, uint64_t from, uint32_t *off, size_t max,
                    uint32_t span, uint32_t gap);
void flagset_remove(struct flagset *f, uint32_t off);

#endif
