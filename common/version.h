/* version - the one version number of qsfs: what --version of each program, bootstrap and the
 * package say. */
#ifndef COMMON_VERSION_H
#define COMMON_VERSION_H

#define QSFS_VERSION "0.5.0"

#endif
