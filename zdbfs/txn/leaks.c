/* leaks - see txn/leaks.h. */
#include "zdbfs/txn/leaks.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "zdbfs/format/inode.h"
#include "zdbfs/format/point.h"
#include "zdbfs/txn/replay.h"

enum { BATCH = 128, SMALLEST_INODE = 56 }; /* of one with a block */

struct search {
    struct kv *kv;
    uint64_t floor;
    struct key_set found; /* data keys from the floor on, sorted; those in use become 0 */
    size_t nused;
    uint64_t batch[BATCH]; /* meta keys that may be inodes */
    size_t n;
    bool reserved; /* look for keys that are only reserved, too */
    struct key_set unused;
};

static int by_key(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static int note_new(uint64_t key, uint64_t len, void *arg)
{
    struct search *s = arg;

    (void)len;
    if (key < s->floor)
        return 1; /* the newest come first */
    if (key)
        replay_key_add(&s->found, key);
    return 0;
}

/* What an inode refers to is no leak. */
static void strike(struct search *s, bool *used, struct slice value)
{
    struct inode_rec rec;

    if (inode_format_decode(value, &rec) < 0)
        return;
    for (size_t i = 0; i < rec.slots.len; i += 4) {
        uint64_t key = le32_get(rec.slots.p + i);
        const uint64_t *at =
            key >= s->floor ? bsearch(&key, s->found.key, s->found.n, sizeof key, by_key) : NULL;
        if (at)
            used[at - s->found.key] = true;
    }
}

struct pass {
    struct search *s;
    bool *used;
};

static int look(struct pass *p)
{
    struct search *s = p->s;
    struct kv_val val[BATCH];

    int r = kv_get_many(s->kv, ROLE_META, s->batch, s->n, kv_deadline(s->kv), val);
    if (r < 0)
        return r;
    for (size_t i = 0; i < s->n; i++) {
        if (val[i].found && slice_eq_str(val[i].v, "X"))
            replay_key_add(&s->unused, s->batch[i]);
        else if (val[i].found)
            strike(s, p->used, val[i].v);
        kv_val_fini(&val[i]);
    }
    s->n = 0;
    return 0;
}

static int note_inode(uint64_t key, uint64_t len, void *arg)
{
    struct pass *p = arg;
    struct search *s = p->s;

    if (key == 0 || (len < SMALLEST_INODE && !(s->reserved && len == 1)))
        return 0;
    s->batch[s->n++] = key;
    return s->n == BATCH ? look(p) : 0;
}

/* used: of the keys, or NULL: none of them is. */
static int delete_unused(struct kv *kv, enum role role, const struct key_set *keys,
                         const bool *used, uint64_t *count)
{
    struct kv_req q[BATCH];
    size_t n = 0;
    int r = 0;

    for (size_t i = 0; i < keys->n && r == 0; i++) {
        if (!used || !used[i])
            q[n++] = (struct kv_req){.op = KV_DEL, .key = keys->key[i]};
        if (n == BATCH || (n && i + 1 == keys->n)) {
            r = kv_write(kv, role, q, n, kv_deadline(kv));
            *count += n;
            n = 0;
        }
    }
    return r;
}

static int collect(struct kv *kv, uint64_t floor, bool reserved, struct err *e)
{
    struct search s = {.kv = kv, .floor = floor, .reserved = reserved};
    uint64_t count = 0;

    int r = kv_rscan(kv, ROLE_DATA, kv_deadline(kv), note_new, &s);
    r = MIN(r, 0);
    bool *used = xcalloc(s.found.n + 1, sizeof *used);
    struct pass p = {&s, used};
    if (r == 0 && (s.found.n || reserved)) {
        if (s.found.n)
            qsort(s.found.key, s.found.n, sizeof *s.found.key, by_key);
        r = kv_scan(kv, ROLE_META, kv_deadline(kv), note_inode, &p);
        if (r == 0 && s.n)
            r = look(&p);
    }
    if (r == 0)
        r = delete_unused(kv, ROLE_DATA, &s.found, used, &count);
    if (count && r == 0)
        log_info("%" PRIu64 " blocks that a crash left behind are deleted", count);
    if (r == 0)
        r = delete_unused(kv, ROLE_META, &s.unused, NULL, &count);
    free(used);
    free(s.found.key);
    free(s.unused.key);
    return r < 0 ? err_sys(e, -r, "looking for blocks that a crash left behind") : 0;
}

/* The inodes that had no name at the point. */
static int delete_orphans(struct kv *kv, struct lease *lease, struct err *e)
{
    struct point_list *list = xcalloc(1, sizeof *list);
    struct slice orphans = slice_of(NULL, 0);
    struct kv_val v = {0};
    uint64_t key = lease_points_key(lease);

    int r = key ? kv_get(kv, ROLE_META, key, kv_deadline(kv), &v) : 0;
    if (r == 0 && v.found)
        point_format_decode(v.v, list, &orphans);
    if (list->n && list->p[0].number == lease_was_at_point(lease))
        for (size_t i = 0; i < orphans.len && r == 0; i += 8)
            r = replay_delete_orphan(kv, le64_get(orphans.p + i), kv_deadline(kv));
    kv_val_fini(&v);
    free(list);
    return r < 0 ? err_sys(e, -r, "deleting what had no name at the point") : 0;
}

int leaks_free(struct kv *kv, struct lease *lease, bool recovered, struct err *e)
{
    struct kv_info info;
    uint64_t floor = lease_floor(lease);

    int r = recovered ? delete_orphans(kv, lease, e) : 0;
    if (r == 0 && lease_was_in_use(lease) && floor)
        r = collect(kv, floor, recovered, e);
    if (r == 0 && (r = kv_info(kv, ROLE_DATA, kv_deadline(kv), &info)) < 0)
        err_sys(e, -r, "asking zdb for its next key (NSINFO)");
    if (r == 0 && info.next_key && (r = lease_set_floor(lease, info.next_key, kv_deadline(kv))) < 0)
        err_sys(e, -r, "namespace for meta: header");
    return r;
}
