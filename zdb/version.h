/* version - what INFO, --version and the first log lines say.  Programs of the original's users
 * look for "v2." */
#ifndef ZDB_VERSION_H
#define ZDB_VERSION_H

#define ZDB_REVISION "v2.0.7+qsfs"

#endif
