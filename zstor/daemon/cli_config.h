/* cli_config - `zstor config`: values of the configuration file are read, changed and checked.
 * Comments stay; what would make the file wrong is not written.  Answers go to standard output. */
#ifndef ZSTOR_DAEMON_CLI_CONFIG_H
#define ZSTOR_DAEMON_CLI_CONFIG_H

#include "zstor/options.h"

/* word: get KEY, set KEY VALUE..., check.  0 or -errno with a line in e. */
int cli_config(const char *file, char **word, int n, options_warn_fn *warn, struct err *e);

#endif
