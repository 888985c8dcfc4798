/* interrupt - a program that waits for us can be stopped at once.  While a request only waits, an
 * INTERRUPT of the kernel is answered with EINTR, whatever the worker is doing; the worker goes on,
 * and finds that nobody hears its answer.  A request that is about to change something claims it
 * first: from then on it is carried out and answered as if nothing had happened.
 *
 *   state        left by
 *   WAITING      claim: CLAIMED; answer: ended; a signal: INTERRUPTED
 *   CLAIMED      answer: ended
 *   INTERRUPTED  answer: ended
 *
 * Only signals that end the program or ask it to (HUP, INT, QUIT, TERM, ALRM) count: programs do
 * not expect EINTR of a file because a child has ended. */
#ifndef ZDBFS_FUSE_INTERRUPT_H
#define ZDBFS_FUSE_INTERRUPT_H

#include "common/err.h"

#include <fuse_lowlevel.h>

struct interrupts;
struct waiting;

/* One thread, which looks after requests whose program had a signal that did not count. */
int interrupts_start(struct interrupts **out, struct err *e);
void interrupts_stop(struct interrupts *is); /* no request is under way any more */

/* The request may be answered EINTR from now on, and must not be looked at any more but after
 * a claim or for the answer. */
struct waiting *interrupt_begin(struct interrupts *is, fuse_req_t req);
/* false: it was interrupted, and nothing may be changed any more.  May be repeated. */
bool interrupt_claim(struct waiting *w);
/* Frees w.  true: the request has to be answered now; false: it was, with EINTR. */
bool interrupt_answer(struct waiting *w);

#endif
