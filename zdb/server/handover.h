/* handover - hooks that are still to run when zdb ends: one process of its own (sh) runs them one
 * after the other, in their order, each within its time, behind those that are running already.
 * So an end starts one process however many hooks wait, and no event is lost.  Thread: the loop's.
 */
#ifndef ZDB_SERVER_HANDOVER_H
#define ZDB_SERVER_HANDOVER_H

#include "common/buf.h"
#include "common/err.h"
#include <sys/types.h>

struct handover { /* script is private */
    struct buf script;
    size_t runs;
};

#define HANDOVER_INIT      \
    {                      \
        .script = BUF_INIT \
    }

/* A program that runs already, leader of its group: the others wait for its end, and when the time
 * is over its group is killed. */
void handover_await(struct handover *h, pid_t pid, uint64_t timeout_ms);
/* argv ends with NULL; strings are copied. */
void handover_add(struct handover *h, const char *const *argv, uint64_t timeout_ms);
/* Starts the process, when there is something to run, and forgets all.  0 or -errno. */
int handover_start(struct handover *h, struct err *e);

#endif
