/* snapshots - files of a store command and copies of those that change. */
#include "zstor/queue/snapshots.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"
#include "common/log.h"
#include "common/path.h"

#define TRIES    10
#define PAUSE_MS 100 /* between two tries */
#define YOUNG_S  1   /* an empty file younger than this may be about to be written */

static bool in_dir(const char *dir, const char *name)
{
    CLEANUP(base_free) char *path = path_join(dir, name);
    struct stat st;

    return lstat(path, &st) == 0 && S_ISREG(st.st_mode);
}

int snapshot_files(const char *path, char ***out, size_t *n, struct err *e)
{
    char **names = NULL;
    struct stat st;
    size_t all = 0, kept = 0;
    int r;

    if (stat(path, &st) < 0)
        return err_sys(e, errno, "Could not load file metadata for %s", path);
    if (S_ISREG(st.st_mode)) {
        *out = xcalloc(1, sizeof **out);
        (*out)[0] = xstrdup(path);
        *n = 1;
        return 0;
    }
    if (!S_ISDIR(st.st_mode))
        return err_set(e, EINVAL, "Unsupported file type of %s, files and directories are allowed",
                       path);
    r = path_list(path, &names, &all);
    if (r < 0)
        return err_sys(e, -r, "read directory %s", path);
    for (size_t i = 0; i < all; i++) {
        char *full =
            !local_is_aside(names[i]) && in_dir(path, names[i]) ? path_join(path, names[i]) : NULL;

        free(names[i]);
        names[i] = NULL;
        if (full)
            names[kept++] = full;
    }
    *out = names;
    *n = kept;
    return 0;
}

static void pause_ms(unsigned ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};

    nanosleep(&ts, NULL);
}

/* 1: copied a quiet file; 0: it changed meanwhile, or is empty and young; -errno. */
static int copy_once(const char *src, int in, const char *dst, int out, uint64_t *bytes,
                     struct local_id *of, struct err *e)
{
    struct local_id before, after;
    struct stat st;
    int r;

    if (fstat(in, &st) < 0)
        return err_sys(e, errno, "stat %s", src);
    if (!S_ISREG(st.st_mode))
        return err_set(e, EINVAL, "%s: only files can be stored", src);
    local_id_of(&before, &st);
    if (lseek(in, 0, SEEK_SET) < 0 || lseek(out, 0, SEEK_SET) < 0 || ftruncate(out, 0) < 0)
        return err_sys(e, errno, "copy %s to %s", src, dst);
    r = io_copy(in, out, bytes);
    if (r < 0)
        return err_sys(e, -r, "copy %s to %s", src, dst);
    if (fstat(in, &st) < 0)
        return err_sys(e, errno, "stat %s", src);
    local_id_of(&after, &st);
    if (after.size == 0 && (int64_t)base_wall_s() - after.mtime_s <= YOUNG_S)
        return 0;
    if (!local_id_eq(&before, &after) || *bytes != after.size)
        return 0;
    *of = after;
    return 1;
}

int snapshot_take(const char *src, const char *dst, uint64_t *bytes, struct local_id *of,
                  struct err *e)
{
    CLEANUP(base_close) int in = open(src, O_RDONLY | O_CLOEXEC);
    CLEANUP(base_close) int out = -1;
    uint64_t copied = 0;
    int r = 0;

    *of = (struct local_id){0};
    if (in < 0)
        return err_sys(e, errno, "open %s", src);
    out = open(dst, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return err_sys(e, errno, "create %s", dst);
    for (int i = 0; i < TRIES && r == 0; i++) {
        if (i > 0)
            pause_ms(PAUSE_MS);
        r = copy_once(src, in, dst, out, &copied, of, e);
    }
    if (r == 0 && copied > 0)
        log_debug("queue: %s kept changing while it was copied", src);
    if (r >= 0) {
        r = io_fsync(out);
        if (r < 0)
            err_sys(e, -r, "sync %s", dst);
    }
    if (r < 0) {
        unlink(dst);
        return r;
    }
    *bytes = copied;
    return 0;
}
