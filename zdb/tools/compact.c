/* compact - see the header. */
#include "zdb/tools/compact.h"
#include "common/path.h"
#include "zdb/tools/check.h"
#include "zdb/file/index_walk.h"
#include "zdb/file/watermark.h"
#include "zdb/tools/compact_segment.h"
#include "zdb/format/data.h"
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define SPARE (1 * MIB) /* of a filesystem, beside the new files: journal, directories */

struct seg {
    uint32_t id;
    struct compact_offs live;
    struct compact_sizes data;
    uint64_t index_size;
    uint32_t last;            /* offset of its last data record */
    bool has_parents;         /* some of its index records name a former version */
    uint32_t lowest, highest; /* data files that its index records name */
};

struct compact {
    const char *name;
    struct check_dir dir;
    bool seq;
    struct seg *segs;
    size_t n;
    struct err *e;
    uint64_t rewritten, given_back;
};

static bool has_dead(const struct seg *s)
{
    return s->data.after < s->data.before;
}

/* --- what is there --------------------------------------------------------------------------- */

static void see(struct compact *c, struct seg *s, const struct index_rec *rec)
{
    uint32_t home = c->seq ? rec->dataid : s->id;

    s->has_parents |= rec->parent_off != 0;
    if (rec->off < DATA_HEADER_SIZE)
        return;
    s->lowest = MIN(s->lowest, home);
    s->highest = MAX(s->highest, home);
    if (!(rec->flags & INDEX_DELETED) && home < c->n) /* there is no gap: numbers are places */
        compact_offs_add(&c->segs[home].live, rec->off);
}

static int read_index(struct compact *c, struct seg *s)
{
    CLEANUP(base_free) char *path = check_dir_path(&c->dir, 'i', s->id);
    CLEANUP(base_close) int fd = check_open(path);
    struct index_walk w = {0};
    struct index_rec rec;
    uint64_t at;
    int r = fd < 0 ? fd : index_walk_init(&w, fd, INDEX_HEADER_SIZE);

    s->index_size = w.size;
    while (r >= 0 && (r = index_walk_next(&w, &at, &rec)) == 1)
        see(c, s, &rec);
    index_walk_fini(&w);
    return r < 0 ? err_sys(c->e, -r, "index %s", path) : 0;
}

static int measure(struct compact *c)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->n; i++)
        r = read_index(c, &c->segs[i]);
    for (size_t i = 0; r == 0 && i < c->n; i++) {
        CLEANUP(base_free) char *path = check_dir_path(&c->dir, 'd', c->segs[i].id);
        r = compact_seg_measure(path, &c->segs[i].live, &c->segs[i].data, &c->segs[i].last, c->e);
    }
    return r;
}

/* Index files that have to change together with the data file of s. */
static bool goes_with(const struct compact *c, const struct seg *file, const struct seg *s)
{
    return c->seq ? file->lowest <= s->id && s->id <= file->highest : file == s;
}

static int free_space(struct compact *c, const char *dir, uint64_t *out, dev_t *dev)
{
    struct statvfs fs;
    struct stat st;

    if (statvfs(dir, &fs) < 0 || stat(dir, &st) < 0)
        return err_sys(c->e, errno, "space of %s", dir);
    *out = (uint64_t)fs.f_bavail * fs.f_frsize;
    *dev = st.st_dev;
    return 0;
}

static int need(struct compact *c, const char *dir, uint64_t bytes, uint64_t have)
{
    if (have >= bytes + SPARE)
        return 0;
    return err_set(c->e, ENOSPC,
                   "%s: a compaction of namespace %s needs %" PRIu64
                   " bytes of free space, there are %" PRIu64 "; nothing was changed",
                   dir, c->name, bytes + SPARE, have);
}

/* The largest step decides: each gives back at least what it took. */
static int check_space(struct compact *c)
{
    uint64_t data = 0, index = 0, both = 0, data_free = 0, keys_free = 0;
    dev_t data_dev = 0, index_dev = 0;
    int r = free_space(c, c->dir.data, &data_free, &data_dev);

    if (r == 0)
        r = free_space(c, c->dir.index, &keys_free, &index_dev);
    if (r < 0)
        return r;
    for (size_t i = 0; i < c->n; i++) {
        uint64_t files = 0;
        if (!has_dead(&c->segs[i]))
            continue;
        for (size_t k = 0; k < c->n; k++)
            files += goes_with(c, &c->segs[k], &c->segs[i]) ? c->segs[k].index_size : 0;
        data = MAX(data, c->segs[i].data.after);
        index = MAX(index, files);
        both = MAX(both, files + c->segs[i].data.after);
    }
    if (data_dev == index_dev)
        return need(c, c->dir.data, both, data_free);
    r = need(c, c->dir.data, data, data_free);
    return r < 0 ? r : need(c, c->dir.index, index, keys_free);
}

/* --- one step -------------------------------------------------------------------------------- */

static int new_index(struct compact *c, const struct seg *file, uint32_t seg,
                     const struct compact_map *map, struct compact_list *l)
{
    CLEANUP(base_free) char *from = segment_path(c->dir.index, 'i', file->id);
    CLEANUP(base_free) char *to = compact_new_path(c->dir.index, 'i', file->id);
    uint64_t size;
    int r = compact_seg_index(from, to, c->seq, seg, map, &size, c->e);

    if (r == 0)
        compact_list_add(l, 'i', file->id, size);
    return r;
}

static int new_data(struct compact *c, struct seg *s, uint32_t last_before, struct compact_map *map,
                    uint32_t *last, struct compact_list *l)
{
    CLEANUP(base_free) char *from = segment_path(c->dir.data, 'd', s->id);
    CLEANUP(base_free) char *to = compact_new_path(c->dir.data, 'd', s->id);
    struct compact_end end = {0};
    int r = compact_seg_data(from, to, &s->live, last_before, map, &end, c->e);

    *last = end.last;
    if (r == 0)
        compact_list_add(l, 'd', s->id, end.size);
    return r;
}

/* The new files are there, or r says why not.  What did not get as far as a journal is removed. */
static int commit(struct compact *c, struct compact_list *l, int r)
{
    CLEANUP(base_free) char *journal = path_join(c->dir.index, COMPACT_FORMAT_FILE);

    if (r == 0)
        r = compact_commit(c->dir.index, c->dir.data, l, c->e);
    if (r < 0 && access(journal, F_OK) < 0) {
        compact_discard(c->dir.index, c->dir.data);
        err_prefix(c->e, "namespace %s stays as it was", c->name);
    } else if (r < 0) {
        err_prefix(c->e, "namespace %s: the next start of zdb finishes what was begun", c->name);
    }
    compact_list_fini(l);
    return r;
}

static int step_data(struct compact *c, struct seg *s, uint32_t last_before)
{
    struct compact_list l = {0};
    struct compact_map map = {0};
    uint32_t last = 0;
    int r = new_data(c, s, last_before, &map, &last, &l);

    for (size_t i = 0; r == 0 && i < c->n; i++) {
        if (goes_with(c, &c->segs[i], s))
            r = new_index(c, &c->segs[i], s->id, &map, &l);
    }
    compact_map_fini(&map);
    r = commit(c, &l, r);
    if (r < 0)
        return r;
    s->last = last;
    c->rewritten++;
    c->given_back += s->data.before - s->data.after;
    return 0;
}

static int step_parents(struct compact *c, struct seg *s)
{
    struct compact_list l = {0};
    int r = new_index(c, s, s->id, NULL, &l);

    return commit(c, &l, r);
}

static int settle(struct compact *c)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->n; i++) {
        const struct seg *s = &c->segs[i];
        CLEANUP(base_free) char *data = segment_path(c->dir.data, 'd', s->id);
        CLEANUP(base_free) char *index = segment_path(c->dir.index, 'i', s->id);
        r = compact_seg_settle(data, index, c->e);
    }
    return r;
}

/* All parents first: then no reader of the history meets a value that is gone.  A file that changes
 * with its data anyway needs no step of its own. */
static int run_steps(struct compact *c)
{
    uint32_t last_before = 0;
    int r = 0;

    for (size_t i = 0; r == 0 && i < c->n; i++) {
        if (c->segs[i].has_parents && (c->seq || !has_dead(&c->segs[i])))
            r = step_parents(c, &c->segs[i]);
    }
    for (size_t i = 0; r == 0 && i < c->n; i++) {
        if (has_dead(&c->segs[i]))
            r = step_data(c, &c->segs[i], last_before);
        if (c->segs[i].last)
            last_before = c->segs[i].last;
    }
    return r;
}

/* --- one namespace --------------------------------------------------------------------------- */

static int compact_files(struct compact *c)
{
    uint64_t dead = 0;
    int r;

    c->n = c->dir.list.n;
    c->segs = xcalloc(c->n + 1, sizeof *c->segs);
    for (size_t i = 0; i < c->n; i++)
        c->segs[i] = (struct seg){.id = c->dir.list.v[i].id, .lowest = UINT32_MAX};
    r = measure(c);
    for (size_t i = 0; i < c->n; i++)
        dead += c->segs[i].data.before - c->segs[i].data.after;
    if (r == 0 && dead)
        r = check_space(c);
    if (r == 0 && dead)
        r = settle(c);
    if (r == 0 && dead && (r = watermark_remove(c->dir.index)) < 0) /* places change */
        r = err_sys(c->e, -r, "watermark in %s", c->dir.index);
    if (r == 0 && dead)
        r = run_steps(c);
    for (size_t i = 0; i < c->n; i++)
        compact_offs_fini(&c->segs[i].live);
    free(c->segs);
    return r;
}

/* 1: it can be compacted; 0: not, and why is said; -errno. */
static int may_compact(struct compact *c, const struct check_root *root, FILE *refused)
{
    struct check_report report = {0};
    struct check_totals t = {0};
    uint8_t mode = 0;
    int r;

    for (size_t i = 0; i < c->dir.list.n; i++) {
        if (c->dir.list.v[i].has_data && c->dir.list.v[i].id == i)
            continue;
        fprintf(refused,
                "zdb: namespace %s: d%zu is not in %s; only namespaces with all their data files "
                "can be compacted\n",
                c->name, i, c->dir.data);
        return 0;
    }
    r = check_namespace(&report, root, c->name, &t, &mode, c->e);
    if (r < 0)
        return r;
    c->seq = mode == INDEX_MODE_SEQ;
    if (report.count[CHECK_FAULT]) {
        fprintf(refused,
                "zdb: namespace %s: has faults and is not compacted; zdb --check says which\n",
                c->name);
        return 0;
    }
    if (report.count[CHECK_UNCLEAN]) {
        fprintf(refused,
                "zdb: namespace %s: was not closed in order and is not compacted; zdb --repair "
                "completes it\n",
                c->name);
        return 0;
    }
    return 1;
}

/* 0 done, 1 left alone, -errno. */
static int compact_namespace(const struct check_root *root, const char *name, FILE *out,
                             FILE *refused, struct err *e)
{
    struct compact c = {.name = name, .e = e};
    CLEANUP(base_free) char *index = path_join(root->index, name);
    CLEANUP(base_free) char *data = path_join(root->data, name);
    int r = compact_recover(index, data, e);

    if (r == 0)
        r = check_dir_open(&c.dir, root, name, e);
    if (r < 0)
        return err_prefix(e, "namespace %s", name);
    r = may_compact(&c, root, refused);
    if (r == 1) {
        r = compact_files(&c);
        if (r == 0)
            fprintf(out,
                    "namespace %s: %" PRIu64 " of %zu segments written anew, %" PRIu64
                    " bytes given back\n",
                    name, c.rewritten, c.n, c.given_back);
    } else if (r == 0) {
        r = 1;
    }
    check_dir_close(&c.dir);
    return r;
}

static int compact_names(const struct check_root *root, char **names, size_t n, const char *only,
                         FILE *out, FILE *refused, struct err *e)
{
    bool found = false, left = false;
    int r = 0;

    for (size_t i = 0; r >= 0 && i < n; i++) {
        if (only && strcmp(names[i], only) != 0)
            continue;
        found = true;
        r = compact_namespace(root, names[i], out, refused, e);
        left |= r == 1;
    }
    if (r < 0)
        return r;
    return only && !found
               ? err_set(e, ENOENT, "--namespace %s: there is none in %s", only, root->index)
               : left;
}

int compact_run(const char *index, const char *data, const char *name, FILE *out, FILE *refused,
                struct err *e)
{
    struct check_root root = {.locks = {-1, -1}};
    char **names = NULL;
    size_t n = 0;
    int r = sodium_init() < 0 ? err_set(e, EIO, "libsodium cannot be used")
                              : check_root_lock(&root, index, data, true, e);

    if (r < 0)
        return r;
    r = check_root_namespaces(&root, &names, &n, e);
    if (r == 0) {
        r = compact_names(&root, names, n, name, out, refused, e);
        path_list_free(names, n);
    }
    check_root_unlock(&root);
    return r;
}
