/* output - what a program writes, line by line to the log with the program's name in front, read
 * from a pipe to its very end.  A program may leave children behind that go on to write: somebody
 * has to read, or they die of SIGPIPE.  So an output outlives the run it belongs to (output_leave),
 * and when there are too many of those, or the process ends, cat(1) takes over.  Thread: the
 * loop's. */
#ifndef COMMON_OUTPUT_H
#define COMMON_OUTPUT_H

#include "common/err.h"

struct loop;
struct output;

#define OUTPUT_LEFT_MAX 16 /* left outputs that are read here; the oldest goes to cat(1) */

struct output *output_new(struct loop *l, int fd, const char *name); /* fd (a pipe) is taken */
/* The program has ended: what is in the pipe is logged, the rest when it comes, until nobody can
 * write any more.  o is not the caller's afterwards.  NULL: no effect. */
void output_leave(struct output *o);
/* Now to cat(1), which writes it where the log goes. */
void output_hand_over(struct output *o);
/* The loop ends: all left outputs on it are handed over. */
void output_end(struct loop *l);

#endif
