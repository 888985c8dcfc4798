/* options - the command line of zdb (spec zdb-protocol 1).  Names, abbreviations and defaults are
 * the original's; our own options come on top and never make an abbreviation of the original's
 * ambiguous. */
#ifndef ZDB_OPTIONS_H
#define ZDB_OPTIONS_H

#include "common/err.h"

enum options_action {
    OPTIONS_SERVE,
    OPTIONS_CTL,
    OPTIONS_DUMP,
    OPTIONS_REPAIR,
    OPTIONS_CHECK,
    OPTIONS_COMPACT,
    OPTIONS_VERSION,
    OPTIONS_HELP
};

struct options {
    enum options_action action;
    const char *data, *index; /* roots, as given */
    const char *listen, *port, *socket;
    bool dualnet, verbose, sync, secure, protect, background;
    const char *mode; /* "user", "seq", or NULL: each namespace its own */
    bool old_mode;    /* said "direct" */
    uint64_t datasize, maxsize, synctime_s, rotate_s;
    const char *logfile, *hook;
    char *admin; /* password, NULL: everybody is admin.  Wiped by options_fini */
    uint64_t hook_timeout_s;
    uint64_t max_clients, max_output, max_buffers, idle_timeout_s;
    bool has_address;      /* --listen or --port was given */
    bool json;             /* --json, for --dump and --check */
    const char *namespace; /* --compact: that one only */
    const char **files;    /* --dump FILE...; elements borrowed from argv */
    size_t nfiles;
    /* --ctl */
    const char *ns;
    char *ns_password;
    char **words; /* borrowed from argv: the command and its arguments */
    int nwords;
    char *instance; /* "unix://path" or "tcp://host:port", what hooks get */
};

/* 0; -EINVAL or what reading a password file gave, with one line in e.  argv: passwords are
 * overwritten in place. Files are only read, nothing is created. */
int options_parse(struct options *o, int argc, char **argv, struct err *e);
void options_fini(struct options *o);
void options_help(void); /* to stdout */

#endif
