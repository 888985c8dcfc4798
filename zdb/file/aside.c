/* aside - see the header. */
#include "zdb/file/aside.h"
#include "common/io.h"
#include "common/log.h"
#include "common/path.h"
#include "zdb/file/data_walk.h"
#include "zdb/format/index.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK     ((size_t)256 * KIB)
#define NAMES_MAX 10000

static int sync_dir_of(const char *path)
{
    CLEANUP(base_free) char *dir = path_dir(path);

    return path_sync_dir(dir);
}

/* The nth name: given. */
static char *name_of(const char *stem, unsigned n, const char *suffix)
{
    return n == 0 ? xasprintf("%s%s", stem, suffix) : xasprintf("%s.%u%s", stem, n, suffix);
}

int aside_file(const char *path, const char *suffix, char **as)
{
    *as = NULL;
    for (unsigned n = 0; n < NAMES_MAX; n++) {
        CLEANUP(base_free) char *name = name_of(path, n, suffix);
        struct stat st;

        if (lstat(name, &st) == 0)
            continue;
        if (rename(path, name) < 0)
            return -errno;
        *as = xstrdup(name);
        return sync_dir_of(path);
    }
    return -EEXIST;
}

/* --- the end of a file ----------------------------------------------------------------------- */

/* Has the file `name` the n bytes of fd at from, and nothing else?  1, 0, -errno. */
static int is_copy(const char *name, int fd, uint64_t from, uint64_t n)
{
    CLEANUP(base_close) int other = open(name, O_RDONLY | O_CLOEXEC);
    CLEANUP(base_free) uint8_t *a = xcalloc(2, BLOCK);
    uint8_t *b = a + BLOCK;
    struct stat st;

    if (other < 0)
        return -errno;
    if (fstat(other, &st) < 0 || (uint64_t)st.st_size != n)
        return 0;
    for (uint64_t at = 0; at < n; at += BLOCK) {
        size_t k = (size_t)MIN((uint64_t)BLOCK, n - at);
        int r = io_pread_full(fd, a, k, from + at);

        if (r == 0)
            r = io_pread_full(other, b, k, at);
        if (r < 0)
            return r;
        if (memcmp(a, b, k) != 0)
            return 0;
    }
    return io_fsync(other) == 0;
}

static int copy(int fd, uint64_t from, uint64_t n, const char *to)
{
    CLEANUP(base_close) int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    CLEANUP(base_free) uint8_t *block = xcalloc(1, BLOCK);
    int r = out < 0 ? -errno : 0;

    for (uint64_t at = 0; r == 0 && at < n; at += BLOCK) {
        size_t k = (size_t)MIN((uint64_t)BLOCK, n - at);

        r = io_pread_full(fd, block, k, from + at);
        if (r == 0)
            r = io_pwrite_full(out, block, k, at);
    }
    return r < 0 ? r : io_fsync(out);
}

int aside_tail(const char *path, uint64_t from, uint64_t end, char **as)
{
    CLEANUP(base_free) char *stem = xasprintf("%s.at-%llu", path, (unsigned long long)from);
    CLEANUP(base_free) char *temporary = xasprintf("%s.new", stem);
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    int r = fd < 0 ? -errno : -EEXIST;

    *as = NULL;
    for (unsigned n = 0; fd >= 0 && n < NAMES_MAX; n++) {
        CLEANUP(base_free) char *name = name_of(stem, n, ".lost");
        struct stat st;

        if (lstat(name, &st) == 0) {
            r = is_copy(name, fd, from, end - from);
            if (r != 1)
                continue;
        } else {
            r = copy(fd, from, end - from, temporary);
            if (r == 0 && rename(temporary, name) < 0)
                r = -errno;
            if (r < 0) {
                unlink(temporary);
                break;
            }
        }
        r = sync_dir_of(path);
        if (r == 0)
            *as = xstrdup(name);
        break;
    }
    if (r < 0)
        log_error("%s: %llu bytes at %llu cannot be kept aside, so they stay: %s", path,
                  (unsigned long long)(end - from), (unsigned long long)from, strerror(-r));
    return r;
}

/* --- what is worth it ------------------------------------------------------------------------ */

/* Only zeros in the bytes [from, end)?  1, 0, -errno. */
static int is_zero(int fd, uint64_t from, uint64_t end)
{
    CLEANUP(base_free) uint8_t *block = xcalloc(1, BLOCK);

    for (; from < end; from += BLOCK) {
        size_t k = (size_t)MIN((uint64_t)BLOCK, end - from);
        int r = io_pread_full(fd, block, k, from);

        if (r < 0)
            return r;
        for (size_t i = 0; i < k; i++) {
            if (block[i])
                return 0;
        }
    }
    return 1;
}

int aside_data_is_worth(const char *path, uint64_t from, uint64_t end)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct data_walk_rec rec;
    struct data_walk w;
    uint64_t off;
    int r = fd < 0 ? -errno : is_zero(fd, from, end);

    if (r != 0)
        return r < 0 ? r : 0;
    r = data_walk_init(&w, fd, from);
    if (r == 0)
        r = data_walk_next(&w, &rec);
    if (r == -ENODATA) /* its length may be garbled: then others come behind it */
        r = data_walk_find(&w, from + 1, end, (uint32_t)from, (uint32_t)from, &off);
    else if (r >= 0 || r == -EBADMSG)
        r = 1;
    data_walk_fini(&w);
    return r;
}

int aside_index_is_worth(const char *path, uint64_t from, uint64_t end)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t bytes[INDEX_REC_MAX];
    struct index_rec rec;
    struct rd rd;
    int r = fd < 0 ? -errno : is_zero(fd, from, end);

    if (r != 0)
        return r < 0 ? r : 0;
    if (end - from >= INDEX_REC_MAX)
        return 1;
    r = io_pread_full(fd, bytes, (size_t)(end - from), from);
    if (r < 0)
        return r;
    rd = rd_of(slice_of(bytes, (size_t)(end - from)));
    return index_rec_decode(&rd, &rec) != 0;
}

int aside_is_zero(const char *path, uint64_t from, uint64_t end)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : is_zero(fd, from, end);
}
