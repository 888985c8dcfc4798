/* hooks - see server/hooks.h.  A run is in `all` from its push until it expires; while it waits it
 * is also in a queue (or in `urgent`), while its answer is owed it is also in `answers`:
 *
 *   state    in queue?  in answers?  spawn?  left by
 *   WAITING  yes        no           NULL    run_start, on_no_place (urgent ones: nobody waits for
 * a place for ever) RUNNING  head       no           yes     on_end OWED     no         yes NULL
 * on_answer   (could not be started, no place, or no program) DONE     no         no           NULL
 * expire
 */
#include "zdb/server/hooks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/queue.h>
#include <sys/wait.h>
#include <uthash.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/spawn.h"

#define MAX_QUEUED_RUNS 32 /* programs from queues at one time */
#define MAX_URGENT_RUNS 64 /* hook_now */

enum run_state { WAITING, RUNNING, OWED, DONE };

struct queue;

struct run {
    TAILQ_ENTRY(run) all, next;
    struct hooks *h;
    struct queue *q; /* NULL: urgent */
    enum run_state state;
    char *name, *args[HOOK_MAX_ARGS + 1];
    unsigned nargs;
    uint64_t timeout_ms, started, finished;
    uint64_t place_ms; /* urgent: when it has waited long enough for a place */
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

struct queue { /* lives while it has runs */
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
    struct run_list all, urgent, answers;
    struct loop_timer *answer_timer, *place_timer;
    size_t nall, waiting_or_running, queued_running, urgent_running;
    struct waiting *waiting; /* the hook_wait under way */
};

static void run_free(struct run *r)
{
    TAILQ_REMOVE(&r->h->all, r, all);
    r->h->nall--;
    free(r->name);
    for (unsigned i = 0; i < r->nargs; i++)
        free(r->args[i]);
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

static void schedule(struct hooks *h);

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

    h->waiting_or_running--;
    if (r->q) {
        struct queue *q = r->q;
        TAILQ_REMOVE(&q->runs, r, next);
        q->busy = false;
        r->q = NULL;
        if (TAILQ_EMPTY(&q->runs)) {
            HASH_DEL(h->queues, q);
            free(q);
        }
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
        log_error("hook %s: killed after %" PRIu64 " ms", r->name, r->timeout_ms);
    else if (r->status != 0)
        log_warn("hook %s: exit status %d", r->name, r->status);
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
    const struct hooks *h = r->h;
    const char *argv[HOOK_MAX_ARGS + 4] = {h->conf.path, r->name, h->conf.instance};
    CLEANUP(base_free) char *log_name = xasprintf("hook %s", r->name);
    struct spawn_conf c = {.argv = argv, .timeout_ms = r->timeout_ms, .log_name = log_name};

    for (unsigned i = 0; i < r->nargs; i++)
        argv[3 + i] = r->args[i];
    return spawn_start(&r->sp, h->loop, &c, on_end, r, e);
}

static void run_start(struct run *r)
{
    struct hooks *h = r->h;
    struct err e = {0};

    r->started = base_wall_s();
    int rc = run_spawn(r, &e);
    if (rc < 0) {
        log_error("hook %s: %s", r->name, e.text);
        leave(r);
        owe(r, rc);
        return;
    }
    r->state = RUNNING;
    r->pid = spawn_pid(r->sp);
    if (r->q) {
        r->q->busy = true;
        h->queued_running++;
    } else {
        h->urgent_running++;
    }
}

static void schedule(struct hooks *h)
{
    struct run *r;
    struct queue *q, *tmp;

    while (h->urgent_running < MAX_URGENT_RUNS && (r = TAILQ_FIRST(&h->urgent))) {
        TAILQ_REMOVE(&h->urgent, r, next);
        run_start(r);
    }
    HASH_ITER(hh, h->queues, q, tmp)
    {
        if (h->queued_running >= MAX_QUEUED_RUNS)
            break;
        if (!q->busy)
            run_start(TAILQ_FIRST(&q->runs));
    }
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
        log_error("hook %s %s: not started: %d others have run for %" PRIu64 " ms", r->name,
                  r->nargs ? r->args[0] : "", MAX_URGENT_RUNS, r->timeout_ms);
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
    HASH_ADD_STR(h->queues, name, q);
    return q;
}

static bool is_fast(const char *name)
{
    static const char *const fast[] = {"missing-data", "namespaces-init", "ready", "close"};
    for (size_t i = 0; i < ARRAY_LEN(fast); i++)
        if (strcmp(name, fast[i]) == 0)
            return true;
    return false;
}

static void push(struct hooks *h, struct queue *q, const char *name, unsigned nargs,
                 const char *const *args, hook_done_fn *done, void *arg)
{
    struct run *r = xcalloc(1, sizeof *r);

    expire(h);
    r->h = h;
    r->q = q;
    r->name = xstrdup(name);
    r->nargs = MIN(nargs, HOOK_MAX_ARGS);
    for (unsigned i = 0; i < r->nargs; i++)
        r->args[i] = xstrdup(args[i]);
    r->timeout_ms = is_fast(name) ? h->conf.fast_timeout_ms : h->conf.slow_timeout_ms;
    r->done = done;
    r->arg = arg;
    TAILQ_INSERT_TAIL(&h->all, r, all);
    h->nall++;
    if (!h->conf.path) {
        owe(r, -ENOENT);
        return;
    }
    h->waiting_or_running++;
    if (q) {
        TAILQ_INSERT_TAIL(&q->runs, r, next);
    } else {
        r->place_ms = base_now_ms() + r->timeout_ms;
        TAILQ_INSERT_TAIL(&h->urgent, r, next);
    }
    schedule(h);
    if (!q)
        watch_places(h);
}

int hook_new(struct hooks **out, struct loop *l, const struct hook_conf *c, struct err *e)
{
    (void)e;
    struct hooks *h = xcalloc(1, sizeof *h);

    h->loop = l;
    h->conf = *c;
    TAILQ_INIT(&h->all);
    TAILQ_INIT(&h->urgent);
    TAILQ_INIT(&h->answers);
    h->answer_timer = loop_timer_new(l, on_answer, h);
    h->place_timer = loop_timer_new(l, on_no_place, h);
    *out = h;
    return 0;
}

/* What still waits is started without being waited for, so that no event is lost. */
static void hand_over(struct hooks *h)
{
    struct run *r;

    TAILQ_FOREACH(r, &h->all, all)
    {
        if (r->state == WAITING) {
            struct err e = {0};
            if (run_spawn(r, &e) < 0)
                log_error("hook %s: %s", r->name, e.text);
        }
        if (r->sp) {
            log_warn("hook %s: left running", r->name);
            spawn_detach(r->sp);
            r->sp = NULL;
        }
    }
}

void hook_free(struct hooks *h)
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
    free(h);
}

bool hook_enabled(const struct hooks *h)
{
    return h->conf.path != NULL;
}

void hook_push(struct hooks *h, const char *queue, const char *name, unsigned nargs,
               const char *const *args, hook_done_fn *done, void *arg)
{
    if (!h->conf.path && !done)
        return;
    push(h, h->conf.path ? queue_get(h, queue ? queue : "") : NULL, name, nargs, args, done, arg);
}

void hook_now(struct hooks *h, const char *name, unsigned nargs, const char *const *args,
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

int hook_wait(struct hooks *h, const char *name, unsigned nargs, const char *const *args)
{
    struct waiting w = {0};

    if (!h->conf.path)
        return -ENOENT;
    hook_now(h, name, nargs, args, on_waited, &w);
    h->waiting = &w;
    while (!w.over) {
        if (loop_once(h->loop, 1000) < 0)
            on_waited(&w, -EIO);
    }
    h->waiting = NULL;
    hook_forget(h, &w);
    return w.result;
}

void hook_interrupt(struct hooks *h)
{
    struct run *r;

    if (!h->waiting)
        return;
    TAILQ_FOREACH(r, &h->all, all)
    {
        if (r->arg == h->waiting && r->sp) {
            log_warn("hook %s: ended by a signal to zdb", r->name);
            spawn_kill(r->sp);
        }
    }
    on_waited(h->waiting, -EINTR);
}

void hook_forget(struct hooks *h, const void *arg)
{
    struct run *r;

    TAILQ_FOREACH(r, &h->all, all)
    if (r->arg == arg)
        r->done = NULL;
}

size_t hook_drain(struct hooks *h, uint64_t timeout_ms)
{
    uint64_t deadline = base_now_ms() + timeout_ms;

    while (hook_pending(h) > 0) {
        uint64_t now = base_now_ms();
        if (now >= deadline || loop_once(h->loop, (int)MIN(deadline - now, 1000)) < 0)
            break;
    }
    return hook_pending(h);
}

size_t hook_each(const struct hooks *h, hook_each_fn *fn, void *arg)
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
        for (unsigned i = 0; i < r->nargs; i++)
            args[i] = r->args[i];
        struct hook_info info = {r->name,    args,        r->nargs, r->pid,
                                 r->started, r->finished, r->status};
        fn(&info, arg);
    }
    return n;
}

size_t hook_pending(const struct hooks *h)
{
    return h->waiting_or_running;
}
