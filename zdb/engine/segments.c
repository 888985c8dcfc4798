/* segments - the segments of a namespace: creation, rotation, removal, dirty bits, files
 * removed by others. Contract: engine/namespace.h, engine/namespace_impl.h.  Rules: spec
 * zdb-protocol, section 7; zdb-files, section 6. */
#include "common/log.h"
#include "zdb/engine/namespace_impl.h"
#include "zdb/engine/trash.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

void ns_seg_close(struct seg *s)
{
    tail_fini(&s->index.tail);
    tail_fini(&s->data.tail);
    files_drop(s->index.fs, &s->index.file);
    files_drop(s->data.fs, &s->data.file);
}

int ns_seg_create(struct ns *ns, uint32_t id)
{
    struct seg *s = ns_seg_add(ns, id);
    int r;

    r = index_create(&s->index, (uint8_t)ns->mode);
    if (r < 0) {
        log_error("index %s: cannot be created: %s", s->index.path, strerror(-r));
        ns_index_failed(ns);
        ns_seg_drop_last(ns);
        return -NS_EINDEX;
    }
    r = data_create(&s->data);
    if (r < 0) {
        log_error("data %s: cannot be created: %s", s->data.path, strerror(-r));
        ns_data_failed(ns);
        unlink(s->index.path);
        ns_seg_drop_last(ns);
        return -NS_EDATA;
    }
    if (ns->mode == NS_SEQ)
        ids_push(&ns->seq, id, ids_next(&ns->seq));
    ns_sync_directories(ns);
    ns->appended = false;
    ns->opened_ms = base_now_ms();
    ns_sync_note(ns, s);
    return 0;
}

void ns_seg_dirty_list(const struct ns *ns, uint32_t **ids, size_t *n)
{
    *n = 0;
    for (size_t i = 0; i < ns->nsegs; i++)
        *n += ns->segs[i]->index.dirty_at != 0;
    *ids = xcalloc(*n + 1, sizeof **ids);
    *n = 0;
    for (size_t i = 0; i < ns->nsegs; i++) {
        if (ns->segs[i]->index.dirty_at)
            (*ids)[(*n)++] = ns->segs[i]->id;
    }
}

static void tell_jump(struct ns *ns, struct ns_jumped *j, struct seg *closed, struct seg *opened)
{
    struct ns_events *ev = &ns->env->events;
    struct ns_hook *h;

    if (ev->jump_index) {
        h = ns_wait_hook(ns);
        h->rewrites = j->rewrites;
        h->dirty = j->dirty;
        h->ndirty = j->ndirty;
        j->dirty = NULL;
        ev->jump_index(ev->arg, ns, closed->index.path, opened->index.path, h->dirty, h->ndirty,
                       h->token);
    }
    if (ev->jump_data)
        ev->jump_data(ev->arg, ns, closed->data.path, opened->data.path);
}

void ns_seg_tell(struct ns *ns, bool all)
{
    struct ns_jumped *j;

    while ((j = ns->jumps)) {
        struct seg *closed = ns_seg_find(ns, j->closed), *opened = ns_seg_find(ns, j->opened);

        if (!all && (ns->sync.durable < j->writes || ns->sync.patch_durable < j->clock))
            return;
        ns->jumps = j->next;
        if (closed && opened)
            tell_jump(ns, j, closed, opened);
        ns_seg_jumped_free(j);
    }
}

static void tell_later(struct ns *ns, uint32_t closed, uint32_t opened)
{
    struct ns_jumped **at = &ns->jumps;

    while (*at)
        at = &(*at)->next;
    *at = xcalloc(1, sizeof **at);
    **at = (struct ns_jumped){.closed = closed,
                              .opened = opened,
                              .writes = ns->sync.writes,
                              .clock = ns->patches.clock,
                              .rewrites = ns->env->files.rewrites};
    ns_seg_dirty_list(ns, &(*at)->dirty, &(*at)->ndirty);
}

int ns_seg_rotate(struct ns *ns)
{
    struct seg *closed = ns_active(ns);
    int r;

    if (closed->id == UINT32_MAX || ns_commit(ns) < 0)
        return -NS_EDATA;
    if (!ns_checkpoint_is_open(ns) && ns_checkpoint_open(ns) < 0)
        return -NS_EINDEX;
    r = ns_seg_create(ns, closed->id + 1);
    if (r < 0)
        return r;
    data_seal(&closed->data);
    index_release(&closed->index);
    log_info("namespace %s: jumped to segment %u", ns->name, closed->id + 1);
    tell_later(ns, closed->id, closed->id + 1);
    ns_checkpoint_want(ns);
    return 0;
}

/* Newest first: a crash in between leaves an older, consistent state.  The first index file goes
 * last: without it the directory would look new while older data is there. */
int ns_seg_remove_files(struct ns *ns)
{
    int result = 0;

    for (size_t i = ns->nsegs; i-- > 0;) {
        struct seg *s = ns->segs[i];
        ns_seg_close(s);
        int r = trash_file(ns->env->trash, s->data.path);
        if (r == 0)
            r = trash_file(ns->env->trash, s->index.path);
        if (r < 0) {
            if (result == 0)
                result = r;
            log_error("segment %u of namespace %s: cannot be removed: %s", s->id, ns->name,
                      strerror(-r));
        }
    }
    ns_seg_clear(ns);
    return result;
}

/* The evictor removes sealed data files: a descriptor that is kept would hold the disk space. */
void ns_seg_sweep(struct ns *ns)
{
    for (size_t i = 0; i + 1 < ns->nsegs; i++) {
        struct data *d = &ns->segs[i]->data;
        if (d->file && files_unlinked(d->file))
            files_drop(d->fs, &d->file);
    }
}

int ns_seg_record(struct ns *ns, uint32_t file, uint32_t off, struct index_rec *rec,
                  uint8_t bytes[INDEX_REC_MAX], struct ns_wait *w)
{
    struct seg *s = ns_seg_find(ns, file);
    size_t want = ns->mode == NS_SEQ ? INDEX_SEQ_REC : INDEX_REC_MAX;
    struct rd rd;
    ssize_t n;

    if (!s || off < INDEX_HEADER_SIZE)
        return -EBADMSG;
    n = index_block(&s->index, off, bytes, want, ns_wait_nowait(w));
    if (n == -EAGAIN) {
        int r = ns_wait_warm(ns, s->index.file, off, want, w);
        if (r < 0)
            return r;
        n = index_block(&s->index, off, bytes, want, false);
    }
    if (n < 0) {
        log_error("index %s: record at %u cannot be read: %s", s->index.path, off,
                  strerror((int)-n));
        ns_index_failed(ns);
        return -EIO;
    }
    if (n >= INDEX_REC_SIZE)
        rewrite_see(ns, file, off, bytes, (size_t)n);
    rd = rd_of(slice_of(bytes, (size_t)n));
    return index_rec_decode(&rd, rec) == 1 ? 0 : -EBADMSG;
}

void ns_dirty(struct ns *ns, struct buf *ids)
{
    for (size_t i = 0; i < ns->nsegs; i++) {
        if (ns->segs[i]->index.dirty_at)
            buf_put_le32(ids, ns->segs[i]->id);
    }
}

void ns_dirty_reset(struct ns *ns)
{
    for (size_t i = 0; i < ns->nsegs; i++)
        ns->segs[i]->index.dirty_at = 0;
}

void ns_reset(struct ns *ns)
{
    keys_free(ns->keys);
    ns->keys = keys_new();
    ids_fini(&ns->seq);
    ns->entries = ns->data_size = ns->index_size = ns->next_id = 0;
    ns->last_index = ns->last_data = 0;
    ns->appended = false;
}
