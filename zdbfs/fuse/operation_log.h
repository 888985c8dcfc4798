/* operation_log - the operation log of -o logfile=S (spec zdbfs-behaviour 9): one line per changing
 * operation, with the path.  Paths are put together from the names under which directories were
 * looked up.  Any thread; NULL logs nothing. */
#ifndef ZDBFS_FUSE_OPERATION_LOG_H
#define ZDBFS_FUSE_OPERATION_LOG_H

#include "common/err.h"

struct oplog;

int oplog_open(struct oplog **out, const char *path, struct err *e);
void oplog_close(struct oplog *l);
/* The directory ino is called name in parent (lookup, mkdir, rename). */
void oplog_learn(struct oplog *l, uint64_t ino, uint64_t parent, const char *name);
void oplog_forget(struct oplog *l, uint64_t ino);
/* "[op] <path of name in parent><suffix>"; name may be NULL: the directory itself. */
void oplog_path(struct oplog *l, const char *op, uint64_t parent, const char *name,
                const char *suffix);
void oplog_rename(struct oplog *l, uint64_t parent, const char *name, uint64_t new_parent,
                  const char *new_name);
void oplog_write(struct oplog *l, const char *op, const char *fmt, ...) PRINTF(3, 4);

#endif
