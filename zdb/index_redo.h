/* index_redo - brings index and data of one segment together at load: records that reached the data file but not the index
 * are replayed into it, index records whose data did not survive are taken back, a torn data tail is cut.
 * Owner: index_load.c, on its stack.  Thread: the zdb loop, before service.  Rules: spec zdb-files, 4.4, 4.5 and 4.7. */
#ifndef ZDB_INDEX_REDO_H
#define ZDB_INDEX_REDO_H

#include "zdb/ns_impl.h"

/* Where the index says that a data record is. */
struct index_known_rec {
    uint32_t data_off, length, crc, timestamp;
    uint32_t file, off; /* the index record */
    uint8_t keylen;
    bool deleted;
};

/* The data records of one segment that the index knows: all at or behind from, and the last one before it. */
struct index_known {
    uint32_t seg;
    uint64_t from;
    struct index_known_rec *recs, below;
    size_t n, cap;
    bool has_below;
    bool rebuild;       /* the index file of this segment is empty: every data record goes into it */
};

void index_known_init(struct index_known *k, uint32_t seg, uint64_t from);
void index_known_fini(struct index_known *k);
/* Takes the record if its payload is in k->seg. */
void index_known_add(struct index_known *k, const struct ns *ns, uint32_t file, uint32_t off, const struct index_rec *rec);

/* Walk the data file of s from k->from on.  newest: s is the active segment, its torn tail may be cut.
 * 0 or -errno (nothing more than reported is changed). */
int index_redo(struct ns *ns, struct seg *s, struct index_known *k, bool newest);

#endif
