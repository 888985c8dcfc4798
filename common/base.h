/* base - the few macros that every file uses.  No state, no thread. */
#ifndef COMMON_BASE_H
#define COMMON_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLEANUP(f)   __attribute__((unused, cleanup(f))) /* "unused": clang 14 warns otherwise */
#define PRINTF(f, a) __attribute__((format(printf, f, a)))
#define NORETURN     __attribute__((noreturn))

#define ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b)                       ((a) < (b) ? (a) : (b))
#define MAX(a, b)                       ((a) > (b) ? (a) : (b))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define KIB ((uint64_t)1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

/* true on overflow; *r is then unspecified */
#define add_ovf(a, b, r) __builtin_add_overflow((a), (b), (r))
#define mul_ovf(a, b, r) __builtin_mul_overflow((a), (b), (r))

/* Small fixed sizes only: log and abort when memory is out.  Sizes from outside use malloc and
 * -ENOMEM. */
void *xcalloc(size_t n, size_t size);
char *xstrdup(const char *s);
/* Room for one more element of `size` bytes behind the n that p has; *cap: elements it has room
 * for. What comes back takes the place of p. */
void *xgrow(void *p, size_t n, size_t *cap, size_t size);
char *xasprintf(const char *fmt, ...) PRINTF(1, 2);

/* "fatal: <what>" to stderr (or to where base_panic_fd points: the log sets it), then abort. */
void base_panic(const char *what) NORETURN;
void base_panic_fd(int fd);

/* CLEANUP helpers; all keep errno */
void base_free(void *p);        /* CLEANUP(base_free) char *s */
void base_close(const int *fd); /* CLEANUP(base_close) int fd = -1 */

uint64_t base_now_ms(void);  /* monotonic */
uint64_t base_now_us(void);  /* monotonic */
uint64_t base_wall_s(void);  /* unix seconds */
uint64_t base_wall_ns(void); /* unix nanoseconds */

#endif
