/* known - small tables of the load: what the index says about the data of one segment, copies
 * of old versions (seq mode), sets of ids.  Owner: recovery/load.c.  Thread: the zdb loop. */
#ifndef ZDB_RECOVERY_KNOWN_H
#define ZDB_RECOVERY_KNOWN_H

#include "zdb/format/index.h"

/* Where the index says that a data record is. */
struct index_known_rec {
    uint32_t data_off, length, crc, timestamp;
    uint32_t file, off; /* the index record */
    uint32_t key_crc;
    uint8_t keylen;
    bool deleted;
    bool judged, kept; /* found damaged once; and yet durable */
};

/* The data records of one segment that the index knows: all from `from` on, and the last one before
 * it. */
struct index_known {
    uint64_t from;
    struct index_known_rec *recs, below;
    size_t n, cap;
    bool has_below;
};

void index_known_reset(struct index_known *k, uint64_t from); /* empty; also the first use of a
                                                                 zeroed one */
void index_known_add(struct index_known *k, uint32_t file, uint32_t off,
                     const struct index_rec *rec);
void index_known_sort(struct index_known *k);                            /* before the searches */
void index_known_merge(struct index_known *k, struct index_known *more); /* sorted again; more is
                                                                            empty then */
struct index_known_rec *index_known_at(const struct index_known *k, uint64_t data_off);
struct index_known_rec *index_known_behind(const struct index_known *k, uint64_t data_off); /* the
                                                                                               next
                                                                                               one,
                                                                                               or
                                                                                               NULL
                                                                                             */
static inline uint64_t index_known_end(const struct index_known_rec *r) /* of the data record */
{
    return (uint64_t)r->data_off + 18 + r->keylen + r->length;
}

/* Copies that updates in sequential mode append: which version of which id is where. */
struct index_copies {
    struct index_copy {
        uint64_t id;
        uint32_t dataid, data_off; /* the version */
        uint32_t file, off;        /* the copy */
    } * copies;
    size_t n, cap;
    bool sorted;
};

void index_copies_reset(struct index_copies *c);
void index_copies_add(struct index_copies *c, uint32_t file, uint32_t off,
                      const struct index_rec *rec);
/* The copy of this version, of whatever id (one version has one copy), or NULL. */
const struct index_copy *index_copies_find(struct index_copies *c, uint32_t dataid,
                                           uint32_t data_off);

struct index_ids {
    uint64_t *ids; /* open addressing, id + 1; 0 = free */
    size_t n, cap;
};

void index_ids_fini(struct index_ids *s);
void index_ids_add(struct index_ids *s, uint64_t id);
bool index_ids_has(const struct index_ids *s, uint64_t id);

#endif
