/* ctl - zdb --ctl: a client for scripts and hands.  Blocking, own process. */
#ifndef ZDB_TOOLS_CTL_H
#define ZDB_TOOLS_CTL_H

#include "common/buf.h"
#include "common/err.h"

struct ctl_conf {
    const char *host, *port; /* used when unix_path is NULL */
    const char *unix_path;
    const char *admin;            /* password for AUTH SECURE, or NULL */
    const char *ns, *ns_password; /* NULL: default namespace, no password */
    char **words;                 /* the command; nwords 0: one command per line of stdin */
    int nwords;
};

/* Sends and prints the replies to stdout as redis-cli does: for hands when stdout is a terminal,
 * else plain. 0; 1 when a reply was an error; -errno when the connection failed. */
int ctl_run(const struct ctl_conf *c, struct err *e);

/* Words of a line: blanks separate, "..." with \n \r \t \xHH \" \\, '...' as it is, \ before any
 * byte outside quotes; # at the start of a line is a comment.  The bytes are appended to text, the
 * offset behind each word to ends (size_t each). 0 or -EINVAL (a quote without its end). */
int ctl_split(struct slice line, struct buf *text, struct buf *ends);

#endif
