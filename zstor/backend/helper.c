/* helper - see backend/helper.h. */
#include "zstor/backend/helper.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define STACK_BYTES ((size_t)256 * 1024)

struct request {
    struct backend_op op;     /* with key and value behind it */
    struct backend_info info; /* of op */
    int broken;               /* run()'s answer */
    STAILQ_ENTRY(request) next;
    uint8_t bytes[];
};

STAILQ_HEAD(requests, request);

/* Shared by the link's thread and the helper; under lock, but for what is said. */
struct helper {
    const struct helper_store *kind; /* const */
    struct backend_addr addr;        /* const */
    size_t max_answer;               /* const */
    int event;                       /* const */
    pthread_t thread;                /* the link's thread */
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct requests todo, done;
    unsigned refs; /* the link, the thread */
    bool end;      /* the link is closed */
    bool waits;    /* the helper has nothing to do */
    bool left;     /* the link was closed while the helper was at work */
    bool opened;   /* open_rc, why and identity are there */
    int open_rc;
    struct err why;
    char identity[96];
    void *store; /* the helper's */
    atomic_ullong moved;
};

static atomic_uint stuck; /* threads that nobody waits for any longer */

static void request_free(struct request *q)
{
    if (!q)
        return;
    backend_op_fini(&q->op);
    free(q);
}

static void requests_free(struct requests *list)
{
    struct request *q;

    while ((q = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, next);
        request_free(q);
    }
}

static void unref(struct helper *h)
{
    bool last;

    pthread_mutex_lock(&h->lock);
    last = --h->refs == 0;
    pthread_mutex_unlock(&h->lock);
    if (!last)
        return;
    requests_free(&h->todo);
    requests_free(&h->done);
    close(h->event);
    backend_addr_fini(&h->addr);
    pthread_cond_destroy(&h->work);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

static void signal_link(struct helper *h)
{
    static const uint64_t one = 1;

    if (write(h->event, &one, sizeof one) < 0)
        return; /* only when it is signalled already */
}

/* --- the helper's thread --------------------------------------------------------------------- */

static struct request *next_request(struct helper *h)
{
    struct request *q = NULL;

    pthread_mutex_lock(&h->lock);
    h->waits = true;
    while (!h->end && STAILQ_EMPTY(&h->todo))
        pthread_cond_wait(&h->work, &h->lock);
    h->waits = false;
    if (!h->end) {
        q = STAILQ_FIRST(&h->todo);
        STAILQ_REMOVE_HEAD(&h->todo, next);
    }
    pthread_mutex_unlock(&h->lock);
    return q;
}

static int open_store(struct helper *h)
{
    char identity[sizeof h->identity] = "";
    struct err why = {0};
    int r = h->kind->open(&h->store, &h->addr, identity, sizeof identity, &why);

    pthread_mutex_lock(&h->lock);
    h->opened = true;
    h->open_rc = r;
    h->why = why;
    memcpy(h->identity, identity, sizeof identity);
    pthread_mutex_unlock(&h->lock);
    signal_link(h);
    return r;
}

static void *helper_thread(void *arg)
{
    struct helper *h = arg;
    struct request *q;
    bool left;
    int r = open_store(h);

    while (r == 0 && (q = next_request(h))) {
        q->op.answered = true;
        q->broken = h->kind->run(h->store, &q->op, h->max_answer, &h->moved);
        pthread_mutex_lock(&h->lock);
        STAILQ_INSERT_TAIL(&h->done, q, next);
        pthread_mutex_unlock(&h->lock);
        signal_link(h);
    }
    h->kind->close(h->store);
    pthread_mutex_lock(&h->lock);
    left = h->left;
    pthread_mutex_unlock(&h->lock);
    if (left)
        atomic_fetch_sub(&stuck, 1);
    unref(h);
    return NULL;
}

/* --- the link -------------------------------------------------------------------------------- */

void helper_close(void *link)
{
    struct helper *h = link;
    bool left;

    if (!h)
        return;
    pthread_mutex_lock(&h->lock);
    h->end = true;
    left = h->left = !h->waits && !(h->opened && h->open_rc < 0);
    if (left)
        atomic_fetch_add(&stuck, 1);
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    if (left)
        pthread_detach(h->thread);
    else
        pthread_join(h->thread, NULL);
    unref(h);
}

/* Until the store is open or not; -ETIMEDOUT. */
static int wait_open(struct helper *h, uint64_t ms, struct err *e)
{
    uint64_t until = base_now_ms() + ms;

    for (;;) {
        struct pollfd pfd = {.fd = h->event, .events = POLLIN};
        uint64_t now = base_now_ms();
        bool opened;
        int r;
        pthread_mutex_lock(&h->lock);
        opened = h->opened;
        r = h->open_rc;
        if (opened && r < 0 && e)
            *e = h->why;
        pthread_mutex_unlock(&h->lock);
        if (opened)
            return r;
        if (now >= until)
            return err_set(e, ETIMEDOUT, "does not answer within %llu ms", (unsigned long long)ms);
        (void)poll(&pfd, 1, (int)(until - now));
    }
}

static int start(struct helper *h, struct err *e)
{
    pthread_attr_t attr;
    int r;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    h->refs = 2;
    r = pthread_create(&h->thread, &attr, helper_thread, h);
    pthread_attr_destroy(&attr);
    if (r == 0)
        return 0;
    h->refs = 1;
    unref(h);
    return err_sys(e, r, "no thread");
}

int helper_open(void **link, const struct helper_store *kind, const struct backend_addr *a,
                const struct backend_limits *limits, char *identity, size_t size, struct err *e)
{
    struct helper *h;
    int r, event;

    if (atomic_load(&stuck) >= HELPER_STUCK_MAX)
        return err_set(e, EBUSY, "%d calls to disks have not come back, no more are made",
                       HELPER_STUCK_MAX);
    event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (event < 0)
        return err_sys(e, errno, "eventfd");
    h = xcalloc(1, sizeof *h);
    h->kind = kind;
    h->event = event;
    h->max_answer = limits->max_answer;
    backend_addr_copy(&h->addr, a);
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->work, NULL);
    STAILQ_INIT(&h->todo);
    STAILQ_INIT(&h->done);
    r = start(h, e);
    if (r < 0)
        return r;
    r = wait_open(h, limits->connect_ms, e);
    if (r < 0) {
        helper_close(h);
        return r;
    }
    helper_move(h, POLLIN);
    snprintf(identity, size, "%s", h->identity);
    *link = h;
    return 0;
}

int helper_submit(void *link, struct backend_op *op)
{
    struct helper *h = link;
    struct request *q = malloc(sizeof *q + op->key.len + op->value.len);

    if (!q)
        return -ENOMEM;
    *q = (struct request){.op = {.verb = op->verb, .off = op->off, .len = op->len}};
    memcpy(q->bytes, op->key.p ? op->key.p : q->bytes, op->key.len);
    memcpy(q->bytes + op->key.len, op->value.p ? op->value.p : q->bytes, op->value.len);
    q->op.key = slice_of(q->bytes, op->key.len);
    q->op.value = slice_of(q->bytes + op->key.len, op->value.len);
    q->op.info = op->info ? &q->info : NULL;
    pthread_mutex_lock(&h->lock);
    STAILQ_INSERT_TAIL(&h->todo, q, next);
    pthread_cond_signal(&h->work);
    pthread_mutex_unlock(&h->lock);
    return 0;
}

int helper_take(void *link, struct backend_op *op)
{
    struct helper *h = link;
    struct request *q;
    int broken;

    pthread_mutex_lock(&h->lock);
    q = STAILQ_FIRST(&h->done);
    if (q)
        STAILQ_REMOVE_HEAD(&h->done, next);
    pthread_mutex_unlock(&h->lock);
    if (!q)
        return 0;
    broken = q->broken;
    if (broken == 0) {
        op->rc = q->op.rc;
        op->answered = true;
        op->out = q->op.out;
        op->rows = q->op.rows;
        op->nrows = q->op.nrows;
        op->time_s = q->op.time_s;
        op->holder = q->op.holder;
        op->release = q->op.release;
        memcpy(op->said, q->op.said, sizeof op->said);
        if (op->info)
            *op->info = q->info;
        q->op.holder = NULL;
        q->op.rows = NULL;
    }
    request_free(q);
    return broken < 0 ? broken : 1;
}

void helper_want(const void *link, struct pollfd *out)
{
    *out = (struct pollfd){.fd = ((const struct helper *)link)->event, .events = POLLIN};
}

void helper_move(void *link, short revents)
{
    struct helper *h = link;
    uint64_t n;

    if (revents & POLLIN && read(h->event, &n, sizeof n) < 0)
        return; /* EAGAIN: nothing was signalled since */
}

void helper_flush(void *link)
{
    (void)link; /* the helper has begun already */
}

uint64_t helper_moved(const void *link)
{
    return atomic_load(&((const struct helper *)link)->moved);
}

bool helper_idle(const void *link)
{
    struct helper *h = (struct helper *)(uintptr_t)link; /* only the lock changes */
    bool idle;

    pthread_mutex_lock(&h->lock);
    idle = STAILQ_EMPTY(&h->todo) && STAILQ_EMPTY(&h->done);
    pthread_mutex_unlock(&h->lock);
    return idle;
}
