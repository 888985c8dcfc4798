/* parking - where requests wait that libfuse's workers have no hands free for.  A worker has a
 * buffer of 1 MiB and there are few; when half of them are busy with requests that may have to wait
 * long (evicted data, a silent zdb), further ones are carried out by threads of their own, made
 * when needed, so that others always get through.  Any thread. */
#ifndef ZDBFS_FUSE_PARKING_H
#define ZDBFS_FUSE_PARKING_H

#include "common/base.h"

#define PARKING_MAX 2048u /* requests that are parked at most */

struct parking;

struct parking *parking_new(unsigned workers);
void parking_free(struct parking *p); /* waits until all have been carried out */
/* The calling worker is about to do something that may wait.  true: it has a hand for it, and calls
 * parking_leave afterwards; false: parking_run it. */
bool parking_enter(struct parking *p);
void parking_leave(struct parking *p);
/* fn(arg) in a thread of its own, or here when there are too many. */
void parking_run(struct parking *p, void (*fn)(void *arg), void *arg);

#endif
