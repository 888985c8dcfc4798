/* values - see file/values.h.  Positions count all bytes ever put; an entry is alive while the ring
 * has not gone round over it. An entry has two places in the table, side by side; one that loses
 * both is just not found. */
#include "zdb/file/values.h"

#include <stdlib.h>

#define BYTES_PER_SLOT 64 /* ring bytes per place in the table */

struct entry { /* in the ring, followed by the payload */
    uint32_t owner, seg, off, len;
};

struct vcache {
    uint8_t *ring;
    size_t size;    /* multiple of sizeof(struct entry) */
    uint64_t head;  /* position of the next entry */
    uint64_t *slot; /* position + 1 of an entry, 0 = none */
    size_t nslots;  /* power of two */
    uint32_t next_owner;
};

struct vcache *vcache_new(size_t bytes)
{
    struct vcache *c = xcalloc(1, sizeof *c);

    c->next_owner = 1;
    if (bytes < 4 * VCACHE_MAX_VALUE)
        return c;
    c->size = bytes / sizeof(struct entry) * sizeof(struct entry);
    c->nslots = 1;
    while (c->nslots * BYTES_PER_SLOT < bytes)
        c->nslots *= 2;
    c->ring = malloc(c->size);
    c->slot = calloc(c->nslots, sizeof *c->slot);
    if (!c->ring || !c->slot) { /* it works without */
        free(c->ring);
        free(c->slot);
        c->ring = NULL;
        c->slot = NULL;
        c->size = 0;
    }
    return c;
}

void vcache_free(struct vcache *c)
{
    if (!c)
        return;
    free(c->ring);
    free(c->slot);
    free(c);
}

uint32_t vcache_owner(struct vcache *c)
{
    return c->next_owner++;
}

static uint64_t *slot_of(const struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off)
{
    uint64_t h = ((uint64_t)owner << 32 | seg) * UINT64_C(0x9e3779b97f4a7c15) + off;

    h ^= h >> 29;
    h *= UINT64_C(0xbf58476d1ce4e5b9);
    return &c->slot[(h >> 32) & (c->nslots - 1) & ~(uint64_t)1]; /* the first of two */
}

static size_t space_of(size_t len)
{
    size_t unit = sizeof(struct entry);
    return unit + (len + unit - 1) / unit * unit;
}

void vcache_put(struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off, struct slice value)
{
    size_t space = space_of(value.len);

    if (c->size == 0 || value.len > VCACHE_MAX_VALUE)
        return;
    size_t at = c->head % c->size;
    if (at + space > c->size) { /* entries do not wrap */
        c->head += c->size - at;
        at = 0;
    }
    const struct entry e = {owner, seg, off, (uint32_t)value.len};
    memcpy(c->ring + at, &e, sizeof e);
    if (value.len)
        memcpy(c->ring + at + sizeof e, value.p, value.len);
    uint64_t *slot = slot_of(c, owner, seg, off);
    slot[slot[1] < slot[0]] = c->head + 1; /* the older one */
    c->head += space;
}

bool vcache_get(struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off, struct slice *value)
{
    struct entry e;

    if (c->size == 0)
        return false;
    const uint64_t *slot = slot_of(c, owner, seg, off);
    for (int i = 0; i < 2; i++) {
        uint64_t pos = slot[i];
        if (pos == 0 || c->head - (pos - 1) > c->size)
            continue;
        const uint8_t *p = c->ring + (pos - 1) % c->size;
        memcpy(&e, p, sizeof e);
        if (e.owner != owner || e.seg != seg || e.off != off)
            continue;
        *value = slice_of(p + sizeof e, e.len);
        return true;
    }
    return false;
}

void vcache_hint_slot(const struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off)
{
    if (c->size)
        __builtin_prefetch(slot_of(c, owner, seg, off));
}

void vcache_hint(const struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off)
{
    const uint64_t *slot = c->size ? slot_of(c, owner, seg, off) : NULL;

    for (int i = 0; slot && i < 2; i++) {
        const uint8_t *p = c->ring + (slot[i] ? slot[i] - 1 : 0) % c->size;
        __builtin_prefetch(p);
        __builtin_prefetch(p + 64);
    }
}
