/* object_name - see format/object_name.h. */
#include "zstor/format/object_name.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/buf.h"
#include "common/digest.h"
#include "common/parse.h"
#include "common/path.h"

#define MAX_LINKS 40

/* The next component of *p, which is moved behind it; len 0: none left. */
static struct slice component(const char **p)
{
    const char *start;

    while (**p == '/')
        (*p)++;
    start = *p;
    while (**p && **p != '/')
        (*p)++;
    return slice_of(start, (size_t)(*p - start));
}

char *keypath_clean(const char *path)
{
    bool rooted = path[0] == '/';
    struct buf out = BUF_INIT;
    size_t ups = 0; /* bytes of out that are leading ".." and cannot be cancelled */
    struct slice c;

    while ((c = component(&path)).len) {
        if (slice_eq_str(c, "."))
            continue;
        if (slice_eq_str(c, "..") && out.len > ups) {
            const uint8_t *slash = memrchr(buf_data(&out), '/', out.len);
            buf_truncate(&out, slash ? (size_t)(slash - buf_data(&out)) : 0);
            continue;
        }
        if (slice_eq_str(c, "..") && rooted)
            continue;
        if (rooted || out.len)
            buf_put_u8(&out, '/');
        buf_put_slice(&out, c);
        if (slice_eq_str(c, ".."))
            ups = out.len;
    }
    if (out.len == 0)
        buf_put_str(&out, rooted ? "/" : ".");
    return buf_take_str(&out);
}

char *keypath_strip(const char *path, const char *root)
{
    const char *p = path, *r = root;
    bool first = true;

    if (!root || !*root)
        return xstrdup(path);
    if ((root[0] == '/') != (path[0] == '/'))
        return NULL;
    for (;;) {
        struct slice want = component(&r);
        bool leading_dot = first && root[0] != '/' && slice_eq_str(want, ".");
        first = false;
        if (want.len == 0)
            break;
        if (slice_eq_str(want, ".") && !leading_dot)
            continue;
        if (!slice_eq(want, component(&p)))
            return NULL;
    }
    while (*p == '/')
        p++;
    return xstrdup(p);
}

int keypath_name(const char *path, const char *root, char **out, struct err *e)
{
    CLEANUP(base_free) char *clean = keypath_clean(path);
    char *name = keypath_strip(clean, root);

    if (!name)
        return err_set(
            e, EINVAL,
            "%s: not in the file tree rooted at %s (could not strip path prefix: prefix not found)",
            path, root);
    *out = name;
    return 0;
}

int keypath_key(const char *prefix, const char *path, const char *root, char **out, struct err *e)
{
    CLEANUP(base_free) char *name = NULL;
    uint8_t digest[DIGEST_LEN];
    char hex[2 * DIGEST_LEN + 1];
    int r = keypath_name(path, root, &name, e);

    if (r < 0 || !name)
        return r < 0 ? r : -EINVAL;
    digest_of(slice_str(name), digest);
    parse_to_hex(digest, sizeof digest, hex);
    *out = xasprintf("/%s/meta/%s", prefix, hex);
    return 0;
}

static int resolve(const char *path, unsigned links, char **out);

/* dir/target or target, whichever it is, resolved */
static int follow(const char *dir, const char *link, unsigned links, char **out)
{
    char target[PATH_MAX];
    ssize_t n = readlink(link, target, sizeof target - 1);
    char *full;
    int r;

    if (n <= 0)
        return n < 0 ? -errno : -ENOENT;
    if (links == 0)
        return -ELOOP;
    target[n] = '\0';
    full = target[0] == '/' ? xstrdup(target) : path_join(dir, target);
    r = resolve(full, links - 1, out);
    free(full);
    return r;
}

/* path is absolute, has no trailing slash but "/" itself */
static int resolve(const char *path, unsigned links, char **out)
{
    CLEANUP(base_free) char *real = realpath(path, NULL), *dir = NULL, *above = NULL, *name = NULL;
    const char *base;
    struct stat st;
    int r;

    if (real) {
        *out = real;
        real = NULL;
        return 0;
    }
    if (errno != ENOENT)
        return -errno;
    dir = path_dir(path);
    base = path_base(path);
    if (strcmp(dir, path) == 0)
        return -ENOENT;
    r = resolve(dir, links, &above);
    if (r < 0)
        return r;
    if (strcmp(base, "..") == 0) {
        *out = path_dir(above);
        return 0;
    }
    name = strcmp(base, ".") == 0 || *base == '\0' ? xstrdup(above) : path_join(above, base);
    if (lstat(name, &st) == 0 && S_ISLNK(st.st_mode)) /* dangling: the name it points to */
        return follow(above, name, links, out);
    *out = name;
    name = NULL;
    return 0;
}

int keypath_resolve(const char *path, char **out)
{
    CLEANUP(base_free) char *full = NULL, *cwd = NULL;
    size_t n;

    if (path[0] == '\0')
        return -ENOENT;
    if (strlen(path) >= PATH_MAX)
        return -ENAMETOOLONG;
    if (path[0] != '/') {
        cwd = getcwd(NULL, 0);
        if (!cwd)
            return -errno;
        full = path_join(cwd, path);
    } else {
        full = xstrdup(path);
    }
    for (n = strlen(full); n > 1 && full[n - 1] == '/'; n--)
        full[n - 1] = '\0';
    return resolve(full, MAX_LINKS, out);
}
