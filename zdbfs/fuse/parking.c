/* parking - see fuse/parking.h. */
#include "zdbfs/fuse/parking.h"

#include <pthread.h>
#include <stdlib.h>

enum { STACK_BYTES = 1024 * 1024 };

struct parking {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    pthread_attr_t attr;
    unsigned busy, limit; /* workers inside, and how many may be */
    unsigned parked;
};

struct job {
    struct parking *p;
    void (*fn)(void *arg);
    void *arg;
};

struct parking *parking_new(unsigned workers)
{
    struct parking *p = xcalloc(1, sizeof *p);

    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->changed, NULL);
    pthread_attr_init(&p->attr);
    pthread_attr_setdetachstate(&p->attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&p->attr, STACK_BYTES);
    p->limit = MAX(workers / 2, 1u);
    return p;
}

void parking_free(struct parking *p)
{
    if (!p)
        return;
    pthread_mutex_lock(&p->lock);
    while (p->parked)
        pthread_cond_wait(&p->changed, &p->lock);
    pthread_mutex_unlock(&p->lock);
    pthread_attr_destroy(&p->attr);
    pthread_cond_destroy(&p->changed);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

bool parking_enter(struct parking *p)
{
    pthread_mutex_lock(&p->lock);
    bool yes = p->busy < p->limit;
    p->busy += yes;
    pthread_mutex_unlock(&p->lock);
    return yes;
}

void parking_leave(struct parking *p)
{
    pthread_mutex_lock(&p->lock);
    p->busy--;
    pthread_mutex_unlock(&p->lock);
}

static void *run(void *arg)
{
    struct job *j = arg;
    struct parking *p = j->p;

    j->fn(j->arg);
    free(j);
    pthread_mutex_lock(&p->lock);
    p->parked--;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

void parking_run(struct parking *p, void (*fn)(void *arg), void *arg)
{
    struct job *j = xcalloc(1, sizeof *j);
    pthread_t t;

    *j = (struct job){p, fn, arg};
    pthread_mutex_lock(&p->lock);
    bool room = p->parked < PARKING_MAX;
    p->parked += room;
    pthread_mutex_unlock(&p->lock);
    if (room && pthread_create(&t, &p->attr, run, j) == 0)
        return;
    fn(arg);
    free(j);
    if (!room)
        return;
    pthread_mutex_lock(&p->lock);
    p->parked--;
    pthread_cond_signal(&p->changed);
    pthread_mutex_unlock(&p->lock);
}
