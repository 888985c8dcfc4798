/* rescue - before a sync that follows on one that failed: every byte that no good sync has covered
 * is written again, while the page cache still has it: the sync has to bring it to the disk or fail
 * in its turn.  Helper thread; nothing else writes to these bytes meanwhile (appends come behind
 * them, rewrites in place wait while syncs fail). */
#include "common/io.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/file/data_walk.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define BLOCK ((size_t)1 << 20)

static int write_again(int fd, uint64_t from, uint64_t end)
{
    CLEANUP(base_free) uint8_t *block = xcalloc(1, BLOCK);
    int r = 0;

    for (uint64_t off = from; r == 0 && off < end; off += BLOCK) {
        size_t n = (size_t)MIN((uint64_t)BLOCK, end - off);
        r = io_pread_full(fd, block, n, off);
        if (r == 0)
            r = io_pwrite_full(fd, block, n, off);
    }
    return r;
}

/* Are the records from `from` to end still what was written? */
static int check_records(int fd, uint64_t from, uint64_t end)
{
    struct data_walk_rec rec;
    struct data_walk w;
    int r = data_walk_init(&w, fd, MAX(from, (uint64_t)DATA_HEADER_SIZE));

    while (r == 0 && w.off < end && (r = data_walk_next(&w, &rec)) == 1)
        r = rec.crc_ok ? 0 : -EBADMSG;
    if (r == 0 && w.off < end)
        r = -ENODATA;
    data_walk_fini(&w);
    return r;
}

int ns_rescue_data(const char *path, uint64_t from, uint64_t end)
{
    CLEANUP(base_close) int fd = open(path, O_RDWR | O_CLOEXEC);
    int r = fd < 0 ? -errno : check_records(fd, from, end);

    if (r == -ENOENT)
        return 0; /* evicted */
    return r < 0 ? r : write_again(fd, from < DATA_HEADER_SIZE ? 0 : from, end);
}

int ns_rescue_index(const char *path, uint64_t end)
{
    CLEANUP(base_close) int fd = open(path, O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : write_again(fd, 0, end);
}
