/* renew - the files of a namespace are read again (RELOAD), or others begin in their place (FLUSH).
 * Stands beside the list of namespaces: it needs a namespace in service and the load of one.
 * Thread: the zdb loop. */
#ifndef ZDB_RENEW_H
#define ZDB_RENEW_H

#include "zdb/engine/namespace.h"

/* Before RELOAD: what waits in memory begins to go to the files. */
void renew_prepare(struct ns *ns);
/* RELOAD; fires reloaded.  0; -EINPROGRESS, nothing was changed; or -errno: the old state stays in
 * force. */
int renew_reload(struct ns *ns, struct ns_wait *w, struct err *e);
/* FLUSH: all segments deleted, starts again at 0, descriptor and mode kept.  0: done, and durable
 * when the next ns_sync says so; -EINPROGRESS, nothing was changed; -NS_EINDEX, -NS_EDATA or
 * -errno. */
int renew_flush(struct ns *ns, struct ns_wait *w);

#endif
