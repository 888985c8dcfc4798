/* rewrite - rewrites of index records (engine/patches.h) wait until what they follow from is
 * durable. An update flags (user mode) or rewrites (seq mode) the old record in place, a deletion
 * flags it. If that reached the disk before the new record did, a power cut would lose a value that
 * SYNC had promised.  So such rewrites are kept here, every reader of index records sees them
 * through rewrite_see(), and a checkpoint writes them (engine/checkpoint.c).  A crash in between
 * loses nothing: the load plays the data records again that they follow from (recovery/replay.c).
 *
 * Two kinds, numbered together: rewrites with their bytes stand in a queue; the flags of superseded
 * records (user mode), which come with every update, in the flagset of their segment.  A job closes
 * the generation of flags that is being filled. Owner: struct ns.  Thread: the zdb loop. */
#include "common/log.h"
#include "zdb/engine/namespace_impl.h"
#include <assert.h>
#include <stdlib.h>

#define SPAN       ((size_t)16 << 10) /* rewritten with one call at most */
#define GAP        1024               /* bytes between two records that are worth the copy */
#define SPAN_FLAGS (SPAN / (INDEX_REC_SIZE + 1) + 1) /* records in it, at most */

void rewrite_forget(struct ns *ns, uint32_t file, uint32_t off)
{
    struct patch *one = patches_find(&ns->patches, file, off);

    if (one)
        patches_forget(&ns->patches, one);
}

/* A second rewrite of one place takes the place of the first, at the end of the queue: it follows
 * from younger records.  A first one that the running job makes due is written all the same: the
 * watermark will say that it is. */
static struct patch *put(struct ns *ns, uint32_t file, uint32_t off)
{
    struct patches *p = &ns->patches;
    struct patch *old = patches_find(p, file, off), *one;
    struct seg *s = ns_seg_find(ns, file);

    if (s)
        index_dirty(&s->index); /* decided now: a jump from here on has to report it */
    if (old && old->number <= ns_checkpoint_clock(ns)) {
        patches_unhash(p, old);
        old->shadowed = true;
    } else if (old) {
        patches_forget(p, old);
    }
    one = patches_add(p, file, off);
    if (old) {
        memcpy(one->bytes, old->bytes, sizeof one->bytes);
        one->n = old->n;
    }
    patches_sweep(p);
    return one;
}

bool rewrite_any(const struct ns *ns)
{
    return ns->patches.first || ns->patches.flags;
}

void rewrite_supersede(struct ns *ns, uint32_t file, uint32_t off)
{
    struct patches *p = &ns->patches;
    struct patch_flags *g = &p->gen[p->open];
    struct seg *s = ns_seg_find(ns, file);

    if (!s || patches_find(p, file, off)) {
        rewrite_flag(ns, file, off);
        return;
    }
    index_dirty(&s->index); /* decided now, as in put() */
    if (!flagset_add(&s->flags, off, p->open))
        return;
    if (!rewrite_any(ns))
        p->since_ms = base_now_ms();
    g->to = ++p->clock;
    if (g->n++ == 0)
        g->from = g->to;
    p->flags++;
}

void rewrite_close(struct ns *ns)
{
    struct patches *p = &ns->patches;
    unsigned next = (p->open + 1) % FLAGSET_GENERATIONS;

    if (p->gen[p->open].n && p->gen[next].n == 0) /* else it takes what comes later, too, and is due
                                                     with that */
        p->open = next;
}

void rewrite_flag(struct ns *ns, uint32_t file, uint32_t off)
{
    struct patch *one = put(ns, file, off);

    one->bytes[INDEX_FLAGS_AT] |= INDEX_DELETED;
}

/* The shadowed ones as well, which stand at the head: they are written later than the flag of the
 * deletion, and must not take it away again. */
void rewrite_flag_queued(struct ns *ns, uint32_t file, uint32_t off)
{
    uint64_t last = ns_checkpoint_clock(ns);
    struct patch *one = patches_find(&ns->patches, file, off);

    if (one)
        one->bytes[INDEX_FLAGS_AT] |= INDEX_DELETED;
    for (one = ns->patches.first; one && one->number <= last; one = one->next) {
        if (one->shadowed && one->file == file && one->off == off)
            one->bytes[INDEX_FLAGS_AT] |= INDEX_DELETED;
    }
}

void rewrite_bytes(struct ns *ns, uint32_t file, uint32_t off, const uint8_t *bytes, size_t n)
{
    struct patch *one = put(ns, file, off);

    assert(n == INDEX_REC_SIZE || n == INDEX_SEQ_REC);
    one->n = (uint8_t)MAX(n, (size_t)one->n); /* a key that is set stays set */
    memcpy(one->bytes, bytes, n);
}

void rewrite_see(const struct ns *ns, uint32_t file, uint32_t off, uint8_t *bytes, size_t n)
{
    const struct patch *one = patches_find(&ns->patches, file, off);
    const struct seg *s = ns->patches.flags ? ns_seg_find(ns, file) : NULL;

    if (one && one->n)
        memcpy(bytes, one->bytes, MIN(n, (size_t)one->n));
    else if (one || (s && flagset_has(&s->flags, off)))
        bytes[INDEX_FLAGS_AT] |= INDEX_DELETED;
}

static uint32_t begin_of(const struct patch *one)
{
    return one->n ? one->off : one->off + INDEX_FLAGS_AT;
}

static uint32_t end_of(const struct patch *one)
{
    return one->off + (one->n ? one->n : INDEX_FLAGS_AT + 1);
}

struct place {
    uint64_t at; /* file, offset */
    struct patch *patch;
};

/* Rewrites that are near to each other in the same file. */
static int write_span(struct ns *ns, const struct place *v, size_t n)
{
    struct seg *s = ns_seg_find(ns, v[0].patch->file);
    uint32_t begin = begin_of(v[0].patch), end = end_of(v[n - 1].patch);
    uint8_t bytes[SPAN];
    ssize_t got;
    int r = 0;

    if (!s)
        return 0;
    if (n > 1) { /* what stands in between is written again as it is */
        got = index_block(&s->index, begin, bytes, end - begin, false);
        r = got < 0 ? (int)got : (size_t)got < end - begin ? -ENODATA : 0;
    }
    for (size_t i = 0; i < n; i++) {
        const struct patch *one = v[i].patch;
        memcpy(bytes + (begin_of(one) - begin), one->bytes + (begin_of(one) - one->off),
               end_of(one) - begin_of(one));
    }
    if (r == 0)
        r = index_write(&s->index, begin, bytes, end - begin);
    if (r < 0) {
        log_error("index %s: record at %u cannot be rewritten: %s", s->index.path, v[0].patch->off,
                  strerror(-r));
        ns_index_failed(ns);
        return r;
    }
    ns_sync_note_quiet(ns, s);
    return 0;
}

bool rewrite_queued(const struct ns *ns, uint32_t file, uint32_t off)
{
    return patches_find(&ns->patches, file, off);
}

void rewrite_forget_same(struct ns *ns)
{
    for (struct patch *one = ns->patches.first; one; one = one->next) {
        struct seg *s = ns_seg_find(ns, one->file);
        uint8_t bytes[INDEX_SEQ_REC];
        size_t n = one->n ? one->n : INDEX_FLAGS_AT + 1;

        if (one->forgotten || !s || index_block(&s->index, one->off, bytes, n, false) != (ssize_t)n)
            continue;
        if (one->n ? memcmp(bytes, one->bytes, n) == 0 : bytes[INDEX_FLAGS_AT] & INDEX_DELETED)
            rewrite_forget(ns, one->file, one->off);
    }
}

static int by_place(const void *a, const void *b)
{
    const struct place *x = a, *y = b;

    if (x->at != y->at)
        return x->at < y->at ? -1 : 1;
    return x->patch->number < y->patch->number ? -1 : 1;
}

static int write_some(struct ns *ns, struct place *v, size_t n)
{
    size_t from = 0;
    int r = 0;

    if (n == 0)
        return 0;
    qsort(v, n, sizeof *v, by_place);
    for (size_t i = 1; i <= n && r == 0; i++) {
        if (i < n && v[i].patch->file == v[from].patch->file &&
            begin_of(v[i].patch) - end_of(v[i - 1].patch) <= GAP &&
            end_of(v[i].patch) - begin_of(v[from].patch) <= SPAN)
            continue;
        r = write_span(ns, v + from, i - from);
        from = i;
    }
    return r;
}

/* The queue.  *max: how many more may be written.  1 there is more, 0, -errno: they stay, and are
 * seen. */
static int write_queued(struct ns *ns, uint64_t upto, size_t *max)
{
    struct patches *p = &ns->patches;
    CLEANUP(base_free) struct place *v = NULL;
    uint64_t last = 0;
    size_t n = 0, due = 0;
    struct patch *one;
    int r;

    for (one = p->first; one && one->number <= upto && due < *max; one = one->next)
        due += !one->forgotten;
    if (due > 0)
        v = xcalloc(due, sizeof *v);
    for (one = p->first; one && one->number <= upto && (one->forgotten || n < due);
         one = one->next) {
        if (!one->forgotten)
            v[n++] = (struct place){(uint64_t)one->file << 32 | one->off, one};
        last = one->number;
    }
    r = write_some(ns, v, n);
    if (r < 0)
        return r;
    if (last)
        patches_drop(p, last);
    *max -= n;
    return p->first && p->first->number <= upto;
}

/* Flags that are near to each other. */
static int write_flags(struct ns *ns, struct seg *s, const uint32_t *off, size_t n)
{
    uint32_t begin = off[0] + INDEX_FLAGS_AT, end = off[n - 1] + INDEX_FLAGS_AT + 1;
    uint8_t bytes[SPAN];
    ssize_t got = index_block(&s->index, begin, bytes, end - begin, false);
    int r = got < 0 ? (int)got : (size_t)got < end - begin ? -ENODATA : 0;

    for (size_t i = 0; r == 0 && i < n; i++)
        bytes[off[i] + INDEX_FLAGS_AT - begin] |= INDEX_DELETED;
    if (r == 0)
        r = index_write(&s->index, begin, bytes, end - begin);
    if (r < 0) {
        log_error("index %s: record at %u cannot be flagged: %s", s->index.path, off[0],
                  strerror(-r));
        ns_index_failed(ns);
        return r;
    }
    ns_sync_note_quiet(ns, s);
    return 0;
}

static int write_generation(struct ns *ns, unsigned g, size_t *max)
{
    struct patches *p = &ns->patches;

    for (size_t i = 0; i < ns->nsegs && p->gen[g].n; i++) {
        struct seg *s = ns->segs[i];
        uint32_t off[SPAN_FLAGS];
        uint64_t from = 0;
        size_t n;

        while (s->flags.n &&
               (n = flagset_next(&s->flags, g, from, off, SPAN_FLAGS, SPAN - 1, GAP)) > 0) {
            int r = *max ? write_flags(ns, s, off, n) : 1;
            if (r != 0)
                return r;
            for (size_t k = 0; k < n; k++)
                flagset_remove(&s->flags, off[k]);
            p->gen[g].n -= n;
            p->flags -= n;
            *max -= MIN(n, *max);
            from = (uint64_t)off[n - 1] + 1;
        }
    }
    return 0;
}

bool rewrite_write(struct ns *ns, uint64_t upto, size_t max)
{
    struct patches *p = &ns->patches;
    int r = write_queued(ns, upto, &max);

    for (unsigned i = 1; r == 0 && i <= FLAGSET_GENERATIONS; i++) { /* oldest first */
        unsigned g = (p->open + i) % FLAGSET_GENERATIONS;
        if (p->gen[g].n && p->gen[g].to <= upto)
            r = write_generation(ns, g, &max);
    }
    if (r != 0)
        return r > 0; /* after an error the next sync tries again */
    p->since_ms = base_now_ms();
    return false;
}
