/* tail - see tail.h.  In the list exactly while it has bytes. */
#include "zdb/tail.h"

#include <assert.h>

#include "common/io.h"

#define KEEP (64 * KIB) /* memory a tail keeps for the next round */

void tails_init(struct tails *all)
{
    TAILQ_INIT(&all->dirty);
}

int tails_write(struct tails *all)
{
    struct tail *t = TAILQ_FIRST(&all->dirty);
    int result = 0;

    while (t) {
        struct tail *next = TAILQ_NEXT(t, entry);
        int r = tail_write(t);
        if (r < 0 && result == 0)
            result = r;
        t = next;
    }
    return result;
}

void tail_init(struct tail *t, struct tails *all, tail_open_fn *open, void *arg)
{
    *t = (struct tail){.all = all, .open = open, .arg = arg};
}

static void emptied(struct tail *t)
{
    TAILQ_REMOVE(&t->all->dirty, t, entry);
    buf_clear(&t->bytes);
    buf_shrink(&t->bytes, KEEP);
}

void tail_fini(struct tail *t)
{
    if (t->bytes.len > 0)
        emptied(t);
    buf_fini(&t->bytes);
}

int tail_append(struct tail *t, uint64_t off, const struct iovec *iov, int niov)
{
    if (t->bytes.len >= TAIL_MAX) {
        int r = tail_write(t);
        if (r < 0)
            return r;
    }
    assert(t->bytes.len == 0 || t->at + t->bytes.len == off);
    bool first = t->bytes.len == 0;
    for (int i = 0; i < niov; i++)
        buf_put(&t->bytes, iov[i].iov_base, iov[i].iov_len);
    if (first && t->bytes.len > 0) {
        t->at = off;
        TAILQ_INSERT_TAIL(&t->all->dirty, t, entry);
    }
    return 0;
}

int tail_write(struct tail *t)
{
    int fd, r;

    if (t->bytes.len == 0)
        return 0;
    r = t->open(t->arg, &fd);
    if (r == 0)
        r = io_pwrite_full(fd, buf_data(&t->bytes), t->bytes.len, t->at);
    if (r == 0)
        emptied(t);
    return r;
}

void tail_cut(struct tail *t, uint64_t size)
{
    if (t->bytes.len == 0 || size >= t->at + t->bytes.len)
        return;
    if (size <= t->at)
        emptied(t);
    else
        buf_truncate(&t->bytes, (size_t)(size - t->at));
}

static uint8_t *inside(const struct tail *t, uint64_t off, size_t n)
{
    if (t->bytes.len == 0 || off < t->at || off - t->at > t->bytes.len || n > t->bytes.len - (size_t)(off - t->at))
        return NULL;
    return buf_data(&t->bytes) + (off - t->at);
}

bool tail_read(const struct tail *t, uint64_t off, void *p, size_t n)
{
    const uint8_t *from = inside(t, off, n);

    if (from)
        memcpy(p, from, n);
    return from != NULL;
}

bool tail_patch(struct tail *t, uint64_t off, const void *p, size_t n)
{
    uint8_t *to = inside(t, off, n);

    if (to)
        memcpy(to, p, n);
    return to != NULL;
}
