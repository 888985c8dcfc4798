/* burial - see queue/burial.h. */
#include "zstor/queue/burial.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <unistd.h>

#include "common/loop.h"
#include "common/path.h"
#include "zstor/format/record.h"

struct grave {
    struct journal_rec *rec;
    STAILQ_ENTRY(grave) next;
};

struct burial {
    struct burial_conf conf;
    pthread_mutex_t lock;
    STAILQ_HEAD(, grave) dug; /* durable, not handed over */
};

static struct journal_rec *next_of(struct burial *b)
{
    struct journal_rec *rec = NULL;
    struct grave *g;

    pthread_mutex_lock(&b->lock);
    g = STAILQ_FIRST(&b->dug);
    if (g)
        STAILQ_REMOVE_HEAD(&b->dug, next);
    pthread_mutex_unlock(&b->lock);
    if (g)
        rec = g->rec;
    free(g);
    return rec;
}

static void on_loop(void *arg)
{
    struct burial *b = arg;
    struct journal_rec *rec;

    while ((rec = next_of(b)))
        b->conf.added(b->conf.arg, rec);
}

static int keep(struct burial *b, const struct journal_rec *rec, struct slice list, struct err *e)
{
    CLEANUP(base_free) char *copy = journal_snapshot_path(b->conf.journal, rec->seq);
    int r = path_replace(copy, list, 0600, e);

    if (r == 0)
        r = journal_add(b->conf.journal, rec, e);
    if (r < 0)
        journal_remove(b->conf.journal, rec);
    return r;
}

int burial_bury(void *arg, const char *meta_key, const struct meta_record *dead, struct err *e)
{
    CLEANUP(buf_fini) struct buf list = BUF_INIT;
    struct burial *b = arg;
    struct journal_rec *rec = xcalloc(1, sizeof *rec);
    struct grave *g;
    int r;

    meta_format_encode(dead, &list);
    *rec = (struct journal_rec){.seq = journal_next(b->conf.journal),
                                .op = JOURNAL_RECLAIM,
                                .name = xstrdup(meta_key),
                                .bytes = dead->size == META_SIZE_UNKNOWN ? 0 : dead->size,
                                .queued_s = base_wall_s()};
    r = keep(b, rec, buf_slice(&list), e);
    if (r < 0) {
        journal_rec_free(rec);
        return r;
    }
    g = xcalloc(1, sizeof *g);
    g->rec = rec;
    pthread_mutex_lock(&b->lock);
    STAILQ_INSERT_TAIL(&b->dug, g, next);
    pthread_mutex_unlock(&b->lock);
    loop_post(b->conf.loop, on_loop, b);
    return 0;
}

struct burial *burial_new(const struct burial_conf *c)
{
    struct burial *b = xcalloc(1, sizeof *b);

    b->conf = *c;
    pthread_mutex_init(&b->lock, NULL);
    STAILQ_INIT(&b->dug);
    return b;
}

void burial_free(struct burial *b)
{
    struct journal_rec *rec;

    if (!b)
        return;
    while ((rec = next_of(b)))
        journal_rec_free(rec); /* the next start loads them */
    pthread_mutex_destroy(&b->lock);
    free(b);
}
