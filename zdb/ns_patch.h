/* ns_patch - rewrites of index records that wait until what they follow from is durable.
 * An update flags (user mode) or rewrites (seq mode) the old record in place.  If that reached the disk before the new record
 * did, a power cut would lose a value that SYNC had promised.  So once something in a namespace is durable, such rewrites
 * are kept here, every reader of index records sees them through ns_patch_see(), and the end of the next sync job writes
 * them.  A crash in between loses nothing: the load finds both versions and the later one wins.
 * Owner: struct ns.  Thread: the zdb loop. */
#ifndef ZDB_NS_PATCH_H
#define ZDB_NS_PATCH_H

#include "zdb/index_format.h"

struct ns;

struct ns_patches {
    struct ns_patch **bucket; /* by place */
    size_t nbuckets, n;
    uint64_t clock;           /* number of the newest patch */
    struct ns_patch *first, **tail; /* oldest first */
    uint64_t since_ms;        /* when the oldest came */
};

void ns_patch_init(struct ns_patches *p);
void ns_patch_fini(struct ns_patches *p);
/* Queue: the record gets its deleted flag; or these bytes (n: INDEX_REC_SIZE, or with a key of 8). */
void ns_patch_flag(struct ns *ns, uint32_t file, uint32_t off);
void ns_patch_bytes(struct ns *ns, uint32_t file, uint32_t off, const uint8_t *bytes, size_t n);
/* If something is queued for this place, it gets the deleted flag as well. */
void ns_patch_flag_queued(struct ns *ns, uint32_t file, uint32_t off);
/* Forget what is queued for this place. */
void ns_patch_forget(struct ns *ns, uint32_t file, uint32_t off);
/* Bytes of the record at (file, off), at least INDEX_REC_SIZE of them, as they will be. */
void ns_patch_see(const struct ns *ns, uint32_t file, uint32_t off, uint8_t *bytes, size_t n);
/* Number up to which all are written (or forgotten). */
uint64_t ns_patch_written(const struct ns *ns);
/* Write what was queued up to this number, at most max of them; true: there is more. */
bool ns_patch_write(struct ns *ns, uint64_t upto, size_t max);

#endif
