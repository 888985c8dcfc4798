/* namespace - one namespace: its segments, keys, rules (quota, worm, mode, lock), rotation,
 * durability. No RESP, no sockets, no reply texts.  Owner: struct store.  Thread: the zdb loop,
 * all functions. Formats and rules: spec zdb-files; the numbered rules of SET and DEL: spec
 * zdb-protocol, section 3.
 *
 * Results: 0 or -errno; positive values are answers (1 found, 0 absent).  The failures a client is
 * told apart are named below (enum ns_error), always negated.  Keys and values are borrowed during
 * the call.
 *
 * Requests that cannot be answered at once
 *   A call that takes a struct ns_wait may return -EINPROGRESS: bytes are not at hand (a segment
 * file is missing and is being fetched, or its pages are not in the page cache and a helper thread
 * reads them) or a sync is under way.  Nothing was changed, and the wait is registered.  The caller
 * parks the request (its output so far is thrown away) and goes on with others; a request may go on
 * collecting further -EINPROGRESS with the same wait (MGET starts all its fetches at once).  When
 * everything it waits for has come to an end, w->fn(w->arg) runs once from the loop, never from
 * within an ns_ function; the caller then runs the whole request again, from its start, with the
 * same wait.  In that run a segment whose fetch failed gives its error (not a second fetch), and a
 * finished ns_sync gives its result.  When the request has been answered, or its client is gone,
 * ns_wait_end() forgets everything. */
#ifndef ZDB_ENGINE_NAMESPACE_H
#define ZDB_ENGINE_NAMESPACE_H

#include "common/buf.h"
#include "common/err.h"
#include <errno.h>
#include <sys/queue.h>

#define NS_NAME_MAX     128
#define NS_PASSWORD_MAX 255 /* what the descriptor can hold; NSSET limits to 63 */
#define NS_KEY_MAX      255
#define NS_VALUE_MAX    ((size_t)8 << 20)
#define NS_SEQ_KEY_SIZE 8
#define NS_CURSOR_SIZE  17

struct ns;

enum ns_mode {
    NS_USER = 0,
    NS_SEQ = 1,
    NS_MIXED = 2
}; /* NS_MIXED only as configuration: each namespace has its own */
enum ns_lock { NS_UNLOCKED, NS_LOCKED, NS_FROZEN }; /* memory only */
enum ns_dir { NS_FORWARD, NS_BACKWARD };

enum ns_error {
    NS_EWORM = EPERM,        /* key exists and the namespace is write-once */
    NS_EQUOTA = EDQUOT,      /* maxsize of the namespace */
    NS_ENEEDKEY = EINVAL,    /* user mode: empty key */
    NS_EONLYUPDATE = ENOKEY, /* seq mode: non-empty key that does not exist */
    NS_ENOTFOUND = ENOENT,   /* DEL, HISTORY: no such key */
    NS_ETOOBIG = EMSGSIZE,   /* key over 255 bytes or value over 8 MiB; the front end checks this
                                before */
    NS_EDATA = EIO, /* the data file could not be written (also ENOSPC, also a failed jump) */
    NS_EINDEX = EREMOTEIO,   /* the index file could not be written */
    NS_EUSED = EBUSY,        /* mode of a namespace that was ever written or jumped */
    NS_ESINGLE = EOPNOTSUPP, /* mode of a namespace when the server has one mode for all */
    NS_EBADCURSOR = EBADMSG, /* SCAN, HISTORY: not a record, or not the record the cursor was made
                                from */
};

/* --- waiting --------------------------------------------------------------------------------- */

typedef void ns_wait_fn(void *arg);

struct ns_wait { /* embedded in a request; the fields are private */
    ns_wait_fn *fn;
    void *arg;
    struct ns_wait_link *links; /* what it waits for */
    struct ns_wait_fail *fails; /* segments whose fetch failed during this request */
    TAILQ_ENTRY(ns_wait) entry; /* in the list of those to be called, while is_ready */
    bool is_ready;
    struct ns_env *env;
    unsigned rounds; /* how often it was woken */
    int sync_result; /* of the ns_sync that ended since, with sync_done */
    bool sync_done;
};

void ns_wait_init(struct ns_wait *w, ns_wait_fn *fn, void *arg);
bool ns_wait_pending(const struct ns_wait *w);   /* something is registered: park the request */
bool ns_wait_only_sync(const struct ns_wait *w); /* ... and it is nothing but a sync: short, as a
                                                    rule */
/* The request is over (answered, or its client is gone): nothing is called any more, w is as after
 * ns_wait_init. */
void ns_wait_end(struct ns_wait *w);

/* --- events ---------------------------------------------------------------------------------- */

/* Called from within ns and store functions (or the engine's timer); they only start or queue
 * something and must not call back into ns or store, getters excepted.  Strings are borrowed.
 * Paths: <root as configured>/<ns>/<file>. A token names a question: answer it with
 * store_hook_done(), later, exactly once; stale tokens are ignored. */
#define NS_RETIRE_LATER 75 /* EX_TEMPFAIL: it is needed for a while, ask again */
struct ns_events {
    void *arg;
    /* iN was closed, i(N+1) and d(N+1) are open; iN, dN and what follows from them are durable (so
     * this comes a little after the jump, unless a sync fails).  dirty: ids of index files with
     * records rewritten in place since the last success, ascending.  Success (status 0) clears
     * these bits unless they were set again meanwhile.  No hook configured: ignore the call, the
     * bits stay.  Followed at once by jump_data; the hooks have to run in that order. */
    void (*jump_index)(void *arg, struct ns *ns, const char *closed, const char *opened,
                       const uint32_t *dirty, size_t ndirty, uint64_t token);
    void (*jump_data)(void *arg, struct ns *ns, const char *closed, const char *opened);
    /* The file of a data segment is missing.  0: a hook was started and its end (or its deadline)
     * will be reported with store_hook_done; the engine then verifies the file itself.  -errno:
     * nothing can be done, the read fails at once. Never called twice for a file before the answer.
     */
    int (*missing_data)(void *arg, struct ns *ns, const char *path, uint64_t token);
    /* Nothing in the sealed data file is live any more, and that is durable; it will be removed
     * when store_hook_done has come with a status of 0 or more, but NS_RETIRE_LATER.  0; -errno:
     * nobody to be told. */
    int (*retire_data)(void *arg, struct ns *ns, const char *path, uint64_t token);
    void (*created)(void *arg, const char *name);
    void (*updated)(void *arg, const char *name);
    void (*deleted)(void *arg, const char *name); /* the files are gone, the struct ns too */
    void (*reloaded)(void *arg, const char *name);
    void (*closing)(void *arg, struct ns *ns, const char *index, const char *data,
                    const uint32_t *dirty, size_t ndirty);
};

/* --- keys and values ------------------------------------------------------------------------- */

struct ns_entry {           /* one version of a key, as its index record has it */
    uint32_t file, off;     /* the index record: index file id and offset */
    uint32_t seg, data_off; /* the data record: data file id and offset of its header */
    uint32_t length, crc, timestamp;
    uint32_t parent_file, parent_off; /* previous version, 0/0 = none; only from ns_history and
                                         ns_current */
    uint8_t keylen;
    bool deleted; /* deleted or superseded; only from ns_history */
};

/* Live record of key: 1 and *e, or 0, or -EINPROGRESS (seq mode), -EIO.  No data file is touched.
 */
int ns_find(struct ns *ns, struct slice key, struct ns_entry *e, struct ns_wait *w);
/* Requests for these keys (at most NS_HINTS) come next: what memory knows of them is fetched into
 * the processor's cache. No effect otherwise. */
#define NS_HINTS 16
void ns_hint(const struct ns *ns, const struct slice *keys, size_t n);
/* The payload is appended to out.  Checked against the index (key, length, CRC) before: wrong bytes
 * are never given. 0, -EINPROGRESS, -EBADMSG (does not match), -ENOENT (segment missing and not
 * fetched), -ENODATA (short), -EIO, -ENOMEM.  out has its former length unless 0. */
int ns_read(struct ns *ns, struct slice key, const struct ns_entry *e, struct buf *out,
            struct ns_wait *w);
/* CHECK: 1 ns_read would give it, 0 what is stored does not match, else as ns_read. */
int ns_check(struct ns *ns, struct slice key, const struct ns_entry *e, struct ns_wait *w);

struct ns_set_out {
    struct slice key; /* what SET answers: borrowed from the request (user) or id[] (seq) */
    uint8_t id[NS_SEQ_KEY_SIZE];
};
/* SET, rules 6 to 12.  1 written, 0 unchanged (nothing written), -EINPROGRESS, -NS_EWORM,
 * -NS_EQUOTA, -NS_ENEEDKEY, -NS_EONLYUPDATE, -NS_ETOOBIG, -NS_EDATA, -NS_EINDEX.  May jump even
 * when refused, as the spec says.  On failure files and memory are as before (but for a jump).
 * Locks and rights are the caller's business. To compare with an old value a missing segment is not
 * fetched: the value then counts as changed. */
int ns_set(struct ns *ns, struct slice key, struct slice val, uint32_t timestamp,
           struct ns_set_out *out, struct ns_wait *w);
/* DEL.  0, -EINPROGRESS, -NS_ENOTFOUND, -NS_EWORM, -NS_EDATA, -NS_EINDEX.  Needs no free disk
 * space. */
int ns_del(struct ns *ns, struct slice key, uint32_t timestamp, struct ns_wait *w);

/* --- cursors, scans, history, raw records ---------------------------------------------------- */

void ns_cursor_encode(const struct ns_entry *e, uint8_t out[NS_CURSOR_SIZE]); /* KEYCUR and SCAN */

/* One live record; false stops the scan.  key is borrowed.  e->deleted and e->parent_* are not set.
 */
typedef bool ns_scan_fn(void *arg, struct slice key, const struct ns_entry *e);
/* Live records in index file order behind (NS_FORWARD) or before (NS_BACKWARD) the one of cursor;
 * empty cursor (len 0): from the first or last one.  0 when fn stopped it, nothing is left, or
 * something was given and the next is not at hand; -EINPROGRESS (then nothing was given),
 * -NS_EBADCURSOR, -EIO (a record could not be read; what was given to fn until then is right). */
int ns_scan(struct ns *ns, struct slice cursor, enum ns_dir dir, ns_scan_fn *fn, void *arg,
            struct ns_wait *w);
/* The same, a part at a time: -EAGAIN when many records were passed and none of them was live; call
 * again with the same rest, which is zero at first.  A namespace that was emptied meanwhile has
 * nothing left. */
struct ns_scan_rest {
    bool set;
    uint32_t file, off; /* the next record to look at */
};
int ns_scan_part(struct ns *ns, struct slice cursor, enum ns_dir dir, ns_scan_fn *fn, void *arg,
                 struct ns_scan_rest *rest, struct ns_wait *w);

/* Current version of key with its parent fields: 1, 0 absent, -EINPROGRESS, -EIO. */
int ns_current(struct ns *ns, struct slice key, struct ns_entry *e, struct ns_wait *w);
/* The version whose index record is at (file, off), of key and no other.  0, -EINPROGRESS,
 * -NS_EBADCURSOR (no record there), -ENOKEY (record of another key).  Read it with ns_read. */
int ns_history(struct ns *ns, struct slice key, uint32_t file, uint32_t off, struct ns_entry *e,
               struct ns_wait *w);

struct ns_raw {
    uint8_t key[NS_KEY_MAX];
    uint8_t keylen, flags; /* flags: 1 deletion record (no payload), 2 truncated by compaction */
    uint32_t previous, crc, timestamp, length;
};
/* DATA RAW: the data record at off of segment seg; its payload is appended to out.  0,
 * -EINPROGRESS, -ENODATA (off is at or behind the end), -EBADMSG (no sane record there), -ENOENT
 * (no such segment, or missing and not fetched), -EIO. */
int ns_data_raw(struct ns *ns, uint32_t seg, uint32_t off, struct ns_raw *raw, struct buf *out,
                struct ns_wait *w);

/* --- segments and durability ----------------------------------------------------------------- */

int ns_jump(struct ns *ns); /* NSJUMP; also when empty, locked or frozen.  0, -NS_EDATA, -NS_EINDEX
                             */
/* SYNC: 0 when every write answered so far is on stable storage, -EINPROGRESS, or the error of
 * fsync. */
int ns_sync(struct ns *ns, struct ns_wait *w);
/* Before a step that no helper thread may see half done: 0 none is at work on the files of ns, and
 * none begins in this round; -EINPROGRESS until they are done. */
int ns_idle(struct ns *ns, struct ns_wait *w);
/* --sync, and --secure while files that were closed are not durable: after ns_set = 1, ns_del = 0
 * or ns_jump = 0 the reply has to be held until ns_sync gives 0 (an error replaces it). */
bool ns_must_sync(const struct ns *ns);

void ns_dirty(struct ns *ns, struct buf *ids); /* INDEX DIRTY: appends le32 file ids, ascending */
void ns_dirty_reset(struct ns *ns);

/* --- space ------------------------------------------------------------------------------------ */

struct ns_segment {
    uint32_t id;
    uint64_t size, live; /* bytes of the data file, and those of live records in it */
    bool is_active, is_here;
};
size_t ns_segments(const struct ns *ns);
void ns_segment(const struct ns *ns, size_t i, struct ns_segment *out);
/* CLEAN: all segments that are worth it, at once.  0 when none is (any more); -EINPROGRESS, then
 * call it again; -EPERM, the policy keeps everything; or why one of them could not be cleaned. */
int ns_clean(struct ns *ns, bool again, struct ns_wait *w);

/* --- properties ------------------------------------------------------------------------------ */

/* The password given here is borrowed until the next change.  Text fields are NUL-terminated, and
 * not valid longer than the namespace; paths change at a jump. */
struct ns_info {
    const char *name;
    uint64_t entries, data_size, max_size, index_size, next_id; /* index_size: live keys x (64 + key
                                                                   length) */
    bool is_public, worm;
    enum ns_lock lock;
    enum ns_mode mode;
    struct slice password; /* len 0 = none */
    uint64_t index_io_errors, data_io_errors;
    int64_t index_io_error_last, data_io_error_last; /* unix seconds, 0 = never */
    const char *index_dir, *data_dir, *index_active, *data_active;
    uint32_t active;                        /* number of the active segment */
    uint64_t active_size;                   /* bytes of the active data file */
    uint64_t file_size, live_size, cleaned; /* bytes of all data files, here or not; of live records
                                               in them; given back since the start */
    unsigned reclaim;                       /* the policy: percent, 0 keeps everything */
};
void ns_info(const struct ns *ns, struct ns_info *out);
const char *ns_name(const struct ns *ns);
enum ns_lock ns_lock_state(const struct ns *ns);

bool ns_used(const struct ns *ns); /* ever written or jumped: its mode is fixed */

/* NSSET.  Each writes the descriptor and fires updated.  0 or -errno (then nothing changed);
 * ns_set_mode also -NS_EUSED, -NS_ESINGLE.  The password is a borrowed slice, empty = none, at most
 * NS_PASSWORD_MAX. */
int ns_set_mode(struct ns *ns, enum ns_mode mode);
int ns_set_lock(struct ns *ns, enum ns_lock lock);
int ns_set_maxsize(struct ns *ns, uint64_t bytes);
int ns_set_password(struct ns *ns, struct slice password);
int ns_set_public(struct ns *ns, bool on);
int ns_set_worm(struct ns *ns, bool on);
/* What may go of what is dead: segments of which less than percent is live, 1 to 99; 0: nothing.
 */
int ns_set_policy(struct ns *ns, unsigned percent);
/* --protect, --maxsize: for this run only, never written to the descriptor. */
void ns_override_password(struct ns *ns, struct slice password);
void ns_override_maxsize(struct ns *ns, uint64_t bytes);

/* Any pointer of the front end's for this namespace (NULL at first). */
void ns_set_user(struct ns *ns, void *user);
void *ns_user(const struct ns *ns);

#endif
