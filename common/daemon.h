/* daemon - start-up of a long-running process: pid file, background, limits, readiness. */
#ifndef COMMON_DAEMON_H
#define COMMON_DAEMON_H

#include "common/err.h"

/* Pid file held by a lock for the life of the process: -EEXIST "another instance is running (pid N,
 * file)" when taken. Survives daemon_background.  *fd stays open; daemon_pidfile_remove unlinks and
 * closes. */
int daemon_pidfile(const char *path, int *fd, struct err *e);
int daemon_pidfile_write(int fd, struct err *e); /* pid of the calling process; again after going to
                                                    the background */
void daemon_pidfile_remove(const char *path, int fd);

/* Fork: the parent waits until the child calls daemon_ready (exit 0) or dies (exit 1, or the
 * child's exit code); the child returns 0 in a new session with stdin from /dev/null.  Without
 * keep_output its stdout and stderr go to /dev/null at daemon_ready: what goes wrong before is
 * still seen.  The parent's own exit handlers do not run.  Call it before threads and loops exist.
 */
int daemon_background(bool keep_output, struct err *e);
void daemon_ready(void); /* tells the waiting parent and, when NOTIFY_SOCKET is set, the service
                            manager (sd_notify READY=1) */

void daemon_raise_nofile(void); /* soft limit of descriptors up to the hard one */
void daemon_no_core(void);      /* no core dumps, not ptraceable: for processes that hold keys */

#endif
