/* state_dir - where one zstor keeps what is its own: queue, snapshots, identity.  Two
 * configurations never share one: a daemon would store the other's jobs under its own names. */
#ifndef ZSTOR_STATE_DIR_H
#define ZSTOR_STATE_DIR_H

#include "zstor/conf.h"

/* Of a configuration that names none: <base>/<16 hex digits>, given (free).
 *   base    $STATE_DIRECTORY (systemd), /var/lib/zstor for root, $XDG_STATE_HOME/zstor,
 *           ~/.local/state/zstor; NULL when there is no home either
 *   digits  b2 of the absolute path of the socket; without one, of prefix and metadata backends */
char *state_dir_default(const struct zstor_conf *c);
/* A directory of a version that had only one for all configurations: its path when jobs are left
 * there, given; else NULL. */
char *state_dir_left_behind(void);

/* Makes the directory, and the file `owner` in it (prefix and socket); -EBUSY when that names
 * another prefix. */
int state_dir_own(const char *dir, const struct zstor_conf *c, struct err *e);

#endif
