/* task - one operation on one object, run by one thread from start to end, with its outcome.  What
 * the command line does in process and what the daemon's job threads do is the same call. */
#ifndef ZSTOR_OBJECT_TASK_H
#define ZSTOR_OBJECT_TASK_H

#include <stdatomic.h>

#include "zstor/object/object.h"
#include "zstor/object/local.h"

enum task_op {
    TASK_STORE,    /* source -> object `path` */
    TASK_RETRIEVE, /* object `path` -> output */
    TASK_CHECK,    /* object `path` */
    TASK_REBUILD,  /* object `path`, or meta_key */
    TASK_LIST,     /* all metadata keys */
    TASK_REPAIR,   /* object meta_key, see object_repair */
    TASK_SURVEY,   /* all that need a repair: keys, good */
    TASK_RECLAIM,  /* dead shards of meta_key; source: a file with the record that lists them */
    TASK_META_LOG, /* what has changed goes to the metadata log */
};

enum task_priority {                  /* the first one runs first */
                     TASK_AWAITED,    /* somebody waits for it */
                     TASK_QUEUED,     /* durable jobs, repairs */
                     TASK_BACKGROUND, /* scrubs, what is dead */
};

struct task {
    enum task_op op;
    enum task_priority priority;
    char *path; /* object path; NULL: meta_key */
    char *meta_key;
    char *source;   /* store, reclaim */
    int fd;         /* retrieve: into this file, closed with the task; -1: the object's own path */
    bool replace;   /* retrieve: also what is there already */
    unsigned flags; /* store: OBJECT_... */
    bool probe;     /* ask backends that are marked down first: a person is waiting who may have
                       repaired one */
    uint64_t era;   /* of the backends when it began; the caller's */
    /* outcome */
    int rc; /* of the object_... call; check: 1 known, 0 not there */
    struct err err;
    struct object_result res;
    bool id_known; /* the local file whose content is res.checksum: the source, or what was
                      retrieved */
    struct local_id id;
    char *local;    /* its real path, when id_known */
    char **keys;    /* list, survey */
    unsigned *good; /* survey: shards of each that are in order */
    size_t nkeys;
    uint64_t seen; /* survey: objects that there are */
};

struct task *task_new(enum task_op op, const char *path); /* path is copied, may be NULL */
void task_free(struct task *t);
void task_run(struct task *t, struct objects *o, const atomic_bool *stop); /* blocks */
const char *task_name(enum task_op op);                                    /* "store" ... */

#endif
