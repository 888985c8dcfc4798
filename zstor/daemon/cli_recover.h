/* cli_recover - `zstor recover`: what qsfs recover needs to know of, and to bring back from, the
 * files of a lost zdb.  The files are known by their names, below the directories of the
 * configuration: <index>/<namespace>/zdb-namespace, .../i<N>, <data>/<namespace>/d<N>.  A local
 * file is never replaced; one with the right content is left alone, so that everything can be begun
 * anew.
 *
 *   free                       "yes" when nobody has the volume, or who had it gave it back, else
 * "no" claim                      the volume is ours: when it has no owner, or one that gave it
 * back; from another one with --takeover list NAMESPACE...          a line for each file: NAMESPACE
 * descriptor|index|data ID STATE BYTES TIME REASON.  STATE: there, lost, damaged, unreachable;
 * absent: a number below the highest that has no record fetch NAMESPACE descriptor | index FROM TO
 * | data FROM TO forget NAMESPACE FROM       objects of i<N>, d<N> from FROM on are removed at the
 * backends
 */
#ifndef ZSTOR_DAEMON_CLI_RECOVER_H
#define ZSTOR_DAEMON_CLI_RECOVER_H

#include "zstor/object/object.h"

/* 0; 2: claim: too few metadata backends, later perhaps; 1: not everything, each with a line on
 * standard error; -errno with a line in e. */
int cli_recover(struct objects *o, const struct zstor_conf *conf, bool takeover, char **word, int n,
                struct err *e);

#endif
