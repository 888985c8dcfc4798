/* hashes - what is known about the content of local files, so that a segment is read at most once
 * to compare it with what is stored remotely.  An entry counts only while the file is in the state
 * it was in (snapshot_id).  Thread-safe; bounded. */
#ifndef ZSTOR_CACHE_HASHES_H
#define ZSTOR_CACHE_HASHES_H

#include <stdatomic.h>

#include "zstor/queue/snapshots.h"
#include "zstor/format/types.h"

struct hashes;

struct hashes *hashes_new(size_t max_entries);
void hashes_free(struct hashes *h);

void hashes_put(struct hashes *h, const char *path, const struct snapshot_id *id,
                const uint8_t digest[ZSTOR_DIGEST_LEN]);
bool hashes_get(struct hashes *h, const char *path, const struct snapshot_id *id,
                uint8_t digest[ZSTOR_DIGEST_LEN]);
/* Digest of the file in the state id, from memory or by reading it.  -ESTALE: it is in another
 * state, or changes; -ECANCELED: stop was set. */
int hashes_of(struct hashes *h, const char *path, const struct snapshot_id *id,
              const atomic_bool *stop, uint8_t digest[ZSTOR_DIGEST_LEN]);

/* Remembered for this content of the file (its ctime does not matter):
 *   HASHES_CONFIRMED  the same content was found remotely, with all its shards
 *   HASHES_RESTORED   it was brought back from there: the local file is no more than a copy that
 * was once let go already */
enum hashes_mark { HASHES_CONFIRMED = 1, HASHES_RESTORED = 2 };
void hashes_mark(struct hashes *h, const char *path, const struct snapshot_id *id,
                 enum hashes_mark mark);
bool hashes_marked(struct hashes *h, const char *path, const struct snapshot_id *id,
                   enum hashes_mark mark);

#endif
