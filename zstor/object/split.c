/* split - see object/split.h. */
#include "zstor/object/split.h"

#include <string.h>

#include "zstor/object/spool.h"

void split_init(struct split *s, const struct spool *blob, struct geometry geo)
{
    s->blob = blob;
    s->blob_len = spool_len(blob);
    s->shard_len = geometry_shard_len(geo, s->blob_len);
    s->pad = (unsigned)(s->shard_len * geo.data - s->blob_len);
}

int split_read(void *arg, unsigned j, uint64_t off, uint8_t *p, size_t n)
{
    const struct split *s = arg;
    uint64_t at = j * s->shard_len + off;
    size_t in_blob = at >= s->blob_len ? 0 : (size_t)MIN((uint64_t)n, s->blob_len - at);

    memset(p + in_blob, (int)s->pad, n - in_blob);
    return in_blob ? spool_read(s->blob, at, p, in_blob) : 0;
}
