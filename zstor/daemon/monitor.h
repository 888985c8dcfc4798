/* monitor - the daemon: one loop thread that owns all state, wired from the modules below; start,
 * reload, stop. */
#ifndef ZSTOR_DAEMON_MONITOR_H
#define ZSTOR_DAEMON_MONITOR_H

#include "zstor/conf.h"

struct monitor_conf {
    const char *config_path; /* read again on SIGUSR1 */
    uint64_t drain_ms; /* SIGTERM, SIGINT: how long queued jobs may still run; a second signal ends
                          it at once */
    bool takeover;     /* of a volume that another zstor has */
};

#define MONITOR_DRAIN_MS 30000

/* Runs until SIGTERM or SIGINT; conf is taken.  0 after a clean stop, or -errno when it could not
 * start (nothing is left behind then). */
int monitor_run(struct zstor_conf *conf, const struct monitor_conf *mc, struct err *e);

#endif
