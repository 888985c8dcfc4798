/* patches - see the header. */
#include "zdb/engine/patches.h"
#include <stdlib.h>

#define FIRST_BUCKETS 64
#define SWEEP_FROM    1024

void patches_init(struct patches *p)
{
    *p = (struct patches){0};
    p->tail = &p->first;
}

void patches_fini(struct patches *p)
{
    struct patch *one, *next;

    for (one = p->first; one; one = next) {
        next = one->next;
        free(one);
    }
    free(p->bucket);
    *p = (struct patches){.clock = p->clock}; /* jobs under way know its numbers; flags go with
                                                    their segments */
    p->tail = &p->first;
}

void patches_take(struct patches *p, struct patches *from)
{
    uint64_t clock = p->clock;
    struct patch *one;

    patches_fini(p);
    if (!from->first)
        return;
    *p = *from;
    for (one = p->first; one; one = one->next)
        one->number += clock;
    p->clock += clock;
    patches_init(from);
}

static size_t slot_of(const struct patches *p, uint32_t file, uint32_t off)
{
    return (size_t)((file * (uint64_t)0x9e3779b97f4a7c15 ^ off * (uint64_t)0xc2b2ae3d27d4eb4f) >>
                    20) &
           (p->nbuckets - 1);
}

struct patch *patches_find(const struct patches *p, uint32_t file, uint32_t off)
{
    struct patch *one;

    if (p->n == 0)
        return NULL;
    for (one = p->bucket[slot_of(p, file, off)]; one; one = one->in_bucket) {
        if (one->file == file && one->off == off)
            return one;
    }
    return NULL;
}

static void grow(struct patches *p)
{
    size_t n = p->nbuckets ? p->nbuckets * 2 : FIRST_BUCKETS;
    struct patch *one;

    if (p->n < p->nbuckets)
        return;
    free(p->bucket);
    p->bucket = xcalloc(n, sizeof *p->bucket);
    p->nbuckets = n;
    for (one = p->first; one; one = one->next) {
        size_t i;
        if (one->forgotten || one->shadowed)
            continue;
        i = slot_of(p, one->file, one->off);
        one->in_bucket = p->bucket[i];
        p->bucket[i] = one;
    }
}

struct patch *patches_add(struct patches *p, uint32_t file, uint32_t off)
{
    struct patch *one = xcalloc(1, sizeof *one);
    size_t i;

    one->number = ++p->clock;
    one->file = file;
    one->off = off;
    if (!p->first)
        p->since_ms = base_now_ms();
    grow(p);
    i = slot_of(p, file, off);
    one->in_bucket = p->bucket[i];
    p->bucket[i] = one;
    *p->tail = one;
    p->tail = &one->next;
    p->queued++;
    p->n++;
    return one;
}

void patches_unhash(struct patches *p, struct patch *one)
{
    struct patch **at = &p->bucket[slot_of(p, one->file, one->off)];

    while (*at != one)
        at = &(*at)->in_bucket;
    *at = one->in_bucket;
    p->n--;
}

void patches_forget(struct patches *p, struct patch *one)
{
    patches_unhash(p, one);
    one->forgotten = true;
    p->forgotten++;
}

void patches_sweep(struct patches *p)
{
    struct patch **at = &p->first, *one;

    if (p->forgotten < SWEEP_FROM || p->forgotten < p->queued / 2)
        return;
    while ((one = *at)) {
        if (!one->forgotten) {
            at = &one->next;
            continue;
        }
        *at = one->next;
        free(one);
    }
    p->tail = at;
    p->queued -= p->forgotten;
    p->forgotten = 0;
}

void patches_drop(struct patches *p, uint64_t upto)
{
    bool all = upto == p->clock;
    struct patch *one;

    if (all && p->n > 0) {
        memset(p->bucket, 0, p->nbuckets * sizeof *p->bucket);
        p->n = 0;
    }
    while ((one = p->first) && one->number <= upto) {
        if (!all && !one->forgotten && !one->shadowed)
            patches_unhash(p, one);
        p->first = one->next;
        if (!p->first)
            p->tail = &p->first;
        p->forgotten -= one->forgotten;
        p->queued--;
        free(one);
    }
}

uint64_t patches_written(const struct patches *p)
{
    uint64_t upto = p->first ? p->first->number - 1 : p->clock;

    for (size_t i = 0; i < FLAGSET_GENERATIONS; i++) {
        if (p->gen[i].n)
            upto = MIN(upto, p->gen[i].from - 1);
    }
    return upto;
}
