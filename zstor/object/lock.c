/* lock - open file description locks: they belong to neither process nor thread, but to the open
 * file, so that threads exclude each other, too. */
#include "zstor/object/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/digest.h"
#include "common/path.h"

#define PAUSE_MIN_MS 2
#define PAUSE_MAX_MS 100

/* Two keys with one byte wait for each other, and that is all. */
static off_t byte_of(const char *meta_key)
{
    uint8_t sum[DIGEST_LEN];
    uint64_t at;

    digest_of(slice_str(meta_key), sum);
    memcpy(&at, sum, sizeof at);
    return (off_t)(at >> 2);
}

static void pause_ms(unsigned ms)
{
    struct timespec ts = {.tv_nsec = (long)ms * 1000000};

    nanosleep(&ts, NULL);
}

int object_lock(const char *state_dir, const char *meta_key, const struct object_ctl *ctl, int *fd,
                struct err *e)
{
    struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
    CLEANUP(base_free) char *path = path_join(state_dir, "objects.lock");
    CLEANUP(base_close) int f = -1;
    unsigned ms = PAUSE_MIN_MS;
    int r = path_mkdirs(state_dir, 0700);

    if (r < 0)
        return err_sys(e, -r, "state_dir: create %s", state_dir);
    f = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (f < 0)
        return err_sys(e, errno, "state_dir: %s", path);
    l.l_start = byte_of(meta_key);
    while (fcntl(f, F_OFD_SETLK, &l) < 0) {
        if (errno != EAGAIN && errno != EACCES && errno != EINTR)
            return err_sys(e, errno, "state_dir: lock %s", path);
        if (ctl_stopped(ctl))
            return err_set(e, ECANCELED, "stopped");
        pause_ms(ms);
        ms = MIN(2 * ms, PAUSE_MAX_MS);
    }
    *fd = f;
    f = -1;
    return 0;
}
