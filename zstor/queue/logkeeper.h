/* logkeeper - brings what has changed into the metadata log (object/metalog): a run some seconds
 * after a change, and again, later and later, while it fails.  Thread: the loop's. */
#ifndef ZSTOR_QUEUE_LOGKEEPER_H
#define ZSTOR_QUEUE_LOGKEEPER_H

#include "common/err.h"

struct changes;
struct logkeeper;
struct loop;
struct sched;

struct logkeeper *logkeeper_new(struct loop *loop, struct sched *sched, struct changes *changes);
void logkeeper_free(struct logkeeper *k); /* after sched_free; NULL is fine */

#endif
