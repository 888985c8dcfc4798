/* checkpoint - moving the watermark of a namespace (common/watermark.h).  Contract:
 * engine/namespace_impl.h.  The steps, each of which ends before the next one begins:
 *   first     a job makes data and index up to a certain place durable
 *   rewrites  the rewrites in place that follow from records before that place are written
 *   last      a job makes those durable, then the watermark, which names the place
 * A crash at any moment leaves an index that is right up to the former watermark, as the rewrites
 * that are ahead of it follow from data that is durable and will be replayed.
 * Thread: the zdb loop, but for ns_checkpoint_write, which blocks. */
#include "common/log.h"
#include "zdb/engine/namespace_impl.h"
#include <fcntl.h>
#include <unistd.h>

#define DATA_STEP                                                                              \
    (16 * MIB)            /* of data behind the watermark: what a start replays at most, about \
                           */
#define REWRITES    65536 /* so many that wait are worth a checkpoint */
#define QUIET_TICKS 4     /* without a write: the server is idle */
#define AGE_MS      30000

void ns_checkpoint_want(struct ns *ns)
{
    if (ns->checkpoint.step == CHECKPOINT_NONE)
        ns->checkpoint.step = CHECKPOINT_WANTED;
}

void ns_checkpoint_grown(struct ns *ns, uint64_t bytes)
{
    ns->checkpoint.bytes += bytes;
}

bool ns_checkpoint_is_far(const struct ns *ns)
{
    return ns->checkpoint.bytes >= DATA_STEP || ns->patches.n + ns->patches.flags > REWRITES;
}

static bool is_behind(const struct ns *ns)
{
    return ns->checkpoint.at_writes != ns->sync.writes || rewrite_any(ns) || ns->jumps;
}

bool ns_checkpoint_is_closed(const struct ns *ns)
{
    return ns->checkpoint.now.sequence && ns->checkpoint.now.flags == WATERMARK_CLEAN &&
           !is_behind(ns);
}

void ns_checkpoint_tick(struct ns *ns, uint64_t now_ms)
{
    struct ns_checkpoint *cp = &ns->checkpoint;

    cp->quiet = cp->seen_writes == ns->sync.writes ? cp->quiet + 1 : 0;
    cp->seen_writes = ns->sync.writes;
    if (ns_checkpoint_is_flushing(ns)) /* whoever wanted that is gone */
        ns_checkpoint_want(ns);
    if (is_behind(ns) &&
        (cp->quiet >= QUIET_TICKS || now_ms - cp->at_ms >= AGE_MS || ns_checkpoint_is_far(ns)))
        ns_checkpoint_want(ns);
}

static struct watermark place_of(const struct ns *ns)
{
    const struct seg *s = ns_active(ns);
    bool any = s->data.size > DATA_HEADER_SIZE;

    return (struct watermark){.mode = (uint32_t)ns->mode,
                              .segment = s->id,
                              .data_size = s->data.size,
                              .index_size = s->index.size,
                              .last_data = any ? ns->last_data : 0,
                              .last_index = s->index.last,
                              .data_chain = ns->last_data,
                              .safe_segment = s->id,
                              .safe_size = s->data.size};
}

bool ns_checkpoint_begin(struct ns *ns)
{
    struct ns_checkpoint *cp = &ns->checkpoint;

    if (cp->step != CHECKPOINT_WANTED)
        return false;
    rewrite_close(ns);
    cp->step = CHECKPOINT_FIRST;
    cp->next = place_of(ns);
    cp->clock = ns->patches.clock;
    cp->next_writes = ns->sync.writes;
    cp->next_bytes = cp->bytes;
    return true;
}

bool ns_checkpoint_end(struct ns *ns, struct watermark *w)
{
    struct ns_checkpoint *cp = &ns->checkpoint;

    if (cp->step != CHECKPOINT_READY)
        return false;
    cp->step = CHECKPOINT_LAST;
    cp->next.sequence = cp->now.sequence + 1;
    cp->next.flags = cp->closing ? WATERMARK_CLEAN : 0;
    *w = cp->next;
    return true;
}

void ns_checkpoint_failed(struct ns *ns)
{
    if (ns->checkpoint.step != CHECKPOINT_NONE)
        ns->checkpoint.step = CHECKPOINT_WANTED;
}

void ns_checkpoint_first_done(struct ns *ns)
{
    ns->checkpoint.step = CHECKPOINT_REWRITES;
    ns->sync.patch_due = MAX(ns->sync.patch_due, ns->checkpoint.clock);
}

void ns_checkpoint_rewritten(struct ns *ns)
{
    if (ns->checkpoint.step == CHECKPOINT_REWRITES &&
        patches_written(&ns->patches) >= ns->sync.patch_due)
        ns->checkpoint.step = CHECKPOINT_READY;
}

void ns_checkpoint_done(struct ns *ns, const struct watermark *w)
{
    struct ns_checkpoint *cp = &ns->checkpoint;

    cp->step = CHECKPOINT_NONE;
    cp->now = *w;
    cp->at_writes = cp->next_writes;
    cp->bytes -= MIN(cp->bytes, cp->next_bytes);
    cp->at_ms = base_now_ms();
    ns->sync.patch_durable = MAX(ns->sync.patch_durable, cp->clock);
    if (ns->jumps) /* a younger one */
        ns_checkpoint_want(ns);
}

static int sum_of(int (*sum)(int fd, uint32_t off, uint64_t end, uint32_t *sum), const char *path,
                  uint32_t off, uint64_t end, uint32_t *out)
{
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? -errno : sum(fd, off, end, out);
}

int ns_checkpoint_write(const char *index_dir, struct watermark *w, const char *data,
                        const char *idx)
{
    int r = 0;

    if (w->last_data)
        r = sum_of(watermark_data_sum, data, w->last_data, w->data_size, &w->data_sum);
    if (r == 0 && w->last_index)
        r = sum_of(watermark_index_sum, idx, w->last_index, w->index_size, &w->index_sum);
    return r < 0 ? r : watermark_write(index_dir, w);
}

static int put(struct ns *ns, struct watermark *w)
{
    int r;

    w->sequence = ns->checkpoint.now.sequence + 1;
    r = watermark_write(ns->index_dir, w);
    if (r < 0) {
        log_error("namespace %s: watermark cannot be written: %s", ns->name, strerror(-r));
        return r;
    }
    ns->checkpoint.now = *w;
    return 0;
}

int ns_checkpoint_open(struct ns *ns)
{
    struct watermark w = ns->checkpoint.now;

    w.flags &= ~WATERMARK_CLEAN;
    return put(ns, &w);
}

struct watermark ns_checkpoint_flushing(const struct ns *ns)
{
    struct watermark w = ns->checkpoint.now;

    w.flags = WATERMARK_FLUSHING;
    w.sequence++;
    return w;
}

void ns_checkpoint_reset(struct ns *ns)
{
    struct watermark now = ns->checkpoint.now;

    ns->checkpoint = (struct ns_checkpoint){.now = now};
}
