/* share - how many descriptors each kind of thing may have, from the limit of the process. */
#ifndef ZDB_SHARE_H
#define ZDB_SHARE_H

#include "common/base.h"

struct share {
    unsigned files; /* segment files in the cache */
    unsigned hooks; /* programs at one time, queued ones and urgent ones each */
    size_t clients;
};

/* all: the limit (UINT64_MAX: none), at least 24 are taken for granted.  clients: what was asked
 * for.  The sum of what they may have open, with the descriptors that the process has anyhow, is
 * not above the limit. */
struct share share_of(uint64_t all, uint64_t clients);

#endif
