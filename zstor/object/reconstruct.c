/* reconstruct - see object/reconstruct.h. */
#include "zstor/object/reconstruct.h"

#include <errno.h>
#include <stdlib.h>

#include "zstor/format/erasure.h"

#define PIECE ((size_t)32 * 1024) /* computed at once */

struct shardread {
    struct geometry geo;
    const struct fetch *f;
    unsigned have[ZSTOR_MAX_SHARDS];
    uint64_t shard_len, blob_len;
    struct erasure *code[ZSTOR_MAX_SHARDS]; /* for each data shard that is not at hand; made at
                                               first use */
    uint8_t *memory;                        /* geo.data pieces */
};

static int check_padding(struct shardread *s)
{
    uint64_t total = s->shard_len * s->geo.data; /* lengths of spools: cannot overflow */
    uint8_t pad[ZSTOR_MAX_SHARDS] = {0}, last = 0;
    int r = shardread_blob(s, total - 1, &last, 1);

    if (r < 0)
        return r;
    if (last < 1 || last > s->geo.data || last > total)
        return -EBADMSG;
    r = shardread_blob(s, total - last, pad, last);
    for (unsigned i = 0; i < last && r == 0; i++)
        r = pad[i] == last ? 0 : -EBADMSG;
    s->blob_len = total - last;
    return r;
}

int shardread_new(struct shardread **out, struct geometry geo, const struct fetch *f)
{
    struct shardread *s = xcalloc(1, sizeof *s);
    int r = 0;

    s->geo = geo;
    s->f = f;
    s->memory = malloc(geo.data * PIECE);
    if (!s->memory)
        r = -ENOMEM;
    else if (fetch_kept(f, s->have, geo.data) < geo.data)
        r = -EIO;
    for (unsigned j = 0; j < geo.data && r == 0; j++) {
        uint64_t len = f->shard[s->have[j]].len;
        if (len == 0 || (j && len != s->shard_len))
            r = -EBADMSG;
        s->shard_len = len;
    }
    if (r == 0)
        r = check_padding(s);
    if (r < 0) {
        shardread_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void shardread_free(struct shardread *s)
{
    if (!s)
        return;
    for (unsigned i = 0; i < s->geo.data; i++)
        erasure_free(s->code[i]);
    free(s->memory);
    free(s);
}

int shardread_source(void *arg, unsigned j, uint64_t off, uint8_t *p, size_t n)
{
    const struct shardread *s = arg;

    return spool_read(s->f->shard[s->have[j]].spool, off, p, n);
}

static int compute(struct shardread *s, unsigned index, uint64_t off, uint8_t *p, size_t n)
{
    const uint8_t *src[ZSTOR_MAX_SHARDS];
    int r = 0;

    if (!s->code[index])
        r = erasure_new(&s->code[index], s->geo, s->have, &index, 1);
    for (size_t done = 0, part; r == 0 && done < n; done += part) {
        uint8_t *to = p + done;
        part = MIN(n - done, PIECE);
        for (unsigned j = 0; j < s->geo.data && r == 0; j++) {
            src[j] = s->memory + j * PIECE;
            r = shardread_source(s, j, off + done, s->memory + j * PIECE, part);
        }
        if (r == 0)
            erasure_apply(s->code[index], part, src, &to);
    }
    return r;
}

int shardread_blob(void *arg, uint64_t off, uint8_t *p, size_t n)
{
    struct shardread *s = arg;

    while (n) {
        uint64_t index = off / s->shard_len, at = off % s->shard_len;
        size_t part = (size_t)MIN((uint64_t)n, s->shard_len - at);
        const struct fetch_shard *sh;
        int r;
        if (index >= s->geo.data)
            return -ENODATA;
        sh = &s->f->shard[index];
        r = sh->state == FETCH_GOOD && sh->spool && sh->len == s->shard_len
                ? spool_read(sh->spool, at, p, part)
                : compute(s, (unsigned)index, at, p, part);
        if (r < 0)
            return r;
        p += part;
        off += part;
        n -= part;
    }
    return 0;
}

uint64_t shardread_blob_len(const struct shardread *s)
{
    return s->blob_len;
}

uint64_t shardread_shard_len(const struct shardread *s)
{
    return s->shard_len;
}

const unsigned *shardread_have(const struct shardread *s)
{
    return s->have;
}
