/* backup - all metadata records in one piece, and back.  Sealed with the key of the configuration;
 * the data stays where it is.  Format, behind "QZB\1" | u16 version 1 | u16 0:
 *   per object  u32 n | n bytes: nonce || AES-256-GCM(u16 length, metadata key, record) || tag; no
 * record: it was deleted at the end  the same with length 0 and u64 number of objects, so that a
 * cut is seen */
#ifndef ZSTOR_OBJECT_BACKUP_H
#define ZSTOR_OBJECT_BACKUP_H

#include "common/buf.h"
#include "zstor/object/object.h"

struct meta_record;

struct backup_counts {
    uint64_t objects, failed;
    uint64_t unreachable; /* make: of the failed, that may be read another time */
    uint64_t kept;        /* restore: there, or deleted since */
};

struct backup_what {
    int (*sink)(void *arg, struct slice bytes); /* 0 or -errno */
    void *arg;
    char *const *key; /* metadata keys; what is not there is an entry without a record.  NULL: all
                         that are there */
    size_t n;
    bool (*skip)(void *arg, const char *key, const struct meta_record *m); /* NULL: none is left out
                                                                            */
    const struct object_ctl *ctl;
};

/* Objects whose record cannot be read are logged and counted; -EIO then, with what was handed over
 * whole. */
int backup_make(struct objects *o, const struct backup_what *what, struct backup_counts *n,
                struct err *e);

struct backup_seen; /* keys; who restores several, the newest first, lets each key count once */
struct backup_seen *backup_seen_new(void);
void backup_seen_free(struct backup_seen *s);

struct backup_how { /* zeros: writes what the backends do not have (or cannot read) any more, and
                       touches nothing else */
    bool newer;     /* also what they have in an older generation */
    struct backup_seen *seen;
};

/* The whole of `in` is checked before anything is written: -EBADMSG, -EKEYREJECTED.  how NULL:
 * zeros.  Adds to n. */
int backup_restore(struct objects *o, struct slice in, const struct backup_how *how,
                   struct backup_counts *n, struct err *e);
/* The same for one record. */
int backup_restore_record(struct objects *o, const char *key, struct slice record, bool newer,
                          struct backup_counts *n, struct err *e);

#endif
