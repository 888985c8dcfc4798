/* stats - counters of requests, and the record that the statistics ioctl answers with (spec
 * zdbfs-behaviour 5).  Any thread. */
#ifndef ZDBFS_STATS_H
#define ZDBFS_STATS_H

#include <stdatomic.h>
#include <stdint.h>

#define STATS_BYTES 240

enum stats_call { /* in the order of the record */
                  CALL_GETATTR,
                  CALL_SETATTR,
                  CALL_CREATE,
                  CALL_READDIR,
                  CALL_OPEN,
                  CALL_READ,
                  CALL_WRITE,
                  CALL_MKDIR,
                  CALL_UNLINK,
                  CALL_RMDIR,
                  CALL_RENAME,
                  CALL_LINK,
                  CALL_SYMLINK,
                  CALL_STATFS,
                  CALL_IOCTL,
                  CALL_COUNTED,
                  CALL_OTHER = CALL_COUNTED, /* has no counter of its own */
};

struct stats {
    atomic_uint_fast64_t requests, cache_hit, cache_miss, linear_flush, errors, read_bytes,
        write_bytes;
    atomic_uint_fast64_t call[CALL_COUNTED];
};

struct stats_cache { /* of the caches, taken when the record is made */
    uint64_t inodes, inodes_in_use, blocks, block_bytes;
};

void stats_encode(struct stats *s, const struct stats_cache *c, uint8_t out[STATS_BYTES]);

static inline void stats_add(atomic_uint_fast64_t *counter, uint64_t n)
{
    atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

#endif
