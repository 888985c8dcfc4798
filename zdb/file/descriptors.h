/* descriptors - bounded cache of open segment files.  Owner: struct store.  Thread: the zdb loop
 * (a helper may use the descriptor of a file it was given a reference to). A file hangs in the slot
 * of its segment; when too many are open the least recently used without references is closed and
 * its slot emptied, to be opened again when needed. */
#ifndef ZDB_FILE_DESCRIPTORS_H
#define ZDB_FILE_DESCRIPTORS_H

#include "common/base.h"
#include <sys/queue.h>
#include <sys/uio.h>

struct file {
    int fd;
    bool writable;
    unsigned refs;         /* besides the slot's */
    uint64_t touched_ms;   /* last time its atime was set */
    struct file **slot;    /* NULL: dropped, closed with the last reference */
    TAILQ_ENTRY(file) lru; /* only while it has a slot; newest at the tail */
};

struct files_count { /* since start, over all files of one kind */
    uint64_t read_bytes, write_bytes, read_failed, write_failed;
};

struct tails;
struct vcache;

#define FILES_MIN 4 /* a data and an index file that grow, and one of each that is read */

struct files {
    struct vcache *cache; /* small payloads of data segments */
    struct tails *tails;  /* appends that wait for the end of the round; NULL: none does.  Borrowed
                           */
    TAILQ_HEAD(, file) lru;
    unsigned open, max;
    struct files_count data, index;
    uint64_t rewrites; /* counts the records rewritten in place, in all index files */
};

void files_init(struct files *fs, unsigned max);
void files_fini(struct files *fs); /* empties all slots; references must be gone */

/* The file in *slot, opened from path when the slot is empty.  flags as for open(2), O_CLOEXEC is
 * added; O_RDWR falls back to O_RDONLY on a read-only filesystem.  The slot has to stay where it
 * is.  0 or -errno. */
int files_get(struct files *fs, struct file **slot, const char *path, int flags);
void files_drop(struct files *fs, struct file **slot); /* empties the slot */
static inline struct file *files_ref(struct file *f)
{
    f->refs++;
    return f;
}
void files_unref(struct file *f);
/* The file was removed from its directory (nothing links to it any more). */
bool files_unlinked(const struct file *f);

/* All of iov (consumed), from off.  0; -ENODATA: the file ends before; -EAGAIN: only with nowait,
 * some of it is not in the page cache (a filesystem that cannot tell is read at once); -errno. */
int files_preadv(struct file *f, struct iovec *iov, int niov, uint64_t off, bool nowait);
/* At most n bytes at off: the number read (less only at the end of the file), or as above. */
ssize_t files_pread(struct file *f, void *p, size_t n, uint64_t off, bool nowait);

#endif
