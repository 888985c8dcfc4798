/* segment_list - which segments the two directories of a namespace have.  Blocks.  Owner: the
 * caller. */
#ifndef ZDB_FILE_SEGMENT_LIST_H
#define ZDB_FILE_SEGMENT_LIST_H

#include "common/base.h"

struct segment_files {
    uint32_t id;
    bool has_index, has_data;
    uint64_t index_size, data_size; /* of the files */
};

struct segment_list {
    struct segment_files *v; /* ascending by number */
    size_t n;
    bool old_layout; /* there are files of a version before 2.0 */
};

/* Adds the files of one directory: kind 'i' (i<N>) or 'd' (d<N>), every other name is none of ours.
 * 0 or -errno. */
int segment_list_add(struct segment_list *l, const char *dir, char kind);
void segment_list_fini(struct segment_list *l);
char *segment_path(const char *dir, char kind, uint32_t id); /* given (free) */

#endif
