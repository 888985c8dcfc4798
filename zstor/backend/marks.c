/* marks - see backend/marks.h. */
#include "zstor/backend/marks.h"

#include <pthread.h>
#include <stdlib.h>

#include "common/base.h"

struct mark {
    struct mark *next;
    struct backend_addr addr;
    unsigned bits;
};

struct marks {
    pthread_mutex_t lock;
    struct mark *first;
};

struct marks *marks_new(void)
{
    struct marks *m = xcalloc(1, sizeof *m);

    pthread_mutex_init(&m->lock, NULL);
    return m;
}

void marks_free(struct marks *m)
{
    if (!m)
        return;
    while (m->first) {
        struct mark *k = m->first;
        m->first = k->next;
        backend_addr_fini(&k->addr);
        free(k);
    }
    pthread_mutex_destroy(&m->lock);
    free(m);
}

static struct mark *find(const struct marks *m, const struct backend_addr *a)
{
    struct mark *k = m->first;

    while (k && !backend_addr_same(&k->addr, a))
        k = k->next;
    return k;
}

void marks_set(struct marks *m, const struct backend_addr *a, unsigned bits, bool on)
{
    struct mark *k;

    pthread_mutex_lock(&m->lock);
    k = find(m, a);
    if (!k && on) {
        k = xcalloc(1, sizeof *k);
        backend_addr_copy(&k->addr, a);
        k->next = m->first;
        m->first = k;
    }
    if (k)
        k->bits = on ? k->bits | bits : k->bits & ~bits;
    pthread_mutex_unlock(&m->lock);
}

unsigned marks_get(struct marks *m, const struct backend_addr *a)
{
    const struct mark *k;
    unsigned bits;

    if (!m)
        return 0;
    pthread_mutex_lock(&m->lock);
    k = find(m, a);
    bits = k ? k->bits : 0;
    pthread_mutex_unlock(&m->lock);
    return bits;
}

void marks_clear(struct marks *m, unsigned bits)
{
    pthread_mutex_lock(&m->lock);
    for (struct mark *k = m->first; k; k = k->next)
        k->bits &= ~bits;
    pthread_mutex_unlock(&m->lock);
}

struct counting {
    unsigned bits;
    size_t n;
};

static void count_one(void *arg, const struct backend_addr *a, unsigned bits)
{
    struct counting *c = arg;

    (void)a;
    c->n += (bits & c->bits) != 0;
}

size_t marks_count(struct marks *m, unsigned bits)
{
    struct counting c = {.bits = bits};

    marks_each(m, count_one, &c);
    return c.n;
}

void marks_each(struct marks *m, marks_fn *fn, void *arg)
{
    pthread_mutex_lock(&m->lock);
    for (const struct mark *k = m->first; k; k = k->next)
        if (k->bits)
            fn(arg, &k->addr, k->bits);
    pthread_mutex_unlock(&m->lock);
}
