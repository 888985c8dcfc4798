/* bytes - borrowed slices, little and big endian access, and the bounded read cursor.  Header only.
 */
#ifndef COMMON_BYTES_H
#define COMMON_BYTES_H

#include "common/base.h"
#include <string.h>

struct slice { /* borrowed view; p may be NULL when len is 0 */
    const uint8_t *p;
    size_t len;
};

static inline struct slice slice_of(const void *p, size_t len)
{
    return (struct slice){p, len};
}

static inline struct slice slice_str(const char *s) /* without the NUL */
{
    return (struct slice){(const uint8_t *)s, strlen(s)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.len == b.len && (a.len == 0 || (a.p && b.p && memcmp(a.p, b.p, a.len) == 0));
}

static inline bool slice_eq_str(struct slice a, const char *s)
{
    return slice_eq(a, slice_str(s));
}

static inline uint16_t le16_get(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t le32_get(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t le64_get(const uint8_t *p)
{
    return (uint64_t)le32_get(p) | (uint64_t)le32_get(p + 4) << 32;
}

static inline void le16_put(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
}

static inline void le32_put(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)v;
    p[1] = (uint8_t)(v >> 8);
    p[2] = (uint8_t)(v >> 16);
    p[3] = (uint8_t)(v >> 24);
}

static inline void le64_put(uint8_t *p, uint64_t v)
{
    le32_put(p, (uint32_t)v);
    le32_put(p + 4, (uint32_t)(v >> 32));
}

/* Bounded cursor.  The failure is sticky: once a take goes past the end, bad stays set and every
 * getter answers 0. */
struct rd {
    const uint8_t *p, *end;
    bool bad;
};

static inline struct rd rd_of(struct slice s)
{
    static const uint8_t none;
    const uint8_t *p = s.p ? s.p : &none;
    return (struct rd){p, p + s.len, false};
}

static inline size_t rd_left(const struct rd *r)
{
    return r->bad ? 0 : (size_t)(r->end - r->p);
}

static inline const uint8_t *rd_take(struct rd *r, size_t n)
{
    const uint8_t *p = r->p;
    if (r->bad || n > (size_t)(r->end - r->p)) {
        r->bad = true;
        return NULL;
    }
    r->p += n;
    return p;
}

static inline uint8_t rd_u8(struct rd *r)
{
    const uint8_t *p = rd_take(r, 1);
    return p ? *p : 0;
}

static inline uint16_t rd_le16(struct rd *r)
{
    const uint8_t *p = rd_take(r, 2);
    return p ? le16_get(p) : 0;
}

static inline uint32_t rd_le32(struct rd *r)
{
    const uint8_t *p = rd_take(r, 4);
    return p ? le32_get(p) : 0;
}

static inline uint64_t rd_le64(struct rd *r)
{
    const uint8_t *p = rd_take(r, 8);
    return p ? le64_get(p) : 0;
}

static inline struct slice rd_slice(struct rd *r, size_t n)
{
    const uint8_t *p = rd_take(r, n);
    return (struct slice){p, p ? n : 0};
}

#endif
