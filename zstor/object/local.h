/* local - a local file: what its name says, and which state of which file it is.  No state. */
#ifndef ZSTOR_OBJECT_LOCAL_H
#define ZSTOR_OBJECT_LOCAL_H

#include <stdbool.h>
#include <stdint.h>

struct stat;

/* Is it named like a data segment of zdb, "d<N>"?  Those only grow and are never copied.  path: or
 * a name. */
bool local_is_data(const char *path);

#define LOCAL_ASIDE                                                         \
    ".zstor-remove" /* end of the name of a file that is being removed, see \
                       object/remove.h */
bool local_is_aside(const char *name);

/* Which file, and in which state.  Equal values mean the same bytes, even if somebody set the times
 * back: ctime tells. It also changes when only the access time is set, as zdb does on reads. */
struct local_id {
    uint64_t dev, ino, size;
    int64_t mtime_s, mtime_ns, ctime_s, ctime_ns;
};

void local_id_of(struct local_id *out, const struct stat *st);
bool local_id_eq(const struct local_id *a, const struct local_id *b);
bool local_id_eq_mtime(const struct local_id *a, const struct local_id *b); /* all but ctime: good
                                                                               enough for a hint */

#endif
