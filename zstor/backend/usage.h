/* usage - how many values a store holds and how many bytes they have, for kinds of backend that do
 * not say it themselves.  Counted once in a process, part by part, then kept up to date by what
 * this process writes and deletes; what others do there in the meantime is not seen.  Thread-safe.
 */
#ifndef ZSTOR_BACKEND_USAGE_H
#define ZSTOR_BACKEND_USAGE_H

#include <stdbool.h>
#include <stdint.h>

struct usage;

/* The one of this identity; lives to the end of the process.  parts: how many it is counted in. */
struct usage *usage_of(const char *identity, unsigned parts);
/* The next part that is not counted, or -1.  The caller counts it and says so. */
int usage_next(struct usage *u);
void usage_counted(struct usage *u, int part, uint64_t entries, uint64_t bytes);
/* A value was written or deleted in this part. */
void usage_add(struct usage *u, int part, int entries, int64_t bytes);
/* true: everything is counted. */
bool usage_get(struct usage *u, uint64_t *entries, uint64_t *bytes);

#endif
