/* log - leveled, one line per fact: "2026-01-31 12:00:00.123 WARN index <path>: torn record at 420,
 * cut". Thread-safe.  To stderr until log_open; then appended to the file.  User data is never
 * logged. */
#ifndef COMMON_LOG_H
#define COMMON_LOG_H

#include "common/err.h"

enum log_level { LOG_LVL_ERROR, LOG_LVL_WARN, LOG_LVL_INFO, LOG_LVL_DEBUG };

struct log_conf {
    enum log_level level;
    const char *path;   /* NULL: stderr.  Borrowed during log_open only; missing parent directories
                           are made */
    uint64_t max_bytes; /* rotate when the file is past this; 0 = never.  <stem>.0.<ext> is the
                           newest old file */
    unsigned keep;      /* old files kept */
};

int log_open(const struct log_conf *c, struct err *e);
void log_reopen(void); /* after an outside rename of the file */
bool log_enabled(enum log_level level);
void log_write(enum log_level level, const char *fmt, ...) PRINTF(2, 3);
int log_fd(void); /* descriptor lines go to; for children's stderr */

#define log_error(...) log_write(LOG_LVL_ERROR, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LVL_WARN, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(...)                             \
    do {                                           \
        if (log_enabled(LOG_LVL_DEBUG))            \
            log_write(LOG_LVL_DEBUG, __VA_ARGS__); \
    } while (0)

#endif
