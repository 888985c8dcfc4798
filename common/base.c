/* base - see base.h.  The panic descriptor is set once by the log; everything else is stateless. */
#include "common/base.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int panic_fd = STDERR_FILENO;

void base_panic_fd(int fd)
{
    __atomic_store_n(&panic_fd, fd, __ATOMIC_RELAXED);
}

void base_panic(const char *what)
{
    char line[256];
    int n = snprintf(line, sizeof line, "fatal: %s\n", what);

    if (n > (int)sizeof line - 1)
        n = (int)sizeof line - 1;
    if (write(__atomic_load_n(&panic_fd, __ATOMIC_RELAXED), line, (size_t)n) < 0)
        abort();
    abort();
}

void *xcalloc(size_t n, size_t size)
{
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p)
        base_panic("out of memory");
    return p;
}

void *xgrow(void *p, size_t n, size_t *cap, size_t size)
{
    void *q;

    if (n < *cap)
        return p;
    *cap = *cap ? *cap * 2 : 64;
    q = xcalloc(*cap, size);
    if (n)
        memcpy(q, p, n * size);
    free(p);
    return q;
}

char *xstrdup(const char *s)
{
    size_t n = strlen(s) + 1;
    return memcpy(xcalloc(1, n), s, n);
}

char *xasprintf(const char *fmt, ...)
{
    va_list ap;
    char *s;

    va_start(ap, fmt);
    int n = vasprintf(&s, fmt, ap);
    va_end(ap);
    if (n < 0)
        base_panic("out of memory");
    return s;
}

void base_free(void *p)
{
    int saved = errno;
    void *q;

    memcpy(&q, p, sizeof q); /* p is the address of a pointer of any type */
    free(q);
    errno = saved;
}

void base_close(const int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    errno = saved;
}

static uint64_t now_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t base_now_ms(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000000;
}

uint64_t base_now_us(void)
{
    return now_ns(CLOCK_MONOTONIC) / 1000;
}

uint64_t base_wall_s(void)
{
    return now_ns(CLOCK_REALTIME) / 1000000000;
}

uint64_t base_wall_ns(void)
{
    return now_ns(CLOCK_REALTIME);
}
