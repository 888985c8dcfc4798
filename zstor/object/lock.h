/* lock - one writer at a time for each object, whatever name it was asked for by, in this process
 * or in another one on this machine with the same state_dir: a byte of <state_dir>/objects.lock for
 * each metadata key. */
#ifndef ZSTOR_OBJECT_LOCK_H
#define ZSTOR_OBJECT_LOCK_H

#include "common/err.h"
#include "zstor/backend/progress.h"

/* 0: held until *fd is closed (base_close), also by a crash.  -ECANCELED, or -errno of the file. */
int object_lock(const char *state_dir, const char *meta_key, const struct object_ctl *ctl, int *fd,
                struct err *e);

#endif
