/* split - a blob in a spool, seen as data shards: shard j is the bytes [j, j+1) * shard_len of blob
 * and padding.  A small blob in many shards ends before the last ones begin: those are padding
 * alone.  Spec zstor-format 5.  No I/O but reading the spool. */
#ifndef ZSTOR_OBJECT_SPLIT_H
#define ZSTOR_OBJECT_SPLIT_H

#include "zstor/format/types.h"

struct spool;

struct split {                /* embedded; const after split_init */
    const struct spool *blob; /* borrowed */
    uint64_t blob_len, shard_len;
    unsigned pad; /* bytes of padding, and the value of each of them: 1..geo.data */
};

void split_init(struct split *s, const struct spool *blob, struct geometry geo);
/* upload_source.read; arg is a struct split */
int split_read(void *arg, unsigned j, uint64_t off, uint8_t *p, size_t n);

#endif
