/* patches - rewrites of index records that wait, by place and by age; when they are written:
 * engine/rewrite.c.  Owner: struct ns.  Thread: the zdb loop. */
#ifndef ZDB_ENGINE_PATCHES_H
#define ZDB_ENGINE_PATCHES_H

#include "zdb/engine/flagset.h"
#include "zdb/format/index.h"

struct patch {
    struct patch *in_bucket, *next; /* the latter: younger */
    uint64_t number;
    uint32_t file, off;
    uint8_t n; /* bytes that are set; 0: only the flag */
    bool forgotten;
    bool shadowed; /* a younger one is for the same place; only this one's data may be durable */
    uint8_t bytes[INDEX_SEQ_REC];
};

struct patches {
    struct patch **bucket; /* by place */
    size_t nbuckets, n;
    size_t queued, forgotten;    /* in the queue; of these, what is not written */
    uint64_t clock;              /* number of the newest patch */
    struct patch *first, **tail; /* oldest first */
    uint64_t since_ms;           /* when the oldest came */
    struct patch_flags { /* a generation in the flagsets: flags that are to be written together */
        size_t n;
        uint64_t from, to; /* numbers of its first and its last one */
    } gen[FLAGSET_GENERATIONS];
    unsigned open; /* the one that is being filled */
    size_t flags;  /* in all of them */
};

void patches_init(struct patches *p);
void patches_fini(struct patches *p);
/* What is queued in p is forgotten, and it gets what is queued in from, as its youngest. */
void patches_take(struct patches *p, struct patches *from);
struct patch *patches_find(const struct patches *p, uint32_t file, uint32_t off); /* NULL: none */
/* A new one, the youngest, with nothing in it; none is found for this place. */
struct patch *patches_add(struct patches *p, uint32_t file, uint32_t off);
/* It is not found any more, but stays in the queue. */
void patches_unhash(struct patches *p, struct patch *one);
/* It is not found and not written any more; patches_sweep or its turn frees it. */
void patches_forget(struct patches *p, struct patch *one);
/* Frees what was forgotten, when that is most of the queue. */
void patches_sweep(struct patches *p);
/* Those up to this number, the oldest, leave the queue. */
void patches_drop(struct patches *p, uint64_t upto);
/* Number up to which all are written (or forgotten). */
uint64_t patches_written(const struct patches *p);

#endif
