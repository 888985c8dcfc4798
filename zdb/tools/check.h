/* check - zdb --check: a report over all namespaces, read-only and independent of the load. Blocks;
 * for a process that does nothing else. */
#ifndef ZDB_TOOLS_CHECK_H
#define ZDB_TOOLS_CHECK_H

#include "zdb/tools/check_state.h"

/* Locks the directories, writes one line for each finding and the totals of each namespace to out.
 * 0 in order, 1 there are faults, -errno: could not be checked, e says why. */
int check_run(const char *index, const char *data, bool json, FILE *out, struct err *e);

/* One namespace; findings and their numbers go to r, r->ns is set.  0 or -errno. */
int check_namespace(struct check_report *r, const struct check_root *root, const char *name,
                    struct check_totals *t, uint8_t *mode, struct err *e);

#endif
