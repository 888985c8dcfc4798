/* object_name - which name an object has: lexical cleaning, removal of the root, the metadata key,
 * and the real path of a file that may not exist.  Spec zstor-format 10.  Layer 0; only
 * keypath_resolve looks at the file system. */
#ifndef ZSTOR_FORMAT_OBJECT_NAME_H
#define ZSTOR_FORMAT_OBJECT_NAME_H

#include "common/err.h"

/* Plan 9 cleanname: no file system, does not make absolute.  Given (free). */
char *keypath_clean(const char *path);
/* path must be clean.  root NULL or "": path itself.  Given, or NULL when root is no prefix of it.
 */
char *keypath_strip(const char *path, const char *root);
/* What is hashed to the key: path clean, without the root.  Given in *out.  -EINVAL: outside root.
 */
int keypath_name(const char *path, const char *root, char **out, struct err *e);
/* "/<prefix>/meta/<hex>".  Given in *out.  -EINVAL: outside root. */
int keypath_key(const char *prefix, const char *path, const char *root, char **out, struct err *e);
/* Absolute path without symlinks, `.` and `..`; what does not exist is taken as it is named.
 * Creates nothing.  Given in *out. -ELOOP, -EACCES, -ENAMETOOLONG, ... */
int keypath_resolve(const char *path, char **out);

#endif
