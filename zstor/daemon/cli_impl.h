/* cli_impl - what the files of the command line share; nobody else includes it.
 *   daemon/cli.c        options, subcommands      daemon/cli_here.c    commands in this process
 *   daemon/cli_report.c messages                  daemon/cli_daemon.c  commands through the daemon
 */
#ifndef ZSTOR_DAEMON_CLI_IMPL_H
#define ZSTOR_DAEMON_CLI_IMPL_H

#include "common/err.h"
#include "zstor/conf.h"
#include "zstor/daemon/cli_handover.h"
#include "zstor/daemon/cli_output.h"
#include "zstor/daemon/protocol.h"

struct cli {
    const char *config, *log_file;
    bool debug;
    /* of the subcommand */
    struct control_req req;
    bool ready_only; /* test --ready */
    char *output;    /* retrieve -o */
    struct cli_handover handover;
    uint64_t wait_s; /* wait --timeout, 0: none */
    uint64_t drain_ms;
    bool takeover; /* monitor --takeover */
    char **words;  /* meta: backup or restore and the file, or recover; config,
                    * recover: all */
    int nwords;    /* config, recover, meta */
    struct zstor_conf *conf;
    struct changes *changes; /* of a command that writes in process; NULL: none */
};

/* daemon/cli_report.c: one line on standard error and, when there is a log file, in it.  All return
 * 1, the exit code. */
int cli_fail(const struct err *e); /* "Error: ..." */
int cli_fail_text(const char *text);
int cli_fail_zstor(const char *text); /* "Zstor error: ...": the operation itself failed, here or in
                                         the daemon */
int cli_fail_usage(const char *text);
void cli_warn_stderr(const char *line);
void cli_warn_log(const char *line);

/* Exit codes.  c->conf is loaded; what takes it sets it to NULL. */
int cli_here_run(struct cli *c); /* store, retrieve, check, rebuild, wait, queue */
int cli_here_test(struct cli *c);
int cli_here_takeover(struct cli *c);
int cli_here_forget(struct cli *c);
int cli_here_rekey(struct cli *c);
int cli_here_recover(struct cli *c);
int cli_here_meta(struct cli *c);
int cli_here_status(struct cli *c, const char *note); /* asks the backends itself; note: one more
                                                         line, NULL: none */
int cli_daemon_run(struct cli *c);                    /* store, retrieve, check, rebuild, queue */
int cli_daemon_wait(struct cli *c);
int cli_daemon_backend(struct cli *c); /* backend: asks, then waits for the repair */
/* 0 and *code, or -errno when no daemon answers. */
int cli_daemon_status(const struct cli *c, int *code, struct err *e);

#endif
