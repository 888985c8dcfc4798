/* engine - one configuration with the objects that work by it.  Counted: a reload makes a new one,
 * jobs that run keep the one they started with until they end.  Thread: the loop's for get and put;
 * what it points to is used by job threads. */
#ifndef ZSTOR_OBJECT_ENGINE_H
#define ZSTOR_OBJECT_ENGINE_H

#include "zstor/conf.h"
#include "zstor/object/object.h"

struct engine {
    const struct zstor_conf *conf;
    struct objects *objects;
    unsigned refs;
};

/* One reference, the caller's.  conf is taken, also on failure; volume and changes
 * (object/changes.h) are borrowed, NULL for what only reads. */
int engine_open(struct engine **out, struct zstor_conf *conf, struct object_stats *stats,
                struct marks *marks, struct volume *volume, struct changes *changes, struct err *e);
struct engine *engine_get(struct engine *g);
void engine_put(struct engine *g); /* NULL is fine; the last one closes */

#endif
