/* hashes - what is known about the content of local files, so that a segment is read at most once to compare it with what is
 * stored remotely.  An entry counts only while the file is in the state it was in (snapshot_id).  Thread-safe; bounded. */
#ifndef ZSTOR_HASHES_H
#define ZSTOR_HASHES_H

#include <stdatomic.h>

#include "zstor/snapshot.h"
#include "zstor/types.h"

struct hashes;

struct hashes *hashes_new(size_t max_entries);
void hashes_free(struct hashes *h);

void hashes_put(struct hashes *h, const char *path, const struct snapshot_id *id, const uint8_t digest[ZSTOR_DIGEST_LEN]);
bool hashes_get(struct hashes *h, const char *path, const struct snapshot_id *id, uint8_t digest[ZSTOR_DIGEST_LEN]);
/* Digest of the file in the state id, from memory or by reading it.  -ESTALE: it is in another state, or changes;
 * -ECANCELED: stop was set. */
int hashes_of(struct hashes *h, const char *path, const struct snapshot_id *id, const atomic_bool *stop,
              uint8_t digest[ZSTOR_DIGEST_LEN]);

/* "The same content was found remotely", remembered for this state of the file (its ctime does not matter). */
void hashes_confirm(struct hashes *h, const char *path, const struct snapshot_id *id);
bool hashes_confirmed(struct hashes *h, const char *path, const struct snapshot_id *id);

#endif
