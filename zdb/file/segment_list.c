/* segment_list - see the header. */
#include "zdb/file/segment_list.h"
#include "common/parse.h"
#include "common/path.h"
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* "i12": 12. */
static bool number_of(const char *name, char kind, uint32_t *id)
{
    uint64_t v;

    if (name[0] != kind || (name[1] == '0' && name[2]) ||
        parse_u64(name + 1, 0, UINT32_MAX, &v) < 0)
        return false;
    *id = (uint32_t)v;
    return true;
}

static int by_id(const void *a, const void *b)
{
    const struct segment_files *x = a, *y = b;

    return x->id < y->id ? -1 : x->id > y->id;
}

static struct segment_files entry(const char *dir, const char *name, char kind, uint32_t id)
{
    CLEANUP(base_free) char *path = path_join(dir, name);
    struct stat st;
    uint64_t size = stat(path, &st) == 0 ? (uint64_t)st.st_size : 0;

    return kind == 'i' ? (struct segment_files){.id = id, .has_index = true, .index_size = size}
                       : (struct segment_files){.id = id, .has_data = true, .data_size = size};
}

/* One entry for each file becomes one for each segment. */
static void join(struct segment_list *l)
{
    size_t to = 0;

    qsort(l->v, l->n, sizeof *l->v, by_id);
    for (size_t i = 0; i < l->n; i++) {
        struct segment_files *one = &l->v[i], *last = to > 0 ? &l->v[to - 1] : NULL;
        if (!last || last->id != one->id) {
            l->v[to++] = *one;
            continue;
        }
        last->has_index |= one->has_index;
        last->has_data |= one->has_data;
        last->index_size += one->index_size;
        last->data_size += one->data_size;
    }
    l->n = to;
}

int segment_list_add(struct segment_list *l, const char *dir, char kind)
{
    struct segment_files *all;
    char **names;
    size_t n;
    int r = path_list(dir, &names, &n);

    if (r < 0)
        return r;
    all = xcalloc(l->n + n + 1, sizeof *all);
    if (l->n)
        memcpy(all, l->v, l->n * sizeof *all);
    free(l->v);
    l->v = all;
    for (size_t i = 0; i < n; i++) {
        uint32_t id;
        l->old_layout |= strcmp(names[i], "zdb-index-00000") == 0;
        if (number_of(names[i], kind, &id))
            l->v[l->n++] = entry(dir, names[i], kind, id);
    }
    path_list_free(names, n);
    join(l);
    return 0;
}

void segment_list_fini(struct segment_list *l)
{
    free(l->v);
    *l = (struct segment_list){0};
}

char *segment_path(const char *dir, char kind, uint32_t id)
{
    return xasprintf("%s/%c%u", dir, kind, id);
}
