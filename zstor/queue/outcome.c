/* outcome - what follows a run: done, tried again, dropped, answered. */
#include "zstor/queue/scheduler_impl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/log.h"
#include "common/path.h"

#define REMIND_MS (10 * 60 * 1000) /* an outage that lasts is mentioned again */

static struct sched_job *next_durable_store(struct sched *s, const struct sched_job *j)
{
    struct sched_job *k;

    for (k = j->lock ? TAILQ_FIRST(&j->lock->jobs) : NULL; k; k = TAILQ_NEXT(k, of_lock)) {
        s->looked++;
        if (k != j && k->pending && sched_job_is_store(k))
            return k;
    }
    return NULL;
}

/* min * 2^tries (rebuilds: 4^tries), at most max, then a random part of the upper half. */
static uint64_t delay_ms(const struct sched *s, const struct sched_job *j)
{
    bool store = sched_job_is_store(j);
    uint64_t min = store ? s->conf.retry_min_ms : s->conf.rebuild_min_ms;
    uint64_t max = store ? s->conf.retry_max_ms : s->conf.rebuild_max_ms;
    unsigned shift = MIN((j->tries - 1) * (store ? 1 : 2), 30u);
    uint64_t full = min > max >> shift ? max : min << shift;
    uint32_t rnd = 0;

    if (digest_random(&rnd, sizeof rnd) < 0)
        rnd = 0;
    return full / 2 + rnd % (full / 2 + 1);
}

static bool gone_for_good(const char *path)
{
    CLEANUP(base_free) char *dir = path_dir(path);

    return access(dir, F_OK) == 0 && access(path, F_OK) < 0 && errno == ENOENT;
}

/* The first failure of its kind in an outage, and now and then a reminder, is a warning. */
static bool worth_a_warning(struct sched *s, int code)
{
    uint64_t now = base_now_ms();
    bool said = false;

    for (unsigned i = 0; i < s->nsaid; i++)
        said = said || s->said[i] == code;
    if (said && now - s->said_ms < REMIND_MS)
        return false;
    if (!said && s->nsaid < ARRAY_LEN(s->said))
        s->said[s->nsaid++] = code;
    s->said_ms = now;
    return true;
}

static void try_again(struct sched *s, struct sched_job *j, const struct err *why)
{
    bool warn = worth_a_warning(s, why->code);
    uint64_t delay;

    if (j->tries++ == 0) {
        s->failing++;
        s->stores_failing += sched_job_is_store(j);
    }
    s->failed_tries++;
    delay = delay_ms(s, j);
    j->retry_at_ms = base_now_ms() + delay;
    memset(j->last_error, 0, sizeof j->last_error);
    memcpy(j->last_error, why->text, MIN(strlen(why->text), sizeof j->last_error - 1));
    if (warn || log_enabled(LOG_LVL_DEBUG))
        log_write(warn ? LOG_LVL_WARN : LOG_LVL_DEBUG,
                  "%s %s: try %u failed, next one in %" PRIu64 ".%" PRIu64 " s (%" PRIu64
                  " jobs fail now): %s",
                  task_name(j->task->op), j->rec->name, j->tries, delay / 1000, delay % 1000 / 100,
                  s->failing, why->text);
    TAILQ_INSERT_TAIL(&s->pool[j->class].durable, j, link); /* its number keeps its place */
    j->pending = true;
    sched_place(j);
}

/* A damaged list of dead shards, or a backend that does not come back. */
static bool gives_up(const struct sched_job *j)
{
    return j->task->rc == -EINVAL || j->task->rc == -ENOENT ||
           base_wall_s() > j->rec->queued_s + SCHED_RECLAIM_KEEP_S;
}

void sched_outcome_durable(struct sched *s, struct sched_job *j)
{
    const struct task *t = j->task;

    if (t->rc == 0 && (t->op != TASK_REBUILD || t->res.shards_lost + t->res.meta_lost == 0)) {
        s->done++;
        if (j->tries)
            log_debug("%s %s: done after %u failed tries", task_name(t->op), j->rec->name,
                      j->tries);
        sched_job_forget(j);
        return;
    }
    if (j->replaced) {
        struct sched_job *newer = next_durable_store(s, j);

        if (newer) {
            sched_job_order(newer, MIN(newer->order, j->order));
            s->nreplaced++;
            sched_job_forget(j);
            return;
        }
    }
    if (t->rc == -ECANCELED && atomic_load(&s->stop)) {
        sched_job_free(j); /* stays in the journal */
        return;
    }
    if (t->op == TASK_RECLAIM && gives_up(j)) {
        s->dropped++;
        log_warn("reclaim %s: given up, what is left only takes space: %s", j->rec->name,
                 t->err.text);
        sched_job_forget(j);
        return;
    }
    if (t->rc == -ENOENT && (t->op == TASK_REBUILD || gone_for_good(t->source))) {
        s->dropped++;
        if (t->op == TASK_STORE)
            log_error("store %s: dropped, the file is gone: %s", j->rec->name, t->err.text);
        else
            log_info("%s %s: dropped, the object is gone", task_name(t->op), j->rec->name);
        sched_job_forget(j);
        return;
    }
    if (t->rc == 0) {
        struct err why;

        err_set(&why, EIO, "%u shards and %u metadata values could not be restored yet",
                t->res.shards_lost, t->res.meta_lost);
        try_again(s, j, &why);
        return;
    }
    try_again(s, j, &t->err);
}

/* A store that somebody waited for is done: pending durable stores of that object that were there
 * before it began are older. */
static void replace_older(struct sched *s, const struct sched_job *command)
{
    struct sched_job *j, *next;

    for (j = TAILQ_FIRST(&command->lock->jobs); j; j = next) {
        next = TAILQ_NEXT(j, of_lock);
        s->looked++;
        if (sched_job_is_store(j) && j->pending && j->added_no <= command->started_no &&
            !j->rec->remove) {
            TAILQ_REMOVE(&s->pool[SCHED_STORE].durable, j, link);
            s->nreplaced++;
            sched_job_forget(j);
        }
    }
}

void sched_outcome_command(struct sched *s, struct sched_job *j)
{
    struct sched_waiter *w;

    if (j->task->op == TASK_STORE && j->task->rc == 0 && j->lock)
        replace_older(s, j);
    s->ncommands--;
    while ((w = STAILQ_FIRST(&j->waiters))) {
        STAILQ_REMOVE_HEAD(&j->waiters, link);
        w->done(w->arg, j->task);
        free(w);
    }
    sched_job_free(j);
}
