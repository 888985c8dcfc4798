/* handover - what is only here: every data segment, index file and descriptor of the local zdb is
 * compared with its record.  The one answer to "is everything stored?"; an empty queue is none, for
 * a hook may never have come.  An object counts as stored when its record has this content, three
 * metadata backends can have it, no store of it waits or runs, and the metadata log has it, if one
 * is kept.
 *
 * A pass runs at start and from time to time, and queues what no hook has brought: sealed segments
 * at once, index files and descriptors that have been quiet for a period.  And a pass runs for
 * everybody who asks; those that ask while one runs share the next.
 * Thread: the loop's for every function; the work is done in a thread of its own. */
#ifndef ZSTOR_CACHE_HANDOVER_H
#define ZSTOR_CACHE_HANDOVER_H

#include "zstor/cache/hashes.h"
#include "zstor/object/engine.h"
#include "zstor/queue/scheduler.h"

struct loop;
struct handover;

enum handover_state {
    HANDOVER_NOT_STORED, /* there is no record of it, or it is not complete */
    HANDOVER_CHANGED,    /* the record is of another content */
    HANDOVER_UNKNOWN,    /* the metadata could not be asked, or the file not be read */
};

struct handover_item {
    char *file, *object;
    enum handover_state state;
    bool open;      /* zdb writes it; it is handed over when it is closed */
    bool handed;    /* queued by this pass */
    uint64_t bytes; /* that are only here: of a segment that grew, what came since */
    uint64_t age_s; /* since its last change */
    char *why;      /* of its job, or why it is unknown; never NULL */
};

struct handover_report {             /* borrowed during the callback */
    uint64_t files, bytes;           /* that are only here, or not known to be stored */
    uint64_t open_files, open_bytes; /* of them: that zdb writes */
    uint64_t unknown_files;          /* of them */
    uint64_t failing_files;          /* of them: whose job failed at its last try */
    uint64_t degraded_files;         /* stored, with fewer shards than wanted */
    uint64_t compared_files;
    uint64_t oldest_s;          /* the longest time since the last change of one of them; 0: none */
    uint64_t began_ns;          /* unix time */
    struct handover_item *item; /* the first HANDOVER_ITEMS of them */
    size_t nitems;
    int rc; /* < 0: not all could be looked at, err says why; the counts are of the others */
    struct err err;
};

#define HANDOVER_ITEMS 1000

struct handover_ask {
    bool store;         /* queue what is only here, but open files */
    bool closed;        /* zdb has ended: there are no open files */
    uint64_t before_ns; /* index files and descriptors that changed since are open, too; 0: no.  For
                           who asked with `store` at that time: they were handed over then */
};

typedef void handover_fn(void *arg, const struct handover_report *r);

struct handover_conf {
    struct loop *loop;
    struct engine *engine; /* a reference is taken; without directories in its conf nothing is
                              compared */
    struct hashes *hashes;
    struct sched *sched;
    uint64_t period_ms; /* between two passes */
    uint64_t retry_ms;  /* after one that could not ask the metadata backends */
    /* loop: has a store, with_rebuild: or a rebuild */
    bool (*busy)(void *arg, const char *object_path, bool with_rebuild);
    bool (*unlogged)(void *arg, const char *object_path); /* loop: its record is not in the metadata
                                                             log */
    void (*store)(void *arg, const char *file, const char *object_path); /* loop */
    void (*rebuild)(void *arg, const char *object_path);                 /* loop */
    void *arg;
};

struct handover_stats {
    uint64_t passes, queued;         /* since start */
    uint64_t files, bytes, oldest_s; /* of the last pass */
    uint64_t open_files, open_bytes; /* of them */
    bool known;                      /* a pass has ended that could look at all */
};

int handover_new(struct handover **out, const struct handover_conf *c, struct err *e); /* begins a
                                                                                          pass */
void handover_free(struct handover *h); /* the loop must not run afterwards; nobody is answered */
void handover_swap(struct handover *h, struct engine *g);
/* fn(arg) once on the loop, never inside the call. */
void handover_ask(struct handover *h, const struct handover_ask *a, handover_fn *fn, void *arg);
void handover_stats(const struct handover *h, struct handover_stats *out);
const char *handover_state_name(enum handover_state s); /* "not stored" ... */

#endif
