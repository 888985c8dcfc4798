/* scrubber - see queue/scrubber.h.  One object at a time: the next one is begun by the timer, which
 * the one before has set. */
#include "zstor/queue/scrubber.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "zstor/queue/scheduler.h"

#define FIRST_MS (30 * 1000)  /* after the start: others come first */
#define EMPTY_MS (600 * 1000) /* nothing is stored, or it cannot be listed */
#define MOST_MS  ((uint64_t)6 * 3600 * 1000)
#define BUSY_MS  500
#define KEEP_MS  60000 /* how often the place is kept while it moves fast */
#define HEX      32

struct scrubber {
    struct scrubber_conf conf;
    struct loop_timer *timer;
    struct scrub_place place;
    uint64_t period_s, rate, kept_ms;
    char **keys; /* of this pass; NULL: not listed */
    size_t n, next;
    bool busy; /* a task runs */
    struct scrubber_stats st;
    /* a run that somebody asked for */
    scrubber_done_fn *done;
    void *done_arg;
    unsigned thousandths;
    uint64_t wanted, looked, restored, failed; /* of it; wanted 0: not known before the list is
                                                  there */
};

static void arm(struct scrubber *s, uint64_t ms)
{
    loop_timer_start(s->timer, ms, false);
}

static void keep(struct scrubber *s, bool now)
{
    if (!now && base_now_ms() - s->kept_ms < KEEP_MS)
        return;
    s->kept_ms = base_now_ms();
    s->conf.moved(s->conf.arg, &s->place);
}

static void answer(struct scrubber *s, int rc)
{
    scrubber_done_fn *done = s->done;

    s->done = NULL;
    if (done)
        done(s->done_arg, rc, s->looked, s->restored, s->failed, s->st.trouble.text);
}

static const char *hex_of(const char *key)
{
    size_t n = strlen(key);

    return n > HEX ? key + n - HEX : key;
}

static void end_pass(struct scrubber *s)
{
    s->st.passes++;
    log_info("scrub: all %zu objects were looked at", s->n);
    path_list_free(s->keys, s->n);
    s->keys = NULL;
    s->n = 0;
    s->place.previous_s = s->place.pass_s;
    s->place.pass_s = 0;
    s->place.cursor[0] = '\0';
    keep(s, true);
}

/* How long until the next one: what is left of the period over what is left to do, and never faster
 * than the rate. */
static uint64_t pause_ms(const struct scrubber *s, uint64_t bytes)
{
    uint64_t now = base_wall_s(), end = s->place.pass_s + s->period_s / 10 * 9, left, ms;

    if (s->done)
        return 0;
    left = end > now ? end - now : 0;
    ms = s->next < s->n ? left * 1000 / (s->n - s->next) : left * 1000;
    if (s->rate)
        ms = MAX(ms, bytes * 1000 / s->rate);
    return MIN(ms, MOST_MS);
}

static void next_one(struct scrubber *s);

static void on_looked(void *arg, const struct task *t)
{
    struct scrubber *s = arg;
    uint64_t bytes = t->res.size * 2;
    bool bad = t->rc < 0 && t->rc != -ENOENT;

    s->busy = false;
    if (t->rc == -ECANCELED || t->rc == -ESHUTDOWN)
        return;
    s->st.verified++;
    s->st.verified_bytes += t->res.size;
    s->st.restored += t->res.shards_restored;
    s->looked++;
    s->restored += t->res.shards_restored;
    if (bad || t->res.shards_lost + t->res.meta_lost) {
        s->st.failed++;
        s->failed++;
        err_set(&s->st.trouble, EIO, "%s: %s", t->meta_key, bad ? t->err.text : "not whole yet");
        log_warn("scrub %s", s->st.trouble.text);
    }
    snprintf(s->place.cursor, sizeof s->place.cursor, "%s", hex_of(t->meta_key));
    keep(s, false);
    if (s->next == s->n) {
        end_pass(s);
        if (s->done && s->looked < s->wanted) { /* it began in the middle */
            arm(s, 0);
            return;
        }
    }
    if (s->done && s->looked >= s->wanted)
        answer(s, 0);
    arm(s, s->keys || s->done ? pause_ms(s, bytes) : MIN(pause_ms(s, bytes), (uint64_t)EMPTY_MS));
}

static void on_listed(void *arg, const struct task *t)
{
    struct scrubber *s = arg;

    s->busy = false;
    if (t->rc < 0) {
        err_set(&s->st.trouble, EIO, "%s", t->err.text);
        answer(s, t->rc);
        arm(s, EMPTY_MS);
        return;
    }
    if (!s->place.pass_s)
        s->place.pass_s = base_wall_s();
    s->n = t->nkeys;
    s->keys = xcalloc(s->n + 1, sizeof *s->keys);
    s->next = 0;
    for (size_t i = 0; i < s->n; i++) {
        s->keys[i] = xstrdup(t->keys[i]);
        if (strcmp(hex_of(s->keys[i]), s->place.cursor) <= 0)
            s->next = i + 1; /* they are sorted */
    }
    if (s->done && !s->wanted)
        s->wanted = MAX((s->n * s->thousandths + 999) / 1000, (size_t)1);
    if (s->n == 0 || s->next == s->n) {
        bool empty = s->n == 0;
        end_pass(s);
        if (empty)
            answer(s, 0);
        arm(s, s->done ? 0 : EMPTY_MS);
        return;
    }
    arm(s, s->done ? 0 : pause_ms(s, 0));
}

static void next_one(struct scrubber *s)
{
    struct task *t;
    int r;

    if (s->busy || (!s->done && !s->period_s))
        return;
    t = task_new(s->keys ? TASK_REBUILD : TASK_LIST, NULL);
    t->priority = s->done ? TASK_QUEUED : TASK_BACKGROUND;
    if (s->keys)
        t->meta_key = xstrdup(s->keys[s->next]);
    r = sched_submit(s->conf.sched, s->keys ? SCHED_REPAIR : SCHED_QUICK, t, t->meta_key,
                     s->keys ? on_looked : on_listed, s);
    if (r < 0) {
        task_free(t);
        if (r == -EBUSY)
            arm(s, BUSY_MS);
        return;
    }
    s->next += s->keys != NULL;
    s->busy = true;
}

static void on_timer(void *arg)
{
    next_one(arg);
}

void scrubber_pace(struct scrubber *s, uint64_t period_s, uint64_t rate)
{
    s->period_s = period_s;
    s->rate = rate;
    if (period_s && !s->busy)
        arm(s, s->keys ? pause_ms(s, 0) : FIRST_MS);
}

int scrubber_now(struct scrubber *s, unsigned thousandths, scrubber_done_fn *done, void *arg)
{
    if (s->done)
        return -EBUSY;
    s->done = done;
    s->done_arg = arg;
    s->thousandths = thousandths;
    s->wanted = s->keys ? MAX((s->n * thousandths + 999) / 1000, (size_t)1) : 0;
    s->looked = s->restored = s->failed = 0;
    err_clear(&s->st.trouble);
    if (!s->busy)
        arm(s, 0);
    return 0;
}

void scrubber_stats(const struct scrubber *s, struct scrubber_stats *out)
{
    uint64_t now = base_wall_s(), since = s->place.previous_s;

    *out = s->st;
    out->running = s->done != NULL;
    out->objects = s->n;
    out->position = s->next;
    out->oldest_s = since == 0 ? UINT64_MAX : now > since ? now - since : 0;
}

void scrubber_new(struct scrubber **out, const struct scrubber_conf *c, const struct scrub_place *p)
{
    struct scrubber *s = xcalloc(1, sizeof *s);

    s->conf = *c;
    if (p)
        s->place = *p;
    s->timer = loop_timer_new(c->loop, on_timer, s);
    *out = s;
}

void scrubber_free(struct scrubber *s)
{
    if (!s)
        return;
    path_list_free(s->keys, s->n);
    loop_timer_free(s->timer);
    free(s);
}
