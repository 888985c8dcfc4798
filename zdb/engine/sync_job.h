/* sync_job - what one job of engine/sync.c does on the disk.  Made and ended by the loop; in
 * between it belongs to the thread that runs it, which touches nothing of the namespace but the
 * names of its directories. */
#ifndef ZDB_ENGINE_SYNC_JOB_H
#define ZDB_ENGINE_SYNC_JOB_H

#include "zdb/file/watermark.h"
#include <semaphore.h>

struct ns;

struct ns_sync_part {
    char *path; /* given.  Opened by the helper, one at a time: a job takes few descriptors */
    uint32_t seg;
    bool is_data;
    bool may_go;         /* sealed: whoever evicted it has it */
    uint64_t from, size; /* durable, and the end when the job was made */
};

struct ns_sync_job {
    struct ns *ns; /* referenced */
    struct ns_sync_part *parts;
    size_t n;
    uint64_t writes;     /* changes that it covers */
    uint64_t generation; /* of the files that it is about: ns.generation when it was made */
    bool everything, directories;
    bool first, last;      /* of a checkpoint */
    bool flushing;         /* nothing but the mark of a FLUSH */
    struct watermark mark; /* last, flushing: to be written in the end */
    bool again;            /* what no good job has covered is written again first */
    int result;
    bool lost; /* what was to be written again is gone */
    sem_t ran; /* posted when the helper thread is done with it */
    bool waited;
};

void ns_sync_job_run(struct ns_sync_job *j); /* blocks; the outcome is in result and lost */

#endif
