/* read_ahead - see core/read_ahead.h. */
#include "zdbfs/core/read_ahead.h"

#include <stdlib.h>

#include "common/workq.h"
#include "zdbfs/core/block.h"

enum {
    BS = INODE_BLOCK,
    AHEAD_FIRST = 4, /* blocks */
    AHEAD_MAX = 32,
    AHEAD_JOB = 8, /* blocks of one job */
    THREADS = 2,
    QUEUE = 32,
    NEAR_BYTES = 1024 * 1024, /* the kernel asks out of order; that near is still sequential */
};

struct readahead {
    struct fs *fs;
    struct workq *q;
};

struct ahead_job {
    struct fs *fs;
    struct inode *in; /* pinned */
    uint32_t from, to;
};

static void run_ahead(void *arg)
{
    struct ahead_job *j = arg;

    fs_lock(j->fs);
    if (j->in->state == INODE_READY && !j->fs->stopping)
        block_fetch(j->fs, j->in, j->from, j->to, kv_deadline(j->fs->kv));
    inode_unpin(j->fs, j->in);
    fs_unlock(j->fs);
    free(j);
}

void readahead_note(struct readahead *ra, struct inode *in, uint64_t off, uint64_t end)
{
    struct fs *fs = ra->fs;
    bool near = off <= in->read_next + NEAR_BYTES && off + NEAR_BYTES >= in->read_next;
    uint32_t idx = (uint32_t)((end + BS - 1) / BS);

    if (!near || end >= in->a.size) {
        in->read_window = in->read_ahead = 0;
        in->read_next = end;
        return;
    }
    if (end <= in->read_next)
        return;
    in->read_next = end;
    in->read_window = in->read_window ? MIN(in->read_window * 2, (uint32_t)AHEAD_MAX) : AHEAD_FIRST;
    if ((uint64_t)in->read_window * BS > fs->bc.limit_bytes / 8)
        in->read_window = (uint32_t)(fs->bc.limit_bytes / 8 / BS);
    uint32_t from = MAX(idx, in->read_ahead), to = MIN(idx + in->read_window, in->nslots);
    while (from < to && (to - from >= AHEAD_JOB / 2 || to == in->nslots)) {
        struct ahead_job *j = xcalloc(1, sizeof *j);
        *j = (struct ahead_job){fs, in, from, MIN(from + AHEAD_JOB, to)};
        inode_pin(in);
        if (workq_push(ra->q, run_ahead, j) < 0) {
            inode_unpin(fs, in);
            free(j);
            break;
        }
        from = j->to;
        in->read_ahead = from;
    }
}

int readahead_start(struct readahead **out, struct fs *fs, struct err *e)
{
    struct readahead *ra = xcalloc(1, sizeof *ra);

    ra->fs = fs;
    int r = workq_new(&ra->q, "zdbfs-ahead", THREADS, QUEUE, e);
    if (r < 0) {
        free(ra);
        return r;
    }
    *out = ra;
    return 0;
}

void readahead_stop(struct readahead *ra)
{
    if (!ra)
        return;
    workq_free(ra->q);
    free(ra);
}
