/* judge - whose files are these, and how far does their index count: does the watermark fit?
 * Contract: recovery/state.h. */
#include "common/log.h"
#include "zdb/recovery/state.h"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

/* Is the last record that it names where it says? */
static bool ends_there(const char *dir, char prefix, uint32_t id, uint32_t off, uint64_t size,
                       uint64_t header, uint32_t sum,
                       int (*sum_of)(int fd, uint32_t off, uint64_t end, uint32_t *sum))
{
    CLEANUP(base_free) char *path = xasprintf("%s/%c%u", dir, prefix, id);
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint32_t found = 0;

    if (!off)
        return size == header;
    return fd >= 0 && sum_of(fd, off, size, &found) == 0 && found == sum;
}

/* Whose files are these?  *index_is_broken: the data is what the watermark was made of. */
static bool fits(struct load *l, const struct watermark *w, bool *index_is_broken)
{
    const struct load_seg *f = load_found(l, w->segment);

    *index_is_broken = false;
    if (!f || !f->data || f->data_size < w->data_size || w->data_size < DATA_HEADER_SIZE ||
        w->index_size < INDEX_HEADER_SIZE || w->mode != (uint32_t)l->ns->mode ||
        !ends_there(l->ns->data_dir, 'd', f->id, w->last_data, w->data_size, DATA_HEADER_SIZE,
                    w->data_sum, watermark_data_sum))
        return false;
    if ((w->flags & WATERMARK_CLEAN) &&
        (f->data_size != w->data_size || f->index_size > w->index_size ||
         f->id != l->found[l->n - 1].id))
        return false;
    *index_is_broken = w->index_size > INDEX_HEADER_SIZE &&
                       (f->index_size < w->index_size ||
                        !ends_there(l->ns->index_dir, 'i', f->id, w->last_index, w->index_size,
                                    INDEX_HEADER_SIZE, w->index_sum, watermark_index_sum));
    return true;
}

/* What the header of its segment says of the mode is not something else. */
static bool header_agrees(const struct load *l, const struct watermark *w)
{
    CLEANUP(base_free) char *path = xasprintf("%s/i%u", l->ns->index_dir, w->segment);
    CLEANUP(base_close) int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t bytes[INDEX_HEADER_SIZE];
    struct index_header h;

    if (fd < 0 || pread(fd, bytes, sizeof bytes, 0) != (ssize_t)sizeof bytes ||
        index_header_decode(slice_of(bytes, sizeof bytes), &h) < 0)
        return true;
    return h.mode == (w->mode == NS_SEQ ? INDEX_MODE_SEQ : INDEX_MODE_USER);
}

bool load_tells_mode(struct load *l, const struct watermark *w)
{
    enum ns_mode before = l->ns->mode, forced = l->ns->env->mode;
    bool index_is_broken;

    if (!w->sequence || w->mode > NS_SEQ || (forced != NS_MIXED && w->mode != (uint32_t)forced) ||
        !header_agrees(l, w))
        return false;
    l->ns->mode = (enum ns_mode)w->mode;
    if (fits(l, w, &index_is_broken))
        return true;
    l->ns->mode = before;
    return false;
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
    bool index_is_broken;
    size_t i;

    l->ns->checkpoint.now.sequence = w->sequence; /* also when it does not fit: no number twice */
    if (!w->sequence || !fits(l, w, &index_is_broken)) {
        if (w->sequence)
            log_warn("namespace %s: its watermark does not fit its files: they were changed by "
                     "another program, or restored",
                     l->ns->name);
        l->foreign = true;
        l->from = l->n;
        return 0;
    }
    l->mark = l->ns->checkpoint.now = *w;
    i = (size_t)(load_found(l, w->segment) - l->found);
    l->from = i;
    if (!index_is_broken)
        return 0;
    log_warn("index %s/i%u: not what it was, built anew from its data", l->ns->index_dir,
             w->segment);
    return load_move_back(l, i);
}
