/* log - see log.h.  One mutex around the state; a line is formatted outside of it and leaves in one
 * write(). */
#include "common/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "common/path.h"

enum { LINE_MAX_BYTES = 4096, STAMP_LEN = 23 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int cur_fd = STDERR_FILENO; /* written under the lock; atomic, for log_fd */
static int cur_level = LOG_LVL_INFO;
static char *cur_path; /* NULL: stderr */
static uint64_t cur_size, max_size;
static unsigned keep_files;

static void unlock(pthread_mutex_t **m)
{
    pthread_mutex_unlock(*m);
}

#define LOCKED                                      \
    CLEANUP(unlock) pthread_mutex_t *guard = &lock; \
    pthread_mutex_lock(guard)

/* Opens path for appending, and puts it in the place of the current descriptor.  Under the lock. */
static int use_file(const char *path)
{
    struct stat st;
    int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0640);

    if (fd < 0)
        return -errno;
    cur_size = fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
    int old = cur_fd;
    if (old != STDERR_FILENO && dup3(fd, old, O_CLOEXEC) >= 0) /* same number: children got log_fd()
                                                                */
        close(fd);
    else
        __atomic_store_n(&cur_fd, fd, __ATOMIC_RELEASE);
    base_panic_fd(cur_fd);
    return 0;
}

/* "/dir/zstor.log" and 2 -> "/dir/zstor.2.log"; without an extension "/dir/zstor.2" */
static char *old_name(unsigned i)
{
    const char *base = path_base(cur_path), *dot = strrchr(base, '.');

    if (!dot || dot == base)
        dot = base + strlen(base);
    return xasprintf("%.*s.%u%s", (int)(dot - cur_path), cur_path, i, dot);
}

static void rotate(void)
{
    if (keep_files == 0) {
        if (ftruncate(cur_fd, 0) == 0)
            cur_size = 0;
        return;
    }
    for (unsigned i = keep_files - 1; i > 0; i--) {
        CLEANUP(base_free) char *from = old_name(i - 1);
        CLEANUP(base_free) char *to = old_name(i);
        if (rename(from, to) < 0 && errno != ENOENT)
            break;
    }
    CLEANUP(base_free) char *newest = old_name(0);
    if (rename(cur_path, newest) < 0 || use_file(cur_path) < 0)
        cur_size = 0; /* cannot rotate: go on with the file we have, and try again after as many
                         bytes */
}

int log_open(const struct log_conf *c, struct err *e)
{
    LOCKED;
    if (c->path) {
        CLEANUP(base_free) char *dir = path_dir(c->path);
        int r = path_mkdirs(dir, 0755);
        if (r < 0)
            return err_sys(e, -r, "log directory %s", dir);
        r = use_file(c->path);
        if (r < 0)
            return err_sys(e, -r, "open log file %s", c->path);
    } else if (cur_fd != STDERR_FILENO) {
        close(cur_fd);
        __atomic_store_n(&cur_fd, STDERR_FILENO, __ATOMIC_RELEASE);
        base_panic_fd(cur_fd);
    }
    char *path = c->path ? xstrdup(c->path) : NULL;
    free(cur_path);
    cur_path = path;
    max_size = c->max_bytes;
    keep_files = c->keep;
    __atomic_store_n(&cur_level, (int)c->level, __ATOMIC_RELAXED);
    return 0;
}

void log_reopen(void)
{
    LOCKED;
    if (cur_path && use_file(cur_path) < 0)
        cur_size = 0;
}

bool log_enabled(enum log_level level)
{
    return (int)level <= __atomic_load_n(&cur_level, __ATOMIC_RELAXED);
}

int log_fd(void)
{
    return __atomic_load_n(&cur_fd, __ATOMIC_ACQUIRE);
}

/* "2026-01-31 12:00:00.123"; the conversion to local time is done once per second and thread. */
static void put_stamp(char *to)
{
    static __thread char text[20];
    static __thread time_t second = -1;
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second) {
        struct tm tm;
        localtime_r(&now.tv_sec, &tm);
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &tm);
        second = now.tv_sec;
    }
    unsigned ms = (unsigned)(now.tv_nsec / 1000000);
    memcpy(to, text, 19);
    to[19] = '.';
    to[20] = (char)('0' + ms / 100);
    to[21] = (char)('0' + ms / 10 % 10);
    to[22] = (char)('0' + ms % 10);
}

void log_write(enum log_level level, const char *fmt, ...)
{
    static const char *const names[] = {" ERROR ", " WARN ", " INFO ", " DEBUG "};
    char line[LINE_MAX_BYTES];
    int saved = errno;
    va_list ap;

    if (!log_enabled(level))
        return;
    put_stamp(line);
    size_t start = STAMP_LEN + strlen(names[level]), room = sizeof line - start;
    memcpy(line + STAMP_LEN, names[level], start - STAMP_LEN);
    errno = saved; /* for %m */
    va_start(ap, fmt);
    int n = vsnprintf(line + start, room, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : MIN((size_t)n, room - 1);
    for (size_t i = start; i < start + len; i++)
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
            line[i] = ' ';
    len += start;
    line[len++] = '\n';

    LOCKED;
    if (write(cur_fd, line, len) > 0 && cur_path) {
        cur_size += len;
        if (max_size && cur_size > max_size)
            rotate();
    }
    errno = saved;
}
