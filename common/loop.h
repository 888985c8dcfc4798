/* loop - one event loop over libevent 2.1: descriptors, timers, signals, and calls posted from
 * other threads. All functions but loop_post and loop_stop belong to the thread that runs the loop.
 * Callbacks must not block. */
#ifndef COMMON_LOOP_H
#define COMMON_LOOP_H

#include "common/err.h"

struct loop;
struct loop_watch;
struct loop_timer;
struct loop_defer;
struct event_base;

#define LOOP_READ  1u
#define LOOP_WRITE 2u

int loop_new(struct loop **out, struct err *e);
void loop_free(struct loop *l); /* watches and timers must be gone before; posted calls that did not
                                   run are dropped */
int loop_run(struct loop *l);   /* until loop_stop; 0 or -errno */
int loop_once(struct loop *l, int timeout_ms); /* one round, waits at most so long; for tests and
                                                  short-lived commands */
void loop_stop(struct loop *l);                /* any thread */
struct event_base *loop_base(struct loop *l); /* for evhttp and signals; not for new abstractions */

typedef void loop_fd_fn(void *arg, unsigned events); /* LOOP_READ | LOOP_WRITE; errors and hang-ups
                                                        show as both */
struct loop_watch *loop_watch_new(struct loop *l, int fd, loop_fd_fn *fn, void *arg); /* wants
                                                                                         nothing yet
                                                                                       */
void loop_watch_want(struct loop_watch *w, unsigned events); /* level-triggered, persistent; no
                                                                syscall when unchanged */
void loop_watch_free(struct loop_watch *w); /* also from its own callback; does not close the fd */

typedef void loop_fn(void *arg);
struct loop_timer *loop_timer_new(struct loop *l, loop_fn *fn, void *arg);
/* Re-arms when running.  Timers go by the kernel's coarse clock: up to LOOP_CLOCK_MS early. */
#define LOOP_CLOCK_MS 10
void loop_timer_start(struct loop_timer *t, uint64_t ms, bool repeat);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t); /* also from its own callback */

/* fn runs once at the end of the current round: behind the callbacks that are ready, before the
 * loop waits again.  Costs no system call: for replies and writes that are collected over a round.
 */
struct loop_defer *loop_defer_new(struct loop *l, loop_fn *fn, void *arg);
void loop_defer_arm(struct loop_defer *d); /* no effect when armed */
void loop_defer_free(struct loop_defer *d);

/* fn runs on the loop for every delivery of signo (coalesced).  Lasts as long as the loop. */
int loop_on_signal(struct loop *l, int signo, loop_fn *fn, void *arg);
/* Any thread: fn(arg) runs on the loop later, in the order of posting.  Never fails short of memory
 * (aborts). */
void loop_post(struct loop *l, loop_fn *fn, void *arg);

#endif
