/* lease - see store/lease.h. */
#include "zdbfs/store/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/log.h"
#include "zdbfs/store/owner.h"

enum {
    SETTLE_MS = 60,     /* two mounts that begin at the same moment see each other after that */
    QUICK_MS = 30,      /* from seeing the volume free to having written: less than SETTLE_MS */
    OVERTAKE_MS = 3000, /* for requests that were under way when the old owner looked last */
    OVERTAKE_TRIES = 5, /* against an owner that writes itself again */
    RENEW_RETRY_MS = 1000,
    TAKE_MS = 10000,
    QUIET_STEP_MS = 40, /* between two looks at what a dead owner has sent and zdb not yet read */
    QUIET_MS = 5000,
};

struct lease {
    struct kv *kv;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct head head; /* as we have written it, or read it */
    bool held, lost, journal_counts, was_in_use;
    uint64_t was_at_point;
    uint64_t seen_ms; /* when our name was last seen in it */
    pthread_t thread;
    bool running, stop;
};

struct lease *lease_new(struct kv *kv, const struct head *head)
{
    struct lease *l = xcalloc(1, sizeof *l);
    pthread_condattr_t attr;

    l->kv = kv;
    l->head = *head;
    l->journal_counts = head->in_use || !head->tail;
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&l->wake, &attr);
    pthread_condattr_destroy(&attr);
    return l;
}

static void stop_thread(struct lease *l)
{
    if (!l->running)
        return;
    pthread_mutex_lock(&l->lock);
    l->stop = true;
    pthread_cond_signal(&l->wake);
    pthread_mutex_unlock(&l->lock);
    pthread_join(l->thread, NULL);
    l->running = false;
}

void lease_free(struct lease *l)
{
    if (!l)
        return;
    stop_thread(l);
    kv_fence(l->kv, NULL, NULL);
    pthread_cond_destroy(&l->wake);
    pthread_mutex_destroy(&l->lock);
    free(l);
}

bool lease_journal_counts(const struct lease *l)
{
    return l->journal_counts;
}

uint64_t lease_size_bytes(const struct lease *l)
{
    return l->head.size_bytes;
}

/* ---- the header ----------------------------------------------------------------------------- */

static int read_head(struct lease *l, struct head *out, uint64_t deadline_ms)
{
    struct kv_val v;

    int r = kv_get(l->kv, ROLE_META, 0, deadline_ms, &v);
    if (r == 0 && (!v.found || head_format_decode(v.v, ROLE_META, out, NULL) < 0))
        r = -EUCLEAN;
    kv_val_fini(&v);
    return r;
}

static int write_head(struct lease *l, const struct head *h, uint64_t deadline_ms)
{
    struct buf b = BUF_INIT;

    head_format_encode(&b, ROLE_META, h);
    int r = kv_set_head(l->kv, buf_slice(&b), deadline_ms);
    buf_fini(&b);
    return r;
}

static bool same_owner(const struct head *a, const struct head *b)
{
    return a->owned && b->owned && memcmp(a->owner.instance, b->owner.instance, 16) == 0;
}

/* Under the lock.  0: it is still ours; -EROFS: somebody came after us.  A header without us and
 * with an earlier epoch is one that zdb has lost our name from: it is written again. */
static int look(struct lease *l, uint64_t deadline_ms)
{
    uint64_t now = base_now_ms();
    struct head h = {0};

    if (l->lost)
        return -EROFS;
    if (l->seen_ms && now < l->seen_ms + LEASE_FRESH_MS)
        return 0;
    int r = read_head(l, &h, deadline_ms);
    if (r == -EUCLEAN)
        return -EIO;
    if (r < 0)
        return r;
    if (!same_owner(&h, &l->head)) {
        if (h.epoch >= l->head.epoch) {
            char who[400] = "somebody who has ended since";
            if (h.owned)
                owner_describe(&h.owner, who, sizeof who);
            l->lost = true;
            log_error("the volume was taken over by %s: nothing more is written, what was not "
                      "stored is lost; unmount %s",
                      who, l->head.owner.where);
            kv_lose(l->kv);
            return -EROFS;
        }
        r = write_head(l, &l->head, deadline_ms);
        if (r < 0)
            return r;
    }
    l->seen_ms = now;
    return 0;
}

/* Asked by kv before it writes. */
static int fence(void *arg, uint64_t deadline_ms)
{
    struct lease *l = arg;

    pthread_mutex_lock(&l->lock);
    int r = l->held ? look(l, deadline_ms) : 0;
    pthread_mutex_unlock(&l->lock);
    return r;
}

/* Under the lock: change the header while it is ours. */
static int store(struct lease *l, const struct head *changed, uint64_t deadline_ms)
{
    l->seen_ms = 0;
    int r = l->held ? look(l, deadline_ms) : 0;
    if (r == 0)
        r = write_head(l, changed, deadline_ms);
    if (r == 0)
        l->head = *changed;
    return r;
}

uint64_t lease_generation(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    uint64_t g = l->head.generation;
    pthread_mutex_unlock(&l->lock);
    return g;
}

bool lease_was_in_use(const struct lease *l)
{
    return l->was_in_use;
}

uint64_t lease_floor(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    uint64_t floor = l->head.floor;
    pthread_mutex_unlock(&l->lock);
    return floor;
}

uint64_t lease_epoch(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    uint64_t epoch = l->head.epoch;
    pthread_mutex_unlock(&l->lock);
    return epoch;
}

uint64_t lease_points_key(struct lease *l)
{
    pthread_mutex_lock(&l->lock);
    uint64_t key = l->head.points_key;
    pthread_mutex_unlock(&l->lock);
    return key;
}

int lease_enter_point(struct lease *l, uint64_t number, uint64_t points_key, uint64_t deadline_ms)
{
    pthread_mutex_lock(&l->lock);
    struct head h = l->head;
    h.at_point = number;
    h.points_key = points_key;
    int r = store(l, &h, deadline_ms);
    pthread_mutex_unlock(&l->lock);
    return r;
}

int lease_leave_point(struct lease *l, uint64_t deadline_ms)
{
    pthread_mutex_lock(&l->lock);
    l->head.at_point = 0; /* also when it fails: the next renewal says so */
    struct head h = l->head;
    int r = store(l, &h, deadline_ms);
    pthread_mutex_unlock(&l->lock);
    return r;
}

uint64_t lease_was_at_point(const struct lease *l)
{
    return l->was_at_point;
}

int lease_set_floor(struct lease *l, uint64_t floor, uint64_t deadline_ms)
{
    pthread_mutex_lock(&l->lock);
    struct head h = l->head;
    h.floor = floor;
    int r = store(l, &h, deadline_ms);
    pthread_mutex_unlock(&l->lock);
    return r;
}

int lease_set_generation(struct lease *l, uint64_t generation, uint64_t deadline_ms)
{
    pthread_mutex_lock(&l->lock);
    struct head h = l->head;
    h.generation = generation;
    int r = store(l, &h, deadline_ms);
    pthread_mutex_unlock(&l->lock);
    return r;
}

/* ---- taking --------------------------------------------------------------------------------- */

/* May it be taken from the owner that stands there?  *wait: only after a while. */
static int judge(const struct head *h, bool takeover, bool *wait, struct err *e)
{
    char who[400];

    *wait = true;
    if (!h->owned)
        *wait = false;
    if (!h->owned || takeover)
        return 0;
    enum owner_state state = owner_look(&h->owner);
    uint64_t now = base_wall_ns() / 1000000;
    owner_describe(&h->owner, who, sizeof who);
    if (state == OWNER_GONE)
        *wait = false;
    if (state == OWNER_GONE || state == OWNER_REBOOTED) {
        log_info("the volume was left by %s, which is dead", who);
        return 0;
    }
    if (state == OWNER_ALIVE)
        return err_set(e, EBUSY,
                       "the volume is mounted already, by %s; unmount that first, or take it away "
                       "from it with -o takeover",
                       who);
    if (now <= h->owner.wall_ms + h->owner.ttl_ms)
        return err_set(e, EBUSY,
                       "the volume is mounted already, by %s; if that is gone for good, it can be "
                       "mounted in %llu s, or now with -o takeover",
                       who,
                       (unsigned long long)(h->owner.wall_ms + h->owner.ttl_ms - now) / 1000 + 1);
    log_warn("the volume was left by %s", who);
    return 0;
}

/* Requests of a killed owner may still lie in its connections; zdb carries them out.  It is over
 * when nothing changes from one look to the next: zdb reads each connection in between. */
static int wait_until_quiet(struct lease *l)
{
    struct kv_info now[ROLE_COUNT], before[ROLE_COUNT] = {0};
    uint64_t until = base_now_ms() + QUIET_MS;
    unsigned still = 0;

    while (still < 2 && base_now_ms() < until) {
        bool same = true;
        for (int role = 0; role < ROLE_COUNT; role++) {
            int r = kv_info(l->kv, (enum role)role, base_now_ms() + TAKE_MS, &now[role]);
            if (r < 0)
                return r;
            same = same && now[role].next_key == before[role].next_key &&
                   now[role].entries == before[role].entries &&
                   now[role].data_bytes == before[role].data_bytes;
            before[role] = now[role];
        }
        still = same ? still + 1 : 0;
        if (still < 2)
            usleep(QUIET_STEP_MS * 1000);
    }
    if (still < 2)
        log_warn("somebody else writes into the namespaces of the volume; going on");
    return 0;
}

/* Write ourselves over what was read at `since`, and see that it stays.  1: ours; 0: not. */
static int claim(struct lease *l, const struct head *mine, bool wait, bool left, uint64_t since)
{
    uint64_t deadline = base_now_ms() + TAKE_MS;
    struct head h = {0};

    int r = write_head(l, mine, deadline);
    if (r < 0)
        return r;
    wait = wait || base_now_ms() > since + QUICK_MS;
    if (wait)
        log_info("waiting %d s until the last requests of another mount are over",
                 (LEASE_FRESH_MS + OVERTAKE_MS) / 1000);
    usleep((wait ? LEASE_FRESH_MS + OVERTAKE_MS : SETTLE_MS) * 1000);
    r = left ? wait_until_quiet(l) : 0;
    if (r < 0)
        return r;
    r = read_head(l, &h, base_now_ms() + TAKE_MS);
    return r < 0 ? r : same_owner(&h, mine);
}

/* It stands at a point, and the owner in its header may be one of before it was brought back there:
 * an owner that lives is about to write that it goes on.  0: somebody has; 1: nobody does. */
static int wait_at_point(struct lease *l, const struct head *h)
{
    uint64_t until = base_now_ms() + LEASE_FRESH_MS + OVERTAKE_MS;
    struct head now = *h;

    log_info("the volume stands at point %" PRIu64
             ": waiting %d s for an owner that goes on from it",
             h->at_point, (LEASE_FRESH_MS + OVERTAKE_MS) / 1000);
    while (base_now_ms() < until) {
        usleep(SETTLE_MS * 1000);
        int r = read_head(l, &now, base_now_ms() + TAKE_MS);
        if (r < 0)
            return r;
        if (now.at_point != h->at_point || now.epoch != h->epoch ||
            now.owner.renewals != h->owner.renewals)
            return 0;
    }
    return 1;
}

/* What belongs to the point stays as it is: what we write goes into new segments. */
static int leave_segments(struct lease *l)
{
    for (int role = ROLE_META; role <= ROLE_DATA; role++) {
        struct kv_info info;
        int r = kv_info(l->kv, (enum role)role, base_now_ms() + TAKE_MS, &info);
        if (r == 0 && info.segment_bytes > KV_EMPTY_SEGMENT)
            r = kv_jump(l->kv, (enum role)role, base_now_ms() + TAKE_MS);
        if (r < 0 && r != -EPERM)
            return r;
    }
    return 0;
}

int lease_take(struct lease *l, const char *where, bool takeover, struct err *e)
{
    int r = 0;

    for (int i = 0; r == 0 && i < OVERTAKE_TRIES; i++) {
        struct head h = {0};
        bool wait;
        uint64_t since = base_now_ms();
        r = read_head(l, &h, since + TAKE_MS);
        if (r < 0)
            break;
        if (h.at_point && h.owned && !takeover && owner_look(&h.owner) != OWNER_GONE) {
            r = wait_at_point(l, &h);
            if (r < 0)
                break;
            if (r == 0)
                continue;
            h.owned = false;
        }
        r = judge(&h, takeover, &wait, e);
        if (r < 0)
            return r;
        r = h.at_point ? leave_segments(l) : 0;
        if (r < 0)
            break;
        since = h.at_point ? base_now_ms() : since;
        l->journal_counts = h.in_use || !h.tail;
        l->was_in_use = h.in_use;
        l->was_at_point = h.at_point;
        struct head mine = h;
        mine.tail = mine.in_use = mine.owned = true;
        mine.at_point = 0;
        mine.features |= HEAD_DELTAS;
        mine.epoch = MAX(h.epoch, l->head.epoch) + 1;
        owner_self(&mine.owner, where);
        mine.owner.wall_ms = base_wall_ns() / 1000000;
        mine.owner.ttl_ms = LEASE_TTL_MS;
        if (!l->journal_counts) /* with the same write: what the journal holds is too old */
            mine.generation = mine.generation >= HEAD_MAX_GENERATION ? 1 : mine.generation + 1;
        uint64_t epoch = kv_epoch(l->kv, ROLE_META);
        r = claim(l, &mine, wait, h.owned, since);
        if (r == 1) {
            l->head = mine;
            l->held = true;
            l->seen_ms = base_now_ms();
            kv_fence(l->kv, fence, l);
            r = kv_sync_since(l->kv, ROLE_META, epoch, l->seen_ms + TAKE_MS);
            return r < 0 ? err_sys(e, -r, "namespace for meta: SYNC of the header") : 0;
        }
    }
    return r < 0 ? err_sys(e, -r, "namespace for meta: header")
                 : err_set(e, EBUSY, "another mount takes the volume at the same time");
}

/* ---- keeping -------------------------------------------------------------------------------- */

/* Under the lock. */
static int renew(struct lease *l)
{
    struct head h = l->head;

    h.owner.renewals++;
    h.owner.wall_ms = base_wall_ns() / 1000000;
    return store(l, &h, base_now_ms() + TAKE_MS);
}

static void *run(void *arg)
{
    struct lease *l = arg;
    uint64_t next = base_now_ms() + LEASE_RENEW_MS;

    pthread_mutex_lock(&l->lock);
    while (!l->stop && !l->lost) {
        uint64_t now = base_now_ms();
        if (now >= next) {
            int r = renew(l);
            next = base_now_ms() + (r < 0 ? RENEW_RETRY_MS : LEASE_RENEW_MS);
            continue;
        }
        struct timespec ts = {(time_t)(next / 1000), (long)(next % 1000) * 1000000};
        pthread_cond_timedwait(&l->wake, &l->lock, &ts);
    }
    pthread_mutex_unlock(&l->lock);
    return NULL;
}

int lease_start(struct lease *l, struct err *e)
{
    pthread_mutex_lock(&l->lock);
    uint32_t before = l->head.owner.pid;
    owner_refresh_process(&l->head.owner);
    int r = l->head.owner.pid != before ? renew(l) : 0;
    pthread_mutex_unlock(&l->lock);
    if (r < 0)
        return err_sys(e, -r, "namespace for meta: header");
    int code = pthread_create(&l->thread, NULL, run, l);
    if (code)
        return err_sys(e, code, "thread that renews the lease");
    pthread_setname_np(l->thread, "zdbfs-lease");
    l->running = true;
    return 0;
}

int lease_give_back(struct lease *l, bool clean, uint64_t deadline_ms)
{
    int r = 0;

    stop_thread(l);
    pthread_mutex_lock(&l->lock);
    if (l->held && !l->lost) {
        struct head h = l->head;
        h.owned = false;
        h.in_use = !clean;
        h.features &= clean ? ~HEAD_DELTAS : ~0ull;
        r = store(l, &h, deadline_ms);
    }
    l->held = false;
    pthread_mutex_unlock(&l->lock);
    return r;
}
