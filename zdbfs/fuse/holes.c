/* holes - see fuse/holes.h. */
#include "zdbfs/fuse/holes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "zdbfs/fuse/kernel_pages.h"

struct question {
    struct ops_req q;
    struct inode *in;
    uint64_t off;
    int whence;
    struct question *next;
};

struct holes {
    struct kernel_pages *pages;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct question *waiting;
    bool stop;
};

static void answer(struct holes *h, struct question *w)
{
    uint64_t pos = 0;

    int r = kernel_pages_flush_file(h->pages, w->in->ino);
    if (r == -EPERM || r == -EOPNOTSUPP) /* the same, but a kill of the daemon may have to wait for
                                            it */
        fuse_lowlevel_notify_inval_inode(w->q.ops->se, w->in->ino, 0, 0);
    r = file_seek(w->q.fs, w->in, w->off, w->whence, &pos);
    inode_put(w->q.fs, w->in);
    if (r < 0)
        ops_error(&w->q, r);
    else if (ops_answer(&w->q))
        fuse_reply_lseek(w->q.req, (off_t)pos);
    free(w);
}

static void *run(void *arg)
{
    struct holes *h = arg;

    pthread_mutex_lock(&h->lock);
    while (!h->stop || h->waiting) {
        struct question *w = h->waiting, *next;
        if (!w) {
            pthread_cond_wait(&h->changed, &h->lock);
            continue;
        }
        h->waiting = NULL;
        pthread_mutex_unlock(&h->lock);
        for (; w; w = next) {
            next = w->next;
            answer(h, w);
        }
        pthread_mutex_lock(&h->lock);
    }
    pthread_mutex_unlock(&h->lock);
    return NULL;
}

void holes_ask(struct holes *h, const struct ops_req *q, struct inode *in, uint64_t off, int whence)
{
    struct question *w = xcalloc(1, sizeof *w);

    *w = (struct question){.q = *q, .in = in, .off = off, .whence = whence};
    pthread_mutex_lock(&h->lock);
    w->next = h->waiting;
    h->waiting = w;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
}

int holes_start(struct holes **out, struct kernel_pages *pages, struct err *e)
{
    struct holes *h = xcalloc(1, sizeof *h);

    h->pages = pages;
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->changed, NULL);
    int code = pthread_create(&h->thread, NULL, run, h);
    if (code) {
        free(h);
        return err_sys(e, code, "thread that looks for holes");
    }
    pthread_setname_np(h->thread, "zdbfs-holes");
    *out = h;
    return 0;
}

void holes_stop(struct holes *h)
{
    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->stop = true;
    pthread_cond_signal(&h->changed);
    pthread_mutex_unlock(&h->lock);
    pthread_join(h->thread, NULL);
    pthread_cond_destroy(&h->changed);
    pthread_mutex_destroy(&h->lock);
    free(h);
}
