/* tail - see file/tail.h.  In the list exactly while it has bytes. */
#include "zdb/file/tail.h"

#include <assert.h>
#include <errno.h>

#include "common/io.h"

#define KEEP (64 * KIB) /* memory a tail keeps for the next round */

void tails_init(struct tails *all)
{
    TAILQ_INIT(&all->dirty);
    all->appended = 0;
}

int tails_write(struct tails *all)
{
    struct tail *t = TAILQ_FIRST(&all->dirty), *next;
    int result = 0;

    for (; t; t = next) {
        int r;

        next = TAILQ_NEXT(t, entry);
        if (next && next == t->after) /* goes with t */
            next = TAILQ_NEXT(next, entry);
        r = tail_write(t);
        if (result == 0)
            result = r;
    }
    return result;
}

static void emptied(struct tail *t)
{
    TAILQ_REMOVE(&t->all->dirty, t, entry);
    files_unref(t->file);
    t->file = NULL;
    t->failed = false;
    buf_clear(&t->bytes);
    buf_shrink(&t->bytes, KEEP);
}

void tail_fini(struct tail *t)
{
    if (tail_any(t))
        emptied(t);
    buf_fini(&t->bytes);
}

int tail_write(struct tail *t)
{
    int r;

    if (t->after && tail_any(t->after)) {
        r = tail_write(t->after);
        if (r < 0)
            return r;
    }
    if (!tail_any(t))
        return 0;
    r = t->file->writable ? io_pwrite_full(t->file->fd, buf_data(&t->bytes), t->bytes.len, t->at)
                          : -EROFS;
    t->failed = r < 0;
    if (r == 0)
        emptied(t);
    return r;
}

int tail_append(struct tail *t, struct tails *all, struct file *f, uint64_t off,
                const struct iovec *iov, int niov)
{
    if (t->failed || t->bytes.len >= TAIL_MAX) {
        int r = tail_write(t);
        if (r < 0)
            return r;
    }
    assert(!tail_any(t) || t->at + t->bytes.len == off);
    if (!tail_any(t)) {
        t->all = all;
        t->at = off;
        t->file = files_ref(f);
        TAILQ_INSERT_TAIL(&all->dirty, t, entry);
    }
    for (int i = 0; i < niov; i++)
        buf_put(&t->bytes, iov[i].iov_base, iov[i].iov_len);
    assert(tail_any(t));
    all->appended++;
    return 0;
}

int tail_append_now(struct tail *t, struct file *f, uint64_t off, const struct iovec *iov, int niov,
                    uint64_t *from)
{
    struct iovec v[3] = {{buf_data(&t->bytes), t->bytes.len}};
    int r;

    assert(niov <= 2 && (!tail_any(t) || t->at + t->bytes.len == off));
    *from = off - t->bytes.len;
    memcpy(v + 1, iov, (size_t)niov * sizeof *iov);
    if (t->after && tail_any(t->after)) {
        r = tail_write(t->after);
        if (r < 0)
            return r;
    }
    r = io_pwritev_full(f->fd, v, niov + 1, *from);
    if (r == 0 && tail_any(t))
        emptied(t);
    return r;
}

bool tail_cut(struct tail *t, uint64_t size)
{
    if (!tail_any(t) || size < t->at)
        return false;
    if (size == t->at)
        emptied(t);
    else
        buf_truncate(&t->bytes, (size_t)(size - t->at));
    return true;
}

uint8_t *tail_at(const struct tail *t, uint64_t off, size_t n)
{
    if (!tail_any(t) || off < t->at || off - t->at > t->bytes.len ||
        n > t->bytes.len - (size_t)(off - t->at))
        return NULL;
    return buf_data(&t->bytes) + (off - t->at);
}
