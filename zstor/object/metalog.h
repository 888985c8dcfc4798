/* metalog - the metadata log: records a second time, at the data backends
 * (docs/zstor-metadata-log.md).  Blocks its thread. */
#ifndef ZSTOR_OBJECT_METALOG_H
#define ZSTOR_OBJECT_METALOG_H

#include "zstor/object/backup.h"

#define METALOG_DIR "/.qsfs-metadata/" /* of the parts, behind root */

/* Before a daemon writes: -EEXIST when the metadata backends are empty, nothing is known here, and
 * the data backends have a log: a new one must not hide it. */
int metalog_begin(struct objects *o, struct err *e);
/* Everything that has changed so far is in the log when it answers 0.  One at a time.  Else what is
 * missing stays noted. -ENODATA: more than a tenth of what this machine knows of is gone from the
 * metadata backends: the log keeps it. */
int metalog_flush(struct objects *o, const struct object_ctl *ctl, struct err *e);
/* Records that the metadata backends lack, or have of an older generation, from the log.  *n as of
 * backup_restore. takeover: also of a volume that another machine wrote, -EBUSY else.  -ENOENT:
 * there is no log; else as anchors_find and backup_restore. */
int metalog_recover(struct objects *o, bool takeover, const struct object_ctl *ctl,
                    struct backup_counts *n, struct err *e);

#endif
