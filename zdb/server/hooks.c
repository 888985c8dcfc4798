/* hooks - see server/hooks.h.  A run is in `all` from its push until it expires; while it waits it
 * is also in a queue (or in `urgent`), while its answer is owed it is also in `answers`:
 *
 *   state    in queue?  in answers?  spawn?  left by
 *   WAITING  yes        no           NULL    run_start, on_no_place (urgent ones: nobody waits for
 *                                            a place for ever), hooks_cancel_urgent
 *   RUNNING  head       no           yes     on_end
 *   OWED     no         yes          NULL    on_answer (could not be started, no place, no program)
 *   DONE     no         no           NULL    expire
 *
 * A queue whose head waits is in `due`.  Programs are started from a timer, for START_TURN_US of a
 * round; when one cannot be started, none is for a while: the reason is the process's (descriptors,
 * memory) or the program's, not the run's. */
#include "zdb/server/hooks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <uthash.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/output.h"
#include "common/spawn.h"
#include "zdb/server/handover.h"
#include "zdb/server/words.h"

#define START_TURN_US 3000 /* a round's share */
#define BACKOFF_MS    50   /* doubled with each failure */
#define BACKOFF_MAX   5000
#define BROKEN_MS     1000 /* a program that is not there for so long will not come back by itself */

enum run_state { WAITING, RUNNING, OWED, DONE };

struct queue;

struct run {
    TAILQ_ENTRY(run) all, next;
    struct hooks *h;
    struct queue *q; /* NULL: urgent */
    enum run_state state;
    struct words w;
    uint64_t timeout_ms, started, finished;
    uint64_t place_ms; /* urgent: when it has waited long enough for a place */
    uint64_t tried_ms; /* first try to start it, 0: none */
    struct spawn *sp;
    pid_t pid;
    int status, result;
    hook_done_fn *done;
    void *arg;
};

TAILQ_HEAD(run_list, run);

struct waiting {
    bool over;
    int result;
};

struct queue {                /* lives while it has runs */
    TAILQ_ENTRY(queue) entry; /* in due, while not busy */
    struct hooks *h;
    struct run_list runs;
    bool busy; /* the head is running */
    UT_hash_handle hh;
    char name[];
};

struct hooks {
    struct loop *loop;
    struct hook_conf conf;
    struct queue *queues;
    TAILQ_HEAD(, queue) due;
    struct run_list all, urgent, answers;
    struct loop_timer *answer_timer, *place_timer, *start_timer;
    uint64_t broken_ms, backoff_ms; /* 0: the last start went well; since when none did */
    uint64_t lost;                  /* events that found the queue full */
    bool start_armed;
    size_t nall, waiting_or_running, queued_running, urgent_running;
    struct waiting *waiting; /* the hooks_wait under way */
};

static void run_free(struct run *r)
{
    TAILQ_REMOVE(&r->h->all, r, all);
    r->h->nall--;
    words_fini(&r->w);
    free(r);
}

static bool expired(const struct run *r)
{
    return r->state == DONE && r->finished + HOOK_KEEP_S <= base_wall_s();
}

static void expire(struct hooks *h)
{
    struct run *r = TAILQ_FIRST(&h->all);

    while (r && (h->nall > HOOK_KEEP_MAX || expired(r))) { /* oldest first: the others are younger
                                                            */
        struct run *younger = TAILQ_NEXT(r, all);
        if (r->state == DONE)
            run_free(r);
        r = younger;
    }
}

/* Programs are started soon. */
static void schedule(struct hooks *h)
{
    if (h->start_armed || h->backoff_ms)
        return;
    h->start_armed = true;
    loop_timer_start(h->start_timer, 0, false);
}

static void owe(struct run *r, int result)
{
    r->state = OWED;
    r->result = result;
    r->status = result < 0 ? 1 : result;
    r->finished = base_wall_s();
    TAILQ_INSERT_TAIL(&r->h->answers, r, next);
    loop_timer_start(r->h->answer_timer, 0, false);
}

static void answer(struct run *r)
{
    hook_done_fn *done = r->done;
    void *arg = r->arg;
    int result = r->result;

    r->state = DONE;
    r->done = NULL;
    if (!r->h->conf.path)
        run_free(r); /* nothing ran: nothing to list */
    if (done)
        done(arg, result);
}

static void on_answer(void *arg)
{
    struct hooks *h = arg;
    struct run *r;

    while ((r = TAILQ_FIRST(&h->answers))) {
        TAILQ_REMOVE(&h->answers, r, next);
        answer(r);
    }
    schedule(h); /* what waited behind those that could not be started */
}

/* The run has left its queue's head or the urgent list */
static void leave(struct run *r)
{
    struct hooks *h = r->h;
    struct queue *q = r->q;

    h->waiting_or_running--;
    if (!q)
        return;
    TAILQ_REMOVE(&q->runs, r, next);
    if (!q->busy)
        TAILQ_REMOVE(&h->due, q, entry);
    q->busy = false;
    r->q = NULL;
    if (TAILQ_EMPTY(&q->runs)) {
        HASH_DEL(h->queues, q);
        free(q);
    } else {
        TAILQ_INSERT_TAIL(&h->due, q, entry);
    }
}

static void on_end(void *arg, int status, bool timed_out)
{
    struct run *r = arg;
    struct hooks *h = r->h;

    r->sp = NULL;
    r->finished = base_wall_s();
    r->status = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    r->result = timed_out ? -ETIMEDOUT : r->status;
    if (timed_out)
        log_error("hook %s: killed after %" PRIu64 " ms", r->w.name, r->timeout_ms);
    else if (r->status != 0)
        log_warn("hook %s: exit status %d", r->w.name, r->status);
    if (r->q)
        h->queued_running--;
    else
        h->urgent_running--;
    leave(r);
    schedule(h);
    answer(r);
}

static int run_spawn(struct run *r, struct err *e)
{
    const char *argv[HOOK_MAX_ARGS + 4];
    CLEANUP(base_free) char *log_name = xasprintf("hook %s", r->w.name);
    struct spawn_conf c = {.argv = argv, .timeout_ms = r->timeout_ms, .log_name = log_name};

    words_argv(&r->w, r->h->conf.path, r->h->conf.instance, argv);
    return spawn_start(&r->sp, r->h->loop, &c, on_end, r, e);
}

/* Tells nothing about the program: another time it may go well. */
static bool is_shortage(int rc)
{
    return rc == -EAGAIN || rc == -ENOMEM || rc == -EMFILE || rc == -ENFILE || rc == -ETXTBSY;
}

/* false: not now.  A run is given up when its own time is over; for want of a program soon, and at
 * once when somebody waits for it. */
static bool give_up(const struct run *r, int rc)
{
    uint64_t now = base_now_ms();

    if (is_shortage(rc))
        return now - r->tried_ms >= r->timeout_ms;
    return !r->q || now - r->h->broken_ms >= BROKEN_MS;
}

/* false: no more now */
static bool run_start(struct run *r)
{
    struct hooks *h = r->h;
    struct err e = {0};

    r->started = base_wall_s();
    if (!r->tried_ms)
        r->tried_ms = base_now_ms();
    int rc = run_spawn(r, &e);
    if (rc < 0) {
        if (!h->broken_ms) {
            log_error("hook %s: %s", r->w.name, e.text);
            h->broken_ms = base_now_ms();
        }
        if (give_up(r, rc)) {
            log_error("hook %s %s: given up: %s", r->w.name, words_first(&r->w), e.text);
            if (!r->q)
                TAILQ_REMOVE(&h->urgent, r, next);
            leave(r);
            owe(r, rc);
            return true;
        }
        h->backoff_ms = h->backoff_ms ? MIN(2 * h->backoff_ms, (uint64_t)BACKOFF_MAX) : BACKOFF_MS;
        loop_timer_start(h->start_timer, h->backoff_ms, false);
        return false;
    }
    h->broken_ms = h->backoff_ms = 0;
    r->state = RUNNING;
    r->pid = spawn_pid(r->sp);
    if (r->q) {
        TAILQ_REMOVE(&h->due, r->q, entry);
        r->q->busy = true;
        h->queued_running++;
    } else {
        TAILQ_REMOVE(&h->urgent, r, next);
        h->urgent_running++;
    }
    return true;
}

static struct run *next_to_start(struct hooks *h)
{
    if (h->urgent_running < h->conf.max_urgent && !TAILQ_EMPTY(&h->urgent))
        return TAILQ_FIRST(&h->urgent);
    if (h->queued_running < h->conf.max_queued && !TAILQ_EMPTY(&h->due))
        return TAILQ_FIRST(&TAILQ_FIRST(&h->due)->runs);
    return NULL;
}

static void on_start(void *arg)
{
    struct hooks *h = arg;
    uint64_t begin = base_now_us();
    uint64_t backoff = h->backoff_ms;
    struct run *r;

    h->start_armed = false;
    while ((r = next_to_start(h))) {
        if (!run_start(r))
            return;
        if (base_now_us() - begin >= START_TURN_US)
            break;
    }
    if (h->backoff_ms == backoff)
        h->backoff_ms = 0;
    if (next_to_start(h))
        schedule(h);
}

/* The first of them is the oldest, and all have the same limit. */
static void watch_places(struct hooks *h)
{
    const struct run *r = TAILQ_FIRST(&h->urgent);
    uint64_t now = base_now_ms();

    if (r)
        loop_timer_start(h->place_timer, r->place_ms > now ? r->place_ms - now : 0, false);
}

static void on_no_place(void *arg)
{
    struct hooks *h = arg;
    uint64_t now = base_now_ms();
    struct run *r;

    while ((r = TAILQ_FIRST(&h->urgent)) && r->place_ms <= now) {
        TAILQ_REMOVE(&h->urgent, r, next);
        log_error("hook %s %s: not started: no place for %" PRIu64 " ms, %zu others run", r->w.name,
                  words_first(&r->w), r->timeout_ms, h->urgent_running);
        leave(r);
        owe(r, -ETIMEDOUT);
    }
    watch_places(h);
}

static struct queue *queue_get(struct hooks *h, const char *name)
{
    struct queue *q;

    HASH_FIND_STR(h->queues, name, q);
    if (q)
        return q;
    size_t n = strlen(name) + 1;
    q = xcalloc(1, sizeof *q + n);
    memcpy(q->name, name, n);
    q->h = h;
    TAILQ_INIT(&q->runs);
    TAILQ_INSERT_TAIL(&h->due, q, entry);
    HASH_ADD_STR(h->queues, name, q);
    return q;
}

/* The last one that waits is the same: it will tell the same. */
static bool is_told(const struct queue *q, const char *name, unsigned nargs,
                    const char *const *args)
{
    const struct run *r = TAILQ_LAST(&q->runs, run_list);

    return r && r->state == WAITING && !r->done && words_same(&r->w, name, nargs, args);
}

static void drop_event(struct run *r)
{
    struct hooks *h = r->h;

    if (h->lost++ % 1000 == 0)
        log_error(
            "hook %s %s: not run: %zu hooks wait or run already; events lost since the start: "
            "%" PRIu64,
            r->w.name, words_first(&r->w), h->waiting_or_running, h->lost);
    owe(r, -ENOBUFS);
}

static void push(struct hooks *h, const char *queue, const char *name, unsigned nargs,
                 const char *const *args, hook_done_fn *done, void *arg)
{
    struct run *r = xcalloc(1, sizeof *r);

    expire(h);
    r->h = h;
    words_init(&r->w, name, nargs, args);
    r->timeout_ms = words_waited_for(&r->w) ? h->conf.fast_timeout_ms : h->conf.slow_timeout_ms;
    r->place_ms = base_now_ms() + r->timeout_ms;
    r->done = done;
    r->arg = arg;
    TAILQ_INSERT_TAIL(&h->all, r, all);
    h->nall++;
    if (!h->conf.path) {
        owe(r, -ENOENT);
        return;
    }
    if (h->waiting_or_running >= HOOK_PENDING_MAX) {
        drop_event(r);
        return;
    }
    h->waiting_or_running++;
    if (queue) {
        r->q = queue_get(h, queue);
        TAILQ_INSERT_TAIL(&r->q->runs, r, next);
    } else {
        TAILQ_INSERT_TAIL(&h->urgent, r, next);
        watch_places(h);
    }
    schedule(h);
}

int hooks_new(struct hooks **out, struct loop *l, const struct hook_conf *c, struct err *e)
{
    (void)e;
    struct hooks *h = xcalloc(1, sizeof *h);

    h->loop = l;
    h->conf = *c;
    if (!h->conf.max_queued)
        h->conf.max_queued = HOOK_MAX_QUEUED;
    if (!h->conf.max_urgent)
        h->conf.max_urgent = HOOK_MAX_URGENT;
    TAILQ_INIT(&h->due);
    TAILQ_INIT(&h->all);
    TAILQ_INIT(&h->urgent);
    TAILQ_INIT(&h->answers);
    h->answer_timer = loop_timer_new(l, on_answer, h);
    h->place_timer = loop_timer_new(l, on_no_place, h);
    h->start_timer = loop_timer_new(l, on_start, h);
    *out = h;
    return 0;
}

/* Somebody who waits for them is no longer there; events must not be lost. */
static void hand_over(struct hooks *h)
{
    struct handover over = HANDOVER_INIT;
    struct err e = {0};
    struct run *r;

    TAILQ_FOREACH(r, &h->all, all)
    {
        if (!r->sp)
            continue;
        log_warn("hook %s: left running", r->w.name);
        if (r->q)
            handover_await(&over, r->pid, r->timeout_ms);
        spawn_detach(r->sp);
        r->sp = NULL;
    }
    TAILQ_FOREACH(r, &h->all, all)
    {
        const char *argv[HOOK_MAX_ARGS + 4];
        if (r->state != WAITING || !r->q)
            continue;
        words_argv(&r->w, r->h->conf.path, r->h->conf.instance, argv);
        handover_add(&over, argv, r->timeout_ms);
    }
    if (over.runs)
        log_warn("hooks: %zu still wait; they run one after the other without zdb", over.runs);
    if (handover_start(&over, &e) < 0)
        log_error("hooks: what still waits is not run: %s", e.text);
    output_end(h->loop);
}

void hooks_free(struct hooks *h)
{
    struct run *r;
    struct queue *q, *tmp;

    if (!h)
        return;
    hand_over(h);
    HASH_ITER(hh, h->queues, q, tmp)
    {
        HASH_DEL(h->queues, q);
        free(q);
    }
    while ((r = TAILQ_FIRST(&h->all)))
        run_free(r);
    loop_timer_free(h->answer_timer);
    loop_timer_free(h->place_timer);
    loop_timer_free(h->start_timer);
    free(h);
}

bool hooks_enabled(const struct hooks *h)
{
    return h->conf.path != NULL;
}

void hooks_push(struct hooks *h, const char *queue, const char *name, unsigned nargs,
                const char *const *args, hook_done_fn *done, void *arg)
{
    const struct queue *q;

    if (!h->conf.path && !done)
        return;
    queue = queue ? queue : "";
    HASH_FIND_STR(h->queues, queue, q);
    if (q && !done && is_told(q, name, nargs, args))
        return;
    push(h, queue, name, nargs, args, done, arg);
}

void hooks_now(struct hooks *h, const char *name, unsigned nargs, const char *const *args,
               hook_done_fn *done, void *arg)
{
    if (h->conf.path || done)
        push(h, NULL, name, nargs, args, done, arg);
}

static void on_waited(void *arg, int result)
{
    struct waiting *w = arg;
    w->over = true;
    w->result = result;
}

int hooks_wait(struct hooks *h, const char *name, unsigned nargs, const char *const *args)
{
    struct waiting w = {0};

    if (!h->conf.path)
        return -ENOENT;
    hooks_now(h, name, nargs, args, on_waited, &w);
    h->waiting = &w;
    while (!w.over) {
        if (loop_once(h->loop, 1000) < 0)
            on_waited(&w, -EIO);
    }
    h->waiting = NULL;
    hooks_forget(h, &w);
    return w.result;
}

void hooks_cancel_urgent(struct hooks *h)
{
    struct run *r;

    while ((r = TAILQ_FIRST(&h->urgent))) {
        TAILQ_REMOVE(&h->urgent, r, next);
        leave(r);
        owe(r, -ECANCELED);
    }
    TAILQ_FOREACH(r, &h->all, all)
    {
        if (r->sp && !r->q) {
            log_warn("hook %s %s: ended: nobody waits for it any more", r->w.name,
                     words_first(&r->w));
            spawn_kill(r->sp);
        }
    }
}

void hooks_interrupt(struct hooks *h)
{
    if (!h->waiting)
        return;
    hooks_cancel_urgent(h);
    on_waited(h->waiting, -EINTR);
}

void hooks_forget(struct hooks *h, const void *arg)
{
    struct run *r;

    TAILQ_FOREACH(r, &h->all, all)
    if (r->arg == arg)
        r->done = NULL;
}

size_t hooks_drain(struct hooks *h, uint64_t timeout_ms)
{
    uint64_t deadline = base_now_ms() + timeout_ms;

    while (hooks_pending(h) > 0) {
        uint64_t now = base_now_ms();
        if (now >= deadline || loop_once(h->loop, (int)MIN(deadline - now, 1000)) < 0)
            break;
    }
    return hooks_pending(h);
}

size_t hooks_each(const struct hooks *h, hook_each_fn *fn, void *arg)
{
    const struct run *r;
    size_t n = 0;

    TAILQ_FOREACH(r, &h->all, all)
    {
        if (r->state == WAITING || expired(r))
            continue;
        n++;
        if (!fn)
            continue;
        const char *args[HOOK_MAX_ARGS];
        for (unsigned i = 0; i < r->w.nargs; i++)
            args[i] = r->w.args[i];
        struct hook_info info = {r->w.name,  args,        r->w.nargs, r->pid,
                                 r->started, r->finished, r->status};
        fn(&info, arg);
    }
    return n;
}

size_t hooks_pending(const struct hooks *h)
{
    return h->waiting_or_running;
}

size_t hooks_running(const struct hooks *h)
{
    return h->queued_running + h->urgent_running;
}
