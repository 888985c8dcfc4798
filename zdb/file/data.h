/* data - one data segment file dN: append, read and verify, reserve of disk space.  Owner: struct
 * ns.  Thread: the zdb loop. Format: spec zdb-files, section 5.  Opened on demand through the file
 * cache. */
#ifndef ZDB_FILE_DATA_H
#define ZDB_FILE_DATA_H

#include "common/buf.h"
#include "zdb/format/data.h"
#include "zdb/file/descriptors.h"
#include "zdb/file/tail.h"

#define DATA_RESERVE_FROM (64 * KIB) /* smaller files get no disk space reserved ahead */
#define DATA_DEL_MARGIN \
    (16 * KIB) /* of the reserve: values do not take it, so that deletions fit on a full disk */

struct data {
    struct files *fs;
    struct file *file; /* cache slot */
    struct tail tail;  /* the end, as far as it is not written yet */
    char *path;
    uint32_t id;
    uint32_t owner; /* of its payloads in the value cache */
    bool active;
    bool unsynced;   /* has bytes that no sync has covered */
    bool no_reserve; /* the filesystem cannot reserve */
    uint64_t size; /* active: of the file, tail included; sealed: bytes known to be in use, the file
                      has at least so many */
    uint64_t reserved;  /* active: disk space is allocated up to here */
    uint64_t failed_at; /* size when a reservation last failed for lack of space, 0 = never */
};

void data_init(struct data *d, struct files *fs, const char *dir, uint32_t id);
void data_fini(struct data *d); /* closes; keeps the file */
/* New file with its header; d is then active.  0, -EEXIST, -errno (nothing is left behind). */
int data_create(struct data *d);
/* Opens the file in its slot (read-write when active).  0, -ENOENT (no such file), -errno. */
int data_open(struct data *d);
/* First 28 bytes.  0, -ENODATA, -EBADMSG, -EPROTONOSUPPORT, -EINVAL (of another file id), -errno.
 */
int data_check_header(struct data *d);
int data_write_header(struct data *d);

/* Append one record; *off = its first byte.  rec: length and keylen are set here.  reserve: bytes
 * of disk space to keep ahead of the end, 0 = none.  A record that fits into what is reserved may
 * be written later (fs->tails). 0, -EFBIG (offset past 4 GiB), -ENOSPC, -EIO and others.  On
 * failure the file has its former length. */
int data_append(struct data *d, struct data_rec *rec, struct slice key, struct slice val,
                uint64_t reserve, uint32_t *off);
/* Take back the last append, which was at off, when a later step of the same change failed. */
void data_undo(struct data *d, uint32_t off);
/* The active file is full: gives back what was reserved and not used, no more appends. */
void data_seal(struct data *d);
void data_release(struct data *d); /* gives back what was reserved; may be appended to further */

/* Somebody used this sealed file: the evictor removes what was not read for the longest time, and
 * mounts with noatime or relatime do not tell.  Sets its access time, at most once in a few
 * seconds. */
void data_touch(struct data *d);

/* The payload at off is about to be read: a hint, in two steps. */
void data_hint(const struct data *d, uint32_t off, int step);
/* Payload of the record at off, which has to be of key with this length and CRC; appended to out.
 * 0, -EAGAIN (nowait, not in the page cache), -EBADMSG (another record, or its CRC is wrong),
 * -ENODATA, -ENOENT, -ENOMEM, -errno.  out has its former length unless 0. */
int data_read(struct data *d, uint32_t off, struct slice key, uint32_t length, uint32_t crc,
              struct buf *out, bool nowait);
/* Any record: header, key (keylen bytes, room for 255), payload appended to out (NULL: not read).
 * 0, -EAGAIN, -ENODATA (off at or behind the end), -EBADMSG (no record, or it ends behind the
 * file), -ENOENT, -ENOMEM. */
int data_record(struct data *d, uint32_t off, struct data_rec *rec, uint8_t *key, struct buf *out,
                bool nowait);

#endif
