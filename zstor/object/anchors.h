/* anchors - the anchor of the metadata log (format/anchor.h) at the data backends: one value at
 * each 0-db, one name at each backend of another kind.  Blocks its thread. */
#ifndef ZSTOR_OBJECT_ANCHORS_H
#define ZSTOR_OBJECT_ANCHORS_H

#include "zstor/format/anchor.h"
#include "zstor/object/changes.h"
#include "zstor/object/quorum.h"

/* To every data backend that can be written; how many have it on stable storage.  now: with the
 * keys that it has got (and of the others those of before, from `former`); changes_state_fini. */
unsigned anchors_write(const struct metastore *ms, struct slice sealed,
                       const struct changes_state *former, struct changes_state *now);
/* Deletes what is in a and not in b, as far as it can be reached; the rest only takes space. */
void anchors_drop(const struct metastore *ms, const struct changes_state *a,
                  const struct changes_state *b);

/* The newest of all.  1; 0: every backend was asked and none has one; -EHOSTUNREACH: some could not
 * be asked, and the others have none; -EKEYREJECTED: there are some, of another key; -EEXIST: of
 * two volumes.  *silent: backends that did not answer, also when one was found.  look: values of a
 * 0-db that are looked at, at the most; where (may be NULL): the keys of what was found there;
 * changes_state_fini. */
#define ANCHORS_LOOK 1000000u
int anchors_find(const struct metastore *ms, uint64_t look, struct anchor *out,
                 struct changes_state *where, unsigned *silent, struct err *e);

#endif
