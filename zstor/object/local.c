/* local - names and states. */
#include "zstor/object/local.h"

#include <string.h>
#include <sys/stat.h>

#include "common/path.h"

bool local_is_data(const char *path)
{
    const char *p = path_base(path);

    if (*p++ != 'd' || !*p || (p[0] == '0' && p[1]))
        return false;
    while (*p >= '0' && *p <= '9')
        p++;
    return *p == '\0';
}

void local_id_of(struct local_id *out, const struct stat *st)
{
    *out = (struct local_id){
        .dev = st->st_dev,
        .ino = st->st_ino,
        .size = (uint64_t)st->st_size,
        .mtime_s = st->st_mtim.tv_sec,
        .mtime_ns = st->st_mtim.tv_nsec,
        .ctime_s = st->st_ctim.tv_sec,
        .ctime_ns = st->st_ctim.tv_nsec,
    };
}

bool local_id_eq_mtime(const struct local_id *a, const struct local_id *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && a->mtime_s == b->mtime_s &&
           a->mtime_ns == b->mtime_ns;
}

bool local_id_eq(const struct local_id *a, const struct local_id *b)
{
    return local_id_eq_mtime(a, b) && a->ctime_s == b->ctime_s && a->ctime_ns == b->ctime_ns;
}

bool local_is_aside(const char *name)
{
    size_t n = strlen(name), tail = strlen(LOCAL_ASIDE);

    return name[0] == '.' && n > tail + 1 && strcmp(name + n - tail, LOCAL_ASIDE) == 0;
}
