/* followup - see queue/followup.h. */
#include "zstor/queue/followup.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/path.h"
#include "zstor/format/record.h"

struct left {
    struct journal_rec *rec;
    STAILQ_ENTRY(left) next;
};

struct followup {
    struct followup_conf conf;
    pthread_mutex_t lock;
    STAILQ_HEAD(, left) queued; /* durable, not handed over */
};

static struct journal_rec *next_of(struct followup *f)
{
    struct journal_rec *rec = NULL;
    struct left *l;

    pthread_mutex_lock(&f->lock);
    l = STAILQ_FIRST(&f->queued);
    if (l)
        STAILQ_REMOVE_HEAD(&f->queued, next);
    pthread_mutex_unlock(&f->lock);
    if (l)
        rec = l->rec;
    free(l);
    return rec;
}

static void on_loop(void *arg)
{
    struct followup *f = arg;
    struct journal_rec *rec;

    while ((rec = next_of(f)))
        f->conf.added(f->conf.arg, rec);
}

/* rec is taken. */
static void hand_over(struct followup *f, struct journal_rec *rec)
{
    struct left *l = xcalloc(1, sizeof *l);

    l->rec = rec;
    pthread_mutex_lock(&f->lock);
    STAILQ_INSERT_TAIL(&f->queued, l, next);
    pthread_mutex_unlock(&f->lock);
    loop_post(f->conf.loop, on_loop, f);
}

/* rec is taken.  snapshot: its bytes, NULL: it has none. */
static int leave(struct followup *f, struct journal_rec *rec, const struct slice *snapshot,
                 struct err *e)
{
    struct journal *j = f->conf.journal;
    int r = 0;

    rec->seq = journal_next(j);
    rec->queued_s = base_wall_s();
    if (snapshot) {
        CLEANUP(base_free) char *copy = journal_snapshot_path(j, rec->seq);

        r = path_replace(copy, *snapshot, 0600, e);
    }
    if (r == 0)
        r = journal_add(j, rec, e);
    if (r < 0) {
        journal_remove(j, rec);
        journal_rec_free(rec);
        return r;
    }
    hand_over(f, rec);
    return 0;
}

int followup_bury(void *arg, const char *meta_key, const struct meta_record *dead, struct err *e)
{
    CLEANUP(buf_fini) struct buf list = BUF_INIT;
    struct journal_rec *rec = xcalloc(1, sizeof *rec);
    struct slice bytes;

    meta_format_encode(dead, &list);
    bytes = buf_slice(&list);
    *rec = (struct journal_rec){.op = JOURNAL_RECLAIM,
                                .name = xstrdup(meta_key),
                                .bytes = dead->size == META_SIZE_UNKNOWN ? 0 : dead->size};
    return leave(arg, rec, &bytes, e);
}

int followup_complete(struct followup *f, const char *object_path, struct err *e)
{
    struct journal_rec *rec = xcalloc(1, sizeof *rec);

    *rec = (struct journal_rec){.op = JOURNAL_REBUILD, .name = xstrdup(object_path)};
    return leave(f, rec, NULL, e);
}

struct followup *followup_new(const struct followup_conf *c)
{
    struct followup *f = xcalloc(1, sizeof *f);

    f->conf = *c;
    pthread_mutex_init(&f->lock, NULL);
    STAILQ_INIT(&f->queued);
    return f;
}

void followup_free(struct followup *f)
{
    struct journal_rec *rec;

    if (!f)
        return;
    while ((rec = next_of(f)))
        journal_rec_free(rec); /* the next start loads them */
    pthread_mutex_destroy(&f->lock);
    free(f);
}
