/* buf - see buf.h. */
#include "common/buf.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

enum { BUF_MIN = 64 };

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf)BUF_INIT;
}

void buf_clear(struct buf *b)
{
    b->off = 0;
    b->len = 0;
}

void buf_shrink(struct buf *b, size_t keep_bytes)
{
    if (b->len == 0 && b->cap > keep_bytes)
        buf_fini(b);
}

/* Slow path of buf_reserve: the room behind the content is too small. */
static uint8_t *grow(struct buf *b, size_t n)
{
    size_t need, cap;
    uint8_t *p;

    if (add_ovf(b->len, n, &need))
        return NULL;
    /* Moving the content to the front is worth it when at least half of the memory is consumed:
     * then each byte moves at most once per byte consumed. */
    if (b->p && need <= b->cap && b->off >= b->len) {
        if (b->len)
            memmove(b->p, b->p + b->off, b->len);
        b->off = 0;
        return b->p + b->len;
    }
    if (mul_ovf(b->cap, (size_t)2, &cap))
        cap = need;
    cap = MAX(cap, MAX(need, (size_t)BUF_MIN));
    if (b->off == 0) {
        p = realloc(b->p, cap);
        if (!p)
            return NULL;
    } else {
        p = malloc(cap);
        if (!p)
            return NULL;
        if (b->p && b->len)
            memcpy(p, b->p + b->off, b->len);
        free(b->p);
        b->off = 0;
    }
    b->p = p;
    b->cap = cap;
    return p + b->len;
}

uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->p && n <= buf_room(b))
        return b->p + b->off + b->len;
    return grow(b, n);
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= buf_room(b));
    b->len += n;
}

void buf_consume(struct buf *b, size_t n)
{
    assert(n <= b->len);
    b->len -= n;
    b->off = b->len ? b->off + n : 0;
}

void buf_truncate(struct buf *b, size_t len)
{
    assert(len <= b->len);
    b->len = len;
}

static uint8_t *must(struct buf *b, size_t n)
{
    uint8_t *p = buf_reserve(b, n);
    if (!p)
        base_panic("out of memory");
    return p;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
    uint8_t *to = must(b, n);

    if (n)
        memcpy(to, p, n);
    b->len += n;
}

void buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.p, s.len);
}

void buf_put_str(struct buf *b, const char *s)
{
    buf_put(b, s, strlen(s));
}

void buf_put_u8(struct buf *b, uint8_t v)
{
    *must(b, 1) = v;
    b->len++;
}

void buf_put_le16(struct buf *b, uint16_t v)
{
    le16_put(must(b, 2), v);
    b->len += 2;
}

void buf_put_le32(struct buf *b, uint32_t v)
{
    le32_put(must(b, 4), v);
    b->len += 4;
}

void buf_put_le64(struct buf *b, uint64_t v)
{
    le64_put(must(b, 8), v);
    b->len += 8;
}

void buf_put_zero(struct buf *b, size_t n)
{
    memset(must(b, n), 0, n);
    b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
    char *room = (char *)must(b, 1);
    va_list ap;

    va_start(ap, fmt);
    int n = vsnprintf(room, buf_room(b), fmt, ap);
    va_end(ap);
    if (n < 0)
        base_panic("bad format");
    if ((size_t)n >= buf_room(b)) {
        room = (char *)must(b, (size_t)n + 1);
        va_start(ap, fmt);
        vsnprintf(room, (size_t)n + 1, fmt, ap);
        va_end(ap);
    }
    b->len += (size_t)n;
}

char *buf_take_str(struct buf *b)
{
    buf_put_u8(b, 0);
    if (b->off)
        memmove(b->p, b->p + b->off, b->len);
    char *s = (char *)b->p;
    *b = (struct buf)BUF_INIT;
    return s;
}
