/* values - small payloads that were read lately, in a ring of fixed size, so that hot keys cost no
 * system call. An entry is named by (owner, segment, offset of its data record); such bytes never
 * change, so nothing is ever invalidated: an owner that starts anew (FLUSH, RELOAD, a new
 * namespace) takes a new number.  Thread: the zdb loop. */
#ifndef ZDB_FILE_VALUES_H
#define ZDB_FILE_VALUES_H

#include "common/bytes.h"

#define VCACHE_MAX_VALUE \
    ((size_t)KIB) /* larger ones are left to the page cache: a copy costs as much as the call */

struct vcache;

struct vcache *vcache_new(size_t bytes); /* 0: keeps nothing.  Memory is used as it fills */
void vcache_free(struct vcache *c);
uint32_t vcache_owner(struct vcache *c); /* a number never given before */

/* Is about to be asked for, in two steps: n of each in a row. */
void vcache_hint_slot(const struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off);
void vcache_hint(const struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off);

/* The payload must be right (checksum verified).  Too large ones are not kept. */
void vcache_put(struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off, struct slice value);
bool vcache_get(struct vcache *c, uint32_t owner, uint32_t seg, uint32_t off,
                struct slice *value); /* borrowed until the next put */

#endif
