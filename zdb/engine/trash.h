/* trash - files and directories that are to go: renamed to a name that nobody reads, removed by a
 * helper thread, so that the loop never waits for the space of gigabytes to be given back.  What a
 * crash leaves is removed at the next start.
 *
 *   <root>/.zdb-removed.<number>.<name>    a namespace's directory, or a file of it
 *
 * The index directory is the namespace: its rename is the deletion.  Its data directory goes when
 * that rename is on stable storage, and nothing may be made under the name before both are.
 * Thread: the zdb loop. */
#ifndef ZDB_ENGINE_TRASH_H
#define ZDB_ENGINE_TRASH_H

#include "common/err.h"

struct loop;
struct trash;

#define TRASH_PREFIX ".zdb-removed."

int trash_new(struct trash **out, struct loop *l, const char *index_root, const char *data_root,
              struct err *e);     /* the roots are borrowed */
void trash_free(struct trash *t); /* waits for what is under way; NULL: no effect */

/* A file <root>/<namespace>/<file>: gone from there when this returns.  Nobody should have it open:
 * the last close gives the space back.  0 (also when there is none) or -errno. */
int trash_file(struct trash *t, const char *path);

typedef void trash_fn(void *arg, int result);
/* The directories of a namespace.  0: gone from the index root, and done runs on the loop with 0 or
 * -errno when both are durably gone from their roots.  -errno: nothing was done. */
int trash_namespace(struct trash *t, const char *name, trash_fn *done, void *arg);

bool trash_is(const char *name); /* a name in a root that is none of a namespace */
/* Start: deletions that a crash cut off are finished, left-overs removed.  0 or -errno. */
int trash_recover(struct trash *t, struct err *e);

#endif
