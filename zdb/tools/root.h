/* root - the directories of zdb for the offline tools: locks, namespaces, segments, files.  A
 * check takes the locks shared and makes nothing; a compaction takes them as a running zdb does.
 * Owner: the caller.  Blocks. */
#ifndef ZDB_TOOLS_ROOT_H
#define ZDB_TOOLS_ROOT_H

#include "common/err.h"
#include "zdb/file/segment_list.h"
#include "zdb/file/compaction.h"

struct check_root {
    const char *index, *data; /* borrowed */
    int locks[2];             /* -1: there is no lock file, no zdb was ever started here */
};

/* Both directories have to be there.  0, -EBUSY (a zdb or a compaction runs on them), -ENOENT,
 * -EINVAL (one directory), -errno. */
int check_root_lock(struct check_root *r, const char *index, const char *data, bool exclusive,
                    struct err *e);
/* 0; -EBUSY: where there was no lock file one has appeared. */
int check_root_still(const struct check_root *r, struct err *e);
void check_root_unlock(struct check_root *r);
/* Directories in index, and those in data that have none there, by name: given (path_list_free).  0
 * or -errno. */
int check_root_namespaces(const struct check_root *r, char ***names, size_t *n, struct err *e);

/* Files of one namespace, as they count: what a journal of a compaction names is read under its new
 * name. */
struct check_dir {
    char *index, *data; /* directories */
    struct segment_list list;
    struct compact_list journal; /* of an interrupted compaction */
    bool has_journal, has_leftovers;
};

int check_dir_open(struct check_dir *d, const struct check_root *r, const char *name,
                   struct err *e);
void check_dir_close(struct check_dir *d);
char *check_dir_path(const struct check_dir *d, char kind, uint32_t id); /* given (free) */

/* A regular file for reading; its access time is left alone where that is allowed.  The descriptor,
 * or -errno (-EINVAL: not a regular file). */
int check_open(const char *path);

#endif
