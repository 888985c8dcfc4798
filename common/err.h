/* err - a code and one line of text for a human.  Only where a person or a client will read it:
 * start-up, config, control socket, command-line tools.  `e` may be NULL everywhere. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include "common/base.h"

struct err {
    int code;        /* positive errno, 0 = none */
    char text[1024]; /* one line, no control characters, truncated when longer */
};

/* Fill e and return -code.  err_sys adds ": <strerror(code)>". */
int err_set(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);
int err_sys(struct err *e, int code, const char *fmt, ...) PRINTF(3, 4);
/* Put "<text>: " before the text that is there; returns -e->code (-EIO when e is NULL). */
int err_prefix(struct err *e, const char *fmt, ...) PRINTF(2, 3);
void err_clear(struct err *e);

#endif
