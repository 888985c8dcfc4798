/* op - one operation on one backend, and what a kind of backend has to provide.
 * docs/zstor-backends.md is the text to it.
 *
 * A data backend keeps values under keys that it chooses itself; a metadata backend keeps values
 * under names.  An operation is asynchronous: it is submitted to a connection (backend/exchange.h),
 * runs behind those submitted before, and is done when rc is not -EINPROGRESS.  Everything but
 * the outcome is the caller's and borrowed until then.
 *
 * Outcomes, the same for all kinds: 0; -ENOENT there is no such value; -ENOSPC no room; -EROFS may
 * not be written; -EPROTO an answer that means nothing; -EIO the backend refused, see `said`;
 * -ETIMEDOUT, -ECONNRESET, ... no answer.  answered tells the two apart: with an answer the
 * connection goes on. */
#ifndef ZSTOR_BACKEND_OP_H
#define ZSTOR_BACKEND_OP_H

#include <sys/queue.h>

#include "zstor/backend/nsinfo.h"
#include "zstor/format/address.h"

enum backend_verb {
    BACKEND_INFO,      /* -> *info */
    BACKEND_PUT,       /* value -> out: the key that it has got */
    BACKEND_GET,       /* key, off, len (0: to the end) -> out: those bytes */
    BACKEND_DEL,       /* key; 0 also when it was not there */
    BACKEND_SYNC,      /* what was written before on this backend is on stable storage; 0 at once
                          where there is no such thing */
    BACKEND_NAMED_PUT, /* key, value */
    BACKEND_NAMED_GET, /* key -> out */
    BACKEND_NAMED_DEL, /* key; 0 also when it was not there */
    BACKEND_TIME,      /* key -> time_s: when it was written; by key and by name */
    BACKEND_LIST,      /* key: cursor, empty at the beginning -> rows[nrows], out: the next cursor;
                          none at the end */
    BACKEND_NEWEST,    /* the same of values by key, the newest first; a 0-db only, else -ENOTSUP */
};

struct backend_op {
    enum backend_verb verb;
    struct slice key, value;
    uint64_t off, len;
    uint64_t expect; /* GET: bytes of the answer at the most, for its deadline; 0: not known */
    /* outcome */
    int rc;
    bool answered;
    struct slice out; /* until backend_op_fini */
    struct slice *rows;
    size_t nrows;
    uint64_t time_s;
    struct backend_info *info; /* the caller's memory */
    char said[120];            /* what the backend said when it refused; "" */
    /* of the kind and of the exchange */
    void *holder; /* what `out` and `rows` point into */
    void (*release)(void *holder);
    STAILQ_ENTRY(backend_op) next;
};

void backend_op_fini(struct backend_op *op); /* of an op that is done; may be submitted again */

struct pollfd;

struct backend_limits {
    uint64_t connect_ms; /* an opening takes no longer, with everything that belongs to it */
    size_t max_answer; /* bytes of one answer; a longer one is -EMSGSIZE and ends the connection */
};

/* One kind.  A link is one connection; it belongs to one thread at a time.  Nothing here waits but
 * open.  Deadlines, health and order are the exchange's affair. */
struct backend_kind {
    const char *name;
    /* identity: what the backend is, whatever the address it is reached under; "": it does not
     * tell.  Text, at most size - 1 bytes. */
    int (*open)(void **link, const struct backend_addr *a, const struct backend_limits *l,
                char *identity, size_t size, struct err *e);
    void (*close)(void *link);
    /* Ask.  0, or -errno: the link broke.  Does not wait. */
    int (*submit)(void *link, struct backend_op *op);
    /* Outcome of the oldest op that was submitted: 1: it is in *op; 0: not yet; -errno: the link
     * broke. */
    int (*take)(void *link, struct backend_op *op);
    /* What the link waits for (fd -1: nothing), and moving its bytes when poll() has said so;
     * flush hands over what can go without waiting. */
    void (*want)(const void *link, struct pollfd *out);
    void (*move)(void *link, short revents);
    void (*flush)(void *link);
    uint64_t (*moved)(const void *link); /* bytes that have arrived at either side since it was
                                            opened */
    bool (*idle)(const void *link);      /* nothing was said unasked, and the peer is still there */
};

extern const struct backend_kind backend_zdb;   /* backend/zdb.c: 0-db, ours and the original */
extern const struct backend_kind backend_redis; /* backend/redis.c: redis and what speaks like it */
extern const struct backend_kind backend_dir;   /* backend/dir.c: a directory */

#endif
