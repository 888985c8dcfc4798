/* root - see the header. */
#include "zdb/tools/root.h"
#include "common/path.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOCK_FILE    ".lockfile"
#define LOCK_WAIT_MS 1000 /* a killed zdb's hook child may hold the lock until its exec */

static int take(int *fd, const char *dir, bool exclusive, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(dir, LOCK_FILE);
    uint64_t deadline = base_now_ms() + LOCK_WAIT_MS;

    *fd = exclusive ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664)
                    : open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return !exclusive && errno == ENOENT ? 0 : err_sys(e, errno, "lock file %s", path);
    while (flock(*fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_sys(e, errno, "lock file %s", path);
        if (base_now_ms() > deadline)
            return err_set(e, EBUSY, "directory %s is in use by a running zdb; stop it first", dir);
        usleep(5000);
    }
    return 0;
}

static int need_directory(const char *path, struct err *e)
{
    struct stat st;

    if (stat(path, &st) < 0)
        return err_sys(e, errno, "directory %s", path);
    return S_ISDIR(st.st_mode) ? 0 : err_set(e, ENOTDIR, "%s: not a directory", path);
}

static int refuse_same(const char *index, const char *data, struct err *e)
{
    struct stat a, b;

    if (stat(index, &a) < 0 || stat(data, &b) < 0)
        return err_sys(e, errno, "directory %s or %s", index, data);
    if (a.st_dev == b.st_dev && a.st_ino == b.st_ino)
        return err_set(e, EINVAL, "index and data directory are the same (%s); they need two",
                       index);
    return 0;
}

int check_root_lock(struct check_root *r, const char *index, const char *data, bool exclusive,
                    struct err *e)
{
    int ret;

    *r = (struct check_root){index, data, {-1, -1}};
    ret = need_directory(index, e);
    if (ret == 0)
        ret = need_directory(data, e);
    if (ret == 0)
        ret = refuse_same(index, data, e);
    if (ret == 0)
        ret = take(&r->locks[0], index, exclusive, e);
    if (ret == 0)
        ret = take(&r->locks[1], data, exclusive, e);
    if (ret < 0)
        check_root_unlock(r);
    return ret;
}

int check_root_still(const struct check_root *r, struct err *e)
{
    for (int i = 0; i < 2; i++) {
        const char *dir = i ? r->data : r->index;
        CLEANUP(base_free) char *path = path_join(dir, LOCK_FILE);
        if (r->locks[i] < 0 && access(path, F_OK) == 0)
            return err_set(e, EBUSY,
                           "directory %s: a zdb was started meanwhile; stop it and check again",
                           dir);
    }
    return 0;
}

void check_root_unlock(struct check_root *r)
{
    base_close(&r->locks[0]);
    base_close(&r->locks[1]);
    r->locks[0] = r->locks[1] = -1;
}

static bool is_directory(const char *dir, const char *name)
{
    CLEANUP(base_free) char *path = path_join(dir, name);
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int check_root_namespaces(const struct check_root *r, char ***names, size_t *n, struct err *e)
{
    char **index = NULL, **data = NULL, **all;
    size_t ni = 0, nd = 0, to = 0;
    int ret = path_list(r->index, &index, &ni);

    if (ret < 0)
        return err_sys(e, -ret, "directory %s", r->index);
    ret = path_list(r->data, &data, &nd);
    if (ret < 0) {
        path_list_free(index, ni);
        return err_sys(e, -ret, "directory %s", r->data);
    }
    all = xcalloc(ni + nd + 1, sizeof *all);
    for (size_t i = 0; i < ni; i++) {
        if (is_directory(r->index, index[i]))
            all[to++] = xstrdup(index[i]);
    }
    for (size_t i = 0; i < nd; i++) {
        if (is_directory(r->data, data[i]) && !is_directory(r->index, data[i]))
            all[to++] = xstrdup(data[i]);
    }
    path_list_free(index, ni);
    path_list_free(data, nd);
    qsort(all, to, sizeof *all, by_name);
    *names = all;
    *n = to;
    return 0;
}

/* --- one namespace --------------------------------------------------------------------------- */

/* A namespace may lack one of its directories. */
static int list(struct check_dir *d, const char *dir, char kind, struct err *e)
{
    int r = segment_list_add(&d->list, dir, kind);

    return r < 0 && r != -ENOENT ? err_sys(e, -r, "directory %s", dir) : 0;
}

int check_dir_open(struct check_dir *d, const struct check_root *r, const char *name, struct err *e)
{
    int ret;

    *d = (struct check_dir){.index = path_join(r->index, name), .data = path_join(r->data, name)};
    ret = compact_journal_read(d->index, &d->journal, e);
    d->has_journal = ret > 0;
    d->has_leftovers = compact_has_leftovers(d->index, d->data);
    if (ret >= 0)
        ret = list(d, d->index, 'i', e);
    if (ret >= 0)
        ret = list(d, d->data, 'd', e);
    if (ret < 0) {
        check_dir_close(d);
        return ret;
    }
    return 0;
}

void check_dir_close(struct check_dir *d)
{
    free(d->index);
    free(d->data);
    segment_list_fini(&d->list);
    compact_list_fini(&d->journal);
    *d = (struct check_dir){0};
}

char *check_dir_path(const struct check_dir *d, char kind, uint32_t id)
{
    const char *dir = kind == 'i' ? d->index : d->data;

    if (compact_journal_has(&d->journal, kind, id)) {
        char *path = compact_new_path(dir, kind, id);
        if (access(path, F_OK) == 0)
            return path;
        free(path);
    }
    return segment_path(dir, kind, id);
}

int check_open(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOATIME), r;
    struct stat st;

    if (fd < 0 && errno == EPERM)
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return -errno;
    r = fstat(fd, &st) < 0 ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
    if (r == 0)
        return fd;
    close(fd);
    return r;
}
