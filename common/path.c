/* path - see path.h. */
#include "common/path.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/io.h"
#include "common/parse.h"

enum { TREE_DEPTH_MAX = 128 };

char *path_join(const char *dir, const char *name)
{
    size_t n = strlen(dir);

    while (n > 0 && dir[n - 1] == '/')
        n--;
    while (*name == '/')
        name++;
    return *dir ? xasprintf("%.*s/%s", (int)n, dir, name) : xstrdup(name);
}

char *path_dir(const char *path)
{
    size_t n = strlen(path);

    while (n > 1 && path[n - 1] == '/') /* "a/b/" is "a/b" */
        n--;
    while (n > 0 && path[n - 1] != '/')
        n--;
    while (n > 1 && path[n - 1] == '/')
        n--;
    return n ? xasprintf("%.*s", (int)n, path) : xstrdup(".");
}

const char *path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int mkdir_one(const char *path, mode_t mode)
{
    struct stat st;

    if (mkdir(path, mode) == 0)
        return 0;
    int code = errno;
    /* EROFS, EACCES: mkdir may complain before it sees that the directory is there */
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
    return -code;
}

int path_mkdirs(const char *path, mode_t mode)
{
    CLEANUP(base_free) char *copy = xstrdup(path);

    if (!*copy)
        return -ENOENT;
    for (char *p = copy + 1; *p; p++) {
        if (*p != '/')
            continue;
        *p = '\0';
        int r = mkdir_one(copy, mode);
        *p = '/';
        if (r < 0)
            return r;
    }
    return mkdir_one(copy, mode);
}

int path_sync_dir(const char *dir)
{
    CLEANUP(base_close) int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return -errno;
    return io_fsync(fd);
}

static int write_and_sync(int fd, struct slice content, mode_t mode)
{
    if (fchmod(fd, mode) < 0)
        return -errno;
    int r = io_write_full(fd, content.p, content.len);
    return r < 0 ? r : io_fsync(fd);
}

int path_replace(const char *path, struct slice content, mode_t mode, struct err *e)
{
    CLEANUP(base_free) char *dir = path_dir(path);
    uint8_t rnd[8];
    char hex[2 * sizeof rnd + 1];

    int r = digest_random(rnd, sizeof rnd);
    if (r < 0)
        return err_sys(e, -r, "random name beside %s", path);
    parse_to_hex(rnd, sizeof rnd, hex);
    CLEANUP(base_free) char *name = xasprintf(".%s.%s", path_base(path), hex);
    CLEANUP(base_free) char *tmp = path_join(dir, name);
    CLEANUP(base_close) int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "create %s", tmp);
    r = write_and_sync(fd, content, mode);
    if (r < 0) {
        unlink(tmp);
        return err_sys(e, -r, "write %s", tmp);
    }
    if (rename(tmp, path) < 0) {
        r = err_sys(e, errno, "rename %s to %s", tmp, path);
        unlink(tmp);
        return r;
    }
    r = path_sync_dir(dir);
    return r < 0 ? err_sys(e, -r, "sync directory %s", dir) : 0;
}

int path_read(const char *path, size_t max, struct buf *out, struct err *e)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t start = out->len, chunk = 64 * KIB;
    struct stat st;

    if (fd < 0)
        return err_sys(e, errno, "open %s", path);
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0 && (uint64_t)st.st_size <= max)
        chunk = (size_t)st.st_size + 1; /* the one more shows the end without growing */
    for (;;) {
        uint8_t *room = buf_reserve(out, chunk);
        if (!room) {
            buf_truncate(out, start);
            return err_sys(e, ENOMEM, "read %s", path);
        }
        ssize_t n = read(fd, room, chunk);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = errno;
            buf_truncate(out, start);
            return err_sys(e, code, "read %s", path);
        }
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
        if (out->len - start > max) {
            buf_truncate(out, start);
            return err_set(e, EFBIG, "%s: larger than %zu bytes", path, max);
        }
        chunk = 64 * KIB;
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

int path_list(const char *dir, char ***out, size_t *n)
{
    char **list = NULL;
    size_t len = 0, cap = 0;
    struct dirent *de;
    int r = 0;

    DIR *d = opendir(dir);
    if (!d)
        return -errno;
    while (errno = 0, (de = readdir(d))) {
        if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
            continue;
        if (len == cap) {
            cap = cap ? 2 * cap : 64;
            char **more = realloc(list, cap * sizeof *list);
            if (!more) {
                errno = ENOMEM;
                break;
            }
            list = more;
        }
        list[len++] = xstrdup(de->d_name);
    }
    r = -errno;
    closedir(d);
    if (r < 0) {
        path_list_free(list, len);
        return r;
    }
    if (len)
        qsort(list, len, sizeof *list, by_name);
    *out = list;
    *n = len;
    return 0;
}

void path_list_free(char **list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(list[i]);
    free(list);
}

static int remove_at(int at, const char *name, int depth);

/* Some file systems skip entries when others are removed under the reader, so read again until
 * nothing was there. */
static int empty_dir(DIR *d, int depth)
{
    struct dirent *de;
    size_t removed;

    do {
        removed = 0;
        while (errno = 0, (de = readdir(d))) {
            if (strcmp(de->d_name, ".") == 0 || strcmp(de->d_name, "..") == 0)
                continue;
            int r = depth < TREE_DEPTH_MAX ? remove_at(dirfd(d), de->d_name, depth + 1) : -ELOOP;
            if (r < 0)
                return r;
            removed++;
        }
        if (errno)
            return -errno;
        rewinddir(d);
    } while (removed);
    return 0;
}

/* Remove name below the directory at; directories recursively. */
static int remove_at(int at, const char *name, int depth)
{
    int r = 0;

    if (unlinkat(at, name, 0) == 0 || errno == ENOENT)
        return 0;
    if (errno != EISDIR && errno != EPERM)
        return -errno;
    int code = errno;
    int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOTDIR ? -code : -errno;
    DIR *d = fdopendir(fd);
    if (!d) {
        r = -errno;
        close(fd);
        return r;
    }
    r = empty_dir(d, depth);
    closedir(d);
    if (r == 0 && unlinkat(at, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
        r = -errno;
    return r;
}

int path_remove_tree(const char *dir)
{
    return remove_at(AT_FDCWD, dir, 0);
}
