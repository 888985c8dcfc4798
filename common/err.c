/* err - see err.h. */
#include "common/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Also no escape sequences for a terminal: part of the text may come from a peer or a file. */
static void one_line(char *s)
{
    for (; *s; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            *s = ' ';
}

PRINTF(3, 0)
static void fill(struct err *e, int code, const char *fmt, va_list ap)
{
    char text[sizeof e->text]; /* the arguments may point into e */

    vsnprintf(text, sizeof text, fmt, ap);
    one_line(text);
    memcpy(e->text, text, sizeof text);
    e->code = code;
}

int err_set(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, fmt, ap);
        va_end(ap);
    }
    return -code;
}

int err_sys(struct err *e, int code, const char *fmt, ...)
{
    if (e) {
        char what[128];
        va_list ap;
        va_start(ap, fmt);
        fill(e, code, fmt, ap);
        va_end(ap);
        size_t n = strlen(e->text);
        snprintf(e->text + n, sizeof e->text - n, ": %s", strerror_r(code, what, sizeof what));
    }
    return -code;
}

int err_prefix(struct err *e, const char *fmt, ...)
{
    if (!e)
        return -EIO; /* the code is lost, that it failed must not be */
    char old[sizeof e->text];
    va_list ap;

    memcpy(old, e->text, sizeof old);
    va_start(ap, fmt);
    fill(e, e->code, fmt, ap);
    va_end(ap);
    size_t n = strlen(e->text);
    snprintf(e->text + n, sizeof e->text - n, ": %s", old);
    return -e->code;
}

void err_clear(struct err *e)
{
    if (e) {
        e->code = 0;
        e->text[0] = '\0';
    }
}
