/* metadata - metadata records in the four metadata namespaces: quorum write, reads that trust no
 * single backend. Spec zstor-format 10.  Thread-safe; every call blocks its own thread.
 *
 * Read: all four are asked at once.  Values that are short, have a wrong index or digest are
 * ignored.  Every pair with different indexes is tried until the tag verifies (top-level key first,
 * then the metadata key). A record that is another object's by its own word (format/record_bond) is
 * an error of those who answered with it, logged, never a candidate. Among the others one that is
 * proved goes before one that is not, then the highest generation wins; a record without one
 * (upstream's) is compared by the time the backends wrote it (KEYTIME). decodes 1 no valid value,
 * at least three nils                     0: not there (argued at ZSTOR_META_WRITE_QUORUM) all four
 * answered, and neither of these                 -EBADMSG: damaged otherwise -EHOSTUNREACH: could
 * not tell; ask again Write: value i to the i-th configured backend; done when
 * ZSTOR_META_WRITE_QUORUM have it on stable storage. */
#ifndef ZSTOR_OBJECT_METADATA_H
#define ZSTOR_OBJECT_METADATA_H

#include "common/err.h"
#include "zstor/format/record.h"
#include "zstor/object/quorum.h"

struct metastore_state { /* of one key, after a load */
    unsigned good;       /* backends with a value of the record that was returned */
    unsigned lost;       /* without one, or with an old or damaged one */
    unsigned unreachable;
    unsigned foreign;     /* of the lost: answered with the record of another object */
    unsigned nils;        /* backends that have nothing under the key */
    unsigned stale;       /* of the lost: an older record than this machine knows of */
    bool unproved_newest; /* only two answered, and this machine does not know of the record: the
                             two others may have a later one */
    unsigned sealed; /* intact values that the key does not open; > 0 only when no record was found
                      */
    bool fallback_key; /* it was the metadata key that opened the record */
    bool proved; /* the record is this key's: it says so, or more backends than can lie at once
                    have it.  Nothing is deleted on the word of one that is not. */
};

/* 1: *out (meta_record_fini) and *st; 0; -EHOSTUNREACH; -EBADMSG. */
int metastore_load(const struct metastore *ms, const char *key, struct meta_record *out,
                   struct metastore_state *st, struct err *e);
/* Below the quorum the record is kept by those who took it, and counts as not saved.
 * m->generation is the caller's affair.  *acks: how many have it, also on failure.  -EHOSTUNREACH
 * below the quorum (some backends may have it then: write again), -EFBIG. */
int metastore_save(const struct metastore *ms, const char *key, const struct meta_record *m,
                   unsigned *acks, struct err *e);
/* Would a save reach `need` backends?  NSINFO of all four.  0, -EHOSTUNREACH, -ENOSPC, ... of what
 * is in the way. */
int metastore_writable(const struct metastore *ms, unsigned need, struct err *e);
/* DEL on all four; 0 when none has it any more, -EHOSTUNREACH while one cannot be asked. */
int metastore_remove(const struct metastore *ms, const char *key, struct err *e);

#endif
