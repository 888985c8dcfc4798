/* workq - bounded job queue with its own threads.  Results go back through loop_post. */
#ifndef COMMON_WORKQ_H
#define COMMON_WORKQ_H

#include "common/err.h"

struct workq;
typedef void workq_fn(void *arg);

int workq_new(struct workq **out, const char *name, unsigned threads, size_t max_queued,
              struct err *e);
/* Any thread.  0, -EAGAIN when the queue is full, -ESHUTDOWN after workq_stop. */
int workq_push(struct workq *q, workq_fn *fn, void *arg);
size_t workq_queued(struct workq *q);
void workq_stop(struct workq *q); /* refuse new jobs from now on; what is queued still runs.  Any
                                     thread */
void workq_free(struct workq *q); /* workq_stop, runs what is queued, joins the threads */

#endif
