/* space - how full the namespaces are.  A thread asks zdb when somebody wants to know and what is
 * known is old; nobody waits long for it. */
#ifndef ZDBFS_CORE_SPACE_H
#define ZDBFS_CORE_SPACE_H

#include "zdbfs/cache/fs.h"

#include <sys/statvfs.h>

struct space;

int space_start(struct space **out, struct fs *fs, struct err *e);
void space_stop(struct space *s);
/* 0; -EIO when nothing was ever heard. */
int space_statfs(struct fs *fs, struct statvfs *out);

#endif
