/* protocol - requests and replies of the daemon's control socket, as RESP (common/resp).  No
 * I/O, no state.
 *
 *   STORE file [KEYPATH dir] [DELETE] [NOTBLOCKING] [SAVEFAILURE] [ERRORONFAILURE]     +OK
 *   RETRIEVE file [FORCE] [FD]                                                         +OK
 *       FD: into the regular file whose descriptor came with a request before (SCM_RIGHTS)
 *   CHECK file                                        bulk: 32 hex digits; nil: unknown
 *   REBUILD FILE file | KEY key | ALL                 bulk: one line of what was done
 *   STATUS [JSON]                                     array: 0 or 1 (something is at risk), bulk:
 * text
 *   HANDOVER [STORE] [CLOSED] [BEFORE ns] [JSON]      what is only here, see handover_reply.h
 *   QUEUE                                             integer: stores that are queued or running
 *   QUEUE LIST         array of bulks: one line for each job, rebuilds included; 500, then how many
 *                      more there are
 *   QUEUE COUNT        array of 4 integers: stores, bytes, age of the oldest in s, failing
 *   WAIT                                              +OK when all that was queued before is done
 *   PING                                                                               +PONG
 *   SCRUB [ALL | FRACTION thousandths]                bulk: one line of what was read, at its end
 *   BACKEND [DRAIN b | UNDRAIN b | REPLACE b WITH b]  +OK; without a word an array: 1 while a
 *                      repair runs, objects that could not be mended, bulk: text
 * Errors: "-<text for the user>".  Words in capitals may be written in any case; files and
 * directories are absolute. */
#ifndef ZSTOR_DAEMON_PROTOCOL_H
#define ZSTOR_DAEMON_PROTOCOL_H

#include "common/bytes.h"
#include "common/err.h"

enum control_op {
    CONTROL_STORE,
    CONTROL_RETRIEVE,
    CONTROL_CHECK,
    CONTROL_REBUILD,
    CONTROL_STATUS,
    CONTROL_QUEUE,
    CONTROL_WAIT,
    CONTROL_HANDOVER,
    CONTROL_PING,
    CONTROL_SCRUB,
    CONTROL_BACKEND,
};

struct control_req { /* strings owned; NULL: not given */
    enum control_op op;
    char *file;
    char *key_path;                         /* store: directory the file is stored under */
    char *key;                              /* rebuild: full metadata key */
    char *fraction;                         /* scrub: thousandths of all objects, NULL: all */
    char *drain, *undrain, *replace, *with; /* backend: "address" or "address namespace" */
    bool all;                               /* rebuild: every object */
    bool remove;                            /* store: remove the source afterwards */
    bool notblocking;                       /* store: answer when the job is durable */
    bool save_failure;  /* store: a file that fails is queued to be tried again */
    bool force;         /* retrieve: replace what is there */
    bool to_fd;         /* retrieve: into a descriptor that the client sent */
    bool stop_at_error; /* store of a directory: leave out the rest after the first failure */
    bool json;          /* status, handover */
    bool store, closed; /* handover: see cache/handover.h */
    char *before;       /* handover: unix nanoseconds */
    bool list, count;   /* queue */
};

#define CONTROL_PATH_MAX 4095 /* bytes of a path or key */
#define CONTROL_ARGS_MAX 16

/* 0, or -EINVAL with text for the client; *out is then empty (fini is allowed). */
int control_proto_decode(struct control_req *out, unsigned argc, const struct slice *argv,
                         struct err *e);
/* The arguments of a request, borrowed from r; their number. */
unsigned control_proto_argv(const struct control_req *r, struct slice argv[CONTROL_ARGS_MAX]);
void control_proto_fini(struct control_req *r);
const char *control_proto_name(enum control_op op); /* "STORE" ... */

#endif
