/* place - temporary file, name, and what is never replaced. */
#include "zstor/object/place.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/io.h"
#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/object/local.h"

void place_fini(struct place *p)
{
    if (p->fd >= 0) {
        close(p->fd);
        if (p->named)
            unlink(p->tmp);
    }
    free(p->path);
    free(p->dir);
    free(p->tmp);
    *p = (struct place){.fd = -1};
}

/* --- what is there --------------------------------------------------------------------------- */

static bool below(const char *dir, const char *path)
{
    size_t n = strlen(dir);

    return strncmp(path, dir, n) == 0 && path[n] == '/';
}

/* Is path, a real one, the segment with the highest number of its directory? */
static bool is_active(const char *path, const char *data_dir)
{
    CLEANUP(base_free) char *base = data_dir ? realpath(data_dir, NULL) : NULL;
    CLEANUP(base_free) char *dir = path_dir(path);
    uint64_t own = 0, other;
    char **names = NULL;
    bool active = true;
    size_t n = 0;

    if (!base || !below(base, path) || !local_is_data(path) ||
        parse_u64(path_base(path) + 1, 0, UINT64_MAX, &own) < 0)
        return false;
    if (path_list(dir, &names, &n) < 0)
        return true;
    for (size_t i = 0; i < n && active; i++)
        active = !(local_is_data(names[i]) && parse_u64(names[i] + 1, 0, UINT64_MAX, &other) == 0 &&
                   other > own);
    path_list_free(names, n);
    return active;
}

static int kept(const char *path, struct err *e)
{
    return err_set(e, EEXIST, "%s: is there already, with other content; --force replaces it",
                   path);
}

static int check_there(const struct place *p, const struct stat *st, const char *data_dir,
                       struct err *e)
{
    if (!S_ISREG(st->st_mode))
        return err_set(e, S_ISDIR(st->st_mode) ? EISDIR : EINVAL, "%s: not a regular file",
                       p->path);
    if (is_active(p->path, data_dir))
        return err_set(e, EBUSY,
                       "%s: is the active segment of zdb, which is never replaced; stop zdb and "
                       "move it away first",
                       p->path);
    if (p->rule == PLACE_NEW || (p->rule == PLACE_FILL && st->st_size > 0))
        return kept(p->path, e);
    return 0;
}

int place_same(const char *path, const uint8_t checksum[ZSTOR_DIGEST_LEN])
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    uint8_t sum[DIGEST_LEN];
    struct stat st;
    int r;

    if (fd < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (!S_ISREG(st.st_mode))
        return 0;
    r = digest_fd(fd, NULL, sum);
    return r < 0 ? r : memcmp(sum, checksum, sizeof sum) == 0;
}

/* --- the new file ---------------------------------------------------------------------------- */

static int make_temp(struct place *p, struct err *e)
{
    uint8_t salt[8];
    char hex[2 * sizeof salt + 1];

    if (digest_random(salt, sizeof salt) < 0)
        return err_set(e, EIO, "no random numbers");
    parse_to_hex(salt, sizeof salt, hex);
    p->tmp =
        xasprintf("%s/.%.200s.%s", strcmp(p->dir, "/") == 0 ? "" : p->dir, path_base(p->path), hex);
    p->fd = open(p->dir, O_RDWR | O_TMPFILE | O_CLOEXEC, 0666);
    if (p->fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) { /* a file system
                                                                                       without it */
        p->fd = open(p->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        p->named = p->fd >= 0;
    }
    return p->fd < 0 ? err_sys(e, errno, "%s", p->tmp) : 0;
}

int place_open(struct place *p, const char *target, enum place_rule rule, const char *data_dir,
               struct err *e)
{
    struct stat st;
    char *real;
    int r;

    *p = (struct place){.fd = -1, .rule = rule, .path = xstrdup(target), .dir = path_dir(target)};
    r = path_mkdirs(p->dir, 0777);
    if (r < 0)
        return err_sys(e, -r, "%s", p->dir);
    real = realpath(target, NULL);
    if (real) {
        free(p->path);
        free(p->dir);
        p->path = real;
        p->dir = path_dir(real);
    }
    if (stat(p->path, &st) < 0)
        return make_temp(p, e);
    r = check_there(p, &st, data_dir, e);
    if (r == 0)
        r = make_temp(p, e);
    if (r < 0)
        return r;
    /* what was there keeps its owner and mode; who may not give files away leaves the owner */
    if (fchown(p->fd, st.st_uid, st.st_gid) < 0)
        log_debug("%s: owner not kept: %s", p->path, strerror(errno));
    if (fchmod(p->fd, st.st_mode & 07777) < 0)
        return err_sys(e, errno, "%s", p->tmp);
    return 0;
}

/* --- its name -------------------------------------------------------------------------------- */

static int link_fd(const struct place *p, const char *name)
{
    char self[64];

    snprintf(self, sizeof self, "/proc/self/fd/%d", p->fd);
    return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Nothing is replaced, also on a file system whose rename cannot promise that. */
static int name_new(struct place *p)
{
    int r;

    if (!p->named)
        return link_fd(p, p->path);
    if (renameat2(AT_FDCWD, p->tmp, AT_FDCWD, p->path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    r = link(p->tmp, p->path) < 0 ? -errno : 0;
    if (r == 0)
        unlink(p->tmp);
    return r;
}

/* In the place of an empty file: what comes out of the exchange has to be one. */
static int name_filling(struct place *p)
{
    struct stat st;

    if (renameat2(AT_FDCWD, p->tmp, AT_FDCWD, p->path, RENAME_EXCHANGE) < 0)
        return errno == ENOENT ? name_new(p) : errno == EINVAL ? -EEXIST : -errno;
    if (lstat(p->tmp, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == 0)
        return unlink(p->tmp) < 0 ? -errno : 0;
    if (renameat2(AT_FDCWD, p->tmp, AT_FDCWD, p->path, RENAME_EXCHANGE) < 0) {
        p->named = false; /* it is not ours to remove */
        log_error("%s: what was there is now %s: %s", p->path, p->tmp, strerror(errno));
    }
    return -EEXIST;
}

int place_publish(struct place *p, struct err *e)
{
    int r = io_fsync(p->fd);

    if (r < 0)
        return err_sys(e, -r, "%s", p->tmp);
    if (p->rule != PLACE_NEW && !p->named) { /* linkat does not replace a file, rename does */
        r = link_fd(p, p->tmp);
        if (r < 0)
            return err_sys(e, -r, "%s", p->tmp);
        p->named = true;
    }
    if (p->rule == PLACE_FORCE)
        r = rename(p->tmp, p->path) < 0 ? -errno : 0;
    else
        r = p->rule == PLACE_FILL ? name_filling(p) : name_new(p);
    if (r == -EEXIST)
        return kept(p->path, e);
    if (r < 0)
        return err_sys(e, -r, "%s", p->path);
    close(p->fd); /* its content is on disk already */
    p->fd = -1;
    r = path_sync_dir(p->dir);
    return r < 0 ? err_sys(e, -r, "%s", p->dir) : 0;
}
