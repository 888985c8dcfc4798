/* check_state - what the parts of a check share: one namespace at a time.  Owner: tools/check.c.
 * Blocks. check_index   all index files: headers, records, their chain, which record of a key is
 * the live one check_data    one data file after the other against what the index says of it */
#ifndef ZDB_TOOLS_CHECK_STATE_H
#define ZDB_TOOLS_CHECK_STATE_H

#include "zdb/tools/report.h"
#include "zdb/tools/root.h"
#include "zdb/file/watermark.h"
#include "zdb/engine/keys.h"
#include "zdb/tools/known.h"

struct check_totals {
    uint64_t segments, absent;       /* absent: their data is not here */
    uint64_t records, keys;          /* index records; live keys */
    uint64_t live_bytes, dead_bytes; /* payload of live keys, wherever it is; payload of others, in
                                        the files here */
};

struct check_seg {
    uint32_t id;
    bool has_index, has_data, newest;
    bool broken; /* some of its index records cannot be read: its data is not asked for others */
    uint64_t records, first;  /* seq mode: id of the first record */
    struct index_known known; /* what the index says of its data */
    uint64_t named;           /* offset of the last data record that the index names */
};

struct check {
    struct check_report *report;
    struct check_dir dir;
    struct check_seg *segs; /* ascending; the last is the newest */
    size_t n;
    struct watermark mark; /* sequence 0: none */
    uint8_t mode;          /* INDEX_MODE_*, of the first index file with a header */
    bool has_mode;
    struct keys *keys;    /* user mode: live keys */
    struct keys *pending; /* keys of data records that no index record names; file, data_off say
                              which */
    uint32_t last;        /* `previous` of the next index record */
    bool last_known;
    struct check_totals t;
};

struct check_seg *check_seg_find(struct check *c, uint32_t id); /* NULL: none */

#endif
