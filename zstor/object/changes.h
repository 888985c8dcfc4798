/* changes - which records are not in the metadata log yet, and what state_dir knows of the log
 * (docs/zstor-metadata-log.md).  State only; object/metalog does the work.  Thread-safe.
 *
 * Files: state_dir/metadata-log         the newest anchor, sealed, and the key it has at each 0-db;
 *        state_dir/metadata-log.behind  there while a change of the daemon may not be in the log;
 *        state_dir/metadata-log.other   a command that ran without the daemon has changed
 * something. A start that finds one of the last two, or not the first, makes a whole part. */
#ifndef ZSTOR_OBJECT_CHANGES_H
#define ZSTOR_OBJECT_CHANGES_H

#include "common/buf.h"
#include "common/err.h"

struct changes;

struct changes_place { /* of the newest anchor at a data backend that numbers its values */
    char *backend;     /* its name, backend_addr_name */
    uint8_t key[8];    /* as it was answered */
    size_t len;
};

struct changes_state { /* the first file */
    struct buf anchor; /* sealed; empty: none is known */
    struct changes_place *place;
    size_t n;
};

/* daemon: keeps account of every key; else only that something has changed. */
int changes_open(struct changes **out, const char *state_dir, bool daemon, struct err *e);
void changes_close(struct changes *c); /* NULL is fine */

/* Before the record of key is written or removed: 0, or -errno: it cannot be noted, and must not be
 * changed.  And after it, however that ended.  A run does not take what is between the two. */
int changes_before(struct changes *c, const char *key);
void changes_after(struct changes *c, const char *key);
/* Keys of the log's own parts are no changes: one that is moved makes the anchor stale, the end of
 * a dead one nothing. */
void changes_own(struct changes *c, const char *key, bool dead);
/* Is the last change of key not in the log? */
bool changes_pending(struct changes *c, const char *key);
bool changes_any(struct changes *c); /* there is something to do */

struct changes_work { /* what the log lacks; changes_end */
    char **key;
    size_t n;
    bool whole; /* all records are needed */
};

/* Begins a run; one at a time. */
void changes_begin(struct changes *c, struct changes_work *out);
/* Ends it.  state: the new one, on disk when it returns; NULL: the run failed, what it took is to
 * be done again. */
int changes_end(struct changes *c, struct changes_work *w, const struct changes_state *state,
                struct err *e);

/* -ENOENT, -EBADMSG: not known. */
int changes_state_read(const char *state_dir, struct changes_state *out);
int changes_state_write(const char *state_dir, const struct changes_state *s, struct err *e);
void changes_state_fini(struct changes_state *s);

#endif
