/* point - see txn/point.h. */
#include "zdbfs/txn/point.h"

#include <errno.h>
#include <stdlib.h>

#include "common/log.h"

struct points {
    struct kv *kv;
    struct lease *lease;
    uint64_t key; /* of the list; 0: none */
    uint64_t next;
    bool entered; /* the header may say that the volume stands at a point */
    struct point_list list;
};

int point_read(struct kv *kv, uint64_t points_key, struct point_list *out, struct err *e)
{
    struct kv_val v;
    struct slice orphans;

    out->n = 0;
    if (points_key == 0)
        return 0;
    int r = kv_get(kv, ROLE_META, points_key, kv_deadline(kv), &v);
    if (r < 0)
        return err_sys(e, -r, "namespace for meta: GET of the list of points");
    if (v.found && !slice_eq_str(v.v, "X") && point_format_decode(v.v, out, &orphans) < 0)
        r = err_set(e, EUCLEAN, "namespace for meta: the list of points, key %llu, is damaged",
                    (unsigned long long)points_key);
    kv_val_fini(&v);
    return r;
}

int points_open(struct points **out, struct kv *kv, struct lease *lease, struct err *e)
{
    struct points *ps = xcalloc(1, sizeof *ps);

    ps->kv = kv;
    ps->lease = lease;
    ps->key = lease_points_key(lease);
    int r = point_read(kv, ps->key, &ps->list, e);
    if (r == -EUCLEAN) { /* what it was worth is told; a new one is begun under another key */
        log_error("%s: a new one is begun", e->text);
        err_clear(e);
        ps->key = 0;
        r = 0;
    }
    ps->next = MAX(ps->list.n ? ps->list.p[0].number : 0, lease_was_at_point(lease)) + 1;
    if (ps->list.n == 0)
        ps->key = 0;
    *out = ps;
    if (r < 0) {
        points_free(ps);
        *out = NULL;
    }
    return r;
}

void points_free(struct points *ps)
{
    free(ps);
}

bool points_none(const struct points *ps)
{
    return ps->list.n == 0;
}

int points_reserve(struct points *ps, struct ids *ids, uint64_t deadline_ms)
{
    return ps->key ? 0 : ids_take(ids, 1, &ps->key, deadline_ms);
}

/* Close the data that the metadata names.  *last: the newest closed segment. */
static int close_data(struct kv *kv, uint64_t deadline_ms, uint32_t *last)
{
    struct kv_info info;

    int r = kv_info(kv, ROLE_DATA, deadline_ms, &info);
    if (r == 0 && info.segment_known && info.segment_bytes > KV_EMPTY_SEGMENT) {
        r = kv_jump(kv, ROLE_DATA, deadline_ms);
        if (r == 0)
            r = kv_info(kv, ROLE_DATA, deadline_ms, &info);
    }
    if (r == -EPERM || (r == 0 && (!info.segment_known || info.segment == 0)))
        return -EOPNOTSUPP;
    if (r == 0)
        *last = info.segment - 1;
    return r;
}

/* Between entering and leaving: the list with the point as its first entry, closed behind it. */
static int store_list(struct points *ps, struct point *p, const uint64_t *orphans, size_t norphans,
                      uint64_t deadline_ms)
{
    uint64_t epoch = kv_epoch(ps->kv, ROLE_META);
    struct buf b = BUF_INIT;
    struct kv_info info;

    int r = kv_info(ps->kv, ROLE_META, deadline_ms, &info);
    if (r < 0)
        return r;
    p->meta = info.segment;
    struct point_list *list = xcalloc(1, sizeof *list);
    *list = ps->list;
    point_list_add(list, p);
    point_format_encode(&b, list, orphans, norphans);
    struct kv_req q = {.op = KV_SET, .key = ps->key, .value = buf_slice(&b)};
    r = kv_write(ps->kv, ROLE_META, &q, 1, deadline_ms);
    if (r == 0)
        r = kv_sync_since(ps->kv, ROLE_META, epoch, deadline_ms);
    if (r == 0)
        r = kv_jump(ps->kv, ROLE_META, deadline_ms);
    if (r == 0)
        ps->list = *list;
    else if (r == -ENOENT)
        ps->key = 0; /* lost with the server's memory */
    free(list);
    buf_fini(&b);
    return r;
}

int points_leave(struct points *ps, uint64_t deadline_ms)
{
    int r = ps->entered ? lease_leave_point(ps->lease, deadline_ms) : 0;

    ps->entered = r < 0;
    return r;
}

int point_make(struct points *ps, const uint64_t *orphans, size_t norphans, uint64_t deadline_ms,
               struct point *out)
{
    struct point p = {.number = ps->next,
                      .epoch = lease_epoch(ps->lease),
                      .generation = lease_generation(ps->lease)};

    int r = close_data(ps->kv, deadline_ms, &p.data);
    if (r < 0)
        return r;
    p.wall_ns = base_wall_ns();
    ps->entered = true;
    r = lease_enter_point(ps->lease, p.number, ps->key, deadline_ms);
    if (r == 0) {
        ps->next++;
        r = store_list(ps, &p, orphans, norphans, deadline_ms);
    }
    int left = points_leave(ps, deadline_ms);
    if (r == 0 && left == 0)
        *out = p;
    return r == -EPERM ? -EOPNOTSUPP : r < 0 ? r : left;
}
