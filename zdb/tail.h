/* tail - bytes appended to a file that are not written yet.  What a round of the loop appends to a segment is collected and
 * written in one call at the round's end, before any reply leaves (tails_write); whoever needs the file itself before that
 * writes first (tail_write).  Until then reads of these bytes come from here.  A failed write loses nothing: the bytes stay
 * and are tried again.  Thread: the zdb loop. */
#ifndef ZDB_TAIL_H
#define ZDB_TAIL_H

#include <sys/queue.h>
#include <sys/uio.h>

#include "common/buf.h"

#define TAIL_MAX (512 * KIB) /* written at once when there are more */

struct tail;

struct tails {              /* of all files of a server */
    TAILQ_HEAD(, tail) dirty; /* in the order of their first byte */
};

/* Descriptor of the file, opened when needed: 0 or -errno. */
typedef int tail_open_fn(void *arg, int *fd);

struct tail {               /* embedded */
    TAILQ_ENTRY(tail) entry;
    struct tails *all;
    tail_open_fn *open;
    void *arg;
    struct buf bytes;
    uint64_t at;            /* offset of the first one in the file; valid while there are any */
};

void tails_init(struct tails *all);
int tails_write(struct tails *all); /* everything; 0 or the first error, the rest is written all the same */
static inline bool tails_any(const struct tails *all)
{
    return !TAILQ_EMPTY(&all->dirty);
}

void tail_init(struct tail *t, struct tails *all, tail_open_fn *open, void *arg);
void tail_fini(struct tail *t);     /* unwritten bytes are dropped */
/* off is the present end of the file, unwritten bytes included.  0, or the error of a write that was due: nothing was
 * appended then. */
int tail_append(struct tail *t, uint64_t off, const struct iovec *iov, int niov);
int tail_write(struct tail *t);     /* what there is; 0 or -errno (the bytes stay) */
void tail_cut(struct tail *t, uint64_t size); /* bytes from offset size on are forgotten */
static inline bool tail_any(const struct tail *t)
{
    return t->bytes.len > 0;
}
/* The n bytes at off, when all of them are unwritten; false: not, or only in part. */
bool tail_read(const struct tail *t, uint64_t off, void *p, size_t n);
bool tail_patch(struct tail *t, uint64_t off, const void *p, size_t n);
static inline bool tail_overlaps(const struct tail *t, uint64_t off, uint64_t n)
{
    return t->bytes.len > 0 && off < t->at + t->bytes.len && off + n > t->at;
}

#endif
