/* version - the revision that INFO, --version and the first log line name, beside our own number
 * (common/version.h): that of the original whose protocol this is.  Programs of its users look for
 * "v2." */
#ifndef ZDB_VERSION_H
#define ZDB_VERSION_H

#define ZDB_REVISION "v2.0.7+qsfs"

#endif
