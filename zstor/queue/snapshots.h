/* snapshots - what a store command means on the local disk: which regular files, which of them have
 * to be copied because they change, and the copy itself.  No state; blocks on the disk, so not for
 * the loop. */
#ifndef ZSTOR_QUEUE_SNAPSHOTS_H
#define ZSTOR_QUEUE_SNAPSHOTS_H

#include <stdint.h>

#include "common/err.h"
#include "zstor/object/local.h"

/* The regular files meant by path: itself, or what a directory holds (not recursive, symbolic links
 * and what is being removed left out, sorted). Given: path_list_free(*out, *n).  -ENOENT, -EINVAL
 * other kind of file. */
int snapshot_files(const char *path, char ***out, size_t *n, struct err *e);

/* Copy src to dst, a new file (0600), on stable storage when it returns; the directory of dst is
 * the caller's to sync. A source that is written to meanwhile is copied again, a few times: the
 * copy is one state of it if there is a quiet moment within about a second.  An empty source that
 * was made a moment ago is given that second to get its content. *bytes: size of the copy; *of: the
 * state that was copied, zeros when it was never quiet.  On failure dst is not there. */
int snapshot_take(const char *src, const char *dst, uint64_t *bytes, struct local_id *of,
                  struct err *e);

#endif
