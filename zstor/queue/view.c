/* view - figures and lists of the scheduler. */
#include "zstor/queue/scheduler_impl.h"

static void count(const struct sched_job *j, bool running, uint64_t now_s, struct sched_stats *out)
{
    if (!j->rec) {
        out->commands += running;
        return;
    }
    if (!sched_job_is_store(j)) {
        out->rebuilds++;
        return;
    }
    out->jobs++;
    out->bytes += j->rec->bytes;
    out->failing += j->tries > 0;
    if (now_s > j->rec->queued_s)
        out->oldest_s = MAX(out->oldest_s, now_s - j->rec->queued_s);
}

void sched_stats(const struct sched *s, struct sched_stats *out)
{
    uint64_t now_s = base_wall_s();
    const struct sched_job *j;

    *out = (struct sched_stats){.done = s->done,
                                .failed_tries = s->failed_tries,
                                .replaced = s->nreplaced,
                                .dropped = s->dropped};
    for (int c = 0; c < SCHED_CLASSES; c++) {
        const struct sched_pool *p = &s->pool[c];

        TAILQ_FOREACH(j, &p->durable, link)
        count(j, false, now_s, out);
        TAILQ_FOREACH(j, &p->active, link)
        count(j, true, now_s, out);
        TAILQ_FOREACH(j, &p->commands, link)
        out->commands++;
        out->running[c] = p->running;
    }
}

void sched_each(const struct sched *s, sched_each_fn *fn, void *arg)
{
    uint64_t now = base_now_ms();
    const struct sched_job *j;

    for (int c = 0; c < SCHED_CLASSES; c++) {
        const struct sched_jobs *lists[] = {&s->pool[c].active, &s->pool[c].durable};

        for (size_t i = 0; i < ARRAY_LEN(lists); i++)
            TAILQ_FOREACH(j, lists[i], link)
            {
                struct sched_view v = {.rec = j->rec,
                                       .running = i == 0,
                                       .tries = j->tries,
                                       .last_error = j->last_error};

                if (!j->rec)
                    continue;
                if (i == 1 && j->retry_at_ms > now)
                    v.retry_in_ms = j->retry_at_ms - now;
                fn(arg, &v);
            }
    }
}
