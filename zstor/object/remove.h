/* remove - the source of a store goes, if and only if it still is what was stored.  Blocks on the
 * disk.
 *
 * The file is first given a name aside (.<name>.zstor-remove), so that nobody can open it by its
 * own any more; then it is compared: who it is, its times, that nobody has it open, and every byte
 * against the checksum of what was stored.  Equal: it is unlinked.  Not equal: it gets its name
 * back.  What a crash leaves aside gets its name back with remove_undo. */
#ifndef ZSTOR_OBJECT_REMOVE_H
#define ZSTOR_OBJECT_REMOVE_H

#include "common/err.h"
#include "zstor/format/types.h"
#include "zstor/object/local.h"

/* id: of the file when it was read.  0: it is gone; -EBUSY, -ESTALE, -EEXIST and others with a
 * reason: it is there still. */
int remove_stored(const char *path, const struct local_id *id,
                  const uint8_t checksum[ZSTOR_DIGEST_LEN], struct err *e);
/* Give back the name of what an earlier process left aside of path, or of the files of the
 * directory path, unless something has taken the name. */
void remove_undo(const char *path);

#endif
