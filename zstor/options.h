/* options - the configuration file (YAML) -> struct zstor_conf, every key and combination checked.
 * Keys and meaning are upstream's (spec zstor-behaviour 2), plus `state_dir`, `metrics_address` and
 * `lease_seconds`. No state; any thread. */
#ifndef ZSTOR_OPTIONS_H
#define ZSTOR_OPTIONS_H

#include "common/bytes.h"
#include "zstor/conf.h"

#define OPTIONS_DEFAULT_FILE          "zstor_config.yaml"  /* in the working directory */
#define OPTIONS_DEFAULT_PID_FILE      "/var/run/zstor.pid" /* of root; others: in state_dir */
#define OPTIONS_DEFAULT_METRICS       "127.0.0.1"
#define OPTIONS_DEFAULT_REPAIR_DELAY  900  /* seconds */
#define OPTIONS_DEFAULT_RECLAIM_GRACE 3600 /* seconds */
#define OPTIONS_DEFAULT_SCRUB_DAYS    30
#define OPTIONS_DEFAULT_SCRUB_RATE    16 /* MiB per second */
#define OPTIONS_DEFAULT_LEASE         30 /* seconds */

/* What is worth saying but no reason to refuse; one line, borrowed. */
typedef void options_warn_fn(const char *line);

/* 0 and *out given (zstor_conf_free), or -errno and one line "<file>:<line>: <key>: <value> <what
 * is wrong>, <what is allowed>". A file that anybody but its owner may read or write is refused.
 * Keys and passwords appear in no text. warn may be NULL. */
int options_load(struct zstor_conf **out, const char *path, options_warn_fn *warn, struct err *e);
/* The same from text; name stands for the file in messages. */
int options_parse(struct zstor_conf **out, const char *name, struct slice text,
                  options_warn_fn *warn, struct err *e);

#endif
