/* renew - see renew.h. */
#include "zdb/renew.h"

#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "zdb/engine/namespace_impl.h"

/* What the files say replaces what memory says.  The new state is made beside the old one, which
 * stays on failure. */
static int load_anew(struct ns *ns, struct err *e)
{
    struct ns *fresh = ns_new(ns->env, ns->name);
    int r = ns_commit(ns);

    if (r < 0) {
        ns_unref(fresh);
        return err_sys(e, -r, "namespace %s: not written", ns->name);
    }
    r = index_load(fresh, e);
    if (r < 0) {
        ns_unref(fresh);
        return r;
    }
    for (size_t i = 0; i < ns->sync.n; i++) { /* what is not durable yet still is not */
        struct seg *s = ns_seg_find(fresh, ns->sync.unsynced[i]);
        if (s) {
            s->data.unsynced = s->index.unsynced = true;
            ns_sync_note_quiet(fresh, s);
        }
    }
    ns_seg_clear(ns);
    ns->generation++;
    keys_free(ns->keys);
    ids_fini(&ns->seq);
    free(ns->sync.unsynced);
    ns->loaded = fresh->loaded;
    ns->appended = false;
    ns->checkpoint = fresh->checkpoint;
    ns->sync.unsynced = fresh->sync.unsynced;
    ns->sync.n = fresh->sync.n;
    ns->sync.cap = fresh->sync.cap;
    patches_take(&ns->patches, &fresh->patches);
    ns_sync_everything(ns);
    fresh->loaded = (struct ns_loaded){0};
    ids_init(&fresh->seq);
    fresh->sync.unsynced = NULL;
    ns_unref(fresh);
    ns_dirty_reset(ns);
    ns_wait_keep_fetches(ns);
    return 0;
}

void renew_prepare(struct ns *ns)
{
    ns_sync_ask(ns);
}

/* Rewrites that came since it was prepared follow from data behind the watermark, which is played
 * again. */
int renew_reload(struct ns *ns, struct ns_wait *w, struct err *e)
{
    struct ns_events *ev = &ns->env->events;
    int r = ns_idle(ns, w);

    if (r < 0)
        return r;
    if (ns_checkpoint_is_flushing(ns))
        return err_set(e, EBUSY, "namespace %s: a FLUSH has not ended", ns->name);
    r = load_anew(ns, e);
    if (r < 0)
        return r;
    log_info("namespace %s: reloaded, %llu keys", ns->name, (unsigned long long)ns->entries);
    if (ev->reloaded)
        ev->reloaded(ev->arg, ns->name);
    return 0;
}

/* The watermark says what is under way: a crash on the way ends in an empty namespace, and none
 * before it begins or after it ended.  When files cannot be removed, those that are left are served
 * as they are. */
int renew_flush(struct ns *ns, struct ns_wait *w)
{
    struct err e = {0};
    int r = ns_idle(ns, w); /* a helper may be about to write the watermark */

    if (r == 0)
        r = ns_sync_mark_flushing(ns, w);
    if (r < 0)
        return r == -EINPROGRESS ? r : -NS_EINDEX;
    ns_seg_tell(ns, true);
    r = ns_seg_remove_files(ns);
    ns->generation++;
    ns_checkpoint_reset(ns);
    ns_sync_forget(ns);
    patches_fini(&ns->patches);
    ns_sync_directories(ns);
    ns_reset(ns);
    if (r < 0) {
        ns->checkpoint.now.flags = 0; /* it is not finished by the load that follows */
        if (ns_checkpoint_open(ns) == 0 && load_anew(ns, &e) == 0)
            return r;
        log_error("namespace %s: %s", ns->name, e.text);
        ns_reset(ns);
    }
    r = ns_seg_create(ns, 0);
    log_info("namespace %s: flushed", ns->name);
    return r;
}
