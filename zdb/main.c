/* main - zdb: wiring, start-up order and shutdown (spec zdb-protocol 1 and 9). */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/version.h"
#include "zdb/tools/check.h"
#include "zdb/tools/compact.h"
#include "zdb/crash.h"
#include "zdb/tools/ctl.h"
#include "zdb/tools/dump.h"
#include "zdb/tools/dump_file.h"
#include "zdb/server/events.h"
#include "zdb/server/hooks.h"
#include "zdb/store.h"
#include "zdb/options.h"
#include "zdb/share.h"
#include "zdb/server/request.h"
#include "zdb/server/listener.h"
#include "zdb/version.h"

#define RESERVE_STEP (4 * MIB) /* disk reserved ahead of a growing data file */
#define HOOK_SLOW    10        /* --hook-timeout times that: hooks that may copy much */

struct app {
    struct options o;
    struct loop *loop;
    struct hooks *hooks;
    struct events *events;
    struct store *store;
    struct zdb db;
    struct server *server;
    struct share share;
    int signo; /* 0: go on */
};

static void end(struct app *a, int signo)
{
    if (a->signo)
        return; /* it is under way */
    a->signo = signo;
    loop_stop(a->loop);
    if (a->hooks)
        hooks_interrupt(a->hooks); /* of the start */
}

static void on_term(void *arg)
{
    end(arg, SIGTERM);
}

static void on_int(void *arg)
{
    end(arg, SIGINT);
}

static void on_hup(void *arg)
{
    (void)arg;
    log_reopen();
}

static int init_log(const struct options *o, struct err *e)
{
    struct log_conf c = {.level = o->verbose ? LOG_LVL_DEBUG : LOG_LVL_INFO, .path = o->logfile};
    return log_open(&c, e);
}

static int init_loop(struct app *a, struct err *e)
{
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of the file size is the error of a write, not the end */
    int r = loop_new(&a->loop, e);
    if (r < 0)
        return r;
    if (loop_on_signal(a->loop, SIGTERM, on_term, a) < 0 ||
        loop_on_signal(a->loop, SIGINT, on_int, a) < 0 ||
        loop_on_signal(a->loop, SIGHUP, on_hup, NULL) < 0)
        return err_set(e, EINVAL, "signal handlers cannot be set");
    return 0;
}

/* What may be open, by kind, so that no kind takes another's: segment files, connections, hooks.
 * The rest is for files that are opened for a moment, and what the process has anyhow. */
static void share_descriptors(struct app *a)
{
    struct rlimit lim;
    uint64_t asked = a->o.max_clients;

    daemon_raise_nofile();
    uint64_t all = getrlimit(RLIMIT_NOFILE, &lim) < 0 || lim.rlim_cur == RLIM_INFINITY
                       ? UINT64_MAX
                       : (uint64_t)lim.rlim_cur;
    a->share = share_of(all, asked);
    if (a->share.clients < asked)
        log_info("clients: %zu are possible with %llu descriptors (ulimit -n)", a->share.clients,
                 (unsigned long long)all);
}

static int init_server(struct app *a, struct err *e)
{
    const struct options *o = &a->o;
    bool tcp = !o->socket || o->dualnet;
    struct zdb_conf dc = {.admin = o->admin,
                          .single_mode = o->mode != NULL,
                          .protect = o->protect,
                          .max_output = o->max_output};
    struct server_conf sc = {.listen = tcp ? o->listen : NULL,
                             .port = o->port,
                             .socket = o->socket,
                             .max_clients = a->share.clients,
                             .max_output = o->max_output,
                             .max_buffers = o->max_buffers,
                             .idle_ms = o->idle_timeout_s * 1000};

    int r = request_db_init(&a->db, &dc, a->loop, e);
    if (r < 0)
        return r;
    if (o->action != OPTIONS_SERVE)
        return 0;
    return server_new(&a->server, &a->db, a->loop, &sc, e);
}

static int init_hooks(struct app *a, struct err *e)
{
    const struct options *o = &a->o;
    struct hook_conf c = {.path = o->hook,
                          .instance = o->instance,
                          .fast_timeout_ms = o->hook_timeout_s * 1000,
                          .slow_timeout_ms = HOOK_SLOW * o->hook_timeout_s * 1000,
                          .max_queued = a->share.hooks,
                          .max_urgent = a->share.hooks};

    int r = hooks_new(&a->hooks, a->loop, &c, e);
    if (r < 0)
        return r;
    a->events = events_new(a->hooks);
    crash_init(o->hook, o->instance);
    return 0;
}

static void override_default(struct app *a)
{
    struct ns *ns = store_default(a->store);

    if (a->o.protect)
        ns_override_password(ns, slice_str(a->o.admin));
    if (a->o.maxsize)
        ns_override_maxsize(ns, a->o.maxsize);
}

static int init_store(struct app *a, struct err *e)
{
    const struct options *o = &a->o;
    struct store_conf c = {.data_dir = o->data,
                           .index_dir = o->index,
                           .mode = !o->mode                      ? NS_MIXED
                                   : strcmp(o->mode, "seq") == 0 ? NS_SEQ
                                                                 : NS_USER,
                           .datasize = o->datasize,
                           .reserve = RESERVE_STEP,
                           .sync = o->sync,
                           .synctime_s = (unsigned)o->synctime_s,
                           .secure = o->secure,
                           .rotate_s = (unsigned)o->rotate_s,
                           .max_files = a->share.files};

    events_fill(a->events, &c.events);
    int r = store_new(&a->store, &c, a->loop, e);
    if (r < 0)
        return r;
    events_bind(a->events, a->store);
    hooks_wait(a->hooks, "namespaces-init", 2, (const char *const[]){o->index, o->data});
    r = store_load(a->store, e);
    if (r < 0)
        return r;
    override_default(a);
    a->db.store = a->store;
    a->db.hooks = a->hooks;
    return 0;
}

static bool is_loopback(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *ai;
    bool yes = false;

    if (getaddrinfo(host, port, &hints, &ai) != 0)
        return false;
    if (ai->ai_family == AF_INET)
        yes =
            *(const uint8_t *)&((const struct sockaddr_in *)(const void *)ai->ai_addr)->sin_addr ==
            127;
    else if (ai->ai_family == AF_INET6)
        yes = IN6_IS_ADDR_LOOPBACK(
            &((const struct sockaddr_in6 *)(const void *)ai->ai_addr)->sin6_addr);
    freeaddrinfo(ai);
    return yes;
}

static void say_ready(const struct app *a)
{
    const struct options *o = &a->o;
    bool tcp = !o->socket || o->dualnet;

    log_info("zdb " QSFS_VERSION " (" ZDB_REVISION "): data %s, index %s, listening on %s%s%s",
             o->data, o->index, o->socket ? o->socket : o->listen, o->socket ? "" : " port ",
             o->socket ? "" : o->port);
    if (tcp && !o->admin && !is_loopback(o->listen, o->port))
        log_warn("listening on %s port %s WITHOUT AN ADMIN PASSWORD: whoever can reach it may "
                 "read, change and delete "
                 "everything; use --admin-file FILE --protect, or --listen ::1",
                 o->listen, o->port);
}

/* Hooks that wait or run get so long at an end, all together. */
static void drain_hooks(struct app *a, uint64_t *left_ms)
{
    uint64_t begin = base_now_ms();

    hooks_drain(a->hooks, *left_ms);
    *left_ms -= MIN(*left_ms, base_now_ms() - begin);
}

/* Files and hooks of an orderly end; 0 or -errno.  The hook close copies files away: everything is
 * in them before it runs, and the hooks of jumps are through. */
static int close_store(struct app *a, bool tell_close)
{
    uint64_t left_ms = a->o.hook_timeout_s * 1000;
    int settled = store_settle(a->store);

    if (tell_close) {
        drain_hooks(a, &left_ms);
        hooks_wait(a->hooks, "close", 0, NULL);
    }
    int r = store_close(a->store);
    if (r == 0)
        r = settled;
    if (r < 0)
        log_error("shutdown: not everything is on stable storage: %s", strerror(-r));
    drain_hooks(a, &left_ms);
    if (hooks_pending(a->hooks) > 0)
        log_warn("shutdown: %zu hooks have not ended", hooks_pending(a->hooks));
    return r;
}

static int start_serving(struct app *a, struct err *e)
{
    int r = hooks_wait(a->hooks, "ready", 0, NULL);

    if (a->signo)
        return 0;
    if (r != 0 && hooks_enabled(a->hooks))
        return err_set(e, ECANCELED, "hook ready of %s failed (%d); see the log", a->o.hook, r);
    server_start(a->server);
    say_ready(a);
    if (a->o.background) {
        printf("forking to background (pid: %d)\n", (int)getpid());
        fflush(stdout);
    }
    daemon_ready();
    return 0;
}

static int serve(struct app *a, struct err *e)
{
    int r = a->signo ? 0 : start_serving(a, e);

    if (r < 0) {
        close_store(a, false);
        return r;
    }
    r = a->signo ? 0 : loop_run(a->loop);
    log_info("zdb ends (signal %d)", a->signo);
    server_stop(a->server);
    hooks_cancel_urgent(a->hooks); /* nobody waits for their files any more */
    int closed = close_store(a, true);
    if (r < 0 || closed < 0)
        return err_set(e, EIO, "shutdown was not clean; see the log");
    return 0;
}

static int dump(struct app *a, struct err *e)
{
    int r = dump_run(a->store, a->loop, stdout, a->o.json, e);
    int closed = close_store(a, false);
    return r < 0 ? r : closed < 0 ? err_sys(e, -closed, "shutdown") : 0;
}

static int run_action(struct app *a, struct err *e)
{
    switch (a->o.action) {
    case OPTIONS_DUMP:
        return dump(a, e);
    case OPTIONS_REPAIR: { /* the load did it */
        int r = close_store(a, false);
        return r < 0 ? err_sys(e, -r, "repair") : 0;
    }
    default:
        return serve(a, e);
    }
}

static void fini(struct app *a)
{
    server_free(a->server);
    store_free(a->store);
    events_free(a->events);
    if (a->hooks)
        hooks_free(a->hooks);
    request_db_fini(&a->db);
    loop_free(a->loop);
}

/* Exit code of a server run */
static int run_server(struct app *a)
{
    struct err e = {0};
    int r = 0;

    if (a->o.background && a->o.action == OPTIONS_SERVE)
        r = daemon_background(false, &e);
    if (r == 0)
        r = init_log(&a->o, &e);
    if (r == 0 && a->o.old_mode)
        log_warn("--mode direct: the old name of seq");
    if (r == 0)
        r = init_loop(a, &e);
    if (r == 0)
        share_descriptors(a);
    if (r == 0)
        r = init_server(a, &e);
    if (r == 0)
        r = init_hooks(a, &e);
    if (r == 0)
        r = init_store(a, &e);
    if (r == 0)
        r = run_action(a, &e);
    if (r < 0)
        fprintf(stderr, "zdb: %s\n", e.text);
    fini(a);
    return r < 0 ? 1 : a->signo ? 128 + a->signo : 0;
}

static int run_ctl(const struct options *o)
{
    struct ctl_conf c = {.host = strcmp(o->listen, "::") == 0 ? "localhost" : o->listen,
                         .port = o->port,
                         .unix_path = o->socket,
                         .admin = o->admin,
                         .ns = o->ns,
                         .ns_password = o->ns_password,
                         .words = o->words,
                         .nwords = o->nwords};
    struct err e = {0};

    signal(SIGPIPE, SIG_IGN);
    int r = ctl_run(&c, &e);
    if (r < 0)
        fprintf(stderr, "zdb: %s\n", e.text);
    return r != 0;
}

/* 0 in order, 1 faults, 2 could not be checked */
static int run_check(const struct options *o)
{
    struct err e = {0};
    int r = check_run(o->index, o->data, o->json, stdout, &e);

    if (r < 0)
        fprintf(stderr, "zdb: %s\n", e.text);
    return r < 0 ? 2 : r;
}

static int run_compact(const struct options *o)
{
    struct err e = {0};
    int r = compact_run(o->index, o->data, o->namespace, stdout, stderr, &e);

    if (r < 0)
        fprintf(stderr, "zdb: %s\n", e.text);
    return r != 0;
}

static int run_dump_files(const struct options *o)
{
    int code = 0;

    for (size_t i = 0; i < o->nfiles; i++) {
        struct err e = {0};
        if (dump_file(o->files[i], o->json, stdout, &e) == 0)
            continue;
        fprintf(stderr, "zdb: %s\n", e.text);
        code = 1;
    }
    return code;
}

int main(int argc, char **argv)
{
    struct app a = {0};
    struct err e = {0};
    int code;

    if (options_parse(&a.o, argc, argv, &e) < 0) {
        fprintf(stderr, "zdb: %s\n", e.text);
        return a.o.action == OPTIONS_CHECK ? 2 : 1;
    }
    switch (a.o.action) {
    case OPTIONS_HELP:
        options_help();
        code = 1;
        break;
    case OPTIONS_VERSION:
        puts("0-db engine, " ZDB_REVISION "\n0-db server, " ZDB_REVISION "\nzdb " QSFS_VERSION);
        code = 0;
        break;
    case OPTIONS_CTL:
        code = run_ctl(&a.o);
        break;
    case OPTIONS_CHECK:
        code = run_check(&a.o);
        break;
    case OPTIONS_COMPACT:
        code = run_compact(&a.o);
        break;
    case OPTIONS_DUMP:
        code = a.o.nfiles ? run_dump_files(&a.o) : run_server(&a);
        break;
    default:
        code = run_server(&a);
        break;
    }
    options_fini(&a.o);
    return code;
}
