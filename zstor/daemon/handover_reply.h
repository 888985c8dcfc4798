/* handover_reply - the answer to HANDOVER: for machines, for scripts, for people.  Rendering and
 * reading only, no I/O.
 *   RESP  array of name, value, name, value ...: files bytes open_files open_bytes unknown_files
 *         failing_files degraded_files compared_files oldest_s began_ns complete (integers), error
 *         (bulk), items (array of bulks, one line each, at most HANDOVER_ITEMS)
 *   JSON  one object with the same names; items are objects */
#ifndef ZSTOR_DAEMON_HANDOVER_REPLY_H
#define ZSTOR_DAEMON_HANDOVER_REPLY_H

#include <hiredis/hiredis.h>

#include "common/buf.h"
#include "zstor/cache/handover.h"

void handover_reply_resp(struct buf *out, const struct handover_report *r);
void handover_reply_json(struct buf *out, const struct handover_report *r);

struct handover_answer { /* of the RESP form, as the client reads it; borrowed from the reply */
    uint64_t files, bytes, open_files, open_bytes, unknown_files, failing_files, degraded_files;
    uint64_t oldest_s, began_ns, complete;
    const char *error; /* never NULL */
    const redisReply *items;
};
/* false: it makes no sense. */
bool handover_answer_of(struct handover_answer *out, const redisReply *reply);
/* "3 files, 20.1 MiB" */
void handover_amount(struct buf *out, uint64_t files, uint64_t bytes);

#endif
