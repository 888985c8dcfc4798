/* interrupt - see fuse/interrupt.h. */
#include "zdbfs/fuse/interrupt.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/queue.h>

enum { WAITING, CLAIMED, INTERRUPTED };
enum { LOOK_AGAIN_MS = 50 };

struct waiting {
    struct interrupts *is;
    fuse_req_t req;
    pid_t pid;
    atomic_int state;
    atomic_bool watched; /* in the list */
    TAILQ_ENTRY(waiting) link;
};

TAILQ_HEAD(waiting_list, waiting);

struct interrupts {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct waiting_list list;
    bool stop;
};

/* ---- signals -------------------------------------------------------------------------------- */

static uint64_t bit(int sig)
{
    return 1ull << (sig - 1);
}

/* Signals of that thread: pending and not blocked, caught, ignored.  false: it cannot be seen. */
static bool look(pid_t pid, uint64_t *pending, uint64_t *caught, uint64_t *ignored)
{
    char path[32], line[256];
    uint64_t own = 0, shared = 0, blocked = 0;
    unsigned found = 0;

    if (pid <= 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        found += sscanf(line, "SigPnd: %" SCNx64, &own) == 1 ||
                 sscanf(line, "ShdPnd: %" SCNx64, &shared) == 1 ||
                 sscanf(line, "SigBlk: %" SCNx64, &blocked) == 1 ||
                 sscanf(line, "SigIgn: %" SCNx64, ignored) == 1 ||
                 sscanf(line, "SigCgt: %" SCNx64, caught) == 1;
    if (f)
        fclose(f);
    *pending = (own | shared) & ~blocked;
    return found == 5;
}

static bool asked_to_stop(pid_t pid)
{
    static const int harmless[] = {SIGCHLD, SIGCONT, SIGURG,  SIGWINCH,
                                   SIGSTOP, SIGTSTP, SIGTTIN, SIGTTOU};
    const uint64_t asks = bit(SIGHUP) | bit(SIGINT) | bit(SIGQUIT) | bit(SIGTERM) | bit(SIGALRM);
    uint64_t pending, caught, ignored;

    if (!look(pid, &pending, &caught, &ignored))
        return true;
    uint64_t kills = ~(caught | ignored);
    for (size_t i = 0; i < ARRAY_LEN(harmless); i++)
        kills &= ~bit(harmless[i]);
    return pending & (kills | (asks & ~ignored));
}

static void interrupt(struct waiting *w, fuse_req_t req)
{
    int state = WAITING;

    if (atomic_compare_exchange_strong(&w->state, &state, INTERRUPTED))
        fuse_reply_err(req, EINTR); /* w may be gone already */
}

/* ---- one request ---------------------------------------------------------------------------- */

static void arrived(fuse_req_t req, void *arg)
{
    struct waiting *w = arg;
    struct interrupts *is = w->is;

    if (atomic_load(&w->state) != WAITING)
        return;
    if (asked_to_stop(w->pid)) {
        interrupt(w, req);
        return;
    }
    pthread_mutex_lock(&is->lock);
    if (!atomic_exchange(&w->watched, true))
        TAILQ_INSERT_TAIL(&is->list, w, link);
    pthread_cond_signal(&is->changed);
    pthread_mutex_unlock(&is->lock);
}

struct waiting *interrupt_begin(struct interrupts *is, fuse_req_t req)
{
    struct waiting *w = xcalloc(1, sizeof *w);

    w->is = is;
    w->req = req;
    w->pid = fuse_req_ctx(req)->pid;
    fuse_req_interrupt_func(req, arrived, w);
    return w;
}

bool interrupt_claim(struct waiting *w)
{
    int state = WAITING;
    return atomic_compare_exchange_strong(&w->state, &state, CLAIMED) || state == CLAIMED;
}

bool interrupt_answer(struct waiting *w)
{
    bool ours = interrupt_claim(w);

    if (ours)
        fuse_req_interrupt_func(w->req, NULL, NULL); /* waits until `arrived` is over */
    if (atomic_load(&w->watched)) {
        pthread_mutex_lock(&w->is->lock);
        TAILQ_REMOVE(&w->is->list, w, link);
        pthread_mutex_unlock(&w->is->lock);
    }
    free(w);
    return ours;
}

/* ---- the thread ----------------------------------------------------------------------------- */

/* Under the lock. */
static void look_at_all(struct interrupts *is)
{
    struct waiting *w;

    TAILQ_FOREACH(w, &is->list, link)
    {
        if (atomic_load(&w->state) == WAITING && asked_to_stop(w->pid))
            interrupt(w, w->req); /* stays until the lock is free */
    }
}

static void *run(void *arg)
{
    struct interrupts *is = arg;

    pthread_mutex_lock(&is->lock);
    while (!is->stop) {
        if (TAILQ_EMPTY(&is->list)) {
            pthread_cond_wait(&is->changed, &is->lock);
            continue;
        }
        look_at_all(is);
        uint64_t until = base_now_ms() + LOOK_AGAIN_MS;
        struct timespec ts = {(time_t)(until / 1000), (long)(until % 1000) * 1000000};
        pthread_cond_timedwait(&is->changed, &is->lock, &ts);
    }
    pthread_mutex_unlock(&is->lock);
    return NULL;
}

int interrupts_start(struct interrupts **out, struct err *e)
{
    struct interrupts *is = xcalloc(1, sizeof *is);
    pthread_condattr_t attr;

    pthread_mutex_init(&is->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&is->changed, &attr);
    pthread_condattr_destroy(&attr);
    TAILQ_INIT(&is->list);
    int code = pthread_create(&is->thread, NULL, run, is);
    if (code) {
        free(is);
        return err_sys(e, code, "thread that looks after interrupted requests");
    }
    pthread_setname_np(is->thread, "zdbfs-signals");
    *out = is;
    return 0;
}

void interrupts_stop(struct interrupts *is)
{
    if (!is)
        return;
    pthread_mutex_lock(&is->lock);
    is->stop = true;
    pthread_cond_signal(&is->changed);
    pthread_mutex_unlock(&is->lock);
    pthread_join(is->thread, NULL);
    pthread_cond_destroy(&is->changed);
    pthread_mutex_destroy(&is->lock);
    free(is);
}
