/* scan - scan of zdb's data directory. */
#include "zstor/cache/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/parse.h"
#include "common/path.h"

void datadir_fini(struct datadir *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->files[i].path);
    free(d->files);
    *d = (struct datadir){0};
}

static void add_segment(struct datadir *d, size_t *cap, const char *path, const struct stat *st)
{
    if (d->n == *cap) {
        struct datadir_file *more;

        *cap = *cap ? 2 * *cap : 64;
        more = xcalloc(*cap, sizeof *more);
        if (d->n)
            memcpy(more, d->files, d->n * sizeof *more);
        free(d->files);
        d->files = more;
    }
    struct datadir_file *f = &d->files[d->n++];

    *f = (struct datadir_file){
        .path = xstrdup(path),
        .disk_bytes = (uint64_t)st->st_blocks * 512,
        .atime_s = st->st_atim.tv_sec,
    };
    local_id_of(&f->id, st);
}

/* The segments of one namespace directory; *count: how many names of segments it has. */
static int scan_namespace(const char *dir, struct datadir *d, size_t *cap, size_t *count)
{
    uint64_t highest = 0, number;
    size_t first = d->n, n = 0;
    char **names = NULL;
    int r = path_list(dir, &names, &n);

    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *path = path_join(dir, names[i]);
        struct stat st;

        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        d->disk_bytes += (uint64_t)st.st_blocks * 512;
        if (!local_is_data(path) || parse_u64(names[i] + 1, 0, UINT64_MAX, &number) < 0)
            continue;
        highest = MAX(highest, number);
        add_segment(d, cap, path, &st);
    }
    path_list_free(names, n);
    for (size_t i = first; i < d->n; i++)
        d->files[i].sealed =
            parse_u64(path_base(d->files[i].path) + 1, 0, UINT64_MAX, &number) == 0 &&
            number < highest;
    *count = d->n - first;
    return 0;
}

int datadir_scan(const char *base, struct datadir *out, struct err *e)
{
    CLEANUP(base_free) char *path = realpath(base, NULL);
    size_t cap = 0, count = 0, n = 0;
    char **names = NULL;
    int r;

    *out = (struct datadir){0};
    if (!path)
        return err_sys(e, errno, "zdb_data_dir_path: %s", base);
    r = scan_namespace(path, out, &cap, &count);
    if (r < 0)
        return err_sys(e, -r, "zdb_data_dir_path: %s", path);
    if (count > 0)
        return 0;
    out->disk_bytes = 0;
    r = path_list(path, &names, &n);
    if (r < 0)
        return err_sys(e, -r, "zdb_data_dir_path: %s", path);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *dir = path_join(path, names[i]);
        struct stat st;

        if (names[i][0] != '.' && strcmp(names[i], DATADIR_TEMP) != 0 && lstat(dir, &st) == 0 &&
            S_ISDIR(st.st_mode))
            scan_namespace(dir, out, &cap, &count); /* gone meanwhile: nothing to list */
    }
    path_list_free(names, n);
    return 0;
}
