/* snapshots - what a store command means on the local disk: which regular files, which of them have
 * to be copied because they change, and the copy itself.  No state; blocks on the disk, so not for
 * the loop. */
#ifndef ZSTOR_QUEUE_SNAPSHOTS_H
#define ZSTOR_QUEUE_SNAPSHOTS_H

#include <stdint.h>

#include "common/err.h"

/* The regular files meant by path: itself, or what a directory holds (not recursive, symbolic links
 * left out, sorted). Given: path_list_free(*out, *n).  -ENOENT, -EINVAL other kind of file. */
int snapshot_files(const char *path, char ***out, size_t *n, struct err *e);

/* Is it named like a data segment of zdb, "d<N>"?  Those only grow and are never copied. */
bool snapshot_is_data(const char *path);

/* Copy src to dst, a new file (0600), on stable storage when it returns; the directory of dst is
 * the caller's to sync. A source that is written to meanwhile is copied again, a few times: the
 * copy is one state of it if there is a quiet moment within about a second.  An empty source that
 * was made a moment ago is given that second to get its content. *bytes: size of the copy.  On
 * failure dst is not there. */
int snapshot_take(const char *src, const char *dst, uint64_t *bytes, struct err *e);

/* Which file, and in which state.  Equal values mean the same bytes, even if somebody set the times
 * back: ctime tells. It also changes when only the access time is set, as zdb does on reads. */
struct snapshot_id {
    uint64_t dev, ino, size;
    int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
};

struct stat;
void snapshot_id_of(struct snapshot_id *out, const struct stat *st);
bool snapshot_id_eq(const struct snapshot_id *a, const struct snapshot_id *b);
bool snapshot_id_eq_mtime(const struct snapshot_id *a, const struct snapshot_id *b); /* all but
                                                                                        ctime: good
                                                                                        enough for a
                                                                                        hint */

#endif
