/* buf - growable byte buffer that can be consumed from the front.  Owner: whoever embeds it.
 * Thread: one. Content is p[off .. off+len).  Growth is amortised; consume is O(1) and space is
 * reclaimed on the next growth. */
#ifndef COMMON_BUF_H
#define COMMON_BUF_H

#include "common/bytes.h"

struct buf {
    uint8_t *p;
    size_t off, len, cap;
};

#define BUF_INIT      \
    {                 \
        NULL, 0, 0, 0 \
    }

void buf_fini(struct buf *b);  /* frees; b is then an empty buffer.  CLEANUP(buf_fini) works */
void buf_clear(struct buf *b); /* empty, keeps the memory */
void buf_shrink(struct buf *b, size_t keep_bytes); /* when empty and larger than keep_bytes: give
                                                      the memory back */
static inline uint8_t *buf_data(const struct buf *b)
{
    return b->p ? b->p + b->off : NULL;
}
static inline struct slice buf_slice(const struct buf *b)
{
    return slice_of(buf_data(b), b->len);
}

/* Room for n more bytes behind the content; the address of that room, or NULL when memory is out
 * (buffer untouched). Follow with buf_commit(b, used). */
uint8_t *buf_reserve(struct buf *b, size_t n);
void buf_commit(struct buf *b, size_t n);
static inline size_t buf_room(const struct buf *b) /* free bytes behind the content, without growing
                                                    */
{
    return b->cap - b->off - b->len;
}
void buf_consume(struct buf *b, size_t n);    /* drop n bytes at the front, n <= len */
void buf_truncate(struct buf *b, size_t len); /* drop bytes at the back */

/* Appends: on out-of-memory they log and abort (small data); use buf_reserve for sizes that come
 * from outside. */
void buf_put(struct buf *b, const void *p, size_t n);
void buf_put_slice(struct buf *b, struct slice s);
void buf_put_str(struct buf *b, const char *s);
void buf_put_u8(struct buf *b, uint8_t v);
void buf_put_le16(struct buf *b, uint16_t v);
void buf_put_le32(struct buf *b, uint32_t v);
void buf_put_le64(struct buf *b, uint64_t v);
void buf_put_zero(struct buf *b, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) PRINTF(2, 3);
char *buf_take_str(struct buf *b); /* content as a NUL-terminated string, given (free); b is then
                                      empty */

#endif
