/* zsend - see zsend.h. */
#include "common/zsend.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "common/resp.h"

enum {
    IOV_BATCH = 64,
    HEAD_KEEP = 64 * 1024, /* an empty head larger than this is given back */
    LINE_MAX_BYTES = 32,   /* of a header line, with the CR LF of a bulk */
};

/* Bytes to send: the caller's (p), or len bytes of head that follow those of the segment before. */
struct zsend_seg {
    const uint8_t *p;
    size_t len;
};

void zsend_fini(struct zsend *z)
{
    buf_fini(&z->head);
    free(z->seg);
    *z = (struct zsend){.head = BUF_INIT};
}

/* Room for n more segments. */
static bool want_segs(struct zsend *z, size_t n)
{
    if (z->first > 0 && z->first >= z->n / 2) {
        memmove(z->seg, z->seg + z->first, (z->n - z->first) * sizeof *z->seg);
        z->n -= z->first;
        z->first = 0;
    }
    if (z->cap - z->n >= n)
        return true;
    size_t cap = MAX(z->n + n, MAX(2 * z->cap, (size_t)16));
    struct zsend_seg *seg = realloc(z->seg, cap * sizeof *seg);
    if (!seg)
        return false;
    z->seg = seg;
    z->cap = cap;
    return true;
}

/* What was appended to head since it had `from` bytes. */
static void add_head(struct zsend *z, size_t from)
{
    size_t n = z->head.len - from;

    if (z->n > z->first && !z->seg[z->n - 1].p)
        z->seg[z->n - 1].len += n;
    else if (n)
        z->seg[z->n++] = (struct zsend_seg){NULL, n};
}

int zsend_push(struct zsend *z, unsigned argc, const struct slice *argv)
{
    size_t room = LINE_MAX_BYTES, longs = 0;

    if (argc == 0)
        return -EINVAL;
    for (unsigned i = 0; i < argc; i++) {
        room += LINE_MAX_BYTES + (argv[i].len <= ZSEND_COPY_MAX ? argv[i].len : 0);
        longs += argv[i].len > ZSEND_COPY_MAX;
    }
    if (!want_segs(z, 2 * longs + 1) || !buf_reserve(&z->head, room))
        return -ENOMEM;
    size_t from = z->head.len;
    resp_put_array(&z->head, argc);
    for (unsigned i = 0; i < argc; i++) {
        if (argv[i].len <= ZSEND_COPY_MAX) {
            resp_put_bulk(&z->head, argv[i]);
            continue;
        }
        resp_put_bulk_head(&z->head, argv[i].len);
        add_head(z, from);
        z->seg[z->n++] = (struct zsend_seg){argv[i].p, argv[i].len};
        from = z->head.len;
        buf_put(&z->head, "\r\n", 2);
    }
    add_head(z, from);
    return 0;
}

bool zsend_left(const struct zsend *z)
{
    return z->first < z->n;
}

void zsend_drop(struct zsend *z)
{
    z->first = z->n = z->sent = 0;
    buf_clear(&z->head);
    buf_shrink(&z->head, HEAD_KEEP);
}

void zsend_wipe(struct zsend *z)
{
    assert(!zsend_left(z));
    if (z->head.p)
        sodium_memzero(z->head.p, z->head.cap);
}

/* n bytes reached the kernel. */
static void account_sent(struct zsend *z, size_t n)
{
    while (n) {
        struct zsend_seg *s = &z->seg[z->first];
        size_t part = MIN(n, s->len - z->sent);
        z->sent += part;
        n -= part;
        if (!s->p)
            buf_consume(&z->head, part);
        if (z->sent == s->len) {
            z->first++;
            z->sent = 0;
        }
    }
    if (!zsend_left(z))
        zsend_drop(z);
}

/* Next segments as an iovec; their bytes. */
static size_t gather(const struct zsend *z, struct iovec *iov, size_t *niov)
{
    uint8_t *head = buf_data(&z->head);
    size_t skip = z->sent, total = 0, n = 0;

    for (size_t i = z->first; i < z->n && n < IOV_BATCH; i++) {
        const struct zsend_seg *s = &z->seg[i];
        size_t len = s->len - skip;
        if (s->p) {
            iov[n++] = (struct iovec){(uint8_t *)(uintptr_t)s->p + skip, len};
        } else {
            iov[n++] = (struct iovec){head, len}; /* what was sent of it is consumed */
            head += len;
        }
        total += len;
        skip = 0;
    }
    *niov = n;
    return total;
}

int zsend_flush(struct zsend *z, int fd)
{
    struct iovec iov[IOV_BATCH];

    while (zsend_left(z)) {
        struct msghdr mh = {.msg_iov = iov};
        size_t total = gather(z, iov, &mh.msg_iovlen);
        ssize_t n = sendmsg(fd, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN ? 0 : -errno;
        account_sent(z, (size_t)n);
        if ((size_t)n < total)
            return 0;
    }
    return 0;
}
