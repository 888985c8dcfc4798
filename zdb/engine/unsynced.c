/* unsynced - which segments have bytes that are not durable, and how many changes there were.  An
 * entry leaves the list only by success (engine/sync.c).  Contract: engine/namespace_impl.h. */
#include "zdb/engine/namespace_impl.h"
#include <stdlib.h>

void ns_sync_note_quiet(struct ns *ns, struct seg *s)
{
    struct ns_sync_state *st = &ns->sync;

    if (s->noted)
        return;
    s->noted = true;
    if (st->n == st->cap) {
        size_t cap = st->cap ? st->cap * 2 : 4;
        uint32_t *p = xcalloc(cap, sizeof *p);
        if (st->n)
            memcpy(p, st->unsynced, st->n * sizeof *p);
        free(st->unsynced);
        st->unsynced = p;
        st->cap = cap;
    }
    st->unsynced[st->n++] = s->id;
}

void ns_sync_note(struct ns *ns, struct seg *s)
{
    ns->sync.writes++;
    ns_sync_note_quiet(ns, s);
}

void ns_sync_forget(struct ns *ns)
{
    ns->sync.n = 0;
    for (size_t i = 0; i < ns->nsegs; i++)
        ns->segs[i]->noted = false;
}

void ns_sync_directories(struct ns *ns)
{
    ns->sync.directories = true;
    ns->sync.writes++;
}

void ns_sync_everything(struct ns *ns)
{
    ns->sync.everything = true;
    ns_sync_directories(ns);
}
