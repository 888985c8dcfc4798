/* guard - the question before each change at the backends: is the volume ours, and this object? */
#ifndef ZSTOR_OBJECT_GUARD_H
#define ZSTOR_OBJECT_GUARD_H

#include "zstor/object/metadata.h"

/* Renews the claim when it is about to end.  old: the record that is to be replaced or deleted,
 * NULL: none.  0 also without ms->volume; errors as claim_take and volume_may_replace. */
int guard_change(const struct metastore *ms, const struct meta_record *old, struct err *e);

#endif
