/* remove - aside, compare, unlink. */
#include "zstor/object/remove.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/path.h"
#include "zstor/object/place.h"

static char *aside_of(const char *path)
{
    CLEANUP(base_free) char *dir = path_dir(path);

    return xasprintf("%s/.%.230s" LOCAL_ASIDE, dir, path_base(path));
}

/* A name that is taken is not replaced, whatever the file system. */
static int give_name(const char *from, const char *to)
{
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (link(from, to) < 0)
        return -errno;
    unlink(from);
    return 0;
}

static void undo(const char *path)
{
    CLEANUP(base_free) char *aside = aside_of(path);
    int r;

    if (access(aside, F_OK) < 0)
        return;
    r = give_name(aside, path);
    if (r == 0)
        log_info("%s: a removal that had been broken off is undone", path);
    else if (r == -EEXIST)
        log_error("%s: taken by another file, what was there before is kept as %s", path, aside);
    else
        log_error("%s: could not get back its name from %s: %s", path, aside, strerror(-r));
}

static void undo_in(const char *dir)
{
    const size_t tail = strlen(LOCAL_ASIDE);
    char **names = NULL;
    size_t n = 0;

    if (path_list(dir, &names, &n) < 0)
        return;
    for (size_t i = 0; i < n; i++) {
        CLEANUP(base_free) char *path = NULL;

        if (!local_is_aside(names[i]))
            continue;
        names[i][strlen(names[i]) - tail] = 0;
        path = path_join(dir, names[i] + 1);
        undo(path);
    }
    path_list_free(names, n);
}

void remove_undo(const char *path)
{
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        undo_in(path);
    else
        undo(path);
}

static bool same_state(const struct stat *st, const struct local_id *id, bool with_ctime)
{
    struct local_id now;

    local_id_of(&now, st);
    return S_ISREG(st->st_mode) &&
           (with_ctime ? local_id_eq(&now, id) : local_id_eq_mtime(&now, id));
}

/* Does anybody have it open for writing?  A read lease is given only when nobody has; where there
 * are no leases it cannot be told. */
static bool in_use(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        fcntl(fd, F_SETLEASE, F_UNLCK);
        return false;
    }
    return errno == EAGAIN || errno == EBUSY;
}

static int changed(const char *path, struct err *e)
{
    return err_set(e, ESTALE, "%s: changed since it was read", path);
}

/* It has the name aside now; ctime has changed with that. */
static int compare(const char *path, const char *aside, const struct local_id *id,
                   const uint8_t checksum[ZSTOR_DIGEST_LEN], struct err *e)
{
    CLEANUP(base_close) int fd = open(aside, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    struct stat st;

    if (fd < 0)
        return err_sys(e, errno, "%s", aside);
    if (in_use(fd))
        return err_set(e, EBUSY, "%s: somebody has it open for writing", path);
    if (fstat(fd, &st) < 0 || !same_state(&st, id, false) || place_same(aside, checksum) != 1 ||
        fstat(fd, &st) < 0 || !same_state(&st, id, false))
        return changed(path, e);
    return 0;
}

int remove_stored(const char *path, const struct local_id *id,
                  const uint8_t checksum[ZSTOR_DIGEST_LEN], struct err *e)
{
    CLEANUP(base_free) char *aside = aside_of(path);
    struct stat st;
    int r;

    if (lstat(path, &st) < 0)
        return err_sys(e, errno, "%s", path);
    if (!same_state(&st, id, true))
        return changed(path, e);
    r = give_name(path, aside);
    if (r < 0)
        return err_sys(e, -r, "%s: could not be given the name %s", path, aside);
    r = compare(path, aside, id, checksum, e);
    if (r == 0 && unlink(aside) < 0)
        r = err_sys(e, errno, "%s", aside);
    if (r < 0)
        undo(path);
    return r;
}
