/* healer - see queue/healer.h.
 *
 *   idle -> survey -> mending -> idle, or waiting (something is left) -> survey ... */
#include "zstor/queue/healer.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "zstor/queue/heap.h"
#include "zstor/queue/scheduler.h"

#define BUSY_MS 500 /* the scheduler takes no more just now */

struct patient { /* an object */
    char *key;
    unsigned good;
    size_t place;
};

struct healer {
    struct healer_conf conf;
    enum { IDLE, SURVEY, MENDING, WAITING } state;
    struct loop_timer *timer;
    struct heap todo;
    unsigned running;
    bool again, survey_failed;
    unsigned tries; /* runs in a row that left something */
    uint64_t retry_at_ms;
    struct healer_stats st;
};

static void begin(struct healer *h);
static void feed(struct healer *h);

static bool sicker(const void *a, const void *b)
{
    return ((const struct patient *)a)->good < ((const struct patient *)b)->good;
}

static void patient_free(struct patient *p)
{
    free(p->key);
    free(p);
}

static void forget_all(struct healer *h)
{
    struct patient *p;

    while ((p = heap_first(&h->todo))) {
        heap_take(&h->todo, p);
        patient_free(p);
    }
}

static void note_trouble(struct healer *h, const char *text)
{
    if (!h->st.trouble.code)
        err_set(&h->st.trouble, EIO, "%s", text);
}

static void wait_ms(struct healer *h, uint64_t ms)
{
    h->retry_at_ms = base_now_ms() + ms;
    loop_timer_start(h->timer, ms, false);
}

static void end_run(struct healer *h)
{
    bool whole = h->st.failed == 0 && !h->survey_failed;
    uint64_t shift = MIN(h->tries, 20u);

    h->st.runs++;
    if (h->st.found || !whole)
        log_info("repair: %" PRIu64 " of %" PRIu64 " objects needed it, %" PRIu64
                 " are mended, %" PRIu64 " are not%s%s",
                 h->st.found, h->st.seen, h->st.mended, h->st.failed, whole ? "" : ": ",
                 whole ? "" : h->st.trouble.text);
    h->state = IDLE;
    if (whole)
        h->tries = 0;
    if (h->again) {
        begin(h);
    } else if (whole) {
        h->conf.whole(h->conf.arg);
    } else {
        h->state = WAITING;
        h->tries++;
        wait_ms(h, MIN(h->conf.retry_min_ms << shift, h->conf.retry_max_ms));
    }
}

static void on_repaired(void *arg, const struct task *t)
{
    struct healer *h = arg;
    unsigned left = t->res.shards_lost + t->res.meta_lost + t->res.backends_unconfigured;

    h->running--;
    if (t->rc == -ENOENT || (t->rc == 0 && left == 0)) {
        h->st.mended++;
        h->st.mended_ever += t->rc == 0;
    } else {
        CLEANUP(base_free)
        char *text =
            t->rc < 0
                ? xasprintf("%s: %s", t->meta_key, t->err.text)
                : xasprintf("%s: %u shards and %u metadata values have no place", t->meta_key,
                            t->res.shards_lost + t->res.backends_unconfigured, t->res.meta_lost);
        h->st.failed++;
        note_trouble(h, text);
        log_debug("repair %s", text);
    }
    feed(h);
}

static void feed(struct healer *h)
{
    struct patient *p;

    while (h->running < h->conf.width && (p = heap_first(&h->todo))) {
        struct task *t = task_new(TASK_REPAIR, NULL);
        int r;

        t->priority = TASK_QUEUED;
        t->meta_key = xstrdup(p->key);
        r = sched_submit(h->conf.sched, SCHED_REPAIR, t, p->key, on_repaired, h);
        if (r < 0) {
            task_free(t);
            if (r == -EBUSY)
                wait_ms(h, BUSY_MS);
            return; /* else the daemon stops */
        }
        heap_take(&h->todo, p);
        h->st.left = h->todo.n;
        h->running++;
        patient_free(p);
    }
    if (!h->running && !h->todo.n)
        end_run(h);
}

static void on_surveyed(void *arg, const struct task *t)
{
    struct healer *h = arg;

    h->state = MENDING;
    h->survey_failed = t->rc < 0;
    h->st.seen = t->seen;
    h->st.found = t->nkeys;
    if (t->rc < 0)
        note_trouble(h, t->err.text);
    for (size_t i = 0; i < t->nkeys; i++) {
        struct patient *p = xcalloc(1, sizeof *p);

        p->key = xstrdup(t->keys[i]);
        p->good = t->good[i];
        heap_add(&h->todo, p);
    }
    h->st.left = h->todo.n;
    feed(h);
}

static void begin(struct healer *h)
{
    struct task *t = task_new(TASK_SURVEY, NULL);
    int r = sched_submit(h->conf.sched, SCHED_REPAIR, t, NULL, on_surveyed, h);

    if (r < 0) {
        task_free(t);
        h->state = WAITING;
        if (r == -EBUSY)
            wait_ms(h, BUSY_MS);
        return;
    }
    h->state = SURVEY;
    h->again = false;
    h->st.seen = h->st.found = h->st.left = h->st.mended = h->st.failed = 0;
    err_clear(&h->st.trouble);
}

static void on_timer(void *arg)
{
    struct healer *h = arg;

    if (h->state == WAITING)
        begin(h);
    else if (h->state == MENDING)
        feed(h);
}

void healer_start(struct healer *h, const char *why)
{
    snprintf(h->st.why, sizeof h->st.why, "%s", why);
    log_info("repair: %s", why);
    h->tries = 0;
    h->again = true;
    if (h->state == IDLE || h->state == WAITING)
        begin(h);
}

void healer_kick(struct healer *h)
{
    if (h->state == WAITING)
        begin(h);
}

void healer_stats(const struct healer *h, struct healer_stats *out)
{
    uint64_t now = base_now_ms();

    *out = h->st;
    out->running = h->state == SURVEY || h->state == MENDING;
    if (h->state == WAITING && h->retry_at_ms > now)
        out->retry_in_ms = h->retry_at_ms - now;
}

void healer_new(struct healer **out, const struct healer_conf *c)
{
    struct healer *h = xcalloc(1, sizeof *h);

    h->conf = *c;
    heap_init(&h->todo, sicker, offsetof(struct patient, place));
    h->timer = loop_timer_new(c->loop, on_timer, h);
    *out = h;
}

void healer_free(struct healer *h)
{
    if (!h)
        return;
    forget_all(h);
    heap_fini(&h->todo);
    loop_timer_free(h->timer);
    free(h);
}
