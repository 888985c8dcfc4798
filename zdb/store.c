/* store - see the header. */
#include "zdb/store.h"
#include "common/io.h"
#include "common/log.h"
#include "common/loop.h"
#include "common/path.h"
#include "common/workq.h"
#include "zdb/file/compaction.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/engine/trash.h"
#include <assert.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define TICK_MS       500
#define SWEEP_TICKS   4 /* every so many ticks: look for segment files that others removed */
#define READERS       4
#define MAX_COLD      4096 /* cold reads queued; more are read at once */
#define SYNCERS       2
#define MAX_SYNCS     4096
#define DEFAULT_FILES 512
#define LOCK_FILE     ".lockfile"
#define LOCK_WAIT_MS  1000

/* A namespace that is being removed: its name is free when both directories are durably gone. */
struct removal {
    struct removal *next;
    struct store *l;
    char *name;
    struct ns_miss *waiters; /* NULL: it failed, the name stays taken until the next start */
};

struct store {
    struct ns_env env;
    struct removal *removals;
    char *index_root, *data_root;
    int index_lock, data_lock;
    struct loop_timer *timer;
    unsigned ticks;
    struct ns **slots; /* 0 is default; NULL: free */
    size_t nslots, cap;
};

/* --- roots and locks ------------------------------------------------------------------------- */

static int make_root(const char *dir, struct err *e)
{
    int r = path_mkdirs(dir, 0700);

    return r < 0 ? err_sys(e, -r, "directory %s", dir) : 0;
}

static int refuse_same(const char *index, const char *data, struct err *e)
{
    CLEANUP(base_free) char *a = realpath(index, NULL);
    CLEANUP(base_free) char *b = realpath(data, NULL);

    if (!a || !b)
        return err_sys(e, errno, "directory %s", a ? data : index);
    if (strcmp(a, b) == 0)
        return err_set(e, EINVAL, "index and data directory are the same (%s); they need two", a);
    return 0;
}

/* A zdb that was killed while it started a hook leaves a child that holds the lock until its exec:
 * wait for that. */
static int take_lock(int *fd, const char *dir, struct err *e)
{
    CLEANUP(base_free) char *path = path_join(dir, LOCK_FILE);
    uint64_t deadline = base_now_ms() + LOCK_WAIT_MS;

    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0664);
    if (*fd < 0)
        return err_sys(e, errno, "lock file %s", path);
    while (flock(*fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno == EWOULDBLOCK && base_now_ms() < deadline) {
            usleep(5000);
            continue;
        }
        return errno == EWOULDBLOCK
                   ? err_set(e, EBUSY, "directory %s is used by another running zdb", dir)
                   : err_sys(e, errno, "lock file %s", path);
    }
    return 0;
}

/* --- timer ----------------------------------------------------------------------------------- */

static void rotate(struct ns *ns, uint64_t now)
{
    if (ns->env->rotate_s && ns->appended &&
        now - ns->opened_ms > ns->env->rotate_s * (uint64_t)1000)
        (void)ns_jump(ns);
}

static void tick(void *arg)
{
    struct store *l = arg;
    uint64_t now = base_now_ms();

    l->ticks++;
    for (size_t i = 0; i < l->nslots; i++) {
        struct ns *ns = l->slots[i];
        if (!ns)
            continue;
        rotate(ns, now);
        ns_sync_tick(ns, now);
        ns_clean_tick(ns, now);
        if (l->ticks % SWEEP_TICKS == 0)
            ns_seg_sweep(ns);
    }
}

/* --- list ------------------------------------------------------------------------------------ */

static size_t put_in_slot(struct store *l, struct ns *ns)
{
    for (size_t i = 0; i < l->nslots; i++) {
        if (!l->slots[i]) {
            l->slots[i] = ns;
            return i;
        }
    }
    if (l->nslots == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        struct ns **p = xcalloc(cap, sizeof *p);
        if (l->nslots)
            memcpy(p, l->slots, l->nslots * sizeof *p);
        free(l->slots);
        l->slots = p;
        l->cap = cap;
    }
    l->slots[l->nslots] = ns;
    return l->nslots++;
}

int store_new(struct store **out, const struct store_conf *conf, struct loop *loop, struct err *e)
{
    struct store *l = xcalloc(1, sizeof *l);
    int r;

    if (sodium_init() < 0)
        abort();
    l->index_lock = l->data_lock = -1;
    l->index_root = xstrdup(conf->index_dir);
    l->data_root = xstrdup(conf->data_dir);
    l->env = (struct ns_env){
        .mode = conf->mode,
        .datasize = conf->datasize,
        .reserve = conf->reserve,
        .sync = conf->sync,
        .secure = conf->secure,
        .synctime_s = conf->synctime_s,
        .rotate_s = conf->rotate_s,
        .index_root = l->index_root,
        .data_root = l->data_root,
        .events = conf->events,
        .loop = loop,
    };
    LIST_INIT(&l->env.hooks);
    TAILQ_INIT(&l->env.ready);
    files_init(&l->env.files, conf->max_files ? conf->max_files : DEFAULT_FILES);
    tails_init(&l->env.tails);
    l->env.files.tails = &l->env.tails;
    r = make_root(conf->index_dir, e);
    if (r == 0)
        r = make_root(conf->data_dir, e);
    if (r == 0)
        r = refuse_same(conf->index_dir, conf->data_dir, e);
    if (r == 0)
        r = take_lock(&l->index_lock, conf->index_dir, e);
    if (r == 0)
        r = take_lock(&l->data_lock, conf->data_dir, e);
    if (r == 0)
        r = workq_new(&l->env.reader, "zdb-read", READERS, MAX_COLD, e);
    if (r == 0)
        r = workq_new(&l->env.syncer, "zdb-sync", SYNCERS, MAX_SYNCS, e);
    if (r == 0)
        r = trash_new(&l->env.trash, loop, l->index_root, l->data_root, e);
    if (r < 0) {
        store_free(l);
        return r;
    }
    l->timer = loop_timer_new(loop, tick, l);
    loop_timer_start(l->timer, TICK_MS, true);
    *out = l;
    return 0;
}

/* Directories, descriptor, segments. */
static int open_ns(struct store *l, const char *name, struct ns **out, struct err *e)
{
    struct ns *ns = ns_new(&l->env, name);
    int r = make_root(ns->index_dir, e);

    if (r == 0)
        r = make_root(ns->data_dir, e);
    if (r == 0)
        r = compact_recover(ns->index_dir, ns->data_dir, e);
    if (r == 0)
        r = ns_read_descriptor(ns, e);
    if (r == 0) {
        ns_read_policy(ns);
        r = index_load(ns, e);
    }
    if (r < 0) {
        ns_unref(ns);
        return r;
    }
    *out = ns;
    return 0;
}

static bool is_namespace_dir(const struct store *l, const char *name)
{
    CLEANUP(base_free) char *path = path_join(l->index_root, name);
    struct stat st;

    return strlen(name) <= NS_NAME_MAX && !trash_is(name) && stat(path, &st) == 0 &&
           S_ISDIR(st.st_mode);
}

static int load_one(struct store *l, const char *name, struct err *e)
{
    struct ns *ns;
    int r = open_ns(l, name, &ns, e);

    if (r < 0)
        return err_prefix(e, "namespace %s", name);
    put_in_slot(l, ns);
    return 0;
}

int store_load(struct store *l, struct err *e)
{
    uint64_t begin = base_now_ms();
    char **names;
    size_t n;
    uint64_t keys = 0;
    int r = trash_recover(l->env.trash, e);

    if (r == 0)
        r = load_one(l, "default", e);
    if (r < 0)
        return r;
    r = path_list(l->index_root, &names, &n);
    if (r < 0)
        return err_sys(e, -r, "directory %s", l->index_root);
    for (size_t i = 0; i < n; i++) {
        struct err why = {0};
        if (strcmp(names[i], "default") == 0 || !is_namespace_dir(l, names[i]))
            continue;
        if (load_one(l, names[i], &why) == 0)
            continue;
        if (why.code == EINVAL && l->env.mode != NS_MIXED) { /* the wrong --mode */
            r = err_set(e, why.code, "%s", why.text);
            break;
        }
        log_error("%s; left out", why.text);
    }
    path_list_free(names, n);
    for (size_t i = 0; i < l->nslots; i++)
        keys += l->slots[i]->entries;
    if (r == 0)
        log_info("%zu namespaces with %llu keys loaded in %llu ms", l->nslots,
                 (unsigned long long)keys, (unsigned long long)(base_now_ms() - begin));
    return r;
}

uint64_t store_appended(const struct store *l)
{
    return l->env.tails.appended;
}

int store_commit(struct store *l)
{
    int r = tails_write(&l->env.tails);

    if (r < 0)
        log_error("records cannot be written: %s", strerror(-r));
    return r;
}

static void wait_for_jobs(struct store *l)
{
    while (l->env.jobs > 0)
        loop_once(l->env.loop, 100);
}

int store_settle(struct store *l)
{
    int result = 0;

    for (size_t i = 0; i < l->nslots; i++) {
        if (l->slots[i])
            ns_clean_stop(l->slots[i]);
    }
    wait_for_jobs(l);
    for (size_t i = 0; i < l->nslots; i++) {
        struct ns *ns = l->slots[i];
        if (!ns)
            continue;
        data_release(&ns_active(ns)->data);
        index_release(&ns_active(ns)->index);
        int r = ns_sync_settle(ns, true);
        if (result == 0)
            result = r;
    }
    return result;
}

int store_close(struct store *l)
{
    struct ns_events *ev = &l->env.events;
    int result = store_settle(l);

    for (size_t i = 0; i < l->nslots && ev->closing; i++) {
        struct ns *ns = l->slots[i];
        uint32_t *dirty;
        size_t n;
        if (!ns)
            continue;
        ns_seg_dirty_list(ns, &dirty, &n);
        ev->closing(ev->arg, ns, ns_active(ns)->index.path, ns_active(ns)->data.path, dirty, n);
        free(dirty);
    }
    return result;
}

static void removal_free(struct removal *m)
{
    struct removal **at = &m->l->removals;

    while (*at != m)
        at = &(*at)->next;
    *at = m->next;
    free(m->name);
    free(m);
}

static void drop(struct ns *ns)
{
    ns->dead = true;
    ns_clean_stop(ns);
    for (size_t i = 0; i < ns->nsegs; i++)
        ns_seg_close(ns->segs[i]);
    ns_wait_drop_hooks(ns);
    ns_sync_abandon(ns);
}

void store_free(struct store *l)
{
    struct ns_wait *w;

    if (!l)
        return;
    loop_timer_free(l->timer);
    for (size_t i = 0; i < l->nslots; i++) {
        if (l->slots[i])
            drop(l->slots[i]);
    }
    if (l->env.reader && l->env.syncer)
        wait_for_jobs(l);
    while (l->env.ready_posted) /* a posted call must not find us gone */
        loop_once(l->env.loop, 100);
    while ((w = TAILQ_FIRST(&l->env.ready))) {
        TAILQ_REMOVE(&l->env.ready, w, entry);
        w->is_ready = false;
    }
    workq_free(l->env.reader);
    workq_free(l->env.syncer);
    trash_free(l->env.trash);
    while (l->removals)
        removal_free(l->removals);
    for (size_t i = 0; i < l->nslots; i++) {
        if (l->slots[i])
            ns_unref(l->slots[i]);
    }
    free(l->slots);
    files_fini(&l->env.files);
    base_close(&l->index_lock);
    base_close(&l->data_lock);
    free(l->index_root);
    free(l->data_root);
    free(l);
}

struct ns *store_default(struct store *l)
{
    return l->nslots ? l->slots[0] : NULL;
}

struct ns *store_find(struct store *l, struct slice name)
{
    for (size_t i = 0; i < l->nslots; i++) {
        if (l->slots[i] && slice_eq_str(name, l->slots[i]->name))
            return l->slots[i];
    }
    return NULL;
}

size_t store_slots(const struct store *l)
{
    return l->nslots;
}

struct ns *store_at(struct store *l, size_t slot)
{
    return slot < l->nslots ? l->slots[slot] : NULL;
}

static bool is_trash(struct slice name)
{
    size_t n = strlen(TRASH_PREFIX);

    return name.len >= n && memcmp(name.p, TRASH_PREFIX, n) == 0;
}

bool store_name_ok(struct slice name)
{
    return name.len >= 1 && name.len <= NS_NAME_MAX && !memchr(name.p, '/', name.len) &&
           !memchr(name.p, 0, name.len) && !is_trash(name) && !slice_eq_str(name, ".") &&
           !slice_eq_str(name, "..") && !slice_eq_str(name, "default");
}

static struct removal *removal_of(const struct store *l, struct slice name)
{
    struct removal *m = l->removals;

    while (m && !slice_eq_str(name, m->name))
        m = m->next;
    return m;
}

int store_create(struct store *l, struct slice name, struct ns_wait *w, struct err *e)
{
    struct ns_events *ev = &l->env.events;
    struct removal *m = removal_of(l, name);
    struct buf b = BUF_INIT;
    struct ns *ns;

    if (!store_name_ok(name))
        return err_set(e, EINVAL, "this name is not allowed");
    if (store_find(l, name))
        return err_set(e, EEXIST, "namespace exists");
    if (m && m->waiters && w) {
        ns_wait_add(w, m->waiters);
        return -EINPROGRESS;
    }
    if (m)
        return err_set(e, EBUSY, "namespace %s: what had this name is not removed yet", m->name);
    buf_put_slice(&b, name);
    CLEANUP(base_free) char *text = buf_take_str(&b);
    int r = open_ns(l, text, &ns, e);
    if (r < 0)
        return r;
    put_in_slot(l, ns);
    (void)path_sync_dir(l->index_root);
    (void)path_sync_dir(l->data_root);
    log_info("namespace %s: created", ns->name);
    if (ev->created)
        ev->created(ev->arg, ns->name);
    return 0;
}

static void on_removed(void *arg, int result)
{
    struct removal *m = arg;
    struct store *l = m->l;
    struct ns_events *ev = &l->env.events;
    struct ns_miss *waiters = m->waiters;

    l->env.jobs--;
    m->waiters = NULL;
    if (result < 0)
        log_error("namespace %s: files cannot be removed: %s; the next start goes on with it",
                  m->name, strerror(-result));
    else
        log_info("namespace %s: removed", m->name);
    if (ev->deleted)
        ev->deleted(ev->arg, m->name);
    if (result == 0)
        removal_free(m);
    ns_wait_finish(waiters, result);
}

int store_remove(struct store *l, struct ns *ns, struct ns_wait *w)
{
    struct removal *m;
    int r;

    if (ns == l->slots[0])
        return -EPERM;
    m = xcalloc(1, sizeof *m);
    m->name = xstrdup(ns->name);
    assert(!ns->sync.running); /* a helper must not write into a namespace of the same name */
    drop(ns);
    r = trash_namespace(l->env.trash, ns->name, on_removed, m);
    m->l = l;
    m->next = l->removals;
    l->removals = m;
    for (size_t i = 0; i < l->nslots; i++) {
        if (l->slots[i] == ns)
            l->slots[i] = NULL;
    }
    if (r < 0) {
        log_error("namespace %s: files cannot be removed: %s", ns->name, strerror(-r));
    } else {
        m->waiters = ns_wait_miss(ns);
        ns_wait_add(w, m->waiters);
        l->env.jobs++;
        r = -EINPROGRESS;
    }
    ns_unref(ns);
    return r;
}

void store_hook_done(struct store *l, uint64_t token, int status)
{
    ns_wait_hook_done(&l->env, token, status);
}

size_t store_pending(const struct store *l)
{
    size_t n = 0;

    for (size_t i = 0; i < l->nslots; i++) {
        for (struct ns_jumped *j = l->slots[i] ? l->slots[i]->jumps : NULL; j; j = j->next)
            n += 2;
    }
    return n;
}

void store_stats(const struct store *l, struct store_stats *out)
{
    const struct ns_env *env = &l->env;

    *out = (struct store_stats){
        .index_read_failed = env->files.index.read_failed,
        .index_write_failed = env->files.index.write_failed,
        .data_read_failed = env->files.data.read_failed,
        .data_write_failed = env->files.data.write_failed,
        .index_read_bytes = env->files.index.read_bytes,
        .index_write_bytes = env->files.index.write_bytes,
        .data_read_bytes = env->files.data.read_bytes,
        .data_write_bytes = env->files.data.write_bytes,
        .misses = env->misses,
        .cold_reads = env->cold_reads,
        .syncs = env->syncs,
    };
}
