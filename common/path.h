/* path - names of files and what is done to whole files.  Functions return 0 or -errno. */
#ifndef COMMON_PATH_H
#define COMMON_PATH_H

#include "common/buf.h"
#include "common/err.h"
#include <sys/types.h>

char *path_join(const char *dir, const char *name); /* given (free); exactly one slash between */
char *path_dir(const char *path);                   /* parent, given; "." without a slash */
const char *path_base(const char *path);            /* borrowed from path */
int path_mkdirs(const char *path, mode_t mode);     /* mkdir -p; 0 also when it is there */
int path_sync_dir(const char *dir);                 /* fsync of a directory */

/* New content for path: written to a temporary name in the same directory, fsync, rename, fsync of
 * the directory.  After a crash the old or the new content is there, never a mixture. */
int path_replace(const char *path, struct slice content, mode_t mode, struct err *e);
/* Whole file, appended to out; -EFBIG when it has more than max bytes. */
int path_read(const char *path, size_t max, struct buf *out, struct err *e);
/* Names in dir without "." and "..", sorted by byte value; given: path_list_free(list). */
int path_list(const char *dir, char ***out, size_t *n);
void path_list_free(char **list, size_t n);
int path_remove_tree(const char *dir); /* rm -rf below and including dir; 0 when absent; follows no
                                          symlink */

#endif
