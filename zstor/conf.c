/* conf - see conf.h. */
#include "zstor/conf.h"

#include <sodium.h>
#include <stdlib.h>

void zstor_conf_free(struct zstor_conf *c)
{
    if (!c)
        return;
    for (size_t g = 0; g < c->ngroups; g++) {
        for (size_t i = 0; i < c->groups[g].n; i++)
            backend_addr_fini(&c->groups[g].backends[i]);
        free(c->groups[g].backends);
    }
    free(c->groups);
    for (size_t i = 0; i < ZSTOR_META_COPIES; i++)
        backend_addr_fini(&c->meta[i]);
    free(c->root);
    free(c->socket);
    free(c->pid_file);
    free(c->state_dir);
    free(c->zdb_data_dir_path);
    free(c->zdb_index_dir_path);
    free(c->zdbfs_mountpoint);
    free(c->metrics_address);
    free(c->prefix);
    sodium_memzero(c, sizeof *c);
    free(c);
}

const struct backend_addr *zstor_conf_find(const struct zstor_conf *c, const struct backend_addr *a)
{
    for (size_t g = 0; g < c->ngroups; g++)
        for (size_t i = 0; i < c->groups[g].n; i++)
            if (backend_addr_same(&c->groups[g].backends[i], a))
                return &c->groups[g].backends[i];
    return NULL;
}
