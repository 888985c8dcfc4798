/* compact - zdb --compact: gives the space of deleted and superseded values back, offline.  Blocks;
 * for a process that does nothing else.
 *
 * One segment after the other is written anew beside the old files and takes their place at once
 * (compact_journal): whatever happens, each namespace stays whole, and the work goes on from there
 * next time.  Namespaces of which data files are not here, and those that a check finds something
 * in, are left alone. */
#ifndef ZDB_TOOLS_COMPACT_H
#define ZDB_TOOLS_COMPACT_H

#include "common/err.h"
#include <stdio.h>

/* name: that namespace only, or NULL.  One line for each namespace to out, or for one that is left
 * alone to refused. 0; 1 some were left alone; -errno: stopped, e says why; the namespace at hand
 * is whole. */
int compact_run(const char *index, const char *data, const char *name, FILE *out, FILE *refused,
                struct err *e);

#endif
