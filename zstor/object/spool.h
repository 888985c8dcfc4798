/* spool - a temporary file without a name: in memory while small, then O_TMPFILE in a directory,
 * and when the disk there is full, or nothing may be written there, a memfd (at most
 * SPOOL_MEMFD_MAX bytes).  Vanishes with the process.  Owner: one job, one thread. What lies in it
 * is encrypted already or encrypted still. */
#ifndef ZSTOR_OBJECT_SPOOL_H
#define ZSTOR_OBJECT_SPOOL_H

#include "common/bytes.h"
#include "common/err.h"

#define SPOOL_HEAP_MAX  ((size_t)1024 * 1024)
#define SPOOL_MEMFD_MAX ((uint64_t)1024 * 1024 * 1024)

struct spool;

struct spool *spool_new(const char *dir); /* dir is copied; nothing is touched yet */
void spool_free(struct spool *s);
/* Append.  -ENOSPC when neither the directory nor memory takes it; other -errno of the file. */
int spool_append(struct spool *s, const void *p, size_t n);
/* Exactly n bytes at off; -ENODATA past the end. */
int spool_read(const struct spool *s, uint64_t off, void *p, size_t n);
uint64_t spool_len(const struct spool *s);

#endif
