/* monitor - wiring of the daemon. */
#include "zstor/daemon/monitor.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/daemon.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/metrics.h"
#include "zstor/daemon/care_commands.h"
#include "zstor/daemon/commands.h"
#include "zstor/cache/evict.h"
#include "zstor/daemon/metrics.h"
#include "zstor/daemon/page.h"
#include "zstor/options.h"
#include "zstor/queue/followup.h"
#include "zstor/state_dir.h"
#include "zstor/daemon/poller.h"
#include "zstor/cache/handover.h"
#include "zstor/object/changes.h"
#include "zstor/object/metalog.h"
#include "zstor/object/volume.h"
#include "zstor/queue/logkeeper.h"

#define POLL_MS         3000
#define STATUS_MS       4000 /* a backend that hangs holds STATUS up so long */
#define EVICT_MS        10000
#define EVICT_SOON_MS   200
#define HANDOVER_MS     (600 * 1000)
#define HANDOVER_TRY_MS (30 * 1000)
#define RETRY_MIN_MS    1000
#define RETRY_MAX_MS    (300 * 1000)
#define REBUILD_MIN_MS  (10 * 1000)
#define REBUILD_MAX_MS  (3600 * 1000)
#define SAY_MS          60000 /* of silence before it is said again */
#define MAX_COMMANDS    1024
#define MAX_HASHES      200000
#define FLUSH_MS        2000 /* for the last answers to reach their clients */
#define ABORT_S         10   /* for running jobs to notice that they are ended; and */
#define CLEAN_UP_S \
    5 /* after the last answer: then threads that hang in the network are left behind */

struct monitor {
    const struct monitor_conf *mc;
    struct loop *loop;
    int pid_fd;
    char *pid_file;
    struct engine *engine;
    struct object_stats objects;
    struct volume *volume;
    struct journal *journal;
    struct hashes *hashes;
    struct sched *sched;
    struct intake *intake;
    struct commands *commands;
    struct control *control;
    struct poller *poller;
    struct marks *marks;
    struct followup *followup;
    struct changes *changes; /* NULL: no metadata log */
    struct logkeeper *logkeeper;
    struct care *care;
    struct care_commands *care_commands;
    struct evict *evict;
    struct handover *handover;
    struct fsstats *fs;
    struct metrics *metrics;
    struct metrics_http *http;
    struct exporter_counts counts;
    uint64_t era;          /* of the backends: see hashes_prove */
    uint64_t heal_said_ms; /* in an outage every store needs one; said once */
    struct loop_timer *stop_timer;
    enum { RUNNING, DRAINING, ABORTING, FLUSHING } state;
};

/* --- what the modules ask -------------------------------------------------------------------- */

static char *lock_of(void *arg, const char *object_path)
{
    struct monitor *m = arg;
    struct err why = {0};
    char *key = NULL;

    return object_key(m->engine->conf, object_path, &key, &why) == 0 ? key : NULL;
}

struct with { /* what a task works with */
    struct engine *engine;
    struct followup *followup;
    uint64_t era;
};

static void *acquire(void *arg)
{
    struct monitor *m = arg;
    struct with *w = xcalloc(1, sizeof *w);

    *w = (struct with){.engine = engine_get(m->engine), .followup = m->followup, .era = m->era};
    return w;
}

static void release(void *arg, void *with)
{
    struct with *w = with;

    (void)arg;
    engine_put(w->engine);
    free(w);
}

/* What a store or a retrieve found not to be whole, by a path that a job can have. */
static bool wants_completion(const struct task *t)
{
    return t->rc >= 0 && (t->op == TASK_STORE || t->op == TASK_RETRIEVE) && t->path &&
           t->res.shards_lost + t->res.meta_lost > 0;
}

/* A store is not done before the job that completes it is on stable storage. */
static void run_task(struct task *t, void *with, const atomic_bool *stop) /* job thread */
{
    struct with *w = with;
    struct err why = {0};
    int r;

    t->era = w->era;
    task_run(t, w->engine->objects, stop);
    if (!wants_completion(t))
        return;
    r = followup_complete(w->followup, t->path, &why);
    if (r < 0 && t->op == TASK_STORE)
        t->rc = err_set(&t->err, -r, "stored, but what is missing cannot be queued: %s", why.text);
    else if (r < 0)
        log_warn("retrieve %s: what it lacks cannot be queued: %s", t->path, why.text);
}

static void on_finished(void *arg, const struct task *t)
{
    struct monitor *m = arg;
    uint64_t *counts[] = {m->counts.store, m->counts.retrieve, m->counts.check, m->counts.rebuild};

    if (t->op < ARRAY_LEN(counts))
        counts[t->op][t->rc >= 0]++;
    if (t->rc < 0 || (t->op != TASK_STORE && t->op != TASK_RETRIEVE))
        return;
    if (t->id_known && local_is_data(t->local)) {
        hashes_put(m->hashes, t->local, &t->id, t->res.checksum);
        if (t->op == TASK_RETRIEVE) {
            hashes_mark(m->hashes, t->local, &t->id, HASHES_RESTORED);
            hashes_prove(m->hashes, t->local, &t->id, t->res.shards_needed, t->era);
        }
    }
    if (wants_completion(t)) {
        m->counts.heals++;
        log_write(base_now_ms() < m->heal_said_ms + SAY_MS && m->heal_said_ms ? LOG_LVL_DEBUG
                                                                              : LOG_LVL_INFO,
                  "%s %s: %u shards and %u metadata values are not in order, a rebuild is queued",
                  task_name(t->op), t->path, t->res.shards_lost, t->res.meta_lost);
        m->heal_said_ms = base_now_ms();
    }
    if (m->evict)
        evict_kick(m->evict);
}

static void on_added(void *arg, struct journal_rec *rec)
{
    struct monitor *m = arg;
    CLEANUP(base_free)
    char *lock = rec->op == JOURNAL_RECLAIM ? xstrdup(rec->name) : lock_of(m, rec->name);

    sched_add(m->sched, rec, lock);
}

static bool is_busy(void *arg, const char *object_path, bool with_rebuild)
{
    struct monitor *m = arg;
    CLEANUP(base_free) char *lock = lock_of(m, object_path);

    return !lock || sched_busy(m->sched, lock, with_rebuild);
}

static bool is_unlogged(void *arg, const char *object_path)
{
    struct monitor *m = arg;
    CLEANUP(base_free) char *lock = m->changes ? lock_of(m, object_path) : NULL;

    return lock && changes_pending(m->changes, lock);
}

static bool is_needed(void *arg, const char *object_path, const char *file, bool with_rebuild)
{
    struct monitor *m = arg;

    return is_busy(m, object_path, with_rebuild) || sched_reads(m->sched, file) ||
           is_unlogged(m, object_path);
}

static uint64_t era_of(void *arg)
{
    const struct monitor *m = arg;

    return m->era;
}

static void handover_now(void *arg, const struct handover_ask *ask, handover_fn *fn, void *fn_arg)
{
    struct monitor *m = arg;

    handover_ask(m->handover, ask, fn, fn_arg);
}

static void on_unknown_segment(void *arg, const char *file, const char *object_path)
{
    struct monitor *m = arg;

    log_info("store %s: is not stored as it is, queued", file);
    intake_store_as(m->intake, file, object_path, false, NULL, NULL);
}

static void on_degraded_object(void *arg, const char *object_path)
{
    struct monitor *m = arg;

    if (is_busy(m, object_path, true))
        return;
    m->counts.heals++;
    intake_rebuild(m->intake, object_path);
}

static bool status_of(void *arg, struct status *out)
{
    struct monitor *m = arg;

    out->backends = poller_view(m->poller, &out->n);
    out->daemon = true;
    sched_stats(m->sched, &out->queue);
    evict_stats(m->evict, &out->cache);
    care_stats(m->care, &out->care);
    return out->backends != NULL;
}

static void on_care_command(void *arg, struct control_call *call, const struct control_req *req)
{
    struct monitor *m = arg;

    care_commands_handle(m->care_commands, call, req);
}

static void poll_now(void *arg)
{
    struct monitor *m = arg;

    poller_now(m->poller);
}

static void on_polled(void *arg, bool recovered, bool changed)
{
    struct monitor *m = arg;

    size_t n;
    const struct poller_backend *list = poller_view(m->poller, &n);

    m->era += changed;
    if (changed)
        evict_kick(m->evict);
    if (recovered)
        sched_kick(m->sched);
    if (list && m->state == RUNNING)
        care_polled(m->care, list, n, recovered);
    commands_polled(m->commands);
}

/* --- http ------------------------------------------------------------------------------------ */

static void on_scrape(struct buf *out, void *arg)
{
    struct monitor *m = arg;
    uint64_t fs[FSSTATS_FIELDS] = {0};
    struct status st = {0};
    struct exporter_view v = {
        .status = &st, .counts = &m->counts, .objects = &m->objects, .fs = fs};

    status_of(m, &st);
    handover_stats(m->handover, &v.handover);
    if (m->fs)
        fsstats_get(m->fs, fs);
    exporter_render(out, &v);
}

/* Can everything that is stored be read? */
static int on_health(struct buf *out, const char **type, void *arg)
{
    struct monitor *m = arg;
    size_t n, data = 0, meta = 0;
    const struct poller_backend *b = poller_view(m->poller, &n);
    bool good;

    for (size_t i = 0; i < n; i++)
        *(b[i].meta ? &meta : &data) += b[i].up;
    good = b && data >= m->engine->conf->minimal_shards && meta >= ZSTOR_META_DATA;
    *type = "text/plain; charset=utf-8";
    buf_printf(out, "%s: %zu data and %zu metadata backends are up\n", good ? "ok" : "not ok", data,
               meta);
    return good ? 200 : 503;
}

static int on_page(struct buf *out, const char **type, void *arg)
{
    (void)arg;
    *type = "text/html; charset=utf-8";
    buf_put_str(out, page_html);
    return 200;
}

/* What the page shows. */
static int on_status(struct buf *out, const char **type, void *arg)
{
    struct monitor *m = arg;
    struct handover_stats h;
    struct status st = {0};

    *type = "application/json";
    if (!status_of(m, &st)) {
        buf_put_str(out, "{}\n");
        return 503;
    }
    handover_stats(m->handover, &h);
    status_json(out, &st);
    buf_truncate(out, out->len - strlen("}\n"));
    buf_printf(out,
               ", \"local_only\": {\"files\": %" PRIu64 ", \"bytes\": %" PRIu64
               ", \"oldest_seconds\": %" PRIu64 "}}\n",
               h.files, h.bytes, h.oldest_s);
    return 200;
}

static int start_http(struct monitor *m, struct err *e)
{
    const struct zstor_conf *c = m->engine->conf;
    int r;

    if (!c->prometheus_port)
        return 0;
    r = metrics_new(&m->metrics);
    if (r < 0)
        return err_sys(e, -r, "metrics");
    metrics_collector(m->metrics, on_scrape, m);
    r = metrics_serve(&m->http, m->loop, m->metrics, c->metrics_address, c->prometheus_port, e);
    if (r < 0)
        return err_prefix(e, "prometheus_port");
    metrics_page(m->http, "/healthz", on_health, m);
    metrics_page(m->http, "/", on_page, m);
    metrics_page(m->http, "/status.json", on_status, m);
    return 0;
}

/* --- reload ---------------------------------------------------------------------------------- */

static bool differ(const char *a, const char *b)
{
    return !a != !b || (a && strcmp(a, b) != 0);
}

static void warn_fixed(const struct zstor_conf *old, const struct zstor_conf *now)
{
    if (differ(old->socket, now->socket) || differ(old->pid_file, now->pid_file) ||
        differ(old->state_dir, now->state_dir) ||
        differ(old->metrics_address, now->metrics_address) ||
        old->prometheus_port != now->prometheus_port ||
        old->reclaim_grace_s != now->reclaim_grace_s || old->metadata_log != now->metadata_log)
        log_warn("reload: socket, pid_file, state_dir, metrics_address, prometheus_port, "
                 "reclaim_grace and metadata_log change at the next start only");
}

static bool another_volume(const struct zstor_conf *old, const struct zstor_conf *now)
{
    return sodium_memcmp(old->key, now->key, sizeof old->key) != 0 ||
           strcmp(old->prefix, now->prefix) != 0;
}

static void warn_line(const char *line)
{
    log_warn("%s", line);
}

static void restart_fsstats(struct monitor *m, const char *mountpoint)
{
    struct err why = {0};

    fsstats_free(m->fs);
    m->fs = NULL;
    if (mountpoint && fsstats_new(&m->fs, mountpoint, &why) < 0)
        log_error("%s", why.text);
}

static void on_reload(void *arg)
{
    struct monitor *m = arg;
    struct engine *old = m->engine, *now = NULL;
    struct zstor_conf *conf = NULL;
    struct err why = {0};
    int r = options_load(&conf, m->mc->config_path, warn_line, &why);

    if (r == 0 && another_volume(old->conf, conf)) {
        zstor_conf_free(conf);
        r = err_set(&why, EINVAL,
                    "encryption.key and meta.config.prefix change at the next start only");
    }
    if (r == 0)
        r = engine_open(&now, conf, &m->objects, m->marks, m->volume, m->changes, &why);
    if (r < 0 || !now) {
        log_error("reload: the configuration stays as it was: %s", why.text);
        return;
    }
    object_reclaim_later(now->objects, followup_bury, m->followup);
    warn_fixed(old->conf, now->conf);
    if (differ(old->conf->zdbfs_mountpoint, now->conf->zdbfs_mountpoint))
        restart_fsstats(m, now->conf->zdbfs_mountpoint);
    m->engine = now;
    intake_swap(m->intake, now);
    poller_swap(m->poller, now);
    evict_swap(m->evict, now);
    handover_swap(m->handover, now);
    care_swap(m->care, now);
    volume_forget(m->volume); /* other metadata backends may know of another owner */
    engine_put(old);
    sched_kick(m->sched);
    log_info("reload: %s is in force", m->mc->config_path);
}

/* --- stop ------------------------------------------------------------------------------------ */

static void on_stop_timer(void *arg);

static void on_idle(void *arg) /* of the scheduler: nothing runs any more */
{
    struct monitor *m = arg;

    m->state = FLUSHING;
    loop_timer_start(m->stop_timer, control_quiet(m->control) ? 0 : FLUSH_MS, false);
}

static void on_taken_in(void *arg)
{
    struct monitor *m = arg;

    sched_drain(m->sched, on_idle, m);
}

static void abort_jobs(struct monitor *m)
{
    if (m->state != DRAINING)
        return;
    m->state = ABORTING;
    log_info("stop: what still runs is ended, it stays in the queue");
    alarm(ABORT_S);
    sched_abort(m->sched);
}

static void on_stop_timer(void *arg)
{
    struct monitor *m = arg;

    if (m->state == DRAINING) {
        abort_jobs(m);
    } else if (m->state == FLUSHING) {
        alarm(CLEAN_UP_S);
        loop_stop(m->loop);
    }
}

static const char *pid_file_to_remove; /* for the signal handler only */

static void on_hard_stop(int signo)
{
    (void)signo;
    unlink(pid_file_to_remove);
    _exit(0); /* the queue is on disk, locks go with the process */
}

static void on_stop_signal(void *arg)
{
    struct monitor *m = arg;
    struct sched_stats st;

    if (m->state != RUNNING) {
        abort_jobs(m);
        return;
    }
    m->state = DRAINING;
    sched_stats(m->sched, &st);
    log_info("stop: %" PRIu64 " jobs queued, %" PRIu64 " commands, at most %" PRIu64 " s for them",
             st.jobs, st.commands, m->mc->drain_ms / 1000);
    pid_file_to_remove = m->pid_file;
    signal(SIGALRM, on_hard_stop);
    alarm((unsigned)(m->mc->drain_ms / 1000) + 2 * ABORT_S); /* should the loop itself hang */
    control_stop(m->control);
    loop_timer_start(m->stop_timer, m->mc->drain_ms, false);
    if (intake_after(m->intake, on_taken_in, m) < 0)
        on_taken_in(m);
}

static void on_hangup(void *arg)
{
    (void)arg;
    log_reopen();
}

/* --- start ----------------------------------------------------------------------------------- */

static int start_queue(struct monitor *m, struct err *e)
{
    struct sched_conf sc = {
        .loop = m->loop,
        .journal = m->journal,
        .threads = {[SCHED_STORE] = 2, [SCHED_QUICK] = 4, [SCHED_REPAIR] = 2},
        .max_commands = MAX_COMMANDS,
        .retry_min_ms = RETRY_MIN_MS,
        .retry_max_ms = RETRY_MAX_MS,
        .rebuild_min_ms = REBUILD_MIN_MS,
        .rebuild_max_ms = REBUILD_MAX_MS,
        .grace_s = m->engine->conf->reclaim_grace_s,
        .arg = m,
        .acquire = acquire,
        .release = release,
        .run = run_task,
        .finished = on_finished,
    };
    struct intake_conf ic = {
        .loop = m->loop, .journal = m->journal, .engine = m->engine, .added = on_added, .arg = m};
    struct commands_conf cc = {
        .loop = m->loop,
        .arg = m,
        .lock = lock_of,
        .status = status_of,
        .poll = poll_now,
        .status_wait_ms = STATUS_MS,
        .handover = handover_now,
        .care = on_care_command,
    };
    int r = sched_new(&m->sched, &sc, e);

    if (r >= 0)
        r = intake_new(&m->intake, &ic, e);
    if (r < 0)
        return r;
    m->care = care_new(&(struct care_conf){
        .loop = m->loop, .sched = m->sched, .engine = m->engine, .marks = m->marks});
    m->care_commands = care_commands_new(m->care);
    if (m->changes)
        m->logkeeper = logkeeper_new(m->loop, m->sched, m->changes);
    cc.sched = m->sched;
    cc.intake = m->intake;
    m->commands = commands_new(&cc);
    return journal_load(m->journal, on_added, m, e);
}

static int start_background(struct monitor *m, struct err *e)
{
    struct poller_conf pc = {
        .loop = m->loop, .engine = m->engine, .period_ms = POLL_MS, .polled = on_polled, .arg = m};
    struct evict_conf ec = {
        .loop = m->loop,
        .engine = m->engine,
        .hashes = m->hashes,
        .debounce_ms = EVICT_SOON_MS,
        .period_ms = EVICT_MS,
        .busy = is_needed,
        .era = era_of,
        .damaged = on_degraded_object,
        .arg = m,
    };
    struct handover_conf rc = {
        .loop = m->loop,
        .engine = m->engine,
        .hashes = m->hashes,
        .period_ms = HANDOVER_MS,
        .retry_ms = HANDOVER_TRY_MS,
        .sched = m->sched,
        .busy = is_busy,
        .unlogged = is_unlogged,
        .store = on_unknown_segment,
        .rebuild = on_degraded_object,
        .arg = m,
    };
    int r = poller_new(&m->poller, &pc, e);

    if (r >= 0)
        r = evict_new(&m->evict, &ec, e);
    if (r >= 0)
        r = handover_new(&m->handover, &rc, e);
    return r;
}

static int start_signals(struct monitor *m, struct err *e)
{
    int r = loop_on_signal(m->loop, SIGTERM, on_stop_signal, m);

    if (r >= 0)
        r = loop_on_signal(m->loop, SIGINT, on_stop_signal, m);
    if (r >= 0)
        r = loop_on_signal(m->loop, SIGUSR1, on_reload, m);
    if (r >= 0)
        r = loop_on_signal(m->loop, SIGHUP, on_hangup, m);
    return r < 0 ? err_sys(e, -r, "signals") : 0;
}

/* The volume has to be ours.  Too few backends to tell are no reason not to serve reads: the first
 * job that writes asks again. */
static int claim(struct monitor *m, struct err *e)
{
    struct err why = {0};
    int r = object_claim(m->engine->objects, m->mc->takeover, NULL, &why);

    if (r == -EHOSTUNREACH && !m->mc->takeover) {
        log_warn("%s: nothing is written until then", why.text);
        return 0;
    }
    return r < 0 ? err_set(e, -r, "%s", why.text) : 0;
}

/* What takes conf: engine_open, also when it fails. */
static int start(struct monitor *m, struct zstor_conf *conf, struct err *e)
{
    int r;

    m->pid_file = xstrdup(conf->pid_file);
    r = daemon_pidfile(m->pid_file, &m->pid_fd, e);
    if (r == -EEXIST)
        r = err_prefix(e, "another daemon instance is running"); /* upstream's words first: scripts
                                                                    look for them */
    if (r >= 0)
        r = loop_new(&m->loop, e);
    if (r >= 0)
        r = state_dir_own(conf->state_dir, conf, e);
    if (r >= 0)
        r = volume_open(&m->volume, conf->state_dir, conf->lease_ms, e);
    if (r >= 0)
        r = journal_open(&m->journal, conf->state_dir, e);
    if (r >= 0)
        r = volume_compact(m->volume, e);
    if (r < 0) {
        zstor_conf_free(conf);
        return r;
    }
    m->stop_timer = loop_timer_new(m->loop, on_stop_timer, m);
    m->hashes = hashes_new(MAX_HASHES);
    m->marks = marks_new();
    r = conf->metadata_log ? changes_open(&m->changes, conf->state_dir, true, e) : 0;
    if (r < 0) {
        zstor_conf_free(conf);
        return r;
    }
    r = engine_open(&m->engine, conf, &m->objects, m->marks, m->volume, m->changes, e);
    if (r >= 0 && m->changes)
        r = metalog_begin(m->engine->objects, e);
    if (r >= 0)
        r = claim(m, e);
    if (r < 0)
        return r;
    m->followup = followup_new(&(
        struct followup_conf){.loop = m->loop, .journal = m->journal, .added = on_added, .arg = m});
    object_reclaim_later(m->engine->objects, followup_bury, m->followup);
    r = start_signals(m, e);
    if (r >= 0)
        r = start_queue(m, e);
    if (r >= 0)
        r = control_open(&m->control, m->loop, m->engine->conf->socket, commands_handle,
                         m->commands, e);
    if (r >= 0)
        r = start_background(m, e);
    if (r >= 0)
        r = start_http(m, e);
    if (r >= 0 && m->engine->conf->zdbfs_mountpoint)
        r = fsstats_new(&m->fs, m->engine->conf->zdbfs_mountpoint, e);
    return r;
}

/* Clients first, then whoever works, then what they work with. */
static void stop(struct monitor *m)
{
    metrics_close(m->http);
    metrics_free(m->metrics);
    control_close(m->control);
    fsstats_free(m->fs);
    handover_free(m->handover);
    evict_free(m->evict);
    poller_free(m->poller);
    sched_free(m->sched);
    logkeeper_free(m->logkeeper);
    followup_free(m->followup);
    intake_free(m->intake);
    commands_free(m->commands);
    care_commands_free(m->care_commands);
    care_free(m->care);
    if (m->engine)
        object_give_back(m->engine->objects);
    engine_put(m->engine);
    changes_close(m->changes);
    volume_close(m->volume);
    marks_free(m->marks);
    hashes_free(m->hashes);
    journal_close(m->journal);
    if (m->loop) {
        loop_timer_free(m->stop_timer);
        loop_free(m->loop);
    }
    daemon_pidfile_remove(m->pid_file, m->pid_fd);
    alarm(0); /* all threads have ended */
    free(m->pid_file);
}

int monitor_run(struct zstor_conf *conf, const struct monitor_conf *mc, struct err *e)
{
    struct monitor *m = xcalloc(1, sizeof *m);
    struct sched_stats st;
    int r;

    m->mc = mc;
    m->pid_fd = -1;
    if (!conf->socket) {
        zstor_conf_free(conf);
        free(m);
        return err_set(e, EINVAL, "Missing \"socket\" argument in config");
    }
    daemon_raise_nofile();
    r = start(m, conf, e);
    if (r >= 0) {
        sched_stats(m->sched, &st);
        log_info("ready: socket %s, %" PRIu64 " jobs in the queue", m->engine->conf->socket,
                 st.jobs);
        daemon_ready();
        r = loop_run(m->loop);
        if (r < 0)
            err_sys(e, -r, "event loop");
        log_info("stopped");
    }
    stop(m);
    free(m);
    return r;
}
