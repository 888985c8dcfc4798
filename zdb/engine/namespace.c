/* namespace - the state of a namespace: its making and its end, and the table of its segments. What
 * it does in service is in the other files of this room, each of which has its part of struct ns.
 * Contract: engine/namespace_impl.h. */
#include "common/loop.h"
#include "common/path.h"
#include "zdb/engine/namespace_impl.h"
#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

/* --- segments --------------------------------------------------------------------------------- */

struct seg *ns_seg_find(const struct ns *ns, uint32_t id)
{
    size_t lo = 0, hi = ns->nsegs;

    if (id < ns->nsegs && ns->segs[id]->id == id) /* no gap below */
        return ns->segs[id];
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (ns->segs[mid]->id < id)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < ns->nsegs && ns->segs[lo]->id == id ? ns->segs[lo] : NULL;
}

struct seg *ns_seg_add(struct ns *ns, uint32_t id)
{
    struct seg *s = xcalloc(1, sizeof *s);

    assert(ns->nsegs == 0 || ns_active(ns)->id < id);
    s->id = id;
    /* index records never reach the file before the data they are about */
    index_init(&s->index, &ns->env->files, ns->index_dir, id);
    data_init(&s->data, &ns->env->files, ns->data_dir, id);
    s->index.tail.after = &s->data.tail;
    if (ns->nsegs == ns->cap_segs) {
        size_t cap = ns->cap_segs ? ns->cap_segs * 2 : 2;
        struct seg **p = xcalloc(cap, sizeof *p);
        if (ns->nsegs)
            memcpy(p, ns->segs, ns->nsegs * sizeof *p);
        free(ns->segs);
        ns->segs = p;
        ns->cap_segs = cap;
    }
    ns->segs[ns->nsegs++] = s;
    return s;
}

void ns_live(struct ns *ns, uint32_t seg, size_t keylen, uint64_t length, bool more)
{
    struct seg *s = ns_seg_find(ns, seg);
    uint64_t n = DATA_REC_SIZE + keylen + length;

    if (!s)
        return;
    if (more)
        s->live += n;
    else
        s->live -= MIN(n, s->live);
}

void ns_seg_drop_last(struct ns *ns)
{
    struct seg *s = ns->segs[--ns->nsegs];

    index_fini(&s->index);
    data_fini(&s->data);
    flagset_fini(&s->flags);
    free(s);
}

void ns_seg_clear(struct ns *ns)
{
    while (ns->nsegs)
        ns_seg_drop_last(ns);
    free(ns->segs);
    ns->segs = NULL;
    ns->cap_segs = 0;
}

void ns_seg_jumped_free(struct ns_jumped *j)
{
    free(j->dirty);
    free(j);
}

/* --- life cycle ------------------------------------------------------------------------------ */

struct ns *ns_new(struct ns_env *env, const char *name)
{
    struct ns *ns = xcalloc(1, sizeof *ns);

    ns->env = env;
    ns->refs = 1;
    ns->name = xstrdup(name);
    ns->index_dir = path_join(env->index_root, name);
    ns->data_dir = path_join(env->data_root, name);
    ns->is_public = true;
    ns->mode = env->mode == NS_SEQ ? NS_SEQ : NS_USER;
    ns->keys = keys_new();
    ids_init(&ns->seq);
    patches_init(&ns->patches);
    return ns;
}

void ns_ref(struct ns *ns)
{
    ns->refs++;
}

void ns_unref(struct ns *ns)
{
    assert(ns->refs > 0);
    if (--ns->refs > 0)
        return;
    assert(!ns->clean.timer);
    while (ns->jumps) {
        struct ns_jumped *next = ns->jumps->next;
        ns_seg_jumped_free(ns->jumps);
        ns->jumps = next;
    }
    ns_seg_clear(ns);
    keys_free(ns->keys);
    ids_fini(&ns->seq);
    free(ns->sync.unsynced);
    loop_defer_free(ns->sync.begin);
    patches_fini(&ns->patches);
    if (ns->password.p)
        sodium_memzero(ns->password.p, ns->password.cap);
    if (ns->password_override.p)
        sodium_memzero(ns->password_override.p, ns->password_override.cap);
    buf_fini(&ns->password);
    buf_fini(&ns->password_override);
    free(ns->name);
    free(ns->index_dir);
    free(ns->data_dir);
    free(ns);
}

int ns_commit(struct ns *ns)
{
    return ns->nsegs ? tail_write(&ns_active(ns)->index.tail) : 0; /* the data goes before it */
}

void ns_index_failed(struct ns *ns)
{
    ns->index_io_errors++;
    ns->index_io_error_last = (int64_t)base_wall_s();
}

void ns_data_failed(struct ns *ns)
{
    ns->data_io_errors++;
    ns->data_io_error_last = (int64_t)base_wall_s();
}
