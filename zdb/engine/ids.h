/* ids - sequential mode: id -> index file and slot, by the first id of each file; nothing per
 * key. The record of id k is in the last file whose first id is <= k and that holds it, at slot k -
 * first.  Spec zdb-files, 4.5. Owner: struct ns.  Thread: the zdb loop. */
#ifndef ZDB_ENGINE_IDS_H
#define ZDB_ENGINE_IDS_H

#include "common/base.h"

struct ids {
    struct ids_file {
        uint32_t file;
        uint64_t first, count;
    } * files; /* ascending by file; first ids do not descend */
    size_t n, cap;
};

void ids_init(struct ids *s);
void ids_fini(struct ids *s);
/* Next file, its number above those before.  first: id of its first record; raised to
 * ids_next() when lower. */
void ids_push(struct ids *s, uint32_t file, uint64_t first);
void ids_grow(struct ids *s, uint64_t records); /* so many more records in the last file
                                                 */
/* Repairs, where a file may end before the next one begins: */
bool ids_range(const struct ids *s, uint32_t file, uint64_t *next,
               uint64_t *limit);                /* the id a record appended
                                                 * to file gets, and the first one that it may not get */
void ids_grow_in(struct ids *s, uint32_t file); /* one record more in file, below its
                                                               limit */
uint64_t ids_next(const struct ids *s);         /* the id the next record gets */
/* true and the place of id, or false: no such record. */
bool ids_find(const struct ids *s, uint64_t id, uint32_t *file, uint32_t *off);
/* Id of the record at off of file; false when there is no record start. */
bool ids_id(const struct ids *s, uint32_t file, uint32_t off, uint64_t *id);

#endif
