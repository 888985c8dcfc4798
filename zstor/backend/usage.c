/* usage - see backend/usage.h. */
#include "zstor/backend/usage.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "common/base.h"

struct usage {
    struct usage *next;
    char *identity;
    int parts, counted; /* parts below are counted */
    int64_t entries, bytes;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct usage *all; /* never freed: a backend that is away for a time is not counted anew */

struct usage *usage_of(const char *identity, unsigned parts)
{
    struct usage *u;

    pthread_mutex_lock(&lock);
    for (u = all; u && strcmp(u->identity, identity) != 0; u = u->next)
        ;
    if (!u) {
        u = xcalloc(1, sizeof *u);
        u->identity = xstrdup(identity);
        u->parts = (int)parts;
        u->next = all;
        all = u;
    }
    pthread_mutex_unlock(&lock);
    return u;
}

int usage_next(struct usage *u)
{
    int part;

    pthread_mutex_lock(&lock);
    part = u->counted < u->parts ? u->counted : -1;
    pthread_mutex_unlock(&lock);
    return part;
}

void usage_counted(struct usage *u, int part, uint64_t entries, uint64_t bytes)
{
    pthread_mutex_lock(&lock);
    if (part == u->counted) { /* another thread may have been faster */
        u->counted++;
        u->entries += (int64_t)entries;
        u->bytes += (int64_t)bytes;
    }
    pthread_mutex_unlock(&lock);
}

void usage_add(struct usage *u, int part, int entries, int64_t bytes)
{
    pthread_mutex_lock(&lock);
    if (part < u->counted) { /* else it will be seen when its part is counted */
        u->entries += entries;
        u->bytes += bytes;
    }
    pthread_mutex_unlock(&lock);
}

bool usage_get(struct usage *u, uint64_t *entries, uint64_t *bytes)
{
    bool whole;

    pthread_mutex_lock(&lock);
    whole = u->counted == u->parts;
    *entries = (uint64_t)MAX(u->entries, (int64_t)0);
    *bytes = (uint64_t)MAX(u->bytes, (int64_t)0);
    pthread_mutex_unlock(&lock);
    return whole;
}
