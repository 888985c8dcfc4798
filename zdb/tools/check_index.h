/* check_index - the index files of a namespace by themselves.  Blocks. */
#ifndef ZDB_TOOLS_CHECK_INDEX_H
#define ZDB_TOOLS_CHECK_INDEX_H

#include "zdb/tools/check_state.h"

/* Every file: findings, c->keys, counters; seq mode: also what is known of each data file.  0 or
 * -errno (it could not be read). */
int check_index(struct check *c, struct err *e);
/* User mode: what the index file of s says of its data file, into s->known. */
int check_index_collect(struct check *c, struct check_seg *s, struct err *e);
/* Seq mode: the record of id.  1, 0 there is none, -errno. */
int check_index_slot(struct check *c, uint64_t id, struct index_rec *rec,
                     uint8_t bytes[INDEX_REC_MAX]);
/* Key of the index record at (file, off), for a message; len 0 when it cannot be read.  bytes holds
 * it. */
struct slice check_index_key(struct check *c, uint32_t file, uint32_t off,
                             uint8_t bytes[INDEX_REC_MAX]);

#endif
