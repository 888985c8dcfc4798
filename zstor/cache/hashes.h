/* hashes - what is known about the content of local files, so that a segment is read at most once
 * to compare it with what is stored remotely.  An entry counts only while the file is in the state
 * it was in (local_id).  Thread-safe; bounded. */
#ifndef ZSTOR_CACHE_HASHES_H
#define ZSTOR_CACHE_HASHES_H

#include <stdatomic.h>

#include "zstor/queue/snapshots.h"
#include "zstor/format/types.h"

struct hashes;

struct hashes *hashes_new(size_t max_entries);
void hashes_free(struct hashes *h);

void hashes_put(struct hashes *h, const char *path, const struct local_id *id,
                const uint8_t digest[ZSTOR_DIGEST_LEN]);
bool hashes_get(struct hashes *h, const char *path, const struct local_id *id,
                uint8_t digest[ZSTOR_DIGEST_LEN]);
/* Digest of the file in the state id, from memory or by reading it.  -ESTALE: it is in another
 * state, or changes; -ECANCELED: stop was set. */
int hashes_of(struct hashes *h, const char *path, const struct local_id *id,
              const atomic_bool *stop, uint8_t digest[ZSTOR_DIGEST_LEN]);

void hashes_forget(struct hashes *h, const char *path); /* what is known of it, in any state */

/* Remembered for this content of the file (its ctime does not matter):
 *   HASHES_CONFIRMED  the same content was found remotely, with all its shards
 *   HASHES_RESTORED   it was brought back from there: the local file is no more than a copy that
 * was once let go already */
enum hashes_mark { HASHES_CONFIRMED = 1, HASHES_RESTORED = 2 };
void hashes_mark(struct hashes *h, const char *path, const struct local_id *id,
                 enum hashes_mark mark);
bool hashes_marked(struct hashes *h, const char *path, const struct local_id *id,
                   enum hashes_mark mark);

/* What a look at the shards of this content found: how many were good, while the backends were in
 * the state `era` (a number that grows whenever one goes, comes or lost something).  Answers -1
 * when there was no look in this era within max_age_ms. */
void hashes_prove(struct hashes *h, const char *path, const struct local_id *id, unsigned good,
                  uint64_t era);
int hashes_proved(struct hashes *h, const char *path, const struct local_id *id, uint64_t era,
                  uint64_t max_age_ms);

#endif
