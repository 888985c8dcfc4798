/* dump_file - zdb --dump FILE: header and records of an index file, a data file, a namespace
 * descriptor or the journal of a compaction.  Reads only; passwords are never printed. */
#ifndef ZDB_TOOLS_DUMP_FILE_H
#define ZDB_TOOLS_DUMP_FILE_H

#include "common/err.h"
#include <stdio.h>

/* One line for the header and one for each record; json: one object each.  0; -EBADMSG, -ENODATA
 * (not such a file, or its records end early: e names the offset), -errno.  What could be read is
 * printed. */
int dump_file(const char *path, bool json, FILE *out, struct err *e);

#endif
