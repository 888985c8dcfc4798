/* watermark - the watermark file of a namespace on the disk, and what its last records are known
 * by.  Stateless; any thread.  Format: common/watermark.h. */
#ifndef ZDB_FILE_WATERMARK_H
#define ZDB_FILE_WATERMARK_H

#include "common/watermark.h"

/* The slot that counts.  1, 0 (no file, or nothing in it that is ours), -errno. */
int watermark_read(const char *index_dir, struct watermark *out);
/* Into the slot that is not the newest; durable.  0 or -errno: then the one before still counts. */
int watermark_write(const char *index_dir, const struct watermark *w);
/* No watermark any more: what is there counts as foreign.  Durable; 0 or -errno. */
int watermark_remove(const char *index_dir);

/* The sum of a record that begins at off and ends exactly at end, without what may be rewritten in
 * place (index) or is long (data: the payload).  0, -EBADMSG (no such record), -errno. */
int watermark_data_sum(int fd, uint32_t off, uint64_t end, uint32_t *sum);
int watermark_index_sum(int fd, uint32_t off, uint64_t end, uint32_t *sum);

#endif
