/* cli_report - messages of the command line. */
#include "zstor/daemon/cli_impl.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "common/log.h"

int cli_fail(const struct err *e)
{
    fprintf(stderr, "Error: %s\n", e->text);
    if (log_fd() != STDERR_FILENO)
        log_error("%s", e->text);
    return 1;
}

int cli_fail_text(const char *text)
{
    struct err e;

    err_set(&e, EINVAL, "%s", text);
    return cli_fail(&e);
}

int cli_fail_zstor(const char *text)
{
    fprintf(stderr, "Zstor error: %s\n", text);
    if (log_fd() != STDERR_FILENO)
        log_error("%s", text);
    return 1;
}

int cli_fail_usage(const char *text)
{
    fprintf(stderr, "zstor: %s\nTry `zstor --help`.\n", text);
    return 1;
}

void cli_warn_stderr(const char *line)
{
    fprintf(stderr, "zstor: warning: %s\n", line);
}

void cli_warn_log(const char *line)
{
    if (log_fd() != STDERR_FILENO)
        log_warn("%s", line);
}
