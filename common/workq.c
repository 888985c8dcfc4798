/* workq - see workq.h.  A ring under one mutex; the threads sleep on one condition. */
#include "common/workq.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum { NAME_MAX_LEN = 15 }; /* what the kernel keeps of a thread's name */

struct job {
    workq_fn *fn;
    void *arg;
};

struct workq {
    pthread_mutex_t lock;
    pthread_cond_t some; /* a job, or stop */
    struct job *ring;    /* cap slots; head..head+n are queued */
    size_t cap, head, n;
    bool stop;
    pthread_t *threads;
    unsigned nthreads;
};

static void *work(void *arg)
{
    struct workq *q = arg;

    pthread_mutex_lock(&q->lock);
    for (;;) {
        while (q->n == 0 && !q->stop)
            pthread_cond_wait(&q->some, &q->lock);
        if (q->n == 0)
            break;
        struct job j = q->ring[q->head];
        q->head = (q->head + 1) % q->cap;
        q->n--;
        pthread_mutex_unlock(&q->lock);
        j.fn(j.arg);
        pthread_mutex_lock(&q->lock);
    }
    pthread_mutex_unlock(&q->lock);
    return NULL;
}

/* Signals are for the thread that runs the loop. */
static int start_threads(struct workq *q, const char *name, unsigned threads)
{
    char short_name[NAME_MAX_LEN + 1] = {0};
    sigset_t all, old;
    int code = 0;

    memcpy(short_name, name, strnlen(name, NAME_MAX_LEN));
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    while (code == 0 && q->nthreads < threads) {
        code = pthread_create(&q->threads[q->nthreads], NULL, work, q);
        if (code == 0)
            pthread_setname_np(q->threads[q->nthreads++], short_name);
    }
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return -code;
}

int workq_new(struct workq **out, const char *name, unsigned threads, size_t max_queued,
              struct err *e)
{
    if (threads == 0 || max_queued == 0)
        return err_set(e, EINVAL, "work queue %s: needs a thread and a slot", name);
    struct workq *q = xcalloc(1, sizeof *q);
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->some, NULL);
    q->cap = max_queued;
    q->ring = xcalloc(max_queued, sizeof *q->ring);
    q->threads = xcalloc(threads, sizeof *q->threads);
    int r = start_threads(q, name, threads);
    if (r < 0) {
        workq_free(q);
        return err_sys(e, -r, "threads of work queue %s", name);
    }
    *out = q;
    return 0;
}

int workq_push(struct workq *q, workq_fn *fn, void *arg)
{
    int r = 0;

    pthread_mutex_lock(&q->lock);
    if (q->stop) {
        r = -ESHUTDOWN;
    } else if (q->n == q->cap) {
        r = -EAGAIN;
    } else {
        q->ring[(q->head + q->n) % q->cap] = (struct job){fn, arg};
        q->n++;
        pthread_cond_signal(&q->some);
    }
    pthread_mutex_unlock(&q->lock);
    return r;
}

size_t workq_queued(struct workq *q)
{
    pthread_mutex_lock(&q->lock);
    size_t n = q->n;
    pthread_mutex_unlock(&q->lock);
    return n;
}

void workq_stop(struct workq *q)
{
    pthread_mutex_lock(&q->lock);
    q->stop = true;
    pthread_cond_broadcast(&q->some);
    pthread_mutex_unlock(&q->lock);
}

void workq_free(struct workq *q)
{
    if (!q)
        return;
    workq_stop(q);
    for (unsigned i = 0; i < q->nthreads; i++)
        pthread_join(q->threads[i], NULL);
    pthread_cond_destroy(&q->some);
    pthread_mutex_destroy(&q->lock);
    free(q->threads);
    free(q->ring);
    free(q);
}
