/* aside - what a load takes out of service is kept under a name that no file had, beside the file
 * that it was in: the bytes are of no use to zdb, but perhaps to a person.  For load and repair;
 * blocks.  Thread: the zdb loop. <path>.lost, <path>.damaged          a whole file
 *   <path>.at-<offset>.lost              the end of a file, from that offset on
 *   <...>.1.lost, <...>.2.lost, ...      when there is one of this name already */
#ifndef ZDB_FILE_ASIDE_H
#define ZDB_FILE_ASIDE_H

#include <stdint.h>

/* Another name for the file; durable.  *as: the name, given (free), NULL on failure.  0, -ENOENT,
 * -errno. */
int aside_file(const char *path, const char *suffix, char **as);
/* A durable copy of the bytes [from, end) of the file; one that is there already will do.  As
 * above. */
int aside_tail(const char *path, uint64_t from, uint64_t end, char **as);

/* Are the bytes [from, end) worth a copy?  Zeros are not, nor are those of one record that was
 * being written: a data record (index record) begins at from, and the file ends before it does.  1,
 * 0, -errno. */
int aside_data_is_worth(const char *path, uint64_t from, uint64_t end);
int aside_index_is_worth(const char *path, uint64_t from, uint64_t end);
/* Nothing but zeros there, up to the end of the file?  1, 0, -errno. */
int aside_is_zero(const char *path, uint64_t from, uint64_t end);

#endif
