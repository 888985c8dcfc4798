/* tail - bytes appended to a file that are not written yet.  What a round of the loop appends to a
 * segment is collected and written in one call at the round's end, before any reply leaves
 * (tails_write); whoever needs the file itself before that writes first.  Until then reads of these
 * bytes come from here.  A failed write loses nothing: the bytes stay, they are tried again, and
 * nothing more is appended before they are gone.  Thread: the zdb loop. */
#ifndef ZDB_FILE_TAIL_H
#define ZDB_FILE_TAIL_H

#include <sys/queue.h>
#include <sys/uio.h>

#include "common/buf.h"
#include "zdb/file/descriptors.h"

#define TAIL_MAX \
    (128 * KIB) /* written at once when there are more: the processor's cache still has them */
#define TAIL_PIECE (16 * KIB) /* longer values are not worth the copy: tail_append_now */

struct tail {
    TAILQ_ENTRY(tail) entry; /* only while there are bytes */
    struct tails *all;
    struct tail *after; /* of another file: its bytes are always written before these; NULL = none
                         */
    struct file *file;  /* referenced while there are bytes */
    struct buf bytes;
    uint64_t at; /* offset of the first one in the file */
    bool failed; /* the last try to write them */
};

struct tails { /* of all files of a server */
    TAILQ_HEAD(, tail) dirty;
    uint64_t appended; /* counts appends */
};

void tails_init(struct tails *all);
/* Everything.  0 or the first error: what does not depend on it is written all the same. */
int tails_write(struct tails *all);

void tail_fini(struct tail *t); /* unwritten bytes are dropped; t is as zeroed, but for .after */
/* The end of file f, where off is, grows by iov later.  0, or the error of a write that was due:
 * nothing was appended then. */
int tail_append(struct tail *t, struct tails *all, struct file *f, uint64_t off,
                const struct iovec *iov, int niov);
/* The same at once, together with what is unwritten; *from: where that began.  On failure unwritten
 * bytes stay, and the file may have got longer than *from.  niov: at most 2. */
int tail_append_now(struct tail *t, struct file *f, uint64_t off, const struct iovec *iov, int niov,
                    uint64_t *from);
int tail_write(struct tail *t); /* what there is, `after` first; 0 or -errno */
/* Unwritten bytes from offset size on are forgotten; false: all is in the file from there on. */
bool tail_cut(struct tail *t, uint64_t size);
static inline bool tail_any(const struct tail *t)
{
    return t->bytes.len > 0;
}
/* Does a piece of the file that ends at end have bytes that are not written? */
static inline bool tail_overlaps(const struct tail *t, uint64_t end)
{
    return t->bytes.len > 0 && end > t->at;
}
/* The n bytes at off, when all of them are unwritten; else NULL.  Borrowed until the next call with
 * this tail. */
uint8_t *tail_at(const struct tail *t, uint64_t off, size_t n);

#endif
