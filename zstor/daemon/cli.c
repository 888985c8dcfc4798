/* cli - options and subcommands.  Commands go to the daemon when the configuration has a socket,
 * else they run here. */
#include "zstor/daemon/cli_impl.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "common/version.h"
#include "zstor/backend/medium.h"
#include "zstor/daemon/cli.h"
#include "zstor/daemon/cli_config.h"
#include "zstor/daemon/monitor.h"
#include "zstor/object/changes.h"
#include "zstor/options.h"

#define LOG_MAX_BYTES (10 * MIB)
#define LOG_KEEP      5

static const char usage_text[] =
    "usage: zstor [-c FILE] [-d] [--log_file FILE] COMMAND [OPTION...]\n"
    "\n"
    "  -c, --config FILE      configuration (YAML), default " OPTIONS_DEFAULT_FILE "\n"
    "  -d, --debug            log debug messages, too\n"
    "      --log_file FILE    default zstor.log\n"
    "  -h, --help   -V, --version\n"
    "\n"
    "commands (through the daemon when the configuration has `socket`, else in this process)\n"
    "  store -f PATH          store a file, or the files of a directory\n"
    "        -k, --key-path DIR         as if they were in DIR\n"
    "        -d, --delete               remove the source once it is stored\n"
    "        -n, --notblocking          return when it is durably queued\n"
    "        -s, --save-failure         queue what fails, to be tried again\n"
    "        -e, --error-on-failure     stop at the first file that fails\n"
    "  retrieve -f PATH       bring a file back\n"
    "        -o, --output FILE          to FILE instead of PATH; - is standard output\n"
    "        --force                    replace a file that is there with other content\n"
    "  check -f PATH          print the checksum of what is stored; nothing when it is unknown\n"
    "  rebuild -f PATH | -k KEY | --all\n"
    "                         verify all shards, restore lost ones\n"
    "  forget -f PATH | -k KEY\n"
    "                         remove an object, its record first, also when that cannot be read\n"
    "  rekey                  all metadata under encryption.key; the former key is in\n"
    "                         meta.config.encryption until it is done; without a daemon\n"
    "  scrub                  read every byte of everything that is stored, restore what is lost\n"
    "        --fraction N               only this part of all objects, 0.001 to 1\n"
    "  backend                what is repaired and scrubbed\n"
    "  backend drain B        move everything off data backend B (\"ADDRESS\" or \"ADDRESS "
    "NAMESPACE\")\n"
    "  backend undrain B      use it again\n"
    "  backend replace B C    B is lost or goes, C is in the configuration in its place\n"
    "        -n, --notblocking          do not wait for the repair\n"
    "  meta backup|restore FILE | recover [--takeover]\n"
    "                         all metadata records to a file (- is standard output), and what is "
    "lost\n"
    "                         of them back; or back from the log at the data backends "
    "(metadata_log)\n"
    "  wait                   until everything that is queued now is stored\n"
    "        -t, --timeout SECONDS\n"
    "  handover               what of the local zdb is only here; exit 1 when something is\n"
    "        --store                    queue it\n"
    "        --closed                   zdb has ended: also the files that it wrote last\n"
    "        --wait SECONDS             queue it, return when nothing is (0: however long)\n"
    "        --stall SECONDS            give up when so long nothing was stored and jobs fail\n"
    "        --json\n"
    "  queue                  list the queued jobs\n"
    "  status                 backends, queue and cache; exit 1 when something is at risk\n"
    "        --json\n"
    "  test                   connect to every backend\n"
    "        --ready                    exit 0 when everything stored can be read, though a "
    "backend is missing\n"
    "  monitor                run the daemon\n"
    "        --drain SECONDS            time for queued jobs when it is stopped, default 30\n"
    "        --takeover                 of a volume that another machine wrote; that one writes no "
    "more\n"
    "  takeover               the same without running the daemon\n"
    "  recover free | claim | list NAMESPACE... | fetch NAMESPACE descriptor|index|data [FROM TO]\n"
    "          | forget NAMESPACE FROM\n"
    "                         the files of a lost zdb, for qsfs recover\n"
    "        --takeover                 claim, also from another machine\n"
    "  config get KEY | set KEY VALUE... | check\n"
    "                         values of the configuration file; KEY is for instance\n"
    "                         meta.config.prefix, or groups.0.backends.2.address; VALUE - is a "
    "line\n"
    "                         of standard input; comments stay\n"
    "  mark dir:/PATH         make a directory a backend: without the mark it is not written to\n"
    "  help, version\n";

static int run_status(struct cli *c)
{
    CLEANUP(base_free) char *note = NULL;
    struct err e = {0};
    int code = 0;

    if (c->conf->socket && cli_daemon_status(c, &code, &e) == 0)
        return code;
    note = c->conf->socket ? xasprintf("daemon: not running (%s)", e.text) : NULL;
    return cli_here_status(c, note);
}

static int run_handover(struct cli *c)
{
    struct err e = {0};
    int code;

    if (!c->conf->socket)
        return cli_fail_text("the configuration has no `socket`: without a daemon nobody knows");
    if (!c->conf->zdb_data_dir_path)
        return cli_fail_text("the configuration has no `zdb_data_dir_path`: nothing to compare");
    c->handover.json = c->req.json;
    code = cli_handover(c->conf->socket, &c->handover, &e);
    return code < 0 ? cli_fail(&e) : code;
}

static int run_monitor(struct cli *c)
{
    struct monitor_conf mc = {.config_path = c->config,
                              .drain_ms = c->drain_ms,
                              .takeover = c->takeover};
    struct zstor_conf *conf = c->conf;
    struct err e = {0};

    c->conf = NULL;
    return monitor_run(conf, &mc, &e) < 0 ? cli_fail(&e) : 0;
}

static int no_daemon(const char *name)
{
    CLEANUP(base_free)
    char *text = xasprintf("%s: needs the daemon, the configuration has no `socket`", name);

    return cli_fail_text(text);
}

static int run_scrub(struct cli *c)
{
    return c->conf->socket ? cli_daemon_run(c) : no_daemon("scrub");
}

static int run_backend(struct cli *c)
{
    return c->conf->socket ? cli_daemon_backend(c) : no_daemon("backend");
}

enum {
    OPT_LOG_FILE = 256,
    OPT_JSON,
    OPT_ALL,
    OPT_READY,
    OPT_DRAIN,
    OPT_TAKEOVER,
    OPT_FORCE,
    OPT_STORE,
    OPT_CLOSED,
    OPT_WAIT,
    OPT_STALL,
    OPT_FRACTION
};

static int absolute(const char *path, char **out)
{
    CLEANUP(base_free) char *cwd = NULL;

    free(*out);
    *out = NULL;
    if (!*path)
        return cli_fail_usage("an empty path is not allowed");
    if (*path == '/') {
        *out = xstrdup(path);
        return 0;
    }
    cwd = getcwd(NULL, 0);
    if (!cwd)
        return cli_fail_usage("the working directory is gone, give absolute paths");
    *out = path_join(cwd, path);
    return 0;
}

static int seconds(const char *text, uint64_t max, uint64_t *out)
{
    return parse_u64(text, 0, max, out) < 0 ? cli_fail_usage("a number of seconds is expected") : 0;
}

/* "0.25" as thousandths */
static int fraction(const char *text, char **out)
{
    char *end;
    double f = strtod(text, &end);

    if (*end || end == text || !(f >= 0.001 && f <= 1))
        return cli_fail_usage("scrub: a fraction from 0.001 to 1 is expected");
    free(*out);
    *out = xasprintf("%u", (unsigned)(f * 1000 + 0.5));
    return 0;
}

/* backend drain B, undrain B, replace B C */
static int backend_words(struct cli *c, int n, char **word)
{
    struct control_req *r = &c->req;

    if (n == 0)
        return 0;
    if (n == 2 && strcmp(word[0], "drain") == 0)
        r->drain = xstrdup(word[1]);
    else if (n == 2 && strcmp(word[0], "undrain") == 0)
        r->undrain = xstrdup(word[1]);
    else if (n == 3 && strcmp(word[0], "replace") == 0) {
        r->replace = xstrdup(word[1]);
        r->with = xstrdup(word[2]);
    } else {
        return cli_fail_usage("backend: drain B, undrain B or replace B C is expected");
    }
    return 0;
}

static int run_config(struct cli *c)
{
    struct err e = {0};

    return cli_config(c->config, c->words, c->nwords, cli_warn_stderr, &e) < 0 ? cli_fail(&e) : 0;
}

/* mark dir:/path: without a configuration, since nothing may be configured before it is marked. */
static int run_mark(struct cli *c)
{
    struct backend_addr a;
    char id[MEDIUM_ID_LEN + 1];
    struct err e = {0};
    int r = backend_addr_parse(&a, c->words[0], NULL, NULL, &e);

    if (r == 0 && a.place != BACKEND_AT_DIR)
        r = err_set(&e, EINVAL, "mark: only a directory (dir:/path) needs one");
    if (r == 0)
        r = medium_mark(backend_addr_path(&a), id, &e);
    if (r == 0)
        printf("%s is marked as %s\n", a.address, id);
    backend_addr_fini(&a);
    return r < 0 ? cli_fail(&e) : 0;
}

struct command {
    const char *name;
    const char *shorts; /* for getopt, "+:" in front */
    const struct option *longs;
    enum control_op op;
    bool file;                 /* -f is required */
    int (*run)(struct cli *c); /* NULL: cli_here_run or cli_daemon_run */
};

static int take(struct cli *c, int o)
{
    struct control_req *r = &c->req;

    switch (o) {
    case 'f':
        return absolute(optarg, &r->file);
    case 'k':
        if (r->op == CONTROL_STORE)
            return absolute(optarg, &r->key_path);
        free(r->key);
        r->key = xstrdup(optarg);
        return 0;
    case 'o':
        free(c->output);
        c->output = NULL;
        if (strcmp(optarg, "-") != 0)
            return absolute(optarg, &c->output);
        c->output = xstrdup(optarg);
        return 0;
    case 'd':
        r->remove = true;
        return 0;
    case 'n':
        r->notblocking = true;
        return 0;
    case 's':
        r->save_failure = true;
        return 0;
    case 'e':
        r->stop_at_error = true;
        return 0;
    case 't':
        return seconds(optarg, 365 * 86400, &c->wait_s);
    case OPT_JSON:
        r->json = true;
        return 0;
    case OPT_STORE:
        c->handover.store = true;
        return 0;
    case OPT_CLOSED:
        c->handover.closed = true;
        return 0;
    case OPT_WAIT:
        c->handover.wait = c->handover.store = true;
        return seconds(optarg, 365 * 86400, &c->handover.wait_s);
    case OPT_STALL:
        return seconds(optarg, 365 * 86400, &c->handover.stall_s);
    case OPT_FORCE:
        r->force = true;
        return 0;
    case OPT_ALL:
        r->all = true;
        return 0;
    case OPT_FRACTION:
        return fraction(optarg, &r->fraction);
    case OPT_READY:
        c->ready_only = true;
        return 0;
    case OPT_TAKEOVER:
        c->takeover = true;
        return 0;
    case OPT_DRAIN: {
        uint64_t s = 0;
        int code = seconds(optarg, 86400, &s);

        c->drain_ms = s * 1000;
        return code;
    }
    default:
        return cli_fail_usage("unknown option");
    }
}

#define LONG(name, arg, short) \
    {                          \
        name, arg, NULL, short \
    }
#define END              \
    {                    \
        NULL, 0, NULL, 0 \
    }

static const struct option store_longs[] = {LONG("file", required_argument, 'f'),
                                            LONG("key-path", required_argument, 'k'),
                                            LONG("error-on-failure", no_argument, 'e'),
                                            LONG("save-failure", no_argument, 's'),
                                            LONG("delete", no_argument, 'd'),
                                            LONG("notblocking", no_argument, 'n'),
                                            LONG("help", no_argument, 'h'),
                                            END};
static const struct option retrieve_longs[] = {LONG("file", required_argument, 'f'),
                                               LONG("output", required_argument, 'o'),
                                               LONG("force", no_argument, OPT_FORCE),
                                               LONG("help", no_argument, 'h'), END};
static const struct option check_longs[] = {LONG("file", required_argument, 'f'),
                                            LONG("help", no_argument, 'h'), END};
static const struct option rebuild_longs[] = {LONG("file", required_argument, 'f'),
                                              LONG("key", required_argument, 'k'),
                                              LONG("all", no_argument, OPT_ALL),
                                              LONG("help", no_argument, 'h'), END};
static const struct option forget_longs[] = {LONG("file", required_argument, 'f'),
                                             LONG("key", required_argument, 'k'),
                                             LONG("help", no_argument, 'h'), END};
static const struct option scrub_longs[] = {LONG("all", no_argument, OPT_ALL),
                                            LONG("fraction", required_argument, OPT_FRACTION),
                                            LONG("help", no_argument, 'h'), END};
static const struct option backend_longs[] = {LONG("notblocking", no_argument, 'n'),
                                              LONG("help", no_argument, 'h'), END};
static const struct option wait_longs[] = {LONG("timeout", required_argument, 't'),
                                           LONG("help", no_argument, 'h'), END};
static const struct option handover_longs[] = {LONG("store", no_argument, OPT_STORE),
                                               LONG("closed", no_argument, OPT_CLOSED),
                                               LONG("wait", required_argument, OPT_WAIT),
                                               LONG("stall", required_argument, OPT_STALL),
                                               LONG("json", no_argument, OPT_JSON),
                                               LONG("help", no_argument, 'h'),
                                               END};
static const struct option status_longs[] = {LONG("json", no_argument, OPT_JSON),
                                             LONG("help", no_argument, 'h'), END};
static const struct option test_longs[] = {LONG("ready", no_argument, OPT_READY),
                                           LONG("help", no_argument, 'h'), END};
static const struct option monitor_longs[] = {LONG("drain", required_argument, OPT_DRAIN),
                                              LONG("takeover", no_argument, OPT_TAKEOVER),
                                              LONG("help", no_argument, 'h'), END};
static const struct option recover_longs[] = {LONG("takeover", no_argument, OPT_TAKEOVER),
                                              LONG("help", no_argument, 'h'), END};
static const struct option plain_longs[] = {LONG("help", no_argument, 'h'), END};

static const struct command commands[] = {
    {"store", "+:f:k:esdnh", store_longs, CONTROL_STORE, true, NULL},
    {"retrieve", "+:f:o:h", retrieve_longs, CONTROL_RETRIEVE, true, NULL},
    {"check", "+:f:h", check_longs, CONTROL_CHECK, true, NULL},
    {"rebuild", "+:f:k:h", rebuild_longs, CONTROL_REBUILD, false, NULL},
    {"scrub", "+:h", scrub_longs, CONTROL_SCRUB, false, run_scrub},
    {"backend", "+:nh", backend_longs, CONTROL_BACKEND, false, run_backend},
    {"wait", "+:t:h", wait_longs, CONTROL_WAIT, false, NULL},
    {"queue", "+:h", plain_longs, CONTROL_QUEUE, false, NULL},
    {"handover", "+:h", handover_longs, CONTROL_HANDOVER, false, run_handover},
    {"status", "+:h", status_longs, CONTROL_STATUS, false, run_status},
    {"test", "+:h", test_longs, CONTROL_PING, false, cli_here_test},
    {"forget", "+:f:k:h", forget_longs, CONTROL_REBUILD, false, cli_here_forget},
    {"rekey", "+:h", plain_longs, CONTROL_PING, false, cli_here_rekey},
    {"meta", ":h", recover_longs, CONTROL_PING, false, cli_here_meta},
    {"takeover", "+:h", plain_longs, CONTROL_PING, false, cli_here_takeover},
    {"config", "+:h", plain_longs, CONTROL_PING, false, run_config},
    {"recover", "+:h", recover_longs, CONTROL_PING, false, cli_here_recover},
    {"mark", "+:h", plain_longs, CONTROL_PING, false, run_mark},
    {"monitor", "+:h", monitor_longs, CONTROL_PING, false, run_monitor},
};

/* getopt's complaint about the option it has just seen. */
static int bad_option(int o, char **argv)
{
    CLEANUP(base_free) char *text = NULL;
    const char *seen = argv[optind - 1];

    text = xasprintf(o == ':' ? "option %s needs a value" : "unknown option %s", seen);
    return cli_fail_usage(text);
}

/* 0: go on; 1: exit with *code. */
static int parse_command(struct cli *c, const struct command *cmd, int argc, char **argv, int *code)
{
    int o;

    c->req.op = cmd->op;
    c->req.list = cmd->op == CONTROL_QUEUE;
    optind = 0; /* start over, argv[0] is the subcommand */
    while ((o = getopt_long(argc, argv, cmd->shorts, cmd->longs, NULL)) != -1) {
        if (o == 'h') {
            fputs(usage_text, stdout);
            *code = 0;
            return 1;
        }
        *code = o == '?' || o == ':' ? bad_option(o, argv) : take(c, o);
        if (*code)
            return 1;
    }
    if (cmd->op == CONTROL_BACKEND) {
        *code = backend_words(c, argc - optind, argv + optind);
        return *code != 0;
    }
    if (cmd->run == run_mark && argc - optind != 1) {
        *code = cli_fail_usage("mark: needs one address, dir:/path");
        return 1;
    }
    if (cmd->run == run_config || cmd->run == run_mark || cmd->run == cli_here_recover ||
        cmd->run == cli_here_meta) {
        c->words = argv + optind;
        c->nwords = argc - optind;
        optind = argc;
    }
    if (optind < argc) {
        CLEANUP(base_free)
        char *text = xasprintf("%s: unexpected argument %s", cmd->name, argv[optind]);

        *code = cli_fail_usage(text);
        return 1;
    }
    if (cmd->file && !c->req.file) {
        CLEANUP(base_free) char *text = xasprintf("%s: needs --file PATH", cmd->name);

        *code = cli_fail_usage(text);
        return 1;
    }
    if (cmd->op == CONTROL_REBUILD) {
        unsigned given = (c->req.file != NULL) + (c->req.key != NULL) + c->req.all;

        if (given != 1) {
            *code = cli_fail_text(given ? "Only one of `file` or `key` argument must be set"
                                        : "Either `file` or `key` argument must be set");
            return 1;
        }
    }
    return 0;
}

static int open_log(const struct cli *c, bool needed)
{
    struct log_conf lc = {
        .level = c->debug ? LOG_LVL_DEBUG : LOG_LVL_INFO,
        .path = c->log_file,
        .max_bytes = LOG_MAX_BYTES,
        .keep = LOG_KEEP,
    };
    struct err e = {0};

    if (log_open(&lc, &e) == 0)
        return 0;
    if (needed)
        return cli_fail(&e);
    cli_warn_stderr(e.text);
    return 0;
}

static int run_command(struct cli *c, const struct command *cmd)
{
    bool daemon = cmd->run == run_monitor;
    struct err e = {0};
    int code = open_log(c, daemon);

    if (code)
        return code;
    if (cmd->run == run_config || cmd->run == run_mark) /* the file may be wrong yet */
        return cmd->run(c);
    if (options_load(&c->conf, c->config,
                     daemon || cmd->run == cli_here_test ? cli_warn_stderr : cli_warn_log, &e) < 0)
        return cli_fail(&e);
    if (cmd->run)
        return cmd->run(c);
    if (!c->conf->socket)
        return cli_here_run(c);
    return cmd->op == CONTROL_WAIT ? cli_daemon_wait(c) : cli_daemon_run(c);
}

static int parse_globals(struct cli *c, int argc, char **argv, int *code)
{
    static const struct option longs[] = {LONG("config", required_argument, 'c'),
                                          LONG("debug", no_argument, 'd'),
                                          LONG("log_file", required_argument, OPT_LOG_FILE),
                                          LONG("help", no_argument, 'h'),
                                          LONG("version", no_argument, 'V'),
                                          END};
    int o;

    opterr = 0;
    while ((o = getopt_long(argc, argv, "+:c:dhV", longs, NULL)) != -1) {
        switch (o) {
        case 'c':
            c->config = optarg;
            break;
        case 'd':
            c->debug = true;
            break;
        case OPT_LOG_FILE:
            c->log_file = optarg;
            break;
        case 'h':
            fputs(usage_text, stdout);
            *code = 0;
            return 1;
        case 'V':
            puts("zstor " QSFS_VERSION);
            *code = 0;
            return 1;
        default:
            *code = bad_option(o, argv);
            return 1;
        }
    }
    return 0;
}

int cli_main(int argc, char **argv)
{
    struct cli c = {.config = OPTIONS_DEFAULT_FILE,
                    .log_file = "zstor.log",
                    .drain_ms = MONITOR_DRAIN_MS};
    int code = 0;

    if (parse_globals(&c, argc, argv, &code))
        return code;
    if (optind == argc) {
        fputs(usage_text, stderr);
        return 1;
    }
    const char *name = argv[optind];

    if (strcmp(name, "help") == 0) {
        fputs(usage_text, stdout);
        return 0;
    }
    if (strcmp(name, "version") == 0) {
        puts("zstor " QSFS_VERSION);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (!parse_command(&c, &commands[i], argc - optind, argv + optind, &code))
            code = run_command(&c, &commands[i]);
        zstor_conf_free(c.conf);
        changes_close(c.changes);
        control_proto_fini(&c.req);
        free(c.output);
        return fflush(stdout) == 0 ? code : 1;
    }
    CLEANUP(base_free) char *text = xasprintf("unknown command %s", name);

    return cli_fail_usage(text);
}
