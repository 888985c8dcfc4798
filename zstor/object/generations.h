/* generations - the newest generation of each object that this machine knows of, so that an old
 * record which is shown again is told from the newest.  In memory, and in the file
 * state_dir/generations:
 *   "QZG\1", then per entry 16 bytes digest of the key | u64 generation, highest bit: deleted |
 *   u32 crc_std over both.  Appended; the last entry of a digest counts; what does not fit ends it.
 * Not thread-safe. */
#ifndef ZSTOR_OBJECT_GENERATIONS_H
#define ZSTOR_OBJECT_GENERATIONS_H

#include "common/err.h"
#include "zstor/format/types.h"

struct generations;

/* Reads the file, makes it when it is not there. */
int generations_open(struct generations **out, const char *state_dir, struct err *e);
void generations_close(struct generations *g);

/* 0: not known.  *deleted: the object of that generation was deleted. */
uint64_t generations_get(const struct generations *g, const uint8_t digest[ZSTOR_DIGEST_LEN],
                         bool *deleted);
/* Remember, unless a later one is known.  sync: on disk when it returns. */
int generations_put(struct generations *g, const uint8_t digest[ZSTOR_DIGEST_LEN],
                    uint64_t generation, bool deleted, bool sync);
size_t generations_alive(const struct generations *g); /* known, and not known to be deleted */
/* Write the file anew when most of it is of the past.  Nobody else may have it open. */
int generations_compact(struct generations *g, struct err *e);

#endif
