/* flusher - see fuse/flusher.h. */
#include "zdbfs/fuse/flusher.h"

#include <stdlib.h>

#include "zdbfs/core/writeback.h"
#include "zdbfs/fuse/kernel_pages.h"
#include "zdbfs/txn/commit.h"

enum { RETRY_MS = 1000, NEVER_MS = 3600 * 1000 };

struct flusher {
    struct fs *fs;
    struct kernel_pages *pages;
    pthread_t thread;
    bool stop;           /* under fs.lock */
    uint64_t pages_ms;   /* when the kernel was asked last */
    uint64_t not_before; /* after a failure */
};

enum work { NOTHING, COMMIT, HAND_OVER_AND_COMMIT };

/* L: since when something waits to be stored, 0: nothing does.  Commits that somebody waits for do
 * not take all data along, so that of blocks counts apart. */
static uint64_t oldest_change(const struct fs *fs)
{
    const struct block *b[] = {TAILQ_FIRST(&fs->bc.dirty), TAILQ_FIRST(&fs->bc.acked)};
    uint64_t since = fs->dirty_since_ms;

    for (int i = 0; i < 2; i++)
        if (b[i] && (!since || b[i]->dirty_ms < since))
            since = b[i]->dirty_ms;
    return since;
}

/* L: what is due; *until: look again then. */
static enum work due(const struct flusher *f, uint64_t *until)
{
    const struct fs *fs = f->fs;
    uint64_t now = base_now_ms(), since = oldest_change(fs), flush = now + NEVER_MS,
             idle = now + NEVER_MS;

    if (fs->writers)
        flush = f->pages_ms + fs->opt->flush_ms;
    if (since)
        flush = MIN(flush, since + fs->opt->flush_ms);
    if (since && fs->opt->idle_ms)
        idle = fs->change_ms + fs->opt->idle_ms;
    *until = MAX(MIN(flush, idle), f->not_before);
    if (now < *until)
        return NOTHING;
    return now >= flush ? HAND_OVER_AND_COMMIT : COMMIT;
}

/* L, released meanwhile. */
static int work(struct flusher *f, enum work what)
{
    struct fs *fs = f->fs;
    int r = 0;

    fs_unlock(fs);
    if (what == HAND_OVER_AND_COMMIT) {
        f->pages_ms = base_now_ms();
        r = kernel_pages_flush(f->pages); /* what fails there is told by writes */
    }
    int stored = writeback_all(fs, kv_deadline(fs->kv)); /* what fails stays dirty */
    int committed = commit_wait(fs, kv_deadline(fs->kv));
    fs_lock(fs);
    return r < 0 ? r : stored < 0 ? stored : committed;
}

static void *run(void *arg)
{
    struct flusher *f = arg;
    struct fs *fs = f->fs;
    uint64_t until;

    fs_lock(fs);
    while (!f->stop) {
        enum work what = due(f, &until);
        if (what != NOTHING) {
            f->not_before = work(f, what) < 0 ? base_now_ms() + RETRY_MS : 0;
            continue;
        }
        struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
        pthread_cond_timedwait(&fs->flush_work, &fs->lock, &ts);
    }
    fs_unlock(fs);
    return NULL;
}

int flusher_start(struct flusher **out, struct fs *fs, struct kernel_pages *pages, struct err *e)
{
    struct flusher *f = xcalloc(1, sizeof *f);

    f->fs = fs;
    f->pages = pages;
    f->pages_ms = base_now_ms();
    int code = pthread_create(&f->thread, NULL, run, f);
    if (code) {
        free(f);
        return err_sys(e, code, "thread that flushes");
    }
    pthread_setname_np(f->thread, "zdbfs-flush");
    *out = f;
    return 0;
}

void flusher_stop(struct flusher *f)
{
    if (!f)
        return;
    fs_lock(f->fs);
    f->stop = true;
    pthread_cond_signal(&f->fs->flush_work);
    fs_unlock(f->fs);
    pthread_join(f->thread, NULL);
    free(f);
}
