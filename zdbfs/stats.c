/* stats - see stats.h. */
#include "zdbfs/stats.h"

#include "common/bytes.h"

enum { RECORD_VERSION = 2, BRANCHES = 1024 };

static uint64_t get(atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

void stats_encode(struct stats *s, const struct stats_cache *c, uint8_t out[STATS_BYTES])
{
    uint64_t v[STATS_BYTES / 8] = {
        RECORD_VERSION,
        get(&s->requests),
        get(&s->cache_hit),
        get(&s->cache_miss),
        0,
        get(&s->linear_flush),
        0,
        BRANCHES,
        c->inodes,
        c->inodes_in_use,
        c->blocks,
        c->block_bytes,
    };

    for (int i = 0; i < CALL_COUNTED; i++)
        v[12 + i] = get(&s->call[i]);
    v[27] = get(&s->read_bytes);
    v[28] = get(&s->write_bytes);
    v[29] = get(&s->errors);
    for (size_t i = 0; i < ARRAY_LEN(v); i++)
        le64_put(out + 8 * i, v[i]);
}
