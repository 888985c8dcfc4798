/* slots - bytes of index records that are, or may be, the fixed slots of a sequential index file,
 * when they cannot be believed: what do most of them say?  Spec zdb-files, section 4.5. */
#ifndef ZDB_FORMAT_SLOTS_H
#define ZDB_FORMAT_SLOTS_H

#include "zdb/format/index.h"

/* The first n x INDEX_SEQ_REC bytes behind a header: 2 they are slots, -1 they are not, 0 it cannot
 * be told. */
int slots_vote_mode(const uint8_t *block, size_t n);
/* The id that the first slot has, by majority of id minus slot (copies of old versions have other
 * ids).  *weight: of it, 0 when nothing can be said; *agree: slots that agree with `expected`. */
uint64_t slots_vote_first(const uint8_t *block, size_t n, uint64_t expected, uint64_t *weight,
                          uint64_t *agree);

#endif
