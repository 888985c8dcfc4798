/* kinds - see backend/kinds.h. */
#include "zstor/backend/kinds.h"

const struct backend_kind *backend_kind_of(const struct backend_addr *a)
{
    switch (a->place) {
    case BACKEND_AT_ZDB:
        return &backend_zdb;
    case BACKEND_AT_DIR:
        return &backend_dir;
    case BACKEND_AT_REDIS:
        return &backend_redis;
    case BACKEND_ELSEWHERE:
        break;
    }
    return NULL;
}
