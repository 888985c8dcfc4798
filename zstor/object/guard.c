/* guard - see object/guard.h. */
#include "zstor/object/guard.h"

#include <errno.h>

#include "zstor/object/claim.h"
#include "zstor/object/volume.h"

int guard_change(const struct metastore *ms, const struct meta_record *old, struct err *e)
{
    struct volume *v = ms->volume;
    int r;

    if (!v)
        return 0;
    r = volume_writable(v, volume_lease_ms(v) / 2, e);
    if (r == -EAGAIN)
        r = claim_take(ms, false, NULL, e);
    return r == 0 && old ? volume_may_replace(v, old, e) : r;
}
