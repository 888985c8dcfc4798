/* cli_output - the file for the content, and its way to where it is wanted. */
#include "zstor/daemon/cli_output.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/io.h"

#define CHUNK (256 * KIB)

/* Not to be replaced by a file: what is none, and names that stand for a descriptor. */
static bool is_stream(const char *path)
{
    struct stat st;

    if (strncmp(path, "/dev/", 5) == 0 || strncmp(path, "/proc/", 6) == 0)
        return true;
    return stat(path, &st) == 0 && !S_ISREG(st.st_mode) && !S_ISDIR(st.st_mode);
}

static int scratch_file(struct err *e)
{
    const char *dirs[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};

    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        int fd = dirs[i] ? open(dirs[i], O_RDWR | O_TMPFILE | O_CLOEXEC, 0600) : -1;
        CLEANUP(base_free) char *name = NULL;

        if (fd >= 0)
            return fd;
        if (!dirs[i] || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL))
            continue;
        name = xasprintf("%s/zstor.XXXXXX", dirs[i]);
        fd = mkostemp(name, O_CLOEXEC);
        if (fd >= 0) {
            unlink(name);
            return fd;
        }
    }
    return err_sys(e, errno, "temporary file (TMPDIR)");
}

int cli_output_open(struct cli_output *out, const char *path, bool force, const char *data_dir,
                    struct err *e)
{
    int r;

    *out = (struct cli_output){.fd = -1, .to = -1, .name = path, .place.fd = -1};
    if (!path)
        return 0;
    if (strcmp(path, "-") == 0) {
        out->to = dup(STDOUT_FILENO);
        out->name = "standard output";
        if (out->to < 0)
            return err_sys(e, errno, "standard output");
    } else if (!is_stream(path)) {
        r = place_open(&out->place, path, force ? PLACE_FORCE : PLACE_FILL, data_dir, e);
        out->fd = out->place.fd;
        return r;
    }
    r = scratch_file(e);
    if (r < 0)
        return r;
    out->fd = r;
    return 0;
}

static int copy_out(struct cli_output *out)
{
    CLEANUP(base_free) uint8_t *chunk = xcalloc(1, CHUNK);
    int r = lseek(out->fd, 0, SEEK_SET) < 0 ? -errno : 0;

    while (r == 0) {
        ssize_t n = read(out->fd, chunk, CHUNK);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        r = io_write_full(out->to, chunk, (size_t)n);
    }
    return r;
}

int cli_output_publish(struct cli_output *out, struct err *e)
{
    int r;

    if (out->fd < 0)
        return 0;
    if (out->place.fd >= 0)
        return place_publish(&out->place, e);
    if (out->to < 0) /* not before: a fifo waits for its reader */
        out->to = open(out->name, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    r = out->to < 0 ? -errno : copy_out(out);
    return r < 0 ? err_sys(e, -r, "%s", out->name) : 0;
}

void cli_output_fini(struct cli_output *out)
{
    if (out->fd >= 0 && !out->place.path) /* else it is the place's */
        close(out->fd);
    if (out->to >= 0)
        close(out->to);
    place_fini(&out->place);
}
