/* marks - what is known of backends beside their health: a set that outlives configurations and
 * connections.  Thread-safe. */
#ifndef ZSTOR_BACKEND_MARKS_H
#define ZSTOR_BACKEND_MARKS_H

#include "zstor/format/address.h"

enum {
    MARK_DRAIN = 1,  /* gets nothing more, what it has moves elsewhere */
    MARK_SUSPECT = 2 /* may have lost what it had: nothing on it is believed without reading it */
};

struct marks;

struct marks *marks_new(void);
void marks_free(struct marks *m);
void marks_set(struct marks *m, const struct backend_addr *a, unsigned bits, bool on);
unsigned marks_get(struct marks *m, const struct backend_addr *a); /* m NULL: 0 */
void marks_clear(struct marks *m, unsigned bits);                  /* of all */
size_t marks_count(struct marks *m, unsigned bits);                /* backends with any of them */
/* fn for each marked backend; it must not call back. */
typedef void marks_fn(void *arg, const struct backend_addr *a, unsigned bits);
void marks_each(struct marks *m, marks_fn *fn, void *arg);

#endif
