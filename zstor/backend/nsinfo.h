/* nsinfo - what a 0-db says about one namespace, and whether it may be used.  Parsing and judging
 * only; connections are in backend/pool.h.  A hostile or truncated answer is an error, never a
 * crash.  Spec zstor-format 11. */
#ifndef ZSTOR_BACKEND_NSINFO_H
#define ZSTOR_BACKEND_NSINFO_H

#include "common/bytes.h"
#include "common/err.h"

enum backend_mode { BACKEND_USERKEY, BACKEND_SEQUENTIAL, BACKEND_OTHER };

struct backend_info { /* NSINFO */
    char name[256];
    enum backend_mode mode;
    bool is_public, password, worm, locked, frozen;
    uint64_t entries;
    bool uncounted; /* not all entries are counted yet; not of a 0-db */
    uint64_t data_size_bytes;
    uint64_t data_limits_bytes; /* 0: no limit */
    uint64_t index_size_bytes;
    uint64_t index_io_errors, index_io_error_last, index_faults;
    uint64_t data_io_errors, data_io_error_last, data_faults;
    uint64_t index_disk_free, data_disk_free; /* UINT64_MAX when not told */
};

/* The text of an NSINFO reply.  Needs name, entries, mode, worm, locked, data_size_bytes,
 * data_limits_bytes; the rest is optional and 0 (free space: UINT64_MAX).  -EPROTO otherwise. */
int backend_info_parse(struct slice text, struct backend_info *out, struct err *e);
/* Bytes that can still be written: limit - used, and never more than the disk has. */
uint64_t backend_info_free(const struct backend_info *i);
/* May a store write `bytes` more into it?  -EINVAL wrong mode, -EROFS locked or frozen or
 * write-once (metadata only), -ENOSPC too little room. */
int backend_info_writable(const struct backend_info *i, enum backend_mode want, uint64_t bytes,
                          struct err *e);

/* What a server said, for one line of a message: at most size - 1 bytes, control characters as
 * dots.  Returns out. */
const char *backend_text(struct slice said, char *out, size_t size);

#endif
