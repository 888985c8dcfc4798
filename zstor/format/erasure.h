/* erasure - Reed-Solomon over GF(2^8), polynomial 0x11d, with the generator matrix of spec
 * zstor-format 6: G = V * inverse(V[0..D-1]), V[r][c] = r^c (Vandermonde made systematic; Plank, "A
 * tutorial on Reed-Solomon coding", 1997, and its 2003 correction).  isa-l multiplies; its own
 * matrix generators give other matrices and are not used. Pure computation, no state shared between
 * objects: any thread. */
#ifndef ZSTOR_FORMAT_ERASURE_H
#define ZSTOR_FORMAT_ERASURE_H

#include "zstor/format/types.h"

struct erasure; /* how to compute some shards of one geometry from data-many others; immutable */

/* Shards want[0..nwant) from shards have[0..g.data), indexes 0..total-1, have without repetition.
 * have NULL: the data shards; want NULL: all parity shards (nwant is ignored).  -EINVAL: bad
 * geometry or indexes. */
int erasure_new(struct erasure **out, struct geometry g, const unsigned *have, const unsigned *want,
                unsigned nwant);
void erasure_free(struct erasure *e);

/* dst[i][0..len) = shard want[i], from src[j][0..len) = shard have[j].  Any len > 0, at most
 * INT_MAX; no overlap. */
void erasure_apply(const struct erasure *e, size_t len, const uint8_t *const *src,
                   uint8_t *const *dst);

/* Row of the generator matrix, g.data bytes; for tests and documentation. */
int erasure_row(struct geometry g, unsigned shard, uint8_t *row);

#endif
