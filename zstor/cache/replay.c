/* replay - see cache/replay.h. */
#include "zstor/cache/replay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "common/parse.h"
#include "common/path.h"
#include "common/watermark.h"

/* The directory of its namespace under the other base; given. */
static char *index_dir_of(const struct zstor_conf *c, const char *segment)
{
    CLEANUP(base_free) char *base = realpath(c->zdb_data_dir_path, NULL);
    CLEANUP(base_free) char *dir = path_dir(segment);

    if (base && strcmp(base, dir) == 0) /* the configured directories are of one namespace */
        return xstrdup(c->zdb_index_dir_path);
    return path_join(c->zdb_index_dir_path, path_base(dir));
}

/* The slot that counts.  1; 0: there is no watermark; -EBADMSG: nothing in it that can be read;
 * -errno. */
static int newest(const char *dir, struct watermark *out)
{
    CLEANUP(base_free) char *path = path_join(dir, WATERMARK_FILE);
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint64_t best = 0;

    if (fd < 0)
        return errno == ENOENT ? 0 : -errno;
    for (int i = 0; i < 2; i++) {
        uint8_t raw[WATERMARK_SIZE];
        struct watermark w;
        ssize_t n = pread(fd, raw, sizeof raw, (off_t)i * WATERMARK_APART);

        if (n != (ssize_t)sizeof raw || !watermark_decode(slice_of(raw, sizeof raw), &w) ||
            w.sequence <= best)
            continue;
        best = w.sequence;
        *out = w;
    }
    return best ? 1 : -EBADMSG;
}

bool replay_needs(const struct zstor_conf *c, const char *segment)
{
    CLEANUP(base_free) char *dir = NULL;
    struct watermark w = {0};
    uint64_t number;
    int r;

    if (!c->zdb_data_dir_path || !c->zdb_index_dir_path)
        return false;
    dir = index_dir_of(c, segment);
    r = newest(dir, &w);
    if (r == 0)
        return false;
    return r < 0 || w.flags & WATERMARK_FLUSHING ||
           parse_u64(path_base(segment) + 1, 0, UINT32_MAX, &number) < 0 || number >= w.segment;
}
