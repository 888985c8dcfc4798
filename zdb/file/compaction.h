/* compaction - files of a namespace that take the place of others, all of them or none.
 *
 * New files are written as `.d<N>.compact` and `.i<N>.compact` beside those they replace, and
 * synced; compact_commit writes the journal, which is the moment they count.  compact_recover gives
 * the files their names and removes the journal; new files that have none it removes.  It runs
 * before every load of a namespace and in the tools.  Owner: none; the caller holds the locks of
 * the directories.  Format: format/compaction.h. */
#ifndef ZDB_FILE_COMPACTION_H
#define ZDB_FILE_COMPACTION_H

#include "common/err.h"
#include "zdb/format/compaction.h"

char *compact_new_path(const char *dir, char kind, uint32_t id); /* given (free) */

/* 1 and *out, 0 no journal, -errno (it cannot be read, or is damaged). */
int compact_journal_read(const char *index_dir, struct compact_list *out, struct err *e);
bool compact_journal_has(const struct compact_list *l, char kind, uint32_t id);
/* A new file that no journal knows is there: a compaction was interrupted before it counted. */
bool compact_has_leftovers(const char *index_dir, const char *data_dir);

/* All files of the list are there under their other names, synced.  0; -errno: nothing counts (the
 * journal could not be written), or, with the journal still there, compact_recover has to finish.
 */
int compact_commit(const char *index_dir, const char *data_dir, const struct compact_list *l,
                   struct err *e);
/* New files that no journal knows: their number; those that can be are removed. */
size_t compact_discard(const char *index_dir, const char *data_dir);
/* 0 (also when there is nothing to do) or -errno; logs what it did. */
int compact_recover(const char *index_dir, const char *data_dir, struct err *e);

#endif
