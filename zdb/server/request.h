/* request - what a command sees: the server's state, the session of its connection, the request,
 * the reply buffer.  No sockets. Thread: the loop's. */
#ifndef ZDB_SERVER_REQUEST_H
#define ZDB_SERVER_REQUEST_H

#include <sys/queue.h>

#include "common/resp.h"
#include "zdb/engine/namespace.h"

struct hooks;
struct loop;
struct loop_timer;
struct store;
struct session;
struct watch_room;

TAILQ_HEAD(session_list, session);

struct zdb_conf {
    const char *admin; /* password, NULL: everybody is admin.  Borrowed */
    bool single_mode;  /* started with --mode */
    bool protect;      /* new sessions start read-only */
    size_t max_output; /* unsent bytes at which a request that streams its reply pauses */
};

struct zdb { /* one per process */
    struct zdb_conf conf;
    struct loop *loop;
    struct store *store;
    struct hooks *hooks;
    uint32_t instance_id;
    uint64_t boot_time, boot_ms;
    struct session_list sessions, mirrors;
    struct buf scratch; /* for one command at a time */
    uint64_t clients_lifetime, executed, failed, unauthorized, rx_bytes, tx_bytes;
};

#define REQ_NONCE_LEN 16
#define REQ_HASH_LEN  40

struct session { /* embedded in its connection */
    TAILQ_ENTRY(session) all, watching, mirroring;
    struct zdb *db;
    struct ns *ns;   /* NULL: detached, its namespace was deleted */
    uint64_t number; /* from 1, in the order of connecting */
    bool admin, writable, master, mirror;
    bool quit;  /* nothing more is answered */
    bool resp3; /* HELLO 3: nil and maps are written so; nothing else that we say differs */
    char nonce[REQ_NONCE_LEN + 1]; /* "" = none */
    struct buf *out;               /* replies; the connection's */
    struct buf later;              /* messages that came in the middle of a reply */
    /* the connection: touched = out has grown from outside; resume = run the parked request again;
     * both only schedule */
    void (*touched)(struct session *s);
    void (*resume)(struct session *s);
    /* WAIT: in a list of the room of its namespace */
    struct watch_room *watch; /* NULL: not waiting */
    unsigned watch_for;
    struct loop_timer *watch_timer;
    /* the request in progress; zero between requests */
    bool busy;
    unsigned step;            /* where the handler goes on when it runs again */
    size_t element;           /* MGET: next key */
    struct ns_scan_rest scan; /* SCAN: where it goes on */
    uint8_t id[NS_SEQ_KEY_SIZE];
    struct ns_wait wait;
};

struct request {
    struct zdb *db;
    struct session *s;
    struct buf *out;
    unsigned argc;
    const struct slice *argv;
};

/* What a handler answers */
enum request_result {
    REQ_DONE,  /* the reply is whole */
    REQ_PARK,  /* the session's wait is registered; run again when it is over */
    REQ_LATER, /* its turn is over, or part of the reply is there: run again when that was sent */
};
typedef enum request_result request_fn(struct request *r);

/* 0 or -errno.  loop, store and hooks are borrowed and may be set later, before the first session.
 */
int request_db_init(struct zdb *db, const struct zdb_conf *conf, struct loop *loop, struct err *e);
void request_db_fini(struct zdb *db);

void request_session_init(struct session *s, struct zdb *db, struct buf *out);
void request_session_fini(struct session *s);
void request_session_select(struct session *s, struct ns *ns, bool writable);
/* Message from outside the session's own requests: at once, or behind the reply that is being made.
 */
void request_session_push(struct session *s, struct slice text);
/* The request in progress is over: its wait is forgotten, messages that came meanwhile are
 * appended. */
void request_session_end(struct session *s);
/* All sessions on ns but `except` lose it; parked ones are resumed (and told so then). */
void request_detach(struct zdb *db, struct ns *ns);
/* WAIT: replaces a former watch.  command: its number, below REQ_WATCH_MAX; 0: any. */
#define REQ_WATCH_MAX 64
void request_watch(struct session *s, unsigned command, uint64_t timeout_ms);
void request_unwatch(struct session *s);
/* `by` has run a command: all others that wait for it in this namespace hear its name.  Costs
 * nothing when there are none. */
void request_tell_watchers(const struct session *by, unsigned command, const char *name);
void request_mirror(struct session *s);

/* Replies and argument checks; the checks answer false when they have replied. */
enum request_result request_error(struct request *r, const char *text);
enum request_result request_ok(struct request *r);
enum request_result request_int(struct request *r, int64_t v);
enum request_result request_nil(struct request *r);
/* A change is made, its reply waits for the disk when the server was started so (ns_must_sync):
 * REQ_PARK, with step 1; REQ_DONE: *failed when an error was replied. */
enum request_result request_hold_until_durable(struct request *r, bool *failed);
bool request_word(struct slice s, const char *word);   /* equal without regard to case */
bool request_prefix(struct slice s, const char *word); /* s is a beginning of word, without regard
                                                      to case */
bool request_same_secret(struct slice a, struct slice b); /* constant time for equal lengths */
/* SECURE: hash has to be the lower-case hex SHA-1 of "nonce:password".  NULL: right; else the text
 * to answer.  A right hash uses the challenge up; one_try: a wrong one of the right length, too. */
const char *request_check_hash(struct session *s, struct slice hash, struct slice password,
                               bool one_try);

#endif
