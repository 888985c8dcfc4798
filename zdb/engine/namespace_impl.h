/* namespace_impl - the inside of a namespace, shared by engine/, recovery/, store.c and renew.c
 * only. Thread: the zdb loop. */
#ifndef ZDB_ENGINE_NAMESPACE_IMPL_H
#define ZDB_ENGINE_NAMESPACE_IMPL_H

#include "zdb/file/data.h"
#include "zdb/file/watermark.h"
#include "zdb/engine/patches.h"
#include "zdb/engine/keys.h"
#include "zdb/file/index.h"
#include "zdb/engine/ids.h"
#include "zdb/engine/namespace.h"
#include "zdb/format/policy.h"
#include <sys/queue.h>

struct loop;
struct loop_defer;
struct workq;

/* A segment: index file and data file of one number. */
struct seg {
    uint32_t id;
    struct index index;
    struct data data;
    struct flagset flags;  /* index records that are superseded, as far as the file does not say so
                            */
    struct ns_miss *fetch; /* its data file is being fetched */
    bool noted;            /* in ns_sync_state.unsynced */
    bool index_promised;   /* a deletion stands in its index only (the disk is full): SYNC covers it
                            */
    uint64_t synced;       /* bytes of the data file that are durable, as far as known */
    uint64_t live;         /* bytes of the records in the data file that are live versions */
    bool keep;             /* the cleaner lets it be: not here, or it cannot be walked */
    uint64_t keep_ms;      /* and until then in any case */
};

/* What requests wait for: one fetch, one cold read, one sync. */
struct ns_wait_link {
    struct ns_wait *wait;
    struct ns_miss *miss;
    struct ns_wait_link *next; /* of the wait */
    TAILQ_ENTRY(ns_wait_link) in_miss;
};

struct ns_miss {
    TAILQ_HEAD(, ns_wait_link) links;
    struct ns *ns; /* referenced */
    uint32_t seg;  /* fetch */
    bool is_fetch, is_sync;
};

struct ns_wait_fail {
    struct ns_wait_fail *next;
    const struct ns *ns; /* only compared */
    uint32_t seg;
    int error;
};

/* A question put to the front end: the answer comes with the token. */
struct ns_hook {
    LIST_ENTRY(ns_hook) entry;
    uint64_t token;
    struct ns *ns;         /* referenced */
    struct ns_miss *fetch; /* missing_data, else jump_index: */
    uint32_t *dirty;
    size_t ndirty;
    uint64_t rewrites;                       /* files.rewrites when it was asked */
    void (*told)(struct ns *ns, int status); /* retire_data: what follows */
};

/* A jump that the front end has not been told of: its hooks take the closed files away, so those
 * are made durable first. */
struct ns_jumped {
    struct ns_jumped *next;
    uint32_t closed, opened;
    uint64_t writes, clock; /* what has to be durable: changes, rewrites */
    uint32_t *dirty;        /* as it was at the jump */
    size_t ndirty;
    uint64_t rewrites;
};

/* One per server: settings and what namespaces share. */
struct ns_env {
    enum ns_mode mode;
    uint64_t datasize, reserve;
    bool sync, secure;
    unsigned synctime_s, rotate_s;
    const char *data_root, *index_root;
    struct ns_events events;
    struct loop *loop;
    struct workq *reader, *syncer;
    struct trash *trash; /* engine/trash.h */
    struct tails tails;
    struct files files;
    LIST_HEAD(, ns_hook) hooks;
    uint64_t next_token;
    TAILQ_HEAD(, ns_wait) ready; /* to be called from the loop */
    bool ready_posted;
    unsigned jobs; /* handed to helpers and not yet back */
    uint64_t misses, cold_reads, syncs;
};

/* Moving the watermark (engine/checkpoint.c). */
struct ns_checkpoint {
    enum {
        CHECKPOINT_NONE,
        CHECKPOINT_WANTED,   /* the next job is the first one */
        CHECKPOINT_FIRST,    /* that is running */
        CHECKPOINT_REWRITES, /* those up to clock are being written */
        CHECKPOINT_READY,    /* the next job is the last one */
        CHECKPOINT_LAST,     /* that is running */
    } step;
    struct watermark now, next;      /* on the disk (sequence 0: none); the one under way */
    bool closing;                    /* it is the last one of an orderly end */
    uint64_t clock;                  /* rewrites up to this number belong to next */
    uint64_t bytes, next_bytes;      /* of data appended since now, since next */
    uint64_t at_writes, next_writes; /* sync.writes when they were taken */
    uint64_t at_ms;                  /* when now was written */
    uint64_t seen_writes;            /* at the last tick */
    unsigned quiet;                  /* ticks without a write */
};

/* Durability of a namespace (engine/sync.c).
 *   clean    unsynced empty, no job              leaves: a write puts its segment into unsynced
 *   dirty    unsynced not empty, no job          leaves: ns_sync (at the end of the round), timer,
 * --secure start a job running  job takes unsynced, waiters in now  leaves: the job's end; writes
 * and waiters meanwhile go to unsynced, next */
struct ns_sync_state {
    uint32_t *unsynced; /* numbers of segments with unsynced bytes; the flags in seg say which file
                         */
    size_t n, cap;
    uint64_t writes, job_writes, durable; /* changes noted, those that the running
                                           * (or last) job covers, and the last good one */
    uint64_t patch_due;                   /* rewrites up to this number may be written */
    uint64_t patch_durable;               /* rewrites up to this number are durable */
    bool pumping;
    int broken;       /* unsynced bytes were lost: the error of every ns_sync from now on */
    bool everything;  /* after a load: whatever an earlier process left in the page cache */
    bool directories; /* files were made or removed */
    struct ns_sync_job *running;
    struct loop_defer *begin;       /* NULL until somebody has waited */
    struct ns_miss *now, *next;     /* waiters of the running job, of the one after it */
    struct ns_miss *idle;           /* requests that change what the running job looks at */
    bool asked;                     /* what they wait for is a whole checkpoint */
    int mark_error;                 /* of the mark that a FLUSH wanted, until it has been told */
    uint64_t hold_ms;               /* no job begins until then, as they are to run; 0: none did */
    uint64_t last_ms;               /* when the last job ended */
    bool failed;                    /* it did badly: what it covered has to be written again */
    int error;                      /* why */
    uint64_t retry_ms, retry_at_ms; /* pause after the last failure, and its end; 0: none */
};

/* Giving back the space of dead records (engine/cleaner.c). */
struct ns_cleaner {
    enum {
        CLEAN_OFF,
        CLEAN_MOVING,   /* the records of seg from off on */
        CLEAN_SETTLING, /* a checkpoint that covers writes and clock */
        CLEAN_TELLING,  /* the hook is running */
    } step;
    uint32_t seg;
    uint64_t off;
    uint64_t generation;      /* of the files that seg belongs to */
    uint64_t writes, clock;   /* when all was moved: changes, rewrites */
    uint64_t not_before_ms;   /* of the next look for something to do */
    uint64_t freed;           /* bytes, since the start */
    bool urgent;              /* no pauses, and more segments are worth it */
    int error;                /* of the last one that could not be cleaned */
    struct ns_wait wait;      /* what the step under way waits for */
    struct ns_miss *waiters;  /* CLEAN */
    struct loop_timer *timer; /* NULL until it is needed */
};

/* What a load makes out of the files, and a reload swaps. */
#define NS_LOADED_FIELDS                                                     \
    enum ns_mode mode;                                                       \
    struct seg **segs; /* ascending by number; the last is the active one */ \
    size_t nsegs, cap_segs;                                                  \
    struct keys *keys; /* user mode */                                       \
    struct ids seq;    /* seq mode */                                        \
    uint64_t entries, data_size, index_size;                                 \
    uint64_t next_id;    /* user mode: what NSINFO shows */                  \
    uint32_t last_index; /* `previous` of the next index record */           \
    uint32_t last_data;  /* `previous` of the next data record */            \
    bool appended;       /* since the active segment was opened: --rotate */ \
    uint64_t opened_ms;  /* when that was */

struct ns_loaded {
    NS_LOADED_FIELDS
};

struct ns {
    struct ns_env *env;
    char *name, *index_dir, *data_dir;
    unsigned refs; /* jobs and hooks under way, and the list */
    bool dead;     /* removed; only references keep it */
    void *user;
    uint64_t generation; /* of its files: FLUSH and RELOAD put others in their place, and what a
                            helper thread has to say about the former ones is not heard any more */

    enum ns_lock lock;
    bool is_public, worm;
    struct buf password, password_override;
    bool has_password_override;
    uint64_t max_size, max_size_override;

    union { /* one by one, or all of it */
        struct ns_loaded loaded;
        struct {
            NS_LOADED_FIELDS
        };
    };
    uint64_t index_io_errors, data_io_errors;
    int64_t index_io_error_last, data_io_error_last;
    struct ns_sync_state sync;
    struct ns_checkpoint checkpoint;
    struct policy policy;
    struct ns_cleaner clean;
    struct patches patches;
    struct ns_jumped *jumps; /* oldest first */
};

static inline struct seg *ns_active(const struct ns *ns)
{
    return ns->segs[ns->nsegs - 1];
}

/* --- engine/namespace.c: its making and its end, the table of its segments ---------------------
 */
struct ns *ns_new(struct ns_env *env, const char *name); /* empty: no segments; one reference */
void ns_ref(struct ns *ns);
void ns_unref(struct ns *ns);
int ns_commit(struct ns *ns); /* what was appended is in the files; 0 or -errno */
void ns_index_failed(struct ns *ns);
void ns_data_failed(struct ns *ns);
struct seg *ns_seg_find(const struct ns *ns, uint32_t id);
struct seg *ns_seg_add(struct ns *ns, uint32_t id); /* id above all others; files are not touched */
/* A version in segment seg became live, or dead. */
void ns_live(struct ns *ns, uint32_t seg, size_t keylen, uint64_t length, bool more);
void ns_seg_drop_last(struct ns *ns); /* out of memory; files are not touched */
void ns_seg_clear(struct ns *ns);     /* all of them */
void ns_seg_jumped_free(struct ns_jumped *j);

/* --- engine/properties.c -----------------------------------------------------------------------
 */
uint64_t ns_limit(const struct ns *ns); /* quota in force */
int ns_write_descriptor(struct ns *ns, struct err *e);
int ns_read_descriptor(struct ns *ns, struct err *e); /* missing or short: written with defaults;
                                                         -EPROTONOSUPPORT */
void ns_read_policy(struct ns *ns);                   /* no file, or none that can be read: keep */

/* --- engine/readwrite.c ------------------------------------------------------------------------
 */
void ns_entry_of_rec(const struct ns *ns, uint32_t file, uint32_t off, const struct index_rec *r,
                     struct ns_entry *e);

/* The same value is appended as an update: for the cleaner.  old is the live version.  0,
 * -EINPROGRESS, or why it cannot be; files and memory are then as before (but for a jump). */
int ns_move(struct ns *ns, struct slice key, const struct ns_entry *old, struct ns_wait *w);

/* --- engine/cleaner.c --------------------------------------------------------------------------
 */
void ns_clean_tick(struct ns *ns, uint64_t now_ms);
void ns_clean_stop(struct ns *ns); /* nothing of it happens any more; it may be woken again */

/* --- engine/segments.c -------------------------------------------------------------------------
 */
void ns_seg_close(struct seg *s);              /* its files go: unwritten bytes are dropped */
int ns_seg_create(struct ns *ns, uint32_t id); /* -NS_EINDEX, -NS_EDATA; nothing is left behind on
                                                  failure */
int ns_seg_rotate(struct ns *ns);              /* as ns_jump, but no sync is begun */
int ns_seg_remove_files(struct ns *ns);        /* all segments, newest first, memory too */
void ns_reset(struct ns *ns);                  /* no keys, no counters; segments are gone already */
void ns_seg_tell(struct ns *ns, bool all); /* jump events that are due; all: whether due or not */
void ns_seg_sweep(struct ns *ns);          /* timer: drops descriptors of files removed by others */
void ns_seg_dirty_list(const struct ns *ns, uint32_t **ids, size_t *n); /* given (free) */
/* One index record, in whatever file.  0, -EINPROGRESS, -EBADMSG, -EIO. */
int ns_seg_record(struct ns *ns, uint32_t file, uint32_t off, struct index_rec *rec,
                  uint8_t bytes[INDEX_REC_MAX], struct ns_wait *w);

/* --- engine/wait.c: parking, fetches, cold reads -------------------------------------------------
 */
static inline bool ns_wait_nowait(const struct ns_wait *w)
{
    return w && w->rounds < 3; /* afterwards read at once: pages may go faster than they are asked
                                  for again */
}
struct ns_miss *ns_wait_miss(struct ns *ns);
void ns_wait_add(struct ns_wait *w, struct ns_miss *m);
void ns_wait_finish(struct ns_miss *m, int result); /* wakes; frees m */
/* The data file of s is missing.  -EINPROGRESS, or why it cannot be had. */
int ns_wait_fetch(struct ns *ns, struct seg *s, struct ns_wait *w);
/* Pages of f are not at hand.  -EINPROGRESS, or 0: read at once. */
int ns_wait_warm(struct ns *ns, struct file *f, uint64_t off, uint64_t len, struct ns_wait *w);
void ns_wait_hook_done(struct ns_env *env, uint64_t token, int status);
struct ns_hook *ns_wait_hook(struct ns *ns); /* a new question */
void ns_wait_hook_free(struct ns_hook *h);
void ns_wait_keep_fetches(struct ns *ns); /* segments were loaded anew: fetches go on for them */
void ns_wait_drop_hooks(struct ns *ns);   /* the namespace goes: fetches fail, the rest is forgotten
                                           */

/* --- engine/unsynced.c -------------------------------------------------------------------------
 */
void ns_sync_note(struct ns *ns, struct seg *s);       /* s has unsynced bytes now */
void ns_sync_note_quiet(struct ns *ns, struct seg *s); /* the same, but nobody was promised anything
                                                          about them */
void ns_sync_directories(struct ns *ns);               /* files were made or removed */
void ns_sync_everything(struct ns *ns); /* whatever an earlier process left unsynced */
void ns_sync_forget(struct ns *ns);     /* all segments are gone */

/* --- engine/sync.c -----------------------------------------------------------------------------
 */
void ns_sync_kick(struct ns *ns); /* start a job if there is something to do */
void ns_sync_soon(struct ns *ns); /* the same, at the end of the round */
int ns_sync_block(struct ns *ns); /* at once, on this thread */
/* At once: data, index and watermark.  closing: nothing is written afterwards. */
int ns_sync_settle(struct ns *ns, bool closing);
/* The job that is running has run: files and watermark are not touched by a helper any more. */
void ns_sync_wait(struct ns *ns);
/* A checkpoint is to begin (or goes on): with it, rewrites come into the files.  ns_idle tells its
 * end. */
void ns_sync_ask(struct ns *ns);
/* Before a change that makes a rewrite: 0; -EINPROGRESS, too many wait for a checkpoint; or why
 * that cannot be. */
#define REWRITES_MAX 500000
int ns_sync_room(struct ns *ns, struct ns_wait *w);
/* No job is running: one writes the watermark that says flushing.  0, -EINPROGRESS, -errno. */
int ns_sync_mark_flushing(struct ns *ns, struct ns_wait *w);
void ns_sync_abandon(struct ns *ns);               /* the namespace goes: waiters get -ECANCELED */
void ns_sync_tick(struct ns *ns, uint64_t now_ms); /* --synctime */

/* --- engine/rewrite.c
 * ------------------------------------------------------------------------------ */
bool rewrite_any(const struct ns *ns);
/* The live record (user mode) was replaced by a younger one: it gets its deleted flag. */
void rewrite_supersede(struct ns *ns, uint32_t file, uint32_t off);
/* A job is made: flags that come later are not in the generation that it covers. */
void rewrite_close(struct ns *ns);
/* Queue: the record gets its deleted flag; or these bytes (n: INDEX_REC_SIZE, or with a key of 8).
 */
void rewrite_flag(struct ns *ns, uint32_t file, uint32_t off);
void rewrite_bytes(struct ns *ns, uint32_t file, uint32_t off, const uint8_t *bytes, size_t n);
/* If something is queued for this place, it gets the deleted flag as well. */
void rewrite_flag_queued(struct ns *ns, uint32_t file, uint32_t off);
/* Forget what is queued for this place. */
void rewrite_forget(struct ns *ns, uint32_t file, uint32_t off);
/* Bytes of the record at (file, off), at least INDEX_REC_SIZE of them, as they will be. */
void rewrite_see(const struct ns *ns, uint32_t file, uint32_t off, uint8_t *bytes, size_t n);
bool rewrite_queued(const struct ns *ns, uint32_t file, uint32_t off);
/* Load: forget those that the files agree with. */
void rewrite_forget_same(struct ns *ns);
/* Write what was queued up to this number, at most max of them; true: there is more. */
bool rewrite_write(struct ns *ns, uint64_t upto, size_t max);

/* --- engine/rescue.c: helper thread ----------------------------------------------------------- */
/* Write again what has no good sync.  0; -EBADMSG, -ENODATA: it is not there any more; -errno. */
int ns_rescue_data(const char *path, uint64_t from, uint64_t end);
int ns_rescue_index(const char *path, uint64_t end);

/* --- engine/checkpoint.c -----------------------------------------------------------------------
 */
void ns_checkpoint_want(struct ns *ns);
void ns_checkpoint_grown(struct ns *ns, uint64_t bytes); /* so much data was appended */
bool ns_checkpoint_is_far(const struct ns *ns);          /* it is time for one */
void ns_checkpoint_tick(struct ns *ns, uint64_t now_ms);
/* Number of the youngest rewrite that is due, or will be when the first job has ended well. */
static inline uint64_t ns_checkpoint_clock(const struct ns *ns)
{
    const struct ns_checkpoint *cp = &ns->checkpoint;

    return cp->step == CHECKPOINT_FIRST || cp->step == CHECKPOINT_REWRITES
               ? MAX(cp->clock, ns->sync.patch_due)
               : ns->sync.patch_due;
}
/* A job is made, all is in the files: is it the first (last) one of a checkpoint? */
bool ns_checkpoint_begin(struct ns *ns);
bool ns_checkpoint_end(struct ns *ns, struct watermark *w);
void ns_checkpoint_first_done(struct ns *ns);
void ns_checkpoint_rewritten(struct ns *ns); /* READY when nothing is left of what is due */
void ns_checkpoint_done(struct ns *ns, const struct watermark *w);
void ns_checkpoint_failed(struct ns *ns); /* begins anew */
/* Any thread, blocks: the sums of w, from its two files, then w. */
int ns_checkpoint_write(const char *index_dir, struct watermark *w, const char *data,
                        const char *idx);
/* The namespace that was closed in order is about to be written to again.  Blocks; 0 or -errno. */
int ns_checkpoint_open(struct ns *ns);
static inline bool ns_checkpoint_is_open(const struct ns *ns)
{
    return ns->checkpoint.now.sequence > 0 && !(ns->checkpoint.now.flags & WATERMARK_CLEAN);
}
/* A FLUSH is under way: nothing is durable before the next checkpoint has ended. */
static inline bool ns_checkpoint_is_flushing(const struct ns *ns)
{
    return ns->checkpoint.now.flags & WATERMARK_FLUSHING;
}
bool ns_checkpoint_is_closed(const struct ns *ns); /* nothing was written since it was closed */
/* The watermark with which a crash ends in an empty namespace. */
struct watermark ns_checkpoint_flushing(const struct ns *ns);
void ns_checkpoint_reset(struct ns *ns); /* other files: nothing is under way */

/* --- recovery/load.c ----------------------------------------------------------------------------
 */
int index_load(struct ns *ns, struct err *e); /* segments and keys from the files; ns has none yet
                                               */

#endif
