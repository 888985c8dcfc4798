/* cleaner - gives back the space of dead records while the namespace is served.  Contract:
 * engine/namespace.h; design: docs/zdb-cleaner.md.
 *
 * A sealed segment whose live share is below the limit of the policy is cleaned, one at a time:
 *   moving    its data file is walked from its beginning; a record that is the live version of its
 *             key is appended to the active segment as an update with the same value and time
 *   settling  a checkpoint: what was moved, the index that says so and the watermark behind it are
 *             durable, so no start reads the segment for anything but former versions
 *   telling   the hook `retire-data` hears of it, and has ended
 * then its data file goes; its index file stays.  Nothing is remembered: a segment is dead when a
 * whole walk found nothing live in it and the count of live bytes says so, too; after a crash the
 * same is found once more.  A segment that cannot be walked to its end keeps its file.
 *
 * A turn moves at most TURN_BYTES; pauses are PAUSE_MS long unless it is urgent (CLEAN, or the
 * disk is nearly full). */
#include "common/log.h"
#include "common/loop.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/engine/trash.h"
#include <sys/statvfs.h>
#include <unistd.h>

#define TURN_RECORDS   256
#define TURN_BYTES     (256 * KIB)
#define READ_AHEAD     (512 * KIB)
#define PAUSE_MS       20
#define LOOK_MS        1000  /* between two looks for something to do */
#define AGAIN_MS       10000 /* for a segment that could not be cleaned for a passing reason */
#define URGENT_PERCENT 90    /* of a segment that may be live when space is short */

static void step(void *arg);

/* --- what is there --------------------------------------------------------------------------- */

size_t ns_segments(const struct ns *ns)
{
    return ns->nsegs;
}

void ns_segment(const struct ns *ns, size_t i, struct ns_segment *out)
{
    const struct seg *s = ns->segs[i];

    *out = (struct ns_segment){.id = s->id,
                               .size = s->data.size,
                               .live = s->live,
                               .is_active = s->data.active,
                               .is_here = s->data.active || access(s->data.path, F_OK) == 0};
}

/* --- which segment --------------------------------------------------------------------------- */

static unsigned limit_of(const struct ns *ns)
{
    unsigned percent = ns->policy.percent;

    return ns->clean.urgent ? MAX(percent, (unsigned)URGENT_PERCENT) : percent;
}

static bool is_wanted(const struct ns *ns, const struct seg *s)
{
    return !s->data.active && !s->fetch && !s->keep && s->data.size > DATA_HEADER_SIZE &&
           s->live * 100 < s->data.size * limit_of(ns) && base_now_ms() >= s->keep_ms;
}

/* The one of which the least is live: on a full disk that is what fits.  NULL: none. */
static struct seg *choose(struct ns *ns)
{
    struct seg *best = NULL;

    for (size_t i = 0; i + 1 < ns->nsegs; i++) {
        struct seg *s = ns->segs[i];

        if (!is_wanted(ns, s) || (best && best->live <= s->live))
            continue;
        s->keep = access(s->data.path, F_OK) != 0; /* evicted: a fetch makes it wanted again */
        if (!s->keep)
            best = s;
    }
    return best;
}

/* --- moving ---------------------------------------------------------------------------------- */

/* One record, or what follows from there being none.  1: *size bytes were passed or moved; 0: the
 * end; -EINPROGRESS; -EBADMSG and others: the segment cannot be walked. */
static int move_next(struct ns *ns, struct seg *s, size_t *size)
{
    struct ns_cleaner *c = &ns->clean;
    uint8_t key[NS_KEY_MAX];
    struct data_rec rec = {0};
    struct ns_entry e;
    int r;

    if (c->off >= s->data.size)
        return c->off == s->data.size ? 0 : -EBADMSG;
    r = data_record(&s->data, (uint32_t)c->off, &rec, key, NULL, true);
    if (r == -EAGAIN) {
        r = ns_wait_warm(ns, s->data.file, c->off, READ_AHEAD, &c->wait);
        if (r == 0)
            r = data_record(&s->data, (uint32_t)c->off, &rec, key, NULL, false);
    }
    if (r < 0)
        return r;
    *size = data_rec_size(&rec);
    if (!(rec.flags & (DATA_DELETED | DATA_TRUNCATED))) {
        struct slice k = slice_of(key, rec.keylen);

        r = ns_find(ns, k, &e, &c->wait);
        if (r < 0)
            return r;
        if (r == 1 && e.seg == s->id && e.data_off == c->off) {
            r = ns_move(ns, k, &e, &c->wait);
            if (r < 0)
                return r;
        } else {
            *size = DATA_REC_SIZE; /* it cost no more than that */
        }
    }
    c->off += data_rec_size(&rec);
    return 1;
}

/* --- the steps ------------------------------------------------------------------------------- */

static void later(struct ns *ns, uint64_t ms)
{
    loop_timer_start(ns->clean.timer, ms, false);
}

/* Nothing is under way any more. */
static void rest(struct ns *ns, int result)
{
    struct ns_cleaner *c = &ns->clean;
    struct ns_miss *waiters = c->waiters;

    ns_wait_end(&c->wait);
    c->step = CLEAN_OFF;
    c->urgent = false;
    c->error = result < 0 ? result : c->error;
    c->waiters = NULL;
    if (waiters)
        ns_wait_finish(waiters, 0);
}

static bool begin(struct ns *ns)
{
    struct ns_cleaner *c = &ns->clean;
    const struct seg *s = ns->policy.reclaim && ns->lock == NS_UNLOCKED ? choose(ns) : NULL;

    if (!s)
        return false;
    c->step = CLEAN_MOVING;
    c->generation = ns->generation;
    c->seg = s->id;
    c->off = DATA_HEADER_SIZE;
    ns_wait_end(&c->wait);
    return true;
}

/* It is over with this segment; result: of it alone. */
static void next(struct ns *ns, int result)
{
    if (result < 0)
        ns->clean.error = result;
    if (begin(ns))
        later(ns, 0);
    else
        rest(ns, 0);
}

/* A reason that passes. */
static void put_off(struct ns *ns, struct seg *s, int result)
{
    s->keep_ms = base_now_ms() + AGAIN_MS;
    next(ns, result);
}

static void keep(struct ns *ns, struct seg *s, const char *why)
{
    log_error("namespace %s: segment %u is not cleaned: %s", ns->name, s->id, why);
    s->keep = true;
    next(ns, -EIO);
}

static void moved(struct ns *ns, struct seg *s)
{
    struct ns_cleaner *c = &ns->clean;

    if (s->live > 0) {
        keep(ns, s, "its index has more live records than its data file");
        return;
    }
    c->step = CLEAN_SETTLING;
    c->writes = ns->sync.writes;
    c->clock = ns->patches.clock;
}

static void move_failed(struct ns *ns, struct seg *s, int r)
{
    if (r == -ENOENT) { /* evicted meanwhile */
        s->keep = true;
        next(ns, 0);
    } else if (r == -EBADMSG || r == -ENODATA) {
        keep(ns, s, "a record of its data file is damaged; zdb --check names it");
    } else {
        put_off(ns, s, r);
    }
}

static void move(struct ns *ns, struct seg *s)
{
    struct ns_cleaner *c = &ns->clean;
    size_t bytes = 0, size = 0;
    int r = 1;

    for (unsigned n = 0; r > 0 && n < TURN_RECORDS && bytes < TURN_BYTES; n++) {
        r = move_next(ns, s, &size);
        if (r == -EINPROGRESS)
            return;
        ns_wait_end(&c->wait);
        bytes += size;
    }
    if (r < 0) {
        move_failed(ns, s, r);
        return;
    }
    later(ns, c->urgent ? 0 : PAUSE_MS);
    if (r == 0)
        moved(ns, s);
}

static bool is_settled(const struct ns *ns)
{
    const struct ns_cleaner *c = &ns->clean;

    return ns->sync.durable >= c->writes && ns->sync.patch_durable >= c->clock &&
           ns->checkpoint.at_writes >= c->writes && ns->checkpoint.now.segment > c->seg &&
           ns_checkpoint_is_open(ns) && !ns_checkpoint_is_flushing(ns) && !ns->sync.failed;
}

static void retire(struct ns *ns, struct seg *s)
{
    struct ns_cleaner *c = &ns->clean;
    uint64_t size = s->data.size;
    int r;

    if (s->live > 0 || s->data.active || s->fetch) { /* it was dead, and nothing makes it live */
        keep(ns, s, "it is in use again");
        return;
    }
    files_drop(s->data.fs, &s->data.file);
    r = trash_file(ns->env->trash, s->data.path);
    s->keep = true;
    if (r < 0) {
        log_error("data %s: cannot be removed: %s", s->data.path, strerror(-r));
    } else {
        c->freed += size;
        log_info("namespace %s: segment %u was cleaned, %llu bytes", ns->name, s->id,
                 (unsigned long long)size);
    }
    next(ns, r);
}

static void told(struct ns *ns, int status)
{
    struct ns_cleaner *c = &ns->clean;
    struct seg *s = ns_seg_find(ns, c->seg);

    if (ns->dead || c->step != CLEAN_TELLING)
        return;
    if (!s || c->generation != ns->generation || ns->lock != NS_UNLOCKED)
        rest(ns, 0);
    else if (status < 0 || status == NS_RETIRE_LATER) /* else it is told, whatever it made of it */
        put_off(ns, s, status < 0 ? status : -EAGAIN);
    else
        retire(ns, s);
}

static void tell(struct ns *ns, struct seg *s)
{
    struct ns_cleaner *c = &ns->clean;
    struct ns_events *ev = &ns->env->events;
    struct ns_hook *h;

    c->step = CLEAN_TELLING;
    if (!ev->retire_data) {
        retire(ns, s);
        return;
    }
    h = ns_wait_hook(ns);
    h->told = told;
    if (ev->retire_data(ev->arg, ns, s->data.path, h->token) < 0) {
        ns_wait_hook_free(h);
        retire(ns, s);
    }
}

static void settle(struct ns *ns, struct seg *s)
{
    struct ns_cleaner *c = &ns->clean;
    int r;

    if (!ns->sync.running && !ns->sync.pumping) /* others may go on who were held for us */
        (void)ns_idle(ns, NULL);
    if (is_settled(ns)) {
        tell(ns, s);
        return;
    }
    if (ns->sync.failed) {
        put_off(ns, s, ns->sync.error);
        return;
    }
    ns_sync_ask(ns);
    r = ns_idle(ns, &c->wait);
    if (r == 0)
        later(ns, PAUSE_MS);
}

static void step(void *arg)
{
    struct ns *ns = arg;
    struct ns_cleaner *c = &ns->clean;
    struct seg *s = ns_seg_find(ns, c->seg);

    if (ns->dead || c->step == CLEAN_OFF || c->step == CLEAN_TELLING)
        return;
    if (!s || c->generation != ns->generation || ns->lock != NS_UNLOCKED) {
        rest(ns, 0);
        return;
    }
    if (c->step == CLEAN_SETTLING) {
        ns_wait_end(&c->wait);
        settle(ns, s);
    } else {
        move(ns, s);
    }
}

/* --- when ------------------------------------------------------------------------------------ */

static bool is_disk_nearly_full(const struct ns *ns)
{
    struct statvfs fs;
    uint64_t left;

    if (statvfs(ns->data_dir, &fs) < 0)
        return false;
    left = (uint64_t)fs.f_bavail * fs.f_frsize;
    return left < MAX(4 * ns->env->datasize, (uint64_t)fs.f_blocks * fs.f_frsize / 20);
}

static void wake(struct ns *ns)
{
    struct ns_cleaner *c = &ns->clean;

    if (!c->timer) {
        c->timer = loop_timer_new(ns->env->loop, step, ns);
        ns_wait_init(&c->wait, step, ns);
    }
    if (begin(ns))
        later(ns, 0);
}

void ns_clean_tick(struct ns *ns, uint64_t now_ms)
{
    struct ns_cleaner *c = &ns->clean;

    if (!ns->policy.reclaim || c->step != CLEAN_OFF || now_ms < c->not_before_ms)
        return;
    c->not_before_ms = now_ms + LOOK_MS;
    c->urgent = is_disk_nearly_full(ns);
    wake(ns);
    if (c->step == CLEAN_OFF)
        c->urgent = false;
}

int ns_clean(struct ns *ns, bool again, struct ns_wait *w)
{
    struct ns_cleaner *c = &ns->clean;

    if (!ns->policy.reclaim)
        return -EPERM;
    if (again)
        return c->error;
    c->error = 0;
    c->urgent = true;
    if (c->step == CLEAN_OFF)
        wake(ns);
    if (c->step == CLEAN_OFF) {
        c->urgent = false;
        return 0;
    }
    if (!c->waiters)
        c->waiters = ns_wait_miss(ns);
    ns_wait_add(w, c->waiters);
    return -EINPROGRESS;
}

void ns_clean_stop(struct ns *ns)
{
    struct ns_cleaner *c = &ns->clean;

    if (!c->timer)
        return;
    rest(ns, -ECANCELED);
    loop_timer_free(c->timer);
    c->timer = NULL;
}
