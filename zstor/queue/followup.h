/* followup - jobs that a job leaves to a later time.  Each is on stable storage before the job that
 * leaves it is done or answered, so that a crash between the two forgets nothing. Thread:
 * followup_bury and followup_complete from any job thread, the rest the loop's. */
#ifndef ZSTOR_QUEUE_FOLLOWUP_H
#define ZSTOR_QUEUE_FOLLOWUP_H

#include "common/err.h"
#include "zstor/queue/journal.h"

struct followup;
struct loop;
struct meta_record;

struct followup_conf {
    struct loop *loop;
    struct journal *journal;
    void (*added)(void *arg, struct journal_rec *rec); /* loop: a job is durable; rec is taken */
    void *arg;
};

struct followup *followup_new(const struct followup_conf *c);
void followup_free(struct followup *f); /* no job thread may be left; NULL is fine */
/* Dead shards: an object_bury_fn; arg: the struct followup.  The list of them is the job's
 * snapshot. */
int followup_bury(void *arg, const char *meta_key, const struct meta_record *dead, struct err *e);
/* A rebuild of an object that lacks shards or metadata values.  0, or -errno: it is not queued. */
int followup_complete(struct followup *f, const char *object_path, struct err *e);

#endif
