/* record - what a commit says: what has changed since the last one, as operations for the journal
 * (format/redo); and what a checkpoint stores: the values of the meta namespace that the journal is
 * ahead of.  The thread that commits, under fs.lock. */
#ifndef ZDBFS_TXN_RECORD_H
#define ZDBFS_TXN_RECORD_H

#include "zdbfs/cache/inodes.h"

struct record {
    struct buf changes; /* of the newest commit */
    struct buf values;  /* SETs of a checkpoint, then what goes since the one before */
    struct buf value;   /* one of them, meanwhile */
    struct key_list del_meta, del_data; /* told by commits, to be deleted by the next checkpoint */
};

void record_fini(struct record *r);
/* What is dirty, as commit number fs.snap_seq: into changes, which is overwritten.  -ENOMEM. */
int record_changes(struct record *r, struct fs *fs);
/* What commits have told and the meta namespace does not have: into values.  Nothing is dirty. */
int record_values(struct record *r, struct fs *fs);
/* Inodes without a name that commits have told of, into changes, which is overwritten. */
int record_orphans(struct record *r, struct fs *fs);
bool record_ahead(const struct record *r, const struct fs *fs); /* there are such values */

/* The size that may be committed now: not more than what the stored blocks can show, but never less
 * than an fsync has promised that the acknowledgements up to synced_seq carry. */
uint64_t record_size(const struct inode *in, uint64_t synced_seq);

#endif
