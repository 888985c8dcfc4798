/* scan - scan of zdb's directories. */
#include "zstor/cache/scan.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/parse.h"
#include "common/path.h"

#define DESCRIPTOR   "zdb-namespace"
#define HEADER_DATA  28 /* bytes of a file without records */
#define HEADER_INDEX 29

void datadir_fini(struct datadir *d)
{
    for (size_t i = 0; i < d->n; i++)
        free(d->files[i].path);
    free(d->files);
    *d = (struct datadir){0};
}

struct scan {
    struct datadir *d;
    size_t cap;
    bool index; /* index files and descriptors; else segments */
};

static void add_file(struct scan *s, const char *path, enum datadir_kind kind,
                     const struct stat *st)
{
    struct datadir *d = s->d;

    if (d->n == s->cap) {
        struct datadir_file *more;

        s->cap = s->cap ? 2 * s->cap : 64;
        more = xcalloc(s->cap, sizeof *more);
        if (d->n)
            memcpy(more, d->files, d->n * sizeof *more);
        free(d->files);
        d->files = more;
    }
    struct datadir_file *f = &d->files[d->n++];

    *f = (struct datadir_file){
        .path = xstrdup(path),
        .kind = kind,
        .empty = kind != DATADIR_DESCRIPTOR &&
                 st->st_size <= (kind == DATADIR_INDEX ? HEADER_INDEX : HEADER_DATA),
        .disk_bytes = (uint64_t)st->st_blocks * 512,
        .atime_s = st->st_atim.tv_sec,
    };
    local_id_of(&f->id, st);
}

/* Is it a file that this scan lists?  *number: of a segment or an index file. */
static bool wanted(const struct scan *s, const char *name, enum datadir_kind *kind,
                   uint64_t *number)
{
    *number = 0;
    if (s->index && strcmp(name, DESCRIPTOR) == 0) {
        *kind = DATADIR_DESCRIPTOR;
        return true;
    }
    *kind = s->index ? DATADIR_INDEX : DATADIR_SEGMENT;
    return name[0] == (s->index ? 'i' : 'd') && !(name[1] == '0' && name[2]) &&
           parse_u64(name + 1, 0, UINT64_MAX, number) == 0;
}

static uint64_t number_of(const struct datadir_file *f)
{
    uint64_t number = 0;

    return parse_u64(path_base(f->path) + 1, 0, UINT64_MAX, &number) == 0 ? number : 0;
}

/* Which of the files from `first` on, of one directory, zdb goes on writing. */
static void judge(struct datadir *d, size_t first, uint64_t highest, bool unused)
{
    for (size_t i = first; i < d->n; i++) {
        struct datadir_file *f = &d->files[i];

        f->sealed = f->kind == DATADIR_DESCRIPTOR || number_of(f) < highest;
        if (f->kind == DATADIR_DESCRIPTOR)
            f->empty = unused;
    }
}

/* The files of one namespace directory; *count: how many it has. */
static int scan_namespace(struct scan *s, const char *dir, size_t *count)
{
    uint64_t highest = 0, number;
    struct datadir *d = s->d;
    size_t first = d->n, n = 0;
    enum datadir_kind kind;
    char **names = NULL;
    bool unused = strcmp(path_base(dir), "default") == 0;
    int r = path_list(dir, &names, &n);

    *count = 0;
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *path = path_join(dir, names[i]);
        struct stat st;

        if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
            continue;
        d->disk_bytes += (uint64_t)st.st_blocks * 512;
        if (!wanted(s, names[i], &kind, &number))
            continue;
        highest = MAX(highest, number);
        add_file(s, path, kind, &st);
        unused = unused && highest == 0 && (kind == DATADIR_DESCRIPTOR || d->files[d->n - 1].empty);
    }
    path_list_free(names, n);
    judge(d, first, highest, unused);
    *count = d->n - first;
    return 0;
}

static int scan(const char *base, const char *option, bool index, struct datadir *out,
                struct err *e)
{
    CLEANUP(base_free) char *path = realpath(base, NULL);
    struct scan s = {.d = out, .index = index};
    size_t count = 0, n = 0;
    char **names = NULL;
    int r;

    *out = (struct datadir){0};
    if (!path)
        return err_sys(e, errno, "%s: %s", option, base);
    r = scan_namespace(&s, path, &count);
    if (r < 0)
        return err_sys(e, -r, "%s: %s", option, path);
    if (count > 0)
        return 0;
    out->disk_bytes = 0;
    r = path_list(path, &names, &n);
    if (r < 0)
        return err_sys(e, -r, "%s: %s", option, path);
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *dir = path_join(path, names[i]);
        struct stat st;

        if (names[i][0] != '.' && strcmp(names[i], DATADIR_TEMP) != 0 && lstat(dir, &st) == 0 &&
            S_ISDIR(st.st_mode))
            scan_namespace(&s, dir, &count); /* gone meanwhile: nothing to list */
    }
    path_list_free(names, n);
    return 0;
}

int datadir_scan(const char *base, struct datadir *out, struct err *e)
{
    return scan(base, "zdb_data_dir_path", false, out, e);
}

int datadir_scan_index(const char *base, struct datadir *out, struct err *e)
{
    return scan(base, "zdb_index_dir_path", true, out, e);
}
