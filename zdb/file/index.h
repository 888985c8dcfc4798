/* index - one index segment file iN: append, read, rewrite in place.  Owner: struct ns.
 * Thread: the zdb loop. Format: spec zdb-files, section 4.  Opened on demand through the file
 * cache. */
#ifndef ZDB_FILE_INDEX_H
#define ZDB_FILE_INDEX_H

#include "zdb/file/descriptors.h"
#include "zdb/format/index.h"
#include "zdb/file/tail.h"

#define INDEX_RESERVE_FROM (16 * KIB) /* smaller files get no disk space reserved ahead */
#define INDEX_RESERVE_MAX  (256 * KIB)
#define INDEX_MARK_EVERY   (32 * KIB) /* distance of the remembered record starts (user mode) */

struct index {
    struct files *fs;
    struct file *file; /* cache slot */
    struct tail tail;  /* the end, as far as it is not written yet */
    char *path;
    uint32_t id;
    uint8_t mode;
    uint64_t dirty_at; /* INDEX DIRTY: files.rewrites at the last rewrite in place, 0 = clean */
    bool unsynced;     /* has bytes that no sync has covered */
    uint64_t size;     /* bytes in use: header and whole records, tail included */
    uint64_t reserved; /* disk space is allocated up to here, as far as we know */
    bool no_reserve;   /* the filesystem cannot reserve */
    uint32_t last;     /* offset of the last record, 0 = none */
    uint32_t *marks;   /* offset of the first record at or behind i x INDEX_MARK_EVERY, ascending */
    size_t nmarks, cap_marks;
};

void index_init(struct index *f, struct files *fs, const char *dir, uint32_t id);
void index_fini(struct index *f); /* closes; keeps the file */
/* New file with its header.  0, -EEXIST, -errno (nothing is left behind). */
int index_create(struct index *f, uint8_t mode);
int index_open(struct index *f); /* 0, -ENOENT, -errno */
int index_write_header(struct index *f, uint8_t mode);

/* Append rec; *off = its first byte.  0, -EFBIG, -ENOSPC, -EIO and others; on failure the file has
 * its former length. */
int index_append(struct index *f, const struct index_rec *rec, uint32_t *off);
/* A load: the record behind the part in use is one that belongs there. */
void index_accept(struct index *f, const struct index_rec *rec);
/* The same, written at the end of the round when there is disk space for it already.  ahead: bytes
 * to keep reserved, 0 = none. */
int index_append_later(struct index *f, const struct index_rec *rec, uint64_t ahead, uint32_t *off);
void index_release(struct index *f); /* gives back what was reserved */
/* Rewrite the fixed part of the record at off; flag: only its deleted flag.  Both make the file
 * dirty.  Appends to other files that these follow from have to be written before (ns_commit).  0
 * or -errno. */
int index_rewrite(struct index *f, uint32_t off, const struct index_rec *rec);
int index_flag(struct index *f, uint32_t off);

/* The two halves of the above, when the write comes later than the decision. */
void index_dirty(struct index *f);
int index_write(struct index *f, uint64_t off, const void *p, size_t n);

/* Any bytes inside the file, for repairs; makes the file dirty.  index_cut: the file ends at
 * size. */
int index_patch(struct index *f, uint64_t off, const void *p, size_t n);
int index_cut(struct index *f, uint64_t size, uint32_t last);

/* The record at off; its key points into bytes.  0, -EAGAIN (nowait), -EBADMSG (no record),
 * -ENOENT, -errno. */
int index_read(struct index *f, uint32_t off, struct index_rec *rec, uint8_t bytes[INDEX_REC_MAX],
               bool nowait);
/* At most n bytes of the part in use: the number read, or -EAGAIN, -errno. */
ssize_t index_block(struct index *f, uint64_t off, void *p, size_t n, bool nowait);

void index_mark(struct index *f, uint32_t off); /* a record starts here; called in
                                                             ascending order */
/* 1 a record starts at off, 0 not, -EAGAIN, -errno.  User mode only. */
int index_is_start(struct index *f, uint32_t off, bool nowait);

#endif
