/* claim - is the volume at the backends ours to write?  Two notes in the metadata namespaces tell:
 * one that only the right key opens, and the lease of its one writer.  Blocks its thread; may be
 * called by several at the same time.
 *
 * Whoever had the volume before keeps it, whether its lease is held, expired or given back; another
 * instance needs a takeover.  A takeover writes a higher epoch first, then waits until the former
 * owner has seen it or its lease has run out.
 * Needed: three backends for a first claim or a takeover, two to go on with one's own: so one that
 * goes on meets at least one that knows of the takeover. */
#ifndef ZSTOR_OBJECT_CLAIM_H
#define ZSTOR_OBJECT_CLAIM_H

#include <stdatomic.h>

#include "common/err.h"
#include "zstor/object/quorum.h"

/* Does the key of the configuration open the volume?  Writes nothing.  0: yes, or there is nothing
 * yet; -EKEYREJECTED; -EHOSTUNREACH: too few backends answered to tell. */
int claim_key(const struct metastore *ms, struct err *e);

/* Make, renew or (takeover) take the claim; ms->volume is held then.  -EKEYREJECTED; -EBUSY:
 * another's, the text names it; -EHOSTUNREACH: could not tell, try again; -ECANCELED by *stop. */
int claim_take(const struct metastore *ms, bool takeover, const atomic_bool *stop, struct err *e);
/* The notes of a volume that is ours under the former key (meta.config.encryption) are written
 * under the key of the configuration, on all four; 0 also when they are already. */
int claim_change_key(const struct metastore *ms, struct err *e);
void claim_give_back(const struct metastore *ms);
/* The newest lease of those that two backends or more answer with was given back, or they know of
 * none. */
bool claim_is_free(const struct metastore *ms);

#endif
