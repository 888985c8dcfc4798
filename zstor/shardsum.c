/* shardsum - see shardsum.h. */
#include "zstor/shardsum.h"

#include <stdlib.h>

#include "common/digest.h"

struct shardsum {
    unsigned n;
    struct digest digest[];
};

struct shardsum *shardsum_new(unsigned n)
{
    struct shardsum *s = xcalloc(1, sizeof *s + n * sizeof s->digest[0]);

    s->n = n;
    for (unsigned i = 0; i < n; i++)
        digest_init(&s->digest[i]);
    return s;
}

void shardsum_free(struct shardsum *s)
{
    free(s);
}

void shardsum_update(struct shardsum *s, const uint8_t *const *p, size_t len)
{
    for (unsigned i = 0; i < s->n; i++)
        digest_update(&s->digest[i], p[i], len);
}

void shardsum_final(struct shardsum *s, unsigned i, uint8_t out[ZSTOR_DIGEST_LEN])
{
    digest_final(&s->digest[i], out);
}
