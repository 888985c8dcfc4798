/* apply - see txn/apply.h. */
#include "zdbfs/txn/apply.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "common/log.h"
#include "zdbfs/format/redo.h"

enum { WINDOW = 256 };

struct window {
    struct kv *kv;
    enum role role;
    struct kv_req req[WINDOW];
    size_t n;
    uint64_t deadline_ms;
};

/* A key that has to be there is not: its reservation was lost with the disk's cache.  Insert until
 * it comes up. */
static int make_key(struct kv *kv, struct kv_req *q, uint64_t deadline_ms)
{
    uint64_t key = 0;

    do {
        int r = kv_insert(kv, ROLE_META, slice_str("X"), deadline_ms, &key);
        if (r < 0)
            return r;
    } while (key < q->key);
    if (key > q->key) {
        struct kv_req undo = {.op = KV_DEL, .key = key};
        kv_write(kv, ROLE_META, &undo, 1, deadline_ms);
        log_error("meta key %" PRIu64 " is lost: it cannot be made again", q->key);
        return 0;
    }
    return kv_set(kv, ROLE_META, q->key, q->value, deadline_ms);
}

static int run(struct window *w)
{
    if (w->n == 0)
        return 0;
    int r = kv_write(w->kv, w->role, w->req, w->n, w->deadline_ms);
    for (size_t i = 0; r == -ENOENT && i < w->n; i++) {
        struct kv_req *q = &w->req[i];
        if (q->result == -ENOENT)
            q->result = make_key(w->kv, q, w->deadline_ms);
        if (q->result < 0)
            return q->result;
    }
    w->n = 0;
    return r == -ENOENT ? 0 : r;
}

static int put(struct window *w, struct kv_req q)
{
    w->req[w->n++] = q;
    return w->n == WINDOW ? run(w) : 0;
}

/* What the stream does in one namespace, and that it is on stable storage.  -ESTALE: of a server
 * that has ended since. */
static int apply_role(struct kv *kv, enum role role, struct slice stream, uint64_t deadline_ms)
{
    enum redo_op del = role == ROLE_META ? REDO_DEL_META : REDO_DEL_DATA;
    struct window *w = xcalloc(1, sizeof *w);
    uint64_t epoch = kv_epoch(kv, role);
    struct rd rd = rd_of(stream);
    struct redo_item it;
    bool any = false;
    int r = 0;

    w->kv = kv;
    w->role = role;
    w->deadline_ms = deadline_ms;
    while (r == 0 && redo_format_next(&rd, &it) == 1) {
        bool set = role == ROLE_META && it.op == REDO_SET;
        any = any || set || it.op == del;
        if (set)
            r = put(w, (struct kv_req){.op = KV_SET, .key = it.key, .value = it.value});
        for (uint32_t i = 0; it.op == del && i < redo_format_count(&it) && r == 0; i++)
            r = put(w, (struct kv_req){.op = KV_DEL, .key = redo_format_key(&it, i)});
    }
    if (r == 0)
        r = run(w);
    free(w);
    return r == 0 && any ? kv_sync_since(kv, role, epoch, deadline_ms) : r;
}

int apply_stream(struct kv *kv, struct slice stream, uint64_t deadline_ms)
{
    int r;

    do {
        r = apply_role(kv, ROLE_META, stream, deadline_ms);
        if (r == 0)
            r = apply_role(kv, ROLE_DATA, stream, deadline_ms);
    } while (r == -ESTALE && base_now_ms() < deadline_ms);
    return r == -ESTALE ? -EIO : r;
}
