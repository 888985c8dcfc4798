/* dump - zdb --dump: the live keys of all user-mode namespaces, one line each. */
#ifndef ZDB_TOOLS_DUMP_H
#define ZDB_TOOLS_DUMP_H

#include <stdio.h>

#include "common/err.h"

struct loop;
struct store;

/* "<namespace> <key> <length> <timestamp>", bytes that are not printable as \xHH; or one JSON
 * object per line with the key in hex.  0 or -errno. */
int dump_run(struct store *l, struct loop *loop, FILE *out, bool json, struct err *e);

#endif
