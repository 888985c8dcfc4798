/* compact_segment - files of a segment written anew under another name: a data file without the
 * payloads of dead records, an index file with the places that its records have then.  Nothing
 * takes effect here; compact_journal does that.  Blocks.
 *
 * Data file: every record stays, in its order; one that no live index record names keeps header and
 * key and gets the flag "truncated", length 0 and CRC 0 (deletions and empty values stay as they
 * are).  `previous` names the record before. Index file: offsets are the new ones; a record of a
 * truncated value gets length 0 and CRC 0.  Former versions cannot be read any more, so no record
 * names a parent: readers of the history end at the present value. */
#ifndef ZDB_TOOLS_COMPACT_SEGMENT_H
#define ZDB_TOOLS_COMPACT_SEGMENT_H

#include "zdb/tools/root.h"
#include "zdb/file/data.h"

struct compact_offs { /* data offsets of the live records of one data file */
    uint32_t *offs;
    size_t n, cap;
    bool sorted;
};

void compact_offs_add(struct compact_offs *o, uint32_t off);
void compact_offs_fini(struct compact_offs *o);

struct compact_place {
    uint32_t from, to;
    bool truncated;
};

struct compact_map { /* where the records of one data file went; ascending by from */
    struct compact_place *places;
    size_t n, cap;
};

void compact_map_fini(struct compact_map *m);

struct compact_sizes {
    uint64_t before, after;
};

/* Sizes of a data file before and after; *last: offset of its last record (0: none).
 * 0, -errno: it cannot be read, or its records end early. */
int compact_seg_measure(const char *path, struct compact_offs *live, struct compact_sizes *out,
                        uint32_t *last, struct err *e);

/* Data and index file of a segment that was closed in order: synced.  0 or -errno. */
int compact_seg_settle(const char *data_path, const char *index_path, struct err *e);

struct compact_end { /* of a data file */
    uint64_t size;
    uint32_t last; /* offset of the last record, 0 = none */
};

/* Write the new data file, synced.  last_before: offset of the last record of the segment before
 * (0: none).  0, -ENOSPC, -errno; then the new file may be there in part. */
int compact_seg_data(const char *path, const char *new_path, struct compact_offs *live,
                     uint32_t last_before, struct compact_map *map, struct compact_end *end,
                     struct err *e);

/* Write the new index file, synced.  seg, map: records of this data file get their new places (map
 * NULL: none does). seq: the records themselves say which data file; else all are of that with this
 * number. */
int compact_seg_index(const char *path, const char *new_path, bool seq, uint32_t seg,
                      const struct compact_map *map, uint64_t *size, struct err *e);

#endif
