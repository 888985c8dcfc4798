/* fsstats - statistics of zdbfs over its ioctl.  The shared state is counted: the thread may
 * outlive its owner when the mount hangs, and frees the state when it gets out of it. */
#include "zstor/daemon/fsstats.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define IOCTL_STATS _IOR('E', 1, size_t[FSSTATS_FIELDS])
#define PERIOD_S    1

_Static_assert(IOCTL_STATS == 0x80f04501, "the number that zdbfs answers to");

struct fsstats {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    char *mountpoint;
    bool stop;
    unsigned users;
    bool good;
    uint64_t value[FSSTATS_FIELDS];
};

static void put(struct fsstats *f) /* with the lock held */
{
    bool last = --f->users == 0;

    pthread_mutex_unlock(&f->lock);
    if (!last)
        return;
    pthread_cond_destroy(&f->wake);
    pthread_mutex_destroy(&f->lock);
    free(f->mountpoint);
    free(f);
}

/* Opened for each question: an open directory would keep the mount from being undone. */
static bool ask(const char *mountpoint, size_t out[FSSTATS_FIELDS])
{
    CLEANUP(base_close) int fd = open(mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 && ioctl(fd, IOCTL_STATS, out) == 0;
}

static void *work(void *arg)
{
    struct fsstats *f = arg;

    pthread_mutex_lock(&f->lock);
    while (!f->stop) {
        size_t raw[FSSTATS_FIELDS] = {0};
        struct timespec until;
        bool good;

        pthread_mutex_unlock(&f->lock);
        good = ask(f->mountpoint, raw);
        pthread_mutex_lock(&f->lock);
        f->good = good;
        for (size_t i = 0; i < FSSTATS_FIELDS; i++)
            f->value[i] = good ? raw[i] : 0;
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += PERIOD_S;
        while (!f->stop && pthread_cond_timedwait(&f->wake, &f->lock, &until) == 0)
            ;
    }
    put(f);
    return NULL;
}

int fsstats_new(struct fsstats **out, const char *mountpoint, struct err *e)
{
    struct fsstats *f = xcalloc(1, sizeof *f);
    pthread_condattr_t ca;
    sigset_t all, old;
    pthread_t t;
    int code;

    pthread_mutex_init(&f->lock, NULL);
    pthread_condattr_init(&ca);
    pthread_condattr_setclock(&ca, CLOCK_MONOTONIC);
    pthread_cond_init(&f->wake, &ca);
    pthread_condattr_destroy(&ca);
    f->mountpoint = xstrdup(mountpoint);
    f->users = 2;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    code = pthread_create(&t, NULL, work, f);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (code) {
        pthread_mutex_lock(&f->lock);
        f->users = 1;
        put(f);
        return err_sys(e, code, "thread for the statistics of %s", mountpoint);
    }
    pthread_detach(t);
    *out = f;
    return 0;
}

void fsstats_free(struct fsstats *f)
{
    if (!f)
        return;
    pthread_mutex_lock(&f->lock);
    f->stop = true;
    pthread_cond_signal(&f->wake);
    put(f);
}

bool fsstats_get(struct fsstats *f, uint64_t out[FSSTATS_FIELDS])
{
    bool good;

    pthread_mutex_lock(&f->lock);
    memcpy(out, f->value, sizeof f->value);
    good = f->good;
    pthread_mutex_unlock(&f->lock);
    return good;
}
