/* judge - whose files are these, and how far does their index count: does the watermark fit?
 * Contract: recovery/state.h. */
#include "common/log.h"
#include "zdb/recovery/state.h"

/* Is the last record that it names where it says? */
static bool ends_there(const struct load *l, char kind, const struct watermark *w)
{
    CLEANUP(base_close) int fd = load_open(l, kind, w->segment);
    uint32_t sum;

    if (kind == 'd')
        return !w->last_data
                   ? w->data_size == DATA_HEADER_SIZE
                   : fd >= 0 && watermark_data_sum(fd, w->last_data, w->data_size, &sum) == 0 &&
                         sum == w->data_sum;
    return !w->last_index
               ? w->index_size == INDEX_HEADER_SIZE
               : fd >= 0 && watermark_index_sum(fd, w->last_index, w->index_size, &sum) == 0 &&
                     sum == w->index_sum;
}

/* Whose files are these?  *index_is_broken: the data is what the watermark was made of. */
static bool fits(struct load *l, const struct watermark *w, bool *index_is_broken)
{
    const struct load_seg *f = load_found(l, w->segment);

    *index_is_broken = false;
    if (!f || !f->data || f->data_size < w->data_size || w->data_size < DATA_HEADER_SIZE ||
        w->index_size < INDEX_HEADER_SIZE || w->mode != (uint32_t)l->ns->mode ||
        !ends_there(l, 'd', w))
        return false;
    if ((w->flags & WATERMARK_CLEAN) &&
        (f->data_size != w->data_size || f->index_size > w->index_size ||
         f->id != l->found[l->n - 1].id))
        return false;
    *index_is_broken = w->index_size > INDEX_HEADER_SIZE &&
                       (f->index_size < w->index_size || !ends_there(l, 'i', w));
    return true;
}

/* Nothing speaks against the mode that it names: not what the server was told, nor the header of
 * its segment. */
static bool may_tell_mode(const struct load *l, const struct watermark *w)
{
    enum ns_mode forced = l->ns->env->mode;
    struct index_header h;

    return w->sequence && w->mode <= NS_SEQ &&
           (forced == NS_MIXED || w->mode == (uint32_t)forced) &&
           (load_header(l, w->segment, &h) < 0 ||
            h.mode == (w->mode == NS_SEQ ? INDEX_MODE_SEQ : INDEX_MODE_USER));
}

/* The place moves back to the beginning of this segment; durable before anything is changed. */
int load_move_back(struct load *l, size_t i)
{
    const struct load_seg *last = &l->found[l->n - 1];
    struct watermark *w = &l->mark;
    int r;

    if (l->foreign) {
        w->safe_segment = last->id;
        w->safe_size = last->data_size;
    }
    w->flags = 0;
    w->mode = (uint32_t)l->ns->mode;
    w->segment = l->found[i].id;
    w->data_size = DATA_HEADER_SIZE;
    w->index_size = INDEX_HEADER_SIZE;
    w->last_data = w->last_index = w->data_sum = w->index_sum = w->data_chain = 0;
    w->sequence = l->ns->checkpoint.now.sequence + 1;
    r = watermark_write(l->ns->index_dir, w);
    if (r == -EROFS)
        l->no_rebuild = true;
    if (r < 0)
        return r == -EROFS ? 0 : err_sys(l->e, -r, "watermark of namespace %s", l->ns->name);
    l->ns->checkpoint.now = *w;
    l->foreign = false;
    l->from = i;
    return 0;
}

int load_judge(struct load *l, const struct watermark *w)
{
    enum ns_mode before = l->ns->mode;
    bool index_is_broken = false, ours = may_tell_mode(l, w);

    if (ours) {
        l->ns->mode = (enum ns_mode)w->mode;
        ours = fits(l, w, &index_is_broken);
    }
    if (!ours) {
        l->ns->mode = before;
        int r = load_mode(l);
        if (r < 0)
            return r;
        ours = w->sequence && fits(l, w, &index_is_broken);
    }
    l->ns->checkpoint.now.sequence = w->sequence; /* also when it does not fit: no number twice */
    if (!ours) {
        if (w->sequence)
            log_warn("namespace %s: its watermark does not fit its files: they were changed by "
                     "another program, or restored",
                     l->ns->name);
        l->foreign = true;
        l->from = l->n;
        return 0;
    }
    l->mark = l->ns->checkpoint.now = *w;
    l->from = (size_t)(load_found(l, w->segment) - l->found);
    if (!index_is_broken)
        return 0;
    log_warn("index %s/i%u: not what it was, built anew from its data", l->ns->index_dir,
             w->segment);
    return load_move_back(l, l->from);
}
