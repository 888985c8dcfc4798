/* burial - dead shards get a job of their own: what object_reclaim_later asks for.  The list of
 * them is the job's snapshot.  Thread: burial_bury from any job thread, the rest the loop's. */
#ifndef ZSTOR_QUEUE_BURIAL_H
#define ZSTOR_QUEUE_BURIAL_H

#include "common/err.h"
#include "zstor/queue/journal.h"

struct burial;
struct loop;
struct meta_record;

struct burial_conf {
    struct loop *loop;
    struct journal *journal;
    void (*added)(void *arg, struct journal_rec *rec); /* loop: a job is durable; rec is taken */
    void *arg;
};

struct burial *burial_new(const struct burial_conf *c);
void burial_free(struct burial *b); /* no job thread may be left; NULL is fine */
/* An object_bury_fn; arg: the struct burial. */
int burial_bury(void *arg, const char *meta_key, const struct meta_record *dead, struct err *e);

#endif
