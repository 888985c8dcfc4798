/* hash_lanes - see format/hash_lanes.h.
 *
 * BLAKE2b (RFC 7693) is one long chain of dependent additions, so a single stream leaves most of
 * the processor idle.  The streams here are independent and equally long: lane i of each vector
 * belongs to stream i, and four (AVX2) or eight (AVX-512) of them take the time of one.  Without
 * AVX2, or for one stream, libsodium does it. */
#include "zstor/format/hash_lanes.h"

#include <stdlib.h>
#include <string.h>

#include "common/digest.h"

#define BLOCK 128u

typedef uint64_t lanes4 __attribute__((vector_size(32)));
typedef uint64_t lanes8 __attribute__((vector_size(64)));

/* One block of `width` streams: h[word * width + lane]; t: bytes hashed when this block is done;
 * last: all ones at the end. */
typedef void compress_fn(uint64_t *h, const uint8_t *const *p, uint64_t t, uint64_t last);

struct shardsum {
    unsigned n;
    unsigned width; /* lanes of a group; 0: libsodium */
    unsigned ngroups;
    compress_fn *compress;
    uint64_t done; /* bytes of each stream that are compressed */
    size_t have; /* bytes of each stream in tail; a full block stays until more comes: the last one
                    is special */
    uint64_t *h; /* [ngroups][8][width] */
    uint8_t *tail;         /* [n][BLOCK] */
    struct digest *digest; /* [n], without lanes */
};

static const uint64_t iv[8] = {0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b,
                               0xa54ff53a5f1d36f1, 0x510e527fade682d1, 0x9b05688c2b3e6c1f,
                               0x1f83d9abfb41bd6b, 0x5be0cd19137e2179};

static const uint8_t sigma[12][16] = {{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                      {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
                                      {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
                                      {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
                                      {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
                                      {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
                                      {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
                                      {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
                                      {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
                                      {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
                                      {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
                                      {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3}};

#if defined(__x86_64__)

#define ROR(x, n) ((x) >> (n) | (x) << (64 - (n)))
#define G(a, b, c, d, x, y)          \
    do {                             \
        v[a] += v[b] + (x);          \
        v[d] = ROR(v[d] ^ v[a], 32); \
        v[c] += v[d];                \
        v[b] = ROR(v[b] ^ v[c], 24); \
        v[a] += v[b] + (y);          \
        v[d] = ROR(v[d] ^ v[a], 16); \
        v[c] += v[d];                \
        v[b] = ROR(v[b] ^ v[c], 63); \
    } while (0)
#define ROUND(r)                                           \
    do {                                                   \
        G(0, 4, 8, 12, m[sigma[r][0]], m[sigma[r][1]]);    \
        G(1, 5, 9, 13, m[sigma[r][2]], m[sigma[r][3]]);    \
        G(2, 6, 10, 14, m[sigma[r][4]], m[sigma[r][5]]);   \
        G(3, 7, 11, 15, m[sigma[r][6]], m[sigma[r][7]]);   \
        G(0, 5, 10, 15, m[sigma[r][8]], m[sigma[r][9]]);   \
        G(1, 6, 11, 12, m[sigma[r][10]], m[sigma[r][11]]); \
        G(2, 7, 8, 13, m[sigma[r][12]], m[sigma[r][13]]);  \
        G(3, 4, 9, 14, m[sigma[r][14]], m[sigma[r][15]]);  \
    } while (0)

static inline uint64_t word(const uint8_t *p, unsigned i) /* x86 is little endian */
{
    uint64_t w;

    memcpy(&w, p + 8 * i, 8);
    return w;
}

#define WORDS4(i)                                                  \
    {                                                              \
        word(p[0], i), word(p[1], i), word(p[2], i), word(p[3], i) \
    }
#define WORDS8(i)                                                                                 \
    {                                                                                             \
        word(p[0], i), word(p[1], i), word(p[2], i), word(p[3], i), word(p[4], i), word(p[5], i), \
            word(p[6], i), word(p[7], i)                                                          \
    }

#define COMPRESS(name, isa, vec, words)                                                 \
    __attribute__((target(isa))) static void name(uint64_t *h, const uint8_t *const *p, \
                                                  uint64_t t, uint64_t last)            \
    {                                                                                   \
        vec m[16] = {words(0),  words(1),  words(2),  words(3), words(4),  words(5),    \
                     words(6),  words(7),  words(8),  words(9), words(10), words(11),   \
                     words(12), words(13), words(14), words(15)};                       \
        vec v[16], s[8];                                                                \
        memcpy(s, h, sizeof s);                                                         \
        for (int i = 0; i < 8; i++) {                                                   \
            v[i] = s[i];                                                                \
            v[i + 8] = (vec){0} + iv[i];                                                \
        }                                                                               \
        v[12] ^= t;                                                                     \
        v[14] ^= last;                                                                  \
        ROUND(0);                                                                       \
        ROUND(1);                                                                       \
        ROUND(2);                                                                       \
        ROUND(3);                                                                       \
        ROUND(4);                                                                       \
        ROUND(5);                                                                       \
        ROUND(6);                                                                       \
        ROUND(7);                                                                       \
        ROUND(8);                                                                       \
        ROUND(9);                                                                       \
        ROUND(10);                                                                      \
        ROUND(11);                                                                      \
        for (int i = 0; i < 8; i++)                                                     \
            s[i] ^= v[i] ^ v[i + 8];                                                    \
        memcpy(h, s, sizeof s);                                                         \
    }

COMPRESS(compress4_avx2, "avx2", lanes4, WORDS4)
COMPRESS(compress4_avx512, "avx512f,avx512vl", lanes4, WORDS4)
COMPRESS(compress8_avx512, "avx512f,avx512vl", lanes8, WORDS8)

static void choose_lanes(struct shardsum *s)
{
    bool wide = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");

    if (s->n < 2 || !__builtin_cpu_supports("avx2"))
        return;
    s->width = wide && s->n > 4 ? 8 : 4;
    s->compress = s->width == 8 ? compress8_avx512 : wide ? compress4_avx512 : compress4_avx2;
}

#else

static void choose_lanes(struct shardsum *s)
{
    (void)s;
}

#endif

struct shardsum *shardsum_new(unsigned n)
{
    struct shardsum *s = xcalloc(1, sizeof *s);

    s->n = n;
    choose_lanes(s);
    if (s->width == 0) {
        s->digest = xcalloc(n, sizeof *s->digest);
        for (unsigned i = 0; i < n; i++)
            digest_init(&s->digest[i]);
        return s;
    }
    s->ngroups = (n + s->width - 1) / s->width;
    s->h = xcalloc((size_t)s->ngroups * 8 * s->width, sizeof *s->h);
    s->tail = xcalloc(n, BLOCK);
    for (unsigned g = 0; g < s->ngroups; g++)
        for (unsigned w = 0; w < 8; w++)
            for (unsigned l = 0; l < s->width; l++) /* parameter block: digest length, fanout 1,
                                                       depth 1 */
                s->h[(g * 8 + w) * s->width + l] =
                    iv[w] ^ (w == 0 ? 0x01010000u ^ ZSTOR_DIGEST_LEN : 0);
    return s;
}

void shardsum_free(struct shardsum *s)
{
    if (!s)
        return;
    free(s->h);
    free(s->tail);
    free(s->digest);
    free(s);
}

/* nblocks whole blocks of every stream; group by group, so that its state stays in the cache */
static void compress_all(struct shardsum *s, const uint8_t *const *p, size_t stride, size_t nblocks,
                         unsigned bytes, uint64_t last)
{
    for (unsigned g = 0; g < s->ngroups; g++) {
        const uint8_t *at[8];
        for (unsigned l = 0; l < s->width; l++) /* lanes without a stream repeat one; nobody looks
                                                   at their result */
            at[l] = g * s->width + l < s->n ? p[g * s->width + l] : p[g * s->width];
        for (size_t b = 0; b < nblocks; b++) {
            s->compress(s->h + (size_t)g * 8 * s->width, at, s->done + b * BLOCK + bytes, last);
            for (unsigned l = 0; l < s->width; l++)
                at[l] += stride;
        }
    }
    s->done += nblocks * (uint64_t)bytes;
}

static void compress_tail(struct shardsum *s, uint64_t last)
{
    const uint8_t *p[ZSTOR_MAX_SHARDS] = {NULL};

    for (unsigned i = 0; i < s->n; i++)
        p[i] = s->tail + (size_t)i * BLOCK;
    compress_all(s, p, 0, 1, (unsigned)s->have, last);
    s->have = 0;
}

void shardsum_update(struct shardsum *s, const uint8_t *const *p, size_t len)
{
    const uint8_t *at[ZSTOR_MAX_SHARDS] = {NULL};
    size_t part, blocks;

    if (s->width == 0) {
        for (unsigned i = 0; i < s->n; i++)
            digest_update(&s->digest[i], p[i], len);
        return;
    }
    if (len == 0)
        return;
    part = s->have ? MIN((size_t)BLOCK - s->have, len) : 0;
    for (unsigned i = 0; i < s->n; i++) {
        memcpy(s->tail + (size_t)i * BLOCK + s->have, p[i], part);
        at[i] = p[i] + part;
    }
    s->have += part;
    len -= part;
    if (len == 0)
        return;
    if (s->have)
        compress_tail(s, 0);
    blocks = (len - 1) / BLOCK;
    compress_all(s, at, BLOCK, blocks, BLOCK, 0);
    s->have = len - blocks * BLOCK;
    for (unsigned i = 0; i < s->n; i++)
        memcpy(s->tail + (size_t)i * BLOCK, at[i] + blocks * BLOCK, s->have);
}

void shardsum_final(struct shardsum *s, unsigned i, uint8_t out[ZSTOR_DIGEST_LEN])
{
    if (s->width == 0) {
        digest_final(&s->digest[i], out);
        return;
    }
    if (s->have != SIZE_MAX) { /* the first call ends all streams */
        for (unsigned k = 0; k < s->n; k++)
            memset(s->tail + (size_t)k * BLOCK + s->have, 0, BLOCK - s->have);
        compress_tail(s, UINT64_MAX);
        s->have = SIZE_MAX;
    }
    for (unsigned w = 0; w < ZSTOR_DIGEST_LEN / 8; w++)
        le64_put(out + 8 * w, s->h[((size_t)(i / s->width) * 8 + w) * s->width + i % s->width]);
}
