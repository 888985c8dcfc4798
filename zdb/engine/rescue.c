/* rescue - after a sync that failed.  Linux then counts the pages that could not be written as
 * clean: a later sync would succeed and their contents be lost.  So the segment is sealed (new
 * records go to new files), and every byte that no good sync has covered is written again, while
 * the page cache still has it: the next sync has to bring it to the disk or fail in its turn. Where
 * the bytes are gone already, every sync of the namespace fails from now on.  Blocks; a rare path.
 */
#include "common/io.h"
#include "common/log.h"
#include "zdb/file/data_walk.h"
#include "zdb/engine/namespace_impl.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

static int write_again(const char *path, uint64_t from, uint64_t end)
{
    CLEANUP(base_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    CLEANUP(base_free) uint8_t *block = xcalloc(1, BLOCK);
    int r = fd < 0 ? -errno : 0;

    for (uint64_t off = from; r == 0 && off < end; off += BLOCK) {
        size_t n = (size_t)MIN((uint64_t)BLOCK, end - off);
        r = io_pread_full(fd, block, n, off);
        if (r == 0)
            r = io_pwrite_full(fd, block, n, off);
    }
    return r;
}

/* Are the records from `from` on still what was written? */
static int check_records(struct data *d, uint64_t from)
{
    struct data_walk_rec rec;
    struct data_walk w;
    int r = data_open(d);

    if (r < 0)
        return r;
    r = data_walk_init(&w, d->file->fd, MAX(from, (uint64_t)DATA_HEADER_SIZE));
    while (r == 0 && (r = data_walk_next(&w, &rec)) == 1)
        r = rec.crc_ok ? 0 : -EBADMSG;
    if (r == 0 && w.off < d->size)
        r = -ENODATA;
    data_walk_fini(&w);
    return r;
}

static int rescue_segment(struct seg *s)
{
    int r = 0;

    if (s->data.unsynced) {
        r = check_records(&s->data, s->synced);
        if (r == 0)
            r = write_again(s->data.path, s->synced < DATA_HEADER_SIZE ? 0 : s->synced,
                            s->data.size);
        if (r == -ENOENT && !s->data.active)
            r = 0; /* evicted */
    }
    if (r == 0 && s->index.unsynced)
        r = write_again(s->index.path, 0, s->index.size);
    return r;
}

void ns_rescue(struct ns *ns)
{
    int r = ns_commit(ns);

    if (r < 0)
        log_error("namespace %s: records cannot be written: %s", ns->name, strerror(-r));
    for (size_t i = 0; i < ns->nsegs; i++) {
        struct seg *s = ns->segs[i];
        if (!s->noted)
            continue;
        r = rescue_segment(s);
        if (r == 0) {
            log_warn("namespace %s: unsynced part of segment %u written again", ns->name, s->id);
            continue;
        }
        if (r == -EMFILE || r == -ENFILE || r == -ENOMEM) /* the next sync tries again */
            continue;
        log_error("namespace %s: segment %u: unsynced records are lost: %s", ns->name, s->id,
                  strerror(-r));
        ns->sync.broken = -EIO;
    }
    if ((ns_active(ns)->data.size > DATA_HEADER_SIZE || ns_active(ns)->index.last) &&
        ns_jump(ns) < 0)
        log_error("namespace %s: no new segment after a failed sync", ns->name);
}
