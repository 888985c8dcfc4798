/* engine - counted pair of configuration and objects. */
#include "zstor/object/engine.h"

#include <stdlib.h>

int engine_open(struct engine **out, struct zstor_conf *conf, struct object_stats *stats,
                struct marks *marks, struct volume *volume, struct changes *changes, struct err *e)
{
    struct object_conf oc = {
        .conf = conf, .stats = stats, .marks = marks, .changes = changes, .volume = volume};
    struct engine *g = xcalloc(1, sizeof *g);
    int r = object_open(&g->objects, &oc, e);

    if (r < 0) {
        zstor_conf_free(conf);
        free(g);
        return r;
    }
    g->conf = conf;
    g->refs = 1;
    *out = g;
    return 0;
}

struct engine *engine_get(struct engine *g)
{
    g->refs++;
    return g;
}

void engine_put(struct engine *g)
{
    if (!g || --g->refs > 0)
        return;
    object_close(g->objects);
    zstor_conf_free((struct zstor_conf *)g->conf);
    free(g);
}
