/* view - figures and lists of the scheduler. */
#include "zstor/queue/scheduler_impl.h"

#include <stdlib.h>
#include <string.h>

void sched_stats(const struct sched *s, struct sched_stats *out)
{
    const struct sched_job *oldest = heap_first(&s->age);
    uint64_t now_s = base_wall_s();

    *out =
        (struct sched_stats){.jobs = s->kept[JOURNAL_STORE],
                             .bytes = s->store_bytes,
                             .failing = s->stores_failing,
                             .rebuilds = s->kept[JOURNAL_REBUILD],
                             .reclaims = s->kept[JOURNAL_RECLAIM],
                             .commands = s->ncommands,
                             .done = s->done,
                             .failed_tries = s->failed_tries,
                             .replaced = s->nreplaced,
                             .dropped = s->dropped,
                             .steps = s->looked + s->delayed.steps + s->order.steps + s->age.steps};
    if (oldest && now_s > oldest->rec->queued_s)
        out->oldest_s = now_s - oldest->rec->queued_s;
    for (int c = 0; c < SCHED_CLASSES; c++) {
        out->running[c] = s->pool[c].running;
        out->steps += s->pool[c].ready.steps;
    }
}

static int by_number(const void *x, const void *y)
{
    const struct sched_job *a = *(const struct sched_job *const *)x,
                           *b = *(const struct sched_job *const *)y;

    return a->added_no < b->added_no ? -1 : a->added_no > b->added_no;
}

/* The durable jobs of one list, sorted; given (free).  *n: how many. */
static const struct sched_job **sorted(const struct sched_jobs *list, size_t *n)
{
    const struct sched_job **all, *j;
    size_t k = 0;

    *n = 0;
    TAILQ_FOREACH(j, list, link)
    *n += j->rec != NULL;
    all = xcalloc(*n + 1, sizeof(struct sched_job *));
    TAILQ_FOREACH(j, list, link)
    if (j->rec)
        all[k++] = j;
    qsort(all, *n, sizeof(struct sched_job *), by_number);
    return all;
}

void sched_each(const struct sched *s, sched_each_fn *fn, void *arg)
{
    uint64_t now = base_now_ms();

    for (int c = 0; c < SCHED_CLASSES; c++) {
        const struct sched_jobs *lists[] = {&s->pool[c].active, &s->pool[c].durable};

        for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
            size_t n;
            const struct sched_job **all = sorted(lists[i], &n);

            for (size_t k = 0; k < n; k++) {
                const struct sched_job *j = all[k];
                struct sched_view v = {.rec = j->rec,
                                       .running = i == 0,
                                       .tries = j->tries,
                                       .last_error = j->last_error};

                if (i == 1 && j->retry_at_ms > now)
                    v.retry_in_ms = j->retry_at_ms - now;
                fn(arg, &v);
            }
            free(all);
        }
    }
}

bool sched_reads(const struct sched *s, const char *file)
{
    const struct sched_pool *p = &s->pool[SCHED_STORE];
    const struct sched_jobs *lists[] = {&p->active, &p->durable};
    const struct sched_job *j;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        TAILQ_FOREACH(j, lists[i], link)
    if (j->rec && j->rec->source && strcmp(j->rec->source, file) == 0)
        return true;
    return false;
}
