/* evict - the local cache limit. */
#include "zstor/cache/evict.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "common/log.h"
#include "common/loop.h"
#include "common/workq.h"
#include "zstor/cache/replay.h"
#include "zstor/cache/scan.h"
#include "zstor/object/prove.h"

#define BATCH        8   /* files of one run: what was proved is let go soon */
#define FREE_DEFAULT GIB /* that is kept free on the disk, but of a small one no more than */
#define FREE_PART    10  /* this part */
#define GRACE_S      2   /* a segment that was used in the last moment may be waited for by zdb */
#define REST_MS                                                                                   \
    60000 /* after a run over the limit that could remove nothing, unless kicked or more has come \
           */

struct victim { /* checked by the thread, on its way to the loop */
    char *path, *object;
    struct local_id id;
    uint64_t disk_bytes;
    bool restored; /* not its first time */
    STAILQ_ENTRY(victim) link;
};

STAILQ_HEAD(victims, victim);

struct run { /* one pass: the thread's, then the loop's */
    struct engine *engine;
    struct victims victims, damaged; /* to go; to stay, and to be repaired */
    uint64_t era;
    uint64_t used, held, nvictims;
    uint64_t unplayed;   /* of the held: zdb has yet to read them, replay_needs */
    uint64_t rest_below; /* with no more than this nothing is tried: it was in vain a moment ago */
    bool over;           /* a limit was passed */
    bool going_on;       /* after a full batch: to below the limit, not just under it */
    bool more;           /* the batch was full before enough was found */
    bool young;          /* a segment was left alone because of GRACE_S */
    int rc;
    struct err err;
};

struct evict {
    struct evict_conf conf;
    struct workq *thread;
    struct loop_timer *soon, *regular;
    atomic_bool stop;
    struct run *run;                    /* NULL: none */
    bool going_on;                      /* the next one follows a full batch */
    bool again;                         /* asked for while one ran */
    uint64_t rest_until_ms, rest_bytes; /* for the regular runs: the last one found so much and
                                           could remove nothing */
    struct evict_stats st;
    bool unplayed_said;
    int last_rc; /* of the last run, to report a lasting error once */
};

static uint64_t limit_of(const struct engine *g)
{
    return g->conf->zdb_data_dir_path ? g->conf->max_zdb_data_dir_size * MIB : 0;
}

static bool enabled(const struct engine *g)
{
    const struct zstor_conf *c = g->conf;

    return c->zdb_data_dir_path &&
           (c->max_zdb_data_dir_size ||
            (c->min_free_disk_space && c->min_free_disk_space != ZSTOR_FREE_DISK_DEFAULT));
}

static void victims_free(struct victims *list)
{
    struct victim *v;

    while ((v = STAILQ_FIRST(list))) {
        STAILQ_REMOVE_HEAD(list, link);
        free(v->path);
        free(v->object);
        free(v);
    }
}

static void run_free(struct run *r)
{
    victims_free(&r->victims);
    victims_free(&r->damaged);
    engine_put(r->engine);
    free(r);
}

/* --- thread ---------------------------------------------------------------------------------- */

static int by_age(const void *a, const void *b)
{
    const struct datadir_file *x = a, *y = b;

    return x->atime_s < y->atime_s ? -1 : x->atime_s > y->atime_s;
}

/* Bytes that have to go: over the limit of the directory, or missing on the disk. */
static uint64_t excess(const struct engine *g, uint64_t used, bool going_on)
{
    uint64_t limit = limit_of(g), want = g->conf->min_free_disk_space, avail, out = 0;
    uint64_t low = limit - limit / 8;
    struct statvfs fs;

    if (limit && used > (going_on ? low : limit))
        out = used - low;
    if (want == 0 || statvfs(g->conf->zdb_data_dir_path, &fs) < 0)
        return out;
    avail = (uint64_t)fs.f_bavail * fs.f_frsize;
    want = want == ZSTOR_FREE_DISK_DEFAULT
               ? MIN(FREE_DEFAULT, (uint64_t)fs.f_blocks * fs.f_frsize / FREE_PART)
               : want * MIB;
    return avail < want + (going_on ? want / 8 : 0) ? MAX(out, want + want / 8 - avail) : out;
}

static void add(struct victims *list, const struct datadir_file *f, const char *object,
                bool restored)
{
    struct victim *v = xcalloc(1, sizeof *v);

    *v = (struct victim){.path = xstrdup(f->path),
                         .object = xstrdup(object),
                         .id = f->id,
                         .disk_bytes = f->disk_bytes,
                         .restored = restored};
    STAILQ_INSERT_TAIL(list, v, link);
}

/* How many shards are good now; what a look has found out is good for evict_proof_age. */
static int good_shards(struct evict *ev, struct run *r, const struct datadir_file *f,
                       const char *object, unsigned need, struct err *why)
{
    uint64_t age = r->engine->conf->evict_proof_age * 1000;
    struct object_ctl ctl = {.stop = &ev->stop};
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct object_proof p;
    int rc = hashes_proved(ev->conf.hashes, f->path, &f->id, r->era, age);

    if (rc >= 0)
        return rc;
    rc = object_prove(r->engine->objects, object, need, &ctl, &p, why);
    if (rc <= 0)
        return rc;
    if (!hashes_get(ev->conf.hashes, f->path, &f->id, digest) ||
        memcmp(digest, p.checksum, sizeof digest) != 0) /* replaced meanwhile */
        return 0;
    if (p.good >= need || p.good + p.lost == p.total) /* else one that did not answer now may soon
                                                       */
        hashes_prove(ev->conf.hashes, f->path, &f->id, p.good, r->era);
    if (p.lost > 0)
        add(&r->damaged, f, object, false);
    return (int)p.good;
}

/* 1: the local copy is not needed; 0: it is, or it cannot be told now; -EHOSTUNREACH: for no file.
 */
static int is_remote(struct evict *ev, struct run *r, const struct datadir_file *f, bool restored,
                     char **object)
{
    uint8_t digest[ZSTOR_DIGEST_LEN];
    struct object_result res = {0};
    struct err why = {0};
    unsigned need;
    int rc = object_store_path(f->path, NULL, object, &why);

    if (rc < 0)
        return 0;
    rc = object_check(r->engine->objects, *object, NULL, &res, &why);
    if (rc == -EHOSTUNREACH) {
        r->err = why;
        return rc;
    }
    if (rc != 1 || (!restored && (res.shards_lost > 0 ||
                                  res.meta_lost > ZSTOR_META_COPIES - ZSTOR_META_WRITE_QUORUM)))
        return 0;
    rc = hashes_of(ev->conf.hashes, f->path, &f->id, &ev->stop, digest);
    if (rc != 0 || memcmp(digest, res.checksum, sizeof digest) != 0)
        return 0;
    need = restored ? res.shards_needed : MIN(res.shards_needed + 1, res.shards);
    return good_shards(ev, r, f, *object, need, &why) >= (int)need;
}

static void choose(struct evict *ev, struct run *r, struct datadir *d, uint64_t over)
{
    int64_t now = (int64_t)base_wall_s();

    qsort(d->files, d->n, sizeof *d->files, by_age);
    for (size_t i = 0; i < d->n && over > 0 && !atomic_load(&ev->stop); i++) {
        const struct datadir_file *f = &d->files[i];
        bool restored = hashes_marked(ev->conf.hashes, f->path, &f->id, HASHES_RESTORED);
        CLEANUP(base_free) char *object = NULL;
        int rc;

        if (!f->sealed)
            continue;
        if (f->atime_s <= now && now - f->atime_s < GRACE_S) {
            r->young = true;
            continue;
        }
        if (replay_needs(r->engine->conf, f->path)) {
            r->unplayed++;
            r->held++;
            continue;
        }
        rc = is_remote(ev, r, f, restored, &object);
        if (rc < 0) {
            r->rc = rc;
            return;
        }
        if (rc == 0) {
            r->held++;
            continue;
        }
        add(&r->victims, f, object, restored);
        over -= MIN(over, f->disk_bytes);
        if (++r->nvictims == BATCH) {
            r->more = over > 0;
            return;
        }
    }
}

static void on_done(void *arg);

static void on_thread(void *arg)
{
    struct evict *ev = arg;
    struct run *r = ev->run;
    struct datadir d;

    r->rc = datadir_scan(r->engine->conf->zdb_data_dir_path, &d, &r->err);
    if (r->rc == 0) {
        uint64_t over = excess(r->engine, d.disk_bytes, r->going_on);

        r->used = d.disk_bytes;
        r->over = over > 0;
        if (r->over && d.disk_bytes > r->rest_below)
            choose(ev, r, &d, over);
    }
    datadir_fini(&d);
    loop_post(ev->conf.loop, on_done, ev);
}

/* --- loop ------------------------------------------------------------------------------------ */

static void begin(struct evict *ev, uint64_t rest_below)
{
    if (ev->run) {
        ev->again = true;
        return;
    }
    ev->st.limit_bytes = limit_of(ev->conf.engine);
    if (!enabled(ev->conf.engine))
        return;
    ev->run = xcalloc(1, sizeof *ev->run);
    ev->run->engine = engine_get(ev->conf.engine);
    ev->run->rest_below = rest_below;
    ev->run->era = ev->conf.era(ev->conf.arg);
    ev->run->going_on = ev->going_on;
    ev->going_on = false;
    STAILQ_INIT(&ev->run->victims);
    STAILQ_INIT(&ev->run->damaged);
    if (workq_push(ev->thread, on_thread, ev) < 0) { /* never: one slot, one run */
        run_free(ev->run);
        ev->run = NULL;
    }
}

static void on_kick(void *arg)
{
    begin(arg, 0);
}

static void on_period(void *arg)
{
    struct evict *ev = arg;

    if (!ev->run)
        begin(ev, base_now_ms() < ev->rest_until_ms ? ev->rest_bytes : 0);
}

/* The last look and the unlink in one step: nothing can be queued between the two. */
static bool remove_victim(struct evict *ev, const struct victim *v)
{
    struct local_id now;
    struct stat st;

    if (ev->conf.busy(ev->conf.arg, v->object, v->path, !v->restored) || lstat(v->path, &st) < 0 ||
        !S_ISREG(st.st_mode) || replay_needs(ev->conf.engine->conf, v->path))
        return false;
    local_id_of(&now, &st);
    if (!local_id_eq(&now, &v->id))
        return false;
    if (unlink(v->path) < 0) {
        log_warn("cache: remove %s: %s", v->path, strerror(errno));
        return false;
    }
    log_debug("cache: %s removed, %" PRIu64 " bytes", v->path, v->disk_bytes);
    return true;
}

static void on_done(void *arg)
{
    struct evict *ev = arg;
    struct run *r = ev->run;
    bool resting = r->over && r->used <= r->rest_below, more = r->more;
    bool stale = ev->conf.era(ev->conf.arg) != r->era; /* what was proved may not be so any more */
    uint64_t files = 0, bytes = 0;
    struct victim *v;

    STAILQ_FOREACH(v, &r->victims, link)
    {
        if (stale || !remove_victim(ev, v)) {
            r->held++;
            continue;
        }
        files++;
        bytes += v->disk_bytes;
    }
    STAILQ_FOREACH(v, &r->damaged, link)
    ev->conf.damaged(ev->conf.arg, v->object);
    ev->st.runs++;
    ev->st.evicted_files += files;
    ev->st.evicted_bytes += bytes;
    if (r->rc == 0) {
        ev->st.used_bytes = r->used - MIN(bytes, r->used);
        if (!resting)
            ev->st.held_files = r->held;
    }
    if (files > 0)
        log_info("cache: %" PRIu64 " segments removed, %" PRIu64 " MiB; %" PRIu64 " of %" PRIu64
                 " MiB in use",
                 files, bytes / MIB, ev->st.used_bytes / MIB, ev->st.limit_bytes / MIB);
    if (r->unplayed && !ev->unplayed_said)
        log_info("cache: %" PRIu64 " segments stay until zdb has their index on disk", r->unplayed);
    if (r->rc == 0 && !resting)
        ev->unplayed_said = r->unplayed > 0;
    if (r->rc < 0 && r->rc != ev->last_rc)
        log_warn("cache: %s", r->err.text);
    ev->last_rc = r->rc;
    ev->again = ev->again || (stale && r->over);
    if (!resting) {
        ev->rest_until_ms = r->over && files == 0 && !r->young && !r->unplayed && !stale
                                ? base_now_ms() + REST_MS
                                : 0;
        ev->rest_bytes = r->used;
    }
    if (r->young)
        loop_timer_start(ev->soon, GRACE_S * 1000, false);
    run_free(r);
    ev->run = NULL;
    if (more && files > 0) {
        ev->going_on = true;
        begin(ev, 0);
    } else if (ev->again) {
        ev->again = false;
        evict_kick(ev);
    }
}

void evict_kick(struct evict *ev)
{
    loop_timer_start(ev->soon, ev->conf.debounce_ms, false);
}

void evict_stats(const struct evict *ev, struct evict_stats *out)
{
    *out = ev->st;
}

void evict_swap(struct evict *ev, struct engine *g)
{
    engine_put(ev->conf.engine);
    ev->conf.engine = engine_get(g);
    begin(ev, 0);
}

int evict_new(struct evict **out, const struct evict_conf *c, struct err *e)
{
    struct evict *ev = xcalloc(1, sizeof *ev);
    int r;

    ev->conf = *c;
    engine_get(ev->conf.engine);
    atomic_init(&ev->stop, false);
    ev->soon = loop_timer_new(c->loop, on_kick, ev);
    ev->regular = loop_timer_new(c->loop, on_period, ev);
    r = workq_new(&ev->thread, "evict", 1, 1, e);
    if (r < 0) {
        evict_free(ev);
        return r;
    }
    loop_timer_start(ev->regular, c->period_ms, true);
    begin(ev, 0);
    *out = ev;
    return 0;
}

void evict_free(struct evict *ev)
{
    if (!ev)
        return;
    atomic_store(&ev->stop, true);
    workq_free(ev->thread);
    if (ev->run)
        run_free(ev->run);
    loop_timer_free(ev->soon);
    loop_timer_free(ev->regular);
    engine_put(ev->conf.engine);
    free(ev);
}
