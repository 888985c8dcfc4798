/* cli - options and subcommands.  Commands go to the daemon when the configuration has a socket, else they run here. */
#include "zstor/cli.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/parse.h"
#include "common/path.h"
#include "zstor/control.h"
#include "zstor/engine.h"
#include "zstor/monitor.h"
#include "zstor/options.h"
#include "zstor/poller.h"
#include "zstor/status.h"
#include "zstor/task.h"

#define LOG_MAX_BYTES (10 * MIB)
#define LOG_KEEP      5
#define PROGRESS_MS   500

struct cli {
    const char *config, *log_file;
    bool debug;
    /* of the subcommand */
    struct control_req req;
    bool ready_only;          /* test --ready */
    uint64_t wait_s;          /* wait --timeout, 0: none */
    uint64_t drain_ms;
    struct zstor_conf *conf;
};

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
    "        -o, --output FILE          to FILE instead of PATH\n"
    "  check -f PATH          print the checksum of what is stored; nothing when it is unknown\n"
    "  rebuild -f PATH | -k KEY | --all\n"
    "                         verify all shards, restore lost ones\n"
    "  wait                   until everything that is queued now is stored\n"
    "        -t, --timeout SECONDS\n"
    "  queue                  list the queued jobs\n"
    "  status                 backends, queue and cache; exit 1 when something is at risk\n"
    "        --json\n"
    "  test                   connect to every backend\n"
    "        --ready                    exit 0 when everything stored can be read, though a backend is missing\n"
    "  monitor                run the daemon\n"
    "        --drain SECONDS            time for queued jobs when it is stopped, default 30\n"
    "  help, version\n";

/* --- reporting ----------------------------------------------------------------------------------- */

static int fail(const struct err *e)
{
    fprintf(stderr, "Error: %s\n", e->text);
    if (log_fd() != STDERR_FILENO)
        log_error("%s", e->text);
    return 1;
}

static int fail_text(const char *text)
{
    struct err e;

    err_set(&e, EINVAL, "%s", text);
    return fail(&e);
}

/* The operation itself failed, here or in the daemon. */
static int fail_zstor(const char *text)
{
    fprintf(stderr, "Zstor error: %s\n", text);
    if (log_fd() != STDERR_FILENO)
        log_error("%s", text);
    return 1;
}

static int usage_error(const char *text)
{
    fprintf(stderr, "zstor: %s\nTry `zstor --help`.\n", text);
    return 1;
}

static void warn_on_stderr(const char *line)
{
    fprintf(stderr, "zstor: warning: %s\n", line);
}

static void warn_in_log(const char *line)
{
    if (log_fd() != STDERR_FILENO)
        log_warn("%s", line);
}

/* --- in this process ----------------------------------------------------------------------------- */

static int open_engine(struct cli *c, struct engine **out)
{
    struct zstor_conf *conf = c->conf;
    struct err e = {0};

    c->conf = NULL;
    return engine_open(out, conf, NULL, &e) < 0 ? fail(&e) : 0;
}

static int store_files(struct cli *c, struct engine *g, char **files, size_t n, struct err *first)
{
    size_t bad = 0;

    for (size_t i = 0; i < n && !(bad && c->req.stop_at_error); i++) {
        char *object = NULL;
        struct task *t;

        struct err e = {0};

        if (object_store_path(files[i], c->req.key_path, &object, &e) == 0) {
            t = task_new(TASK_STORE, object);
            t->source = xstrdup(files[i]);
            t->flags = c->req.remove ? OBJECT_DELETE : 0;
            task_run(t, g->objects, NULL);
            if (t->rc < 0)
                e = t->err;
            task_free(t);
            free(object);
        }
        if (e.code && bad++ == 0)
            *first = e;
    }
    return bad ? -first->code : 0;
}

static int local_store(struct cli *c, struct engine *g)
{
    struct err e = {0};
    char **files = NULL;
    size_t n = 0;
    int r = snapshot_files(c->req.file, &files, &n, &e);

    if (r == 0) {
        r = store_files(c, g, files, n, &e);
        path_list_free(files, n);
    }
    return r < 0 ? fail_zstor(e.text) : 0;
}

static void print_checksum(const uint8_t sum[ZSTOR_DIGEST_LEN])
{
    char hex[2 * ZSTOR_DIGEST_LEN + 1];

    parse_to_hex(sum, ZSTOR_DIGEST_LEN, hex);
    puts(hex);
}

static int not_whole(const struct object_result *res)
{
    struct err e;

    err_set(&e, EIO, "%u of %u shards and %u of %d metadata values could not be restored now", res->shards_lost, res->shards,
            res->meta_lost, ZSTOR_META_COPIES);
    return fail_zstor(e.text);
}

static int local_one(struct cli *c, struct engine *g, enum task_op op)
{
    struct task *t = task_new(op, c->req.file);
    int code = 0;

    t->output = c->req.output ? xstrdup(c->req.output) : NULL;
    t->meta_key = c->req.key ? xstrdup(c->req.key) : NULL;
    task_run(t, g->objects, NULL);
    if (t->rc < 0)
        code = fail_zstor(t->err.text);
    else if (op == TASK_CHECK && t->rc == 1)
        print_checksum(t->res.checksum);
    else if (op == TASK_REBUILD && t->res.shards_lost + t->res.meta_lost > 0)
        code = not_whole(&t->res);
    task_free(t);
    return code;
}

struct all {
    uint64_t objects, bad, shards;
};

static int count_rebuilt(void *arg, const char *key, int rc, const struct object_result *res, const struct err *e)
{
    struct all *a = arg;

    a->objects++;
    a->shards += res->shards_restored;
    if (rc < 0 || res->shards_lost + res->meta_lost > 0) {
        a->bad++;
        fprintf(stderr, "%s: %s\n", key, rc < 0 && e ? e->text : "not whole, shards or metadata values could not be restored now");
    }
    return 0;
}

static int local_rebuild_all(struct engine *g)
{
    struct all a = {0};
    struct err e = {0};
    int r = object_rebuild_all(g->objects, NULL, count_rebuilt, &a, &e);

    if (a.bad) {
        err_set(&e, EIO, "%" PRIu64 " of %" PRIu64 " objects are not whole", a.bad, a.objects);
        return fail_zstor(e.text);
    }
    if (r < 0)
        return fail_zstor(e.text);
    printf("%" PRIu64 " objects whole, %" PRIu64 " shards restored\n", a.objects, a.shards);
    return 0;
}

static int run_here(struct cli *c)
{
    struct engine *g = NULL;
    int code;

    if (c->req.op == CONTROL_WAIT) /* without a daemon nothing is queued */
        return 0;
    if (c->req.op == CONTROL_QUEUE)
        return fail_text("the configuration has no `socket`: without a daemon there is no queue");
    code = open_engine(c, &g);
    if (code)
        return code;
    switch (c->req.op) {
    case CONTROL_STORE:
        code = local_store(c, g);
        break;
    case CONTROL_RETRIEVE:
        code = local_one(c, g, TASK_RETRIEVE);
        break;
    case CONTROL_CHECK:
        code = local_one(c, g, TASK_CHECK);
        break;
    default:
        code = c->req.all ? local_rebuild_all(g) : local_one(c, g, TASK_REBUILD);
        break;
    }
    engine_put(g);
    return code;
}

/* --- through the daemon -------------------------------------------------------------------------- */

static void print_reply(const struct control_req *req, const redisReply *r)
{
    if (req->op == CONTROL_CHECK && r->type == REDIS_REPLY_STRING)
        printf("%.*s\n", (int)r->len, r->str);
    else if (req->op == CONTROL_REBUILD && req->all && r->type == REDIS_REPLY_STRING)
        printf("%.*s\n", (int)r->len, r->str);
    else if (req->op == CONTROL_QUEUE && r->type == REDIS_REPLY_ARRAY)
        for (size_t i = 0; i < r->elements; i++)
            if (r->element[i]->type == REDIS_REPLY_STRING)
                printf("%.*s\n", (int)r->element[i]->len, r->element[i]->str);
}

static int run_remote(struct cli *c)
{
    redisReply *reply = NULL;
    struct err e = {0};
    int r = control_request(c->conf->socket, &c->req, &reply, &e);
    int code = 0;

    if (r < 0)
        return fail(&e);
    if (reply->type == REDIS_REPLY_ERROR)
        code = fail_zstor(reply->str);
    else
        print_reply(&c->req, reply);
    freeReplyObject(reply);
    return code;
}

/* Jobs and bytes that are left, as a line on stderr. */
static void show_progress(const char *socket, bool tty, char *last, size_t size)
{
    struct control_req req = {.op = CONTROL_QUEUE, .count = true};
    struct buf line = BUF_INIT;
    redisReply *reply = NULL;
    struct err e = {0};

    if (control_request(socket, &req, &reply, &e) < 0) /* the other connection will say so */
        return;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 4 && reply->element[0]->type == REDIS_REPLY_INTEGER) {
        uint64_t failing = (uint64_t)reply->element[3]->integer;

        buf_put_str(&line, "zstor: ");
        status_amount(&line, (uint64_t)reply->element[0]->integer, (uint64_t)reply->element[1]->integer);
        buf_put_str(&line, " left");
        if (failing)
            buf_printf(&line, ", %" PRIu64 " failing", failing);
        buf_put_u8(&line, 0);
        if (strcmp(last, (const char *)buf_data(&line)) != 0) {
            fprintf(stderr, tty ? "\r\033[K%s" : "%s\n", (const char *)buf_data(&line));
            snprintf(last, size, "%s", (const char *)buf_data(&line));
        }
    }
    buf_fini(&line);
    freeReplyObject(reply);
}

static int run_wait(struct cli *c)
{
    uint64_t end = c->wait_s ? base_now_ms() + c->wait_s * 1000 : UINT64_MAX;
    bool tty = isatty(STDERR_FILENO);
    struct control_client *client = NULL;
    redisReply *reply = NULL;
    char last[256] = "";
    struct err e = {0};
    int code = 0, r;

    if (control_client_open(&client, c->conf->socket, &e) < 0)
        return fail(&e);
    r = control_client_send(client, &c->req);
    if (r < 0)
        err_sys(&e, -r, "send to daemon socket %s", c->conf->socket);
    while (r == 0) {
        r = control_client_reply(client, PROGRESS_MS, &reply, &e);
        if (r == 0 && base_now_ms() >= end)
            break;
        if (r == 0)
            show_progress(c->conf->socket, tty, last, sizeof last);
    }
    if (*last && tty)
        fputc('\n', stderr);
    if (r < 0)
        code = fail(&e);
    else if (r == 0)
        code = fail_zstor("the time is over and the queue is not empty, see `zstor queue`");
    else if (reply->type == REDIS_REPLY_ERROR)
        code = fail_zstor(reply->str);
    if (reply)
        freeReplyObject(reply);
    control_client_close(client);
    return code;
}

/* --- status, test -------------------------------------------------------------------------------- */

static int print_status(bool json, const struct status *st)
{
    struct buf text = BUF_INIT;

    if (json)
        status_json(&text, st);
    else
        status_table(&text, st);
    fwrite(buf_data(&text), 1, text.len, stdout);
    buf_fini(&text);
    return status_at_risk(st);
}

static int status_of_daemon(const char *socket, bool json, int *code, struct err *e)
{
    struct control_req req = {.op = CONTROL_STATUS, .json = json};
    redisReply *reply = NULL;
    int r = control_request(socket, &req, &reply, e);

    if (r < 0)
        return r;
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_INTEGER &&
        reply->element[1]->type == REDIS_REPLY_STRING) {
        fwrite(reply->element[1]->str, 1, reply->element[1]->len, stdout);
        *code = reply->element[0]->integer != 0;
    } else {
        *code = fail_zstor(reply->type == REDIS_REPLY_ERROR ? reply->str : "the daemon's answer makes no sense");
    }
    freeReplyObject(reply);
    return 0;
}

static int run_status(struct cli *c)
{
    CLEANUP(base_free) char *note = NULL;
    struct engine *g = NULL;
    struct poller_backend *list;
    struct status st = {0};
    struct err e = {0};
    int code = 0;

    if (c->conf->socket) {
        if (status_of_daemon(c->conf->socket, c->req.json, &code, &e) == 0)
            return code;
        note = xasprintf("daemon: not running (%s)", e.text);
        st.note = note;
    }
    code = open_engine(c, &g);
    if (code)
        return code;
    list = poller_ask(g->conf, g->objects, &st.n);
    st.backends = list;
    code = print_status(c->req.json, &st) || st.note; /* a daemon that should run and does not is a risk */
    free(list);
    engine_put(g);
    return code;
}

static int run_test(struct cli *c)
{
    size_t n = 0, bad = 0, up[2] = {0, 0};
    struct poller_backend *list;
    struct engine *g = NULL;
    int code = open_engine(c, &g);

    if (code)
        return code;
    list = poller_ask(g->conf, g->objects, &n);
    for (size_t i = 0; i < n; i++) {
        char name[400];

        up[list[i].meta] += list[i].up;
        if (list[i].up)
            continue;
        bad++;
        backend_addr_name(list[i].addr, name, sizeof name);
        fprintf(stderr, "Error: %s backend %s: %s\n", list[i].meta ? "metadata" : "data", name, list[i].error);
        log_error("test: %s backend %s: %s", list[i].meta ? "metadata" : "data", name, list[i].error);
    }
    if (c->ready_only)
        code = up[0] < g->conf->minimal_shards || up[1] < ZSTOR_META_DATA;
    else
        code = bad > 0;
    free(list);
    engine_put(g);
    return code;
}

static int run_monitor(struct cli *c)
{
    struct monitor_conf mc = {.config_path = c->config, .drain_ms = c->drain_ms};
    struct zstor_conf *conf = c->conf;
    struct err e = {0};

    c->conf = NULL;
    return monitor_run(conf, &mc, &e) < 0 ? fail(&e) : 0;
}

/* --- options ------------------------------------------------------------------------------------- */

enum { OPT_LOG_FILE = 256, OPT_JSON, OPT_ALL, OPT_READY, OPT_DRAIN };

static int absolute(const char *path, char **out)
{
    CLEANUP(base_free) char *cwd = NULL;

    free(*out);
    *out = NULL;
    if (!*path)
        return usage_error("an empty path is not allowed");
    if (*path == '/') {
        *out = xstrdup(path);
        return 0;
    }
    cwd = getcwd(NULL, 0);
    if (!cwd)
        return usage_error("the working directory is gone, give absolute paths");
    *out = path_join(cwd, path);
    return 0;
}

static int seconds(const char *text, uint64_t max, uint64_t *out)
{
    return parse_u64(text, 0, max, out) < 0 ? usage_error("a number of seconds is expected") : 0;
}

struct command {
    const char *name;
    const char *shorts; /* for getopt, "+:" in front */
    const struct option *longs;
    enum control_op op;
    bool file;          /* -f is required */
    int (*run)(struct cli *c); /* NULL: run_here or run_remote */
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
        return absolute(optarg, &r->output);
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
    case OPT_ALL:
        r->all = true;
        return 0;
    case OPT_READY:
        c->ready_only = true;
        return 0;
    case OPT_DRAIN: {
        uint64_t s = 0;
        int code = seconds(optarg, 86400, &s);

        c->drain_ms = s * 1000;
        return code;
    }
    default:
        return usage_error("unknown option");
    }
}

#define LONG(name, arg, short) {name, arg, NULL, short}
#define END                    {NULL, 0, NULL, 0}

static const struct option store_longs[] = {
    LONG("file", required_argument, 'f'),   LONG("key-path", required_argument, 'k'), LONG("error-on-failure", no_argument, 'e'),
    LONG("save-failure", no_argument, 's'), LONG("delete", no_argument, 'd'),         LONG("notblocking", no_argument, 'n'),
    LONG("help", no_argument, 'h'),         END};
static const struct option retrieve_longs[] = {LONG("file", required_argument, 'f'), LONG("output", required_argument, 'o'),
                                               LONG("help", no_argument, 'h'), END};
static const struct option check_longs[] = {LONG("file", required_argument, 'f'), LONG("help", no_argument, 'h'), END};
static const struct option rebuild_longs[] = {LONG("file", required_argument, 'f'), LONG("key", required_argument, 'k'),
                                              LONG("all", no_argument, OPT_ALL), LONG("help", no_argument, 'h'), END};
static const struct option wait_longs[] = {LONG("timeout", required_argument, 't'), LONG("help", no_argument, 'h'), END};
static const struct option status_longs[] = {LONG("json", no_argument, OPT_JSON), LONG("help", no_argument, 'h'), END};
static const struct option test_longs[] = {LONG("ready", no_argument, OPT_READY), LONG("help", no_argument, 'h'), END};
static const struct option monitor_longs[] = {LONG("drain", required_argument, OPT_DRAIN), LONG("help", no_argument, 'h'), END};
static const struct option plain_longs[] = {LONG("help", no_argument, 'h'), END};

static const struct command commands[] = {
    {"store", "+:f:k:esdnh", store_longs, CONTROL_STORE, true, NULL},
    {"retrieve", "+:f:o:h", retrieve_longs, CONTROL_RETRIEVE, true, NULL},
    {"check", "+:f:h", check_longs, CONTROL_CHECK, true, NULL},
    {"rebuild", "+:f:k:h", rebuild_longs, CONTROL_REBUILD, false, NULL},
    {"wait", "+:t:h", wait_longs, CONTROL_WAIT, false, NULL},
    {"queue", "+:h", plain_longs, CONTROL_QUEUE, false, NULL},
    {"status", "+:h", status_longs, CONTROL_STATUS, false, run_status},
    {"test", "+:h", test_longs, CONTROL_PING, false, run_test},
    {"monitor", "+:h", monitor_longs, CONTROL_PING, false, run_monitor},
};

/* getopt's complaint about the option it has just seen. */
static int bad_option(int o, char **argv)
{
    CLEANUP(base_free) char *text = NULL;
    const char *seen = argv[optind - 1];

    text = xasprintf(o == ':' ? "option %s needs a value" : "unknown option %s", seen);
    return usage_error(text);
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
    if (optind < argc) {
        CLEANUP(base_free) char *text = xasprintf("%s: unexpected argument %s", cmd->name, argv[optind]);

        *code = usage_error(text);
        return 1;
    }
    if (cmd->file && !c->req.file) {
        CLEANUP(base_free) char *text = xasprintf("%s: needs --file PATH", cmd->name);

        *code = usage_error(text);
        return 1;
    }
    if (cmd->op == CONTROL_REBUILD) {
        unsigned given = (c->req.file != NULL) + (c->req.key != NULL) + c->req.all;

        if (given != 1) {
            *code = fail_text(given ? "Only one of `file` or `key` argument must be set"
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
        return fail(&e);
    warn_on_stderr(e.text);
    return 0;
}

static int run_command(struct cli *c, const struct command *cmd)
{
    bool daemon = cmd->run == run_monitor;
    struct err e = {0};
    int code = open_log(c, daemon);

    if (code)
        return code;
    if (options_load(&c->conf, c->config, daemon || cmd->run == run_test ? warn_on_stderr : warn_in_log, &e) < 0)
        return fail(&e);
    if (cmd->run)
        return cmd->run(c);
    if (!c->conf->socket)
        return run_here(c);
    return cmd->op == CONTROL_WAIT ? run_wait(c) : run_remote(c);
}

static int parse_globals(struct cli *c, int argc, char **argv, int *code)
{
    static const struct option longs[] = {LONG("config", required_argument, 'c'), LONG("debug", no_argument, 'd'),
                                          LONG("log_file", required_argument, OPT_LOG_FILE),
                                          LONG("help", no_argument, 'h'), LONG("version", no_argument, 'V'), END};
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
            puts("zstor " CLI_VERSION);
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
    struct cli c = {.config = OPTIONS_DEFAULT_FILE, .log_file = "zstor.log", .drain_ms = MONITOR_DRAIN_MS};
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
        puts("zstor " CLI_VERSION);
        return 0;
    }
    for (size_t i = 0; i < ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) != 0)
            continue;
        if (!parse_command(&c, &commands[i], argc - optind, argv + optind, &code))
            code = run_command(&c, &commands[i]);
        zstor_conf_free(c.conf);
        control_proto_fini(&c.req);
        return fflush(stdout) == 0 ? code : 1;
    }
    CLEANUP(base_free) char *text = xasprintf("unknown command %s", name);

    return usage_error(text);
}
